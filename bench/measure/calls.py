"""The calls of a round: how the network gets to its device, and how each call is made and timed.

The time of each call goes into the draft. bench.measure.passes decides which calls are made, and how many.
"""

import resource
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import torch
from torch import Tensor

from bench.grid.estimate import STREAMED_CLIPS
from bench.grid.spans import DEVICE_TO_HOST, FORWARD, FORWARD_UNPROBED, HOST_TO_DEVICE, TOTAL
from bench.measure import workload
from bench.measure.backends import CpuDevice, Device
from bench.measure.draft import Draft
from bench.measure.overlapped import Overlapped, timed_stream
from bench.measure.timing import Probe, Timed, timed, timed_stages
from bench.records import Pass, Phase
from vsr_model.adapted import Adapted
from vsr_model.network import Network
from vsr_model.stages import StageProbe, no_probe

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Called:
    """The cost of a call of the end-to-end pass."""

    forward_s: float
    whole_s: float  # transfers included
    page_faults: int  # minor ones, of the forward


def timed_parts(
    forward: Callable[[Tensor], Tensor | None],
    clip: Tensor,
    device: Device,
    *,
    transfers: bool,
    landing: Tensor | None = None,
    meet: Callable[[], object] = lambda: None,
) -> tuple[Tensor | None, dict[str, Timed], int]:
    """Time one call, and the transfers around it where there are any.

    Returns the output, each part's span, and the minor page faults of the forward. The output is copied to
    `landing` where that is given. `meet` is called before each part.
    """
    spans: dict[str, Timed] = {}

    def part(name: str, action: Callable[[], T]) -> T:
        meet()
        result, spans[name] = timed(action, device=device)
        return result

    lrs = part(HOST_TO_DEVICE, lambda: clip.to(device.torch_device)) if transfers else clip
    before = _minor_faults()
    output = part(FORWARD, lambda: forward(lrs))
    page_faults = _minor_faults() - before
    if transfers and output is not None:
        made = output
        to_host = made.cpu if landing is None else lambda: landing.copy_(made)
        output = part(DEVICE_TO_HOST, to_host)
    return output, spans, page_faults


def _minor_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


