"""A picture or a video through the network into a file of four times the height and width.

What can be refused is refused before the network runs. Imports torch: the command line imports this module
only for the command that needs it.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import Final, Literal, cast

from torch import Tensor, nn

from bench.measure import backends, workload
from bench.units import BYTES, significant, with_unit
from bench.upscaling import disk, intake, memory
from bench.upscaling.pace import COUNTING, FINISHING, READING, Listener, NetworkPace, Pace, Progress, unheard
from bench.upscaling.read_ahead import ReadAhead, as_read
from bench.upscaling.request import Request
from bench.upscaling.sink import Sink
from bench.upscaling.threads import one_thread
from bench.upscaling.write_behind import WriteBehind, to_host_from
from vsr_model.basicvsr import BasicVSR
from vsr_model.copies import carrier_for
from vsr_model.errors import BadInput
from vsr_model.memory_cost import Needs
from vsr_model.memory_plan import MemoryPlan, frame_requests
from vsr_model.registry import find_model
from vsr_model.spool import FrameSpool
from vsr_model.streaming import upscale_frames
from vsr_model.video import MediaInfo, inspect

_CHANGED: Final = "The input changed meanwhile: frames are of the beginning, sound may be of either."


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds of enlarging a file, from the first look at it to the whole output.

    Decoding comes first. Encoding goes on beside the network, so that `decoding_s`, `network_s` and
    `encoding_s` add up to more than `total_s` where the two overlap: `waited_for_encoding_s` is the part of
    encoding that the network stood still for, `waited_for_frames_s` the same of reading decoded frames back.
    Neither is in `network_s`.
    """

    total_s: float
    decoding_s: float
    network_s: float
    encoding_s: float
    waited_for_encoding_s: float
    waited_for_frames_s: float


@dataclass(frozen=True, kw_only=True)
class Upscaled:
    """What was written.

    `height` and `width` are the output's. `frame_rate` is None for a picture, and the average where frames
    keep times of their own. `clamped_share` (0 to 1) is that of values outside [0, 1]. `needs` is what the
    plan was expected to take. `notes` are sentences for the user.
    """

    output: Path
    kind: Literal["image", "video"]
    frames: int
    height: int
    width: int
    frame_rate: Fraction | None
    clamped_share: float
    plan: MemoryPlan
    needs: Needs
    times: Times
    notes: tuple[str, ...]


