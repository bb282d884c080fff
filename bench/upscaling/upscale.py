"""A picture or a video through the network into a file of four times the height and width.

What can be refused is refused before the network runs. Imports torch: the command line imports this module
only for the command that needs it.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import Final, cast

from torch import Tensor

from bench.measure import backends, networks, read_back, workload
from bench.process.interrupts import held_back
from bench.units import BYTES, significant, with_unit
from bench.upscaling import memory
from bench.upscaling.output import Output
from bench.upscaling.progress import FINISHING, LOOKING_AHEAD, READING, UPSCALING, Listener, Progress
from bench.upscaling.request import Request, identity_of
from vsr_model.errors import BadInput
from vsr_model.media import MediaInfo, count_packets, inspect, iterate_frames
from vsr_model.memory_plan import MemoryPlan
from vsr_model.network import Network
from vsr_model.networks.basicvsr import BasicVSR
from vsr_model.registry import network_class
from vsr_model.streaming import FrameSpool, upscale_frames

_CHANGED: Final = "The input changed meanwhile: frames are of the beginning, sound may be of either."


@dataclass(frozen=True, kw_only=True)
class Upscaled:
    """The result of upscaling a file.

    `height` and `width` are the output's. `frame_rate` is None for a picture, and the average where frames
    keep times of their own. `needs` is the estimate for `plan`. `notes` are sentences for the user.
    """

    output: Path
    frames: int
    height: int
    width: int
    frame_rate: Fraction | None
    plan: MemoryPlan
    needs: memory.Needs
    took_s: float
    notes: tuple[str, ...]


def upscale(request: Request, listener: Listener = lambda _: None) -> Upscaled:
    """Enlarge a file as requested.

    Every frame of the output draws on the whole clip, as the network itself would compute it with the clip in
    memory at once (docs/upscale.md says how exactly); what is in memory is bounded by the request's limits.
    The output appears, or is replaced, once it is whole; nothing else is left, however the process ends.

    Raises BadInput for files, options and a backend that do not go together or do not work here, limits that
    are too small, disks that are, and values that no file can hold; OSError for a disk that fills up.
    """
    began = perf_counter()
    request.check_options()
    if reason := backends.unavailable(request.backend):
        raise BadInput(f"The backend {request.backend.name} cannot run here: {reason}.")
    try:
        with backends.applied(request.backend):
            read_back.check(request.backend)
    except RuntimeError as error:
        raise BadInput(f"The backend {request.backend.name} does not compute right here: {error}.") from error
    info = inspect(request.source)
    identity = _identity(request, info)
    facts = network_class(request.model.registered).facts
    request.check_files(info, facts)
    output = Output(info, request, facts.scale)
    output.rehearse()
    expected = max(1, info.frame_count or count_packets(info.path, request.frames))
    expected = min(expected, request.frames or expected)
    network = networks.build(request.model)
    work = memory.Work(request, info, network)
    work.plan_for(expected, spool_frames=expected)
    with _ObservedSpool(info, request.scratch_folder, expected, listener) as spool:
        times_s, is_cut = _read(request, info, spool, expected, listener)
        frames = len(times_s)
        output.check_times(times_s)
        plan, needs = work.plan_for(frames)
        with output.opened(times_s, cut=is_cut) as write:
            clamped_share = _enlarge(request, network, spool, plan, needs, write, listener)
            listener(Progress(doing=FINISHING, done=frames, total=frames))
    return Upscaled(
        output=request.output,
        frames=frames,
        height=facts.scale * info.height,
        width=facts.scale * info.width,
        frame_rate=output.frame_rate,
        plan=plan,
        needs=needs,
        took_s=perf_counter() - began,
        notes=(
            *_notes(info, request, frames, clamped_share, is_cut=is_cut),
            *output.notes,
            *([] if _identity(request, info) == identity else [_CHANGED]),
        ),
    )


def _identity(request: Request, info: MediaInfo) -> list[object]:
    """Return the identities of the input's files."""
    paths = (request.source,) if info.frame_files is None else info.frame_files.paths[: request.frames]
    return [identity_of(path) for path in paths]