class Calls:
    """Makes the calls of one cell on its device, one at a time.

    An output is let go before the next call. Under a memory plan a call leaves no output: each frame's is let
    go as soon as it is made. The clip then stays on the host, and the call itself moves frames to the device.
    """

    def __init__(self, draft: Draft, device: Device, network: Network, clip: Tensor) -> None:
        self._draft = draft
        self._device = device
        self._backend = draft.task.job.cell.backend
        self._network = network
        self._clip = clip
        self._forward: Callable[[Tensor, StageProbe], Tensor | None]
        self._landing: Tensor | None = None  # page-locked memory that outputs are copied to
        self._pipeline: Overlapped | None = None  # where transfers are overlapped
        # Beside the references, which the run removes when it ends.
        beside = draft.task.reference.parent
        self.plan = draft.task.job.cell.memory_plan(beside)
        if self.plan is not None and self.plan.folder == beside:
            beside.mkdir(parents=True, exist_ok=True)
        self.output: Tensor | None = None  # of the last end-to-end call, on the host

    # Getting ready.

    def place(self) -> None:
        """Create the device's context and move the network to the device, each timed under its own name."""
        # A process that other cells share may have its context, and their leftovers, already.
        had_context = self._device.has_context()
        _, context = timed(self._device.create_context, device=CpuDevice())
        if self._device.has_events and not had_context:
            self._draft.keep("context_s", context)
        if had_context:
            self._device.release_cached_memory()
        _, moved = timed(self._prepare, device=self._device)
        self._draft.keep("model_to_device_s", moved)
        self._draft.values["settings"]["host_memory"] = "pageable"
        if self._device.has_events and self._backend.locks_pages:
            self._lock_pages()
        self._device.reset_peak_bytes()

    def _prepare(self) -> None:
        self._network = workload.prepare(self._network, self._backend, self._device.torch_device)
        if self.plan is None:
            self._forward = workload.forward_of(self._network, backend=self._backend)
        else:
            self._frames = workload.frames_of(self._network, self.plan)
            self._forward = self._without_output

    def _without_output(self, lrs: Tensor, probe: StageProbe) -> None:
        """Make every output under the memory plan, and keep none."""
        for output in self._frames(lrs, probe):
            del output

    def _lock_pages(self) -> None:
        """Move the clip to page-locked memory, and have some for outputs."""
        self._clip = self._device.page_locked(self._clip)
        output = torch.empty(self._network.output_shape(self._clip.shape))
        if self._backend.overlaps_transfers:
            forward = self._forward  # without self, which would be a cycle, and the collector is off
            self._pipeline = Overlapped(
                self._device, lambda lrs: forward(lrs, no_probe), clip=self._clip, output=output
            )
            self._draft.values["settings"]["transfer"] = "overlapped"
        elif self.plan is None:
            self._landing = self._device.page_locked(output)
        if self._clip.is_pinned():
            self._draft.values["settings"]["host_memory"] = "pinned"

    def _plain(self, lrs: Tensor) -> Tensor | None:
        return self._forward(lrs, no_probe)

    # The end-to-end pass.

    def end_to_end(self, phase: Phase, repetition: int) -> Called:
        """Make one call with nothing inside the network instrumented."""
        self.output = None  # not two at once
        if self._pipeline is None:
            transfers = self._device.has_events and self.plan is None
            self.output, spans, page_faults = timed_parts(
                self._plain, self._clip, self._device, transfers=transfers, landing=self._landing
            )
            spans[TOTAL] = around(spans.values())
            whole_s = spans[TOTAL].wall_s
        else:
            spans, page_faults, whole_s = self._streamed(self._pipeline, phase)
        for stage, span in spans.items():
            self._draft.sample(Pass.END_TO_END, phase, repetition, stage, span)
        self._draft.count(whole_s)
        return Called(forward_s=spans[FORWARD].wall_s, whole_s=whole_s, page_faults=page_faults)

    def _streamed(self, pipeline: Overlapped, phase: Phase) -> tuple[dict[str, Timed], int, float]:
        """Time the forward alone and then, in steady calls, a stream of clips for the time per clip.

        Transfers have no spans of their own: they overlap others'. Returns the spans, the minor page faults
        of the forward, and the seconds of all that.
        """
        lrs = self.clip_on_device()
        # The output is let go at once, so that it takes no memory beside those of the stream.
        spans, page_faults = timed_parts(self._plain, lrs, self._device, transfers=False)[1:]
        whole_s = spans[FORWARD].wall_s
        if phase is Phase.STEADY:
            self._device.synchronize()
            begin = perf_counter()
            with torch.inference_mode():
                self.output, spans[TOTAL] = timed_stream(pipeline, [self._clip] * STREAMED_CLIPS)
            whole_s += perf_counter() - begin
            self._draft.calls += STREAMED_CLIPS
        return spans, page_faults, whole_s

    def clip_on_device(self) -> Tensor:
        """Return the clip where a call takes it from; under a memory plan that is where it is."""
        return self._clip.to(self._device.torch_device) if self.plan is None else self._clip

    def outputs(self) -> Iterator[Tensor]:
        """Yield each output frame (n, 3, 4h, 4w) of one more call under the memory plan, on the host."""
        self._draft.calls += 1
        return (output.cpu() for output in self._frames(self._clip, no_probe))

    # The stage passes.

    def plain(self, pass_: Pass, repetition: int, lrs: Tensor) -> float:
        """Return the seconds of a call that a probed one is compared with."""
        _, span = timed(lambda: self._plain(lrs), device=self._device)
        self._draft.sample(pass_, Phase.STEADY, repetition, FORWARD_UNPROBED, span)
        self._draft.count(span.wall_s)
        return span.wall_s

    def probed(self, pass_: Pass, make_probe: type[Probe], repetition: int, lrs: Tensor) -> float:
        """Return the seconds of a call with its stages."""
        probe = make_probe(self._device, perf_counter)
        with self._network.instrumented():
            span, stages = timed_stages(lambda probe: self._forward(lrs, probe), probe)
        for stage, of_stage in {FORWARD: span, **stages}.items():
            self._draft.sample(pass_, Phase.STEADY, repetition, stage, of_stage)
        self._draft.count(span.wall_s)
        return span.wall_s

    # The memory pass and the profiler pass.

    def observed(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor | None:
        """Make a call under a profiler, of which the call alone counts as measured."""
        begin = perf_counter()
        result = self._forward(lrs, probe)
        self._device.synchronize()
        self._draft.count(perf_counter() - begin)
        return result

    @property
    def network_forward(self) -> Callable[..., object]:
        """The network's own forward, as its class has it."""
        network = self._network.module if isinstance(self._network, Adapted) else self._network
        return type(network).forward


def around(spans: Iterable[Timed]) -> Timed:
    """Return the span from the first start to the last end."""
    spans = list(spans)
    start_s = min(span.start_s for span in spans)
    return Timed(start_s=start_s, wall_s=max(span.start_s + span.wall_s for span in spans) - start_s)