def upscale(request: Request, listener: Listener = unheard) -> Upscaled:
    """Enlarge what the request names.

    Every frame of the output draws on the whole clip, as the network itself would compute it with the clip in
    memory at once (docs/memory.md says how exactly); what is in memory is bounded by the request's limits.
    The output appears, or is replaced, once it is whole; whatever ends this process leaves nothing else.

    Raises BadInput for files, options and a backend that do not go together or do not work here, limits that
    are too small, disks that are, and values that no file can hold; OSError for a disk that fills up.
    """
    began = perf_counter()
    request.check_options()
    if reason := backends.unavailable(request.backend):
        raise BadInput(f"The backend {request.backend.name} cannot run here: {reason}.")
    info = inspect(request.source)
    version = _version(request.source)
    entry = find_model(request.model.name)
    request.check_files(info, entry)
    sink = Sink(info, request.output, entry.scale, sound=request.sound)
    counting = Pace(COUNTING, 0, listener, perf_counter)
    expected = intake.expected_frames(info, request.frames, counting)
    job = _Job(request, info, listener)
    job.plan_for(expected)
    sink.rehearse()
    network = workload.build_model(request.model)
    with FrameSpool(
        request.scratch_folder,
        height=info.height,
        width=info.width,
        frames=expected,
        eight_bit=info.eight_bit,
    ) as spool:
        decoding_began = perf_counter()
        taken = intake.take_in(info, request.frames, spool, Pace(READING, expected, listener, perf_counter))
        decoding_s = perf_counter() - decoding_began
        sink.check_times(taken.times_s)
        plan, needs = job.plan_for(taken.frames, spooled=expected)
        with sink.opened(taken.times_s, cut=taken.is_cut) as write:
            worked = job.enlarge(network, spool, plan, taken.frames, write)
            listener(Progress(doing=FINISHING, done=taken.frames, total=taken.frames))
    return Upscaled(
        output=request.output,
        kind=info.kind,
        frames=taken.frames,
        height=entry.scale * info.height,
        width=entry.scale * info.width,
        frame_rate=sink.frame_rate,
        clamped_share=worked.clamped_share,
        plan=plan,
        needs=needs,
        times=Times(
            total_s=perf_counter() - began,
            decoding_s=decoding_s,
            network_s=worked.network_s,
            encoding_s=worked.encoding_s,
            waited_for_encoding_s=worked.waited_for_encoding_s,
            waited_for_frames_s=worked.waited_for_frames_s,
        ),
        notes=(
            *_notes(info, request, taken, worked.clamped_share, varies=sink.varies(taken.times_s)),
            *sink.sound_notes,
            *([] if _version(request.source) == version else [_CHANGED]),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Worked:
    """What was counted while frames came out; seconds as in `Times`."""

    clamped_share: float
    network_s: float
    encoding_s: float
    waited_for_encoding_s: float
    waited_for_frames_s: float


@dataclass(frozen=True)
class _Job:
    """A request whose file has been looked at."""

    request: Request
    info: MediaInfo
    listener: Listener

    def plan_for(self, frames: int, *, spooled: int = 0) -> tuple[MemoryPlan, Needs]:
        """How so many frames are enlarged, and what that takes; of `spooled` of them the spool has the space
        already. Raises BadInput where memory or a disk is too small."""
        request, info, is_video = self.request, self.info, self.info.kind == "video"
        scratch, output = request.scratch_folder, request.output.parent
        scale = find_model(request.model.name).scale
        pixels = scale**2 * info.height * info.width
        wanted = [
            disk.Wanted(
                folder=scratch,
                what="decoded frames",
                size_bytes=intake.spooled_bytes(info, max(0, frames - spooled)),
            ),
            disk.Wanted(
                folder=output,
                what="the output",
                size_bytes=disk.output_bytes(frames=frames, pixels=pixels, is_video=is_video)
                + self._sound_bytes(frames),
                roughly=True,
            ),
        ]
        disk.check_space(info.path, wanted)
        work = self._enlarging(frames)
        plan = memory.plan_of(work, memory.limits_of(request, disk.left_beside(scratch, wanted)), request)
        return plan, work.needs(plan)

    def _sound_bytes(self, frames: int) -> int:
        """At most what goes along of the sound, if it is copied: the file's size, or its share."""
        if not (self.request.sound and self.info.has_audio):
            return 0
        share = frames / max(frames, self.info.frame_count or 0)
        return round(share * self.info.path.stat().st_size)

    def enlarge(
        self,
        network: nn.Module,
        spool: FrameSpool,
        plan: MemoryPlan,
        frames: int,
        write: Callable[[Tensor, int], float],
    ) -> _Worked:
        """Have every frame of the spool written, enlarged."""
        backend, work = self.request.backend, self._enlarging(frames)
        device = backends.device_of(backend)
        try:
            with backends.applied(backend):
                network = workload.prepare(network, backend, device.torch_device)
                pace = NetworkPace(work.call, plan, device, self.listener, perf_counter)
                with one_thread("read-ahead") as reader:
                    target = device.torch_device
                    load = carrier_for(target).load if target.type == "cuda" else as_read
                    source = ReadAhead(spool, frame_requests(plan, frames), reader, load)
                    began = perf_counter()
                    assert isinstance(network, BasicVSR)
                    # A generator, which can be told to end.
                    outputs = cast("Generator[Tensor]", upscale_frames(network, source, plan, pace))
                    with closing(outputs), WriteBehind(write, to_host_from(target)) as written:
                        for output in outputs:
                            written.put(output)
                            pace.frame_out()
                            del output
                    took_s = perf_counter() - began
        except Exception as error:
            if not backends.is_out_of_memory(error):
                raise
            raise BadInput(self._ran_out(plan, work)) from error
        return _Worked(
            clamped_share=sum(written.results) / frames,
            network_s=max(0.0, took_s - written.waited_s - source.waited_s),
            encoding_s=written.busy_s,
            waited_for_encoding_s=written.waited_s,
            waited_for_frames_s=source.waited_s,
        )

    def _enlarging(self, frames: int) -> memory.Enlarging:
        entry = find_model(self.request.model.name)
        return memory.enlarging(self.info, entry, self.request, frames)

    def _ran_out(self, plan: MemoryPlan, work: memory.Enlarging) -> str:
        needs = work.needs(plan)
        option, size = "--memory-limit", needs.host_bytes
        if self.request.backend.is_cuda:
            option, size = "--device-memory-limit", needs.device_bytes
        return (
            f"{self.info.path} ran out of memory, of which about {with_unit(size, BYTES)} were thought to be"
            f" enough; set {option} below that."
        )


def _version(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from another of its name, and from what it was before."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _notes(
    info: MediaInfo, request: Request, taken: intake.Intake, clamped_share: float, *, varies: bool
) -> Iterator[str]:
    if request.model.checkpoint is None:
        yield "The weights are random: the output shows that the network runs, and no more."
    if request.frames is not None and taken.frames < request.frames:
        yield f"The video has {taken.frames} frames, fewer than the {request.frames} that --frames asks for."
    if taken.is_cut:
        yield f"Only the first {taken.frames} frames were taken, as --frames asks for."
    if info.rotation_degrees:
        yield f"The frames are stored turned; they were turned upright, by {info.rotation_degrees} degrees."
    if varies:
        yield "The frame rate varies; each frame kept its time."
    if info.has_audio and not request.sound:
        yield "The sound was left out, as --no-sound asks for."
    if info.has_subtitles:
        yield "The subtitles were not copied."
    if info.is_hdr:
        yield "The video is HDR; its values were taken as they are, and the output is marked as ordinary."
    if info.is_interlaced:
        yield "The video is interlaced, and its fields were not separated: motion will show combs."
    if clamped_share > 0:
        yield f"{significant(100 * clamped_share, 2)} % of the values lay outside [0, 1] and were clamped."