def _read(
    request: Request, info: MediaInfo, spool: FrameSpool, expected: int, listener: Listener
) -> tuple[list[float], bool]:
    """Decode the file, or its first frames; return when each is shown, and whether there are more.

    Raises BadInput for a damaged file, and for frames that change their size or depth.
    """
    limit, files = request.frames, info.frame_files
    times_s: list[float] = []
    is_cut = files is not None and limit is not None and len(files.paths) > limit
    beyond = 1 if files is None else 0  # a frame that shows that there are more
    for frame in iterate_frames(info.path, limit=None if limit is None else limit + beyond):
        if len(times_s) == limit:
            is_cut = True
            break
        changed = "size" if frame.image.shape[1:] != (info.height, info.width) else ""
        try:
            if not changed:
                spool.write(frame.image[None])
        except ValueError:  # deeper than the first
            changed = "depth"
        if changed:
            raise BadInput(
                f"{info.path} changes its {changed} after {len(times_s)} frames, and all must have the same."
            )
        times_s.append(frame.time_s)
        listener(Progress(doing=READING, done=len(times_s), total=max(expected, len(times_s))))
    return times_s, is_cut


def _enlarge(
    request: Request,
    network: Network,
    spool: FrameSpool,
    plan: MemoryPlan,
    needs: memory.Needs,
    write: Callable[[Tensor, int], float],
    listener: Listener,
) -> float:
    """Write every frame of the spool, enlarged, and return the share of values that were clamped."""
    backend, frames = request.backend, spool.shape[1]
    try:
        with backends.applied(backend):
            device = backends.device_of(backend).torch_device
            network = workload.prepare(network, backend, device)
            assert isinstance(network, BasicVSR)
            outputs = cast("Generator[Tensor]", upscale_frames(network, spool, plan))
            clamped = 0.0
            with closing(outputs), _one_thread() as thread:
                for done, share in enumerate(_written(outputs, write, thread), start=1):
                    clamped += share
                    listener(Progress(doing=UPSCALING, done=done, total=frames))
            return clamped / frames
    except Exception as error:
        if not backends.is_out_of_memory(error):
            raise
        option, size = "--memory-limit", needs.host_bytes
        if backend.is_cuda:
            option, size = "--device-memory-limit", needs.device_bytes
        raise BadInput(
            f"{request.source} ran out of memory, of which about {with_unit(size, BYTES)} were thought to"
            f" be enough; set {option} below that."
        ) from error


class _ObservedSpool(FrameSpool):
    """A spool that reports the progress of the backward branch, which asks for all frames first."""

    def __init__(self, info: MediaInfo, folder: Path, frames: int, listener: Listener) -> None:
        super().__init__(
            folder, height=info.height, width=info.width, frames=frames, eight_bit=info.eight_bit
        )
        self._listener = listener
        self._asked = 0

    def frames(self, start: int, stop: int) -> Iterator[Tensor]:
        """Return frames as `FrameSource.frames` does."""
        total = self.shape[1]
        if self._asked < total:
            self._listener(Progress(doing=LOOKING_AHEAD, done=self._asked, total=total))
        elif self._asked == total:
            self._listener(Progress(doing=UPSCALING, done=0, total=total))
        self._asked += stop - start
        return super().frames(start, stop)


def _written(
    outputs: Iterator[Tensor], write: Callable[[Tensor, int], float], thread: Executor
) -> Iterator[float]:
    """Write frames in the thread while the next are computed, and yield the results of `write`."""

    def bring_and_write(output: Tensor, index: int) -> float:
        return write(output[0].cpu(), index)

    waiting: deque[Future[float]] = deque()
    for index, output in enumerate(outputs):
        if len(waiting) == memory.OUTPUTS_WAITING:
            yield waiting.popleft().result()
        waiting.append(thread.submit(bring_and_write, output, index))
        del output
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _one_thread() -> Iterator[Executor]:
    """Give a thread that finishes its current task at the end of the block, and drops those that wait."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="write")
    try:
        yield executor
    finally:
        with held_back():  # a second Ctrl-C waits, too: a call into a library must not be interrupted
            executor.shutdown(wait=True, cancel_futures=True)


def _notes(
    info: MediaInfo, request: Request, frames: int, clamped_share: float, *, is_cut: bool
) -> Iterator[str]:
    if request.model.checkpoint is None:
        yield "The weights are random: the output shows that the network runs, and no more."
    if request.frames is not None and frames < request.frames:
        yield f"The input has {frames} frames, fewer than the {request.frames} that --frames asks for."
    if is_cut:
        yield f"Only the first {frames} frames were taken, as --frames asks for."
    if info.turned:
        yield "The frames are stored turned; they were turned upright."
    if info.has_audio and not request.sound:
        yield "The sound was left out, as --no-sound asks for."
    yield from info.notes
    if clamped_share > 0:
        yield f"{significant(100 * clamped_share, 2)} % of the values lay outside [0, 1] and were clamped."
