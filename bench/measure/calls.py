"""The calls of a round: how the network comes to its device, and how each call is made and timed.

What a call took goes into the draft. When calls are made, and how many, is bench.measure.passes' matter.
"""

import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import torch
from torch import Tensor

from bench.grid.estimate import STREAMED_CLIPS
from bench.grid.spans import DEVICE_TO_HOST, FORWARD, FORWARD_UNPROBED, HOST_TO_DEVICE, OTHER, TOTAL
from bench.measure import backends, memory, profiling, workload
from bench.measure.draft import Draft
from bench.measure.memory import MemoryProfile
from bench.measure.overlapped import Overlapped, timed_stream
from bench.measure.timing import Probe, Timed, timed, timed_stages
from bench.records import MemoryLine, Pass, Phase
from vsr_model.adapted import Adapted
from vsr_model.network import Network
from vsr_model.stages import StageProbe, no_probe

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Called:
    """What a call of the end-to-end pass took."""

    forward_s: float
    whole_s: float  # transfers included
    page_faults: int  # minor ones, of the forward


class Calls:
    """Makes the calls of one cell on its device, one at a time.

    An output is let go before the next call. Under a memory plan a call leaves no output: each frame's is let
    go when it has come. The clip then stays on the host, and the call itself brings frames to the device.
    """

    def __init__(self, draft: Draft, device: backends.Device, network: Network, clip: Tensor) -> None:
        self._draft = draft
        self._device = device
        self._backend = draft.task.job.cell.backend
        self._network = network
        self._clip = clip
        self._output: Tensor | None = None  # of the last call, until one is on the host
        self._on_host: Tensor | None = None  # the output that is checked
        self._landing: Tensor | None = None  # page-locked memory that outputs are copied to
        self._pipeline: Overlapped | None = None  # what clips are streamed through
        # Beside the references, the run has removed whatever is there when it ends.
        beside = draft.task.reference.parent
        self.plan = draft.task.job.cell.memory_plan(beside)
        if self.plan is not None and self.plan.folder == beside:
            beside.mkdir(parents=True, exist_ok=True)

    # Getting ready.

    def place(self) -> None:
        """Make the device's context and bring the model to it, each timed under its own name."""
        # A process that other cells share may have its context, and their leftovers, already.
        had_context = self._device.has_context()
        locks_pages = self._device.has_events and self._backend.locks_pages
        _, context = timed(self._device.create_context, device=backends.CpuDevice())
        if self._device.has_events and not had_context:
            self._draft.keep("context_s", context)
        if had_context:
            self._device.release_cached_memory()
        _, moved = timed(self._bring_network, device=self._device)  # no call: waited for in any case
        self._draft.keep("model_to_device_s", moved)
        self._draft.values["settings"]["host_memory"] = "pageable"
        if locks_pages:
            self._clip = self._device.page_locked(self._clip)
            if self._backend.overlaps_transfers:
                self._make_pipeline()
            elif self.plan is None:
                self._landing = self._device.page_locked(self._blank_output())
            if self._clip.is_pinned():
                self._draft.values["settings"]["host_memory"] = "pinned"
        self._device.reset_peak_bytes()

    def _bring_network(self) -> None:
        self._network = workload.prepare(self._network, self._backend, self._device.torch_device)
        self._forward: Callable[[Tensor, StageProbe], Tensor | None]
        if self.plan is None:
            self._forward = workload.forward_of(self._network, backend=self._backend)
        else:
            self._frames = workload.frames_of(self._network, self.plan)
            self._forward = workload.dropping(self._frames)

    def _make_pipeline(self) -> None:
        def forward(lrs: Tensor) -> Tensor:
            output = self._forward(lrs, no_probe)
            assert output is not None  # there is no memory plan beside
            return output

        self._pipeline = Overlapped(self._device, forward, clip=self._clip, output=self._blank_output())
        self._draft.values["settings"]["transfer"] = "overlapped"

    def _blank_output(self) -> Tensor:
        *outer, height, width = self._clip.shape
        scale = self._network.facts.scale
        return torch.empty(*outer, scale * height, scale * width)

    # The end-to-end pass.

    def end_to_end(self, phase: Phase, repetition: int) -> Called:
        """One call with nothing inside the network instrumented."""
        self._output = None  # not two at once
        if self._pipeline is None:
            spans, page_faults = self._by_parts()
            whole_s = spans[TOTAL].wall_s
        else:
            spans, page_faults, whole_s = self._streamed(self._pipeline, phase)
        for stage, span in spans.items():
            self._draft.sample(Pass.END_TO_END, phase, repetition, stage, span)
        self._count(whole_s)
        return Called(forward_s=spans[FORWARD].wall_s, whole_s=whole_s, page_faults=page_faults)

    def bring_output(self) -> None:
        """Bring the last end-to-end call's output to the host, and let it go here."""
        if self._output is not None:
            self._on_host = self._output.to("cpu")
        self._output = None

    @property
    def output(self) -> Tensor:
        """The output that was brought."""
        assert self._on_host is not None  # a round makes an end-to-end pass
        return self._on_host

    def outputs(self) -> Iterator[Tensor]:
        """The outputs (n, 3, 4h, 4w) of one more call under the memory plan, each on the host, one after
        another; no pass and no figure has a part of it."""
        self._draft.calls += 1
        return (output.to("cpu") for output in self._frames(self._clip, no_probe))

    def _by_parts(self) -> tuple[dict[str, Timed], int]:
        """The forward, with the transfers beside it where there are any."""
        spans: dict[str, Timed] = {}
        lrs = self._clip
        has_transfers = self._device.has_events and self.plan is None
        if has_transfers:
            lrs, spans[HOST_TO_DEVICE] = self._timed(self.clip_on_device)
        before = _minor_faults()
        self._output, spans[FORWARD] = self._timed(lambda: self._forward(lrs, no_probe))
        page_faults = _minor_faults() - before
        if has_transfers and self._output is not None:
            on_device = self._output
            self._output, spans[DEVICE_TO_HOST] = self._timed(lambda: self._to_host(on_device))
        first, last = min(spans.values(), key=_start), max(spans.values(), key=_start)
        spans[TOTAL] = Timed(start_s=first.start_s, wall_s=last.start_s + last.wall_s - first.start_s)
        return spans, page_faults

    def _streamed(self, pipeline: Overlapped, phase: Phase) -> tuple[dict[str, Timed], int, float]:
        """The forward alone, and then, in steady calls, a stream of clips for the time per clip, transfers
        included; and the seconds of all that. Transfers have no spans of their own: they lie beside others'.
        """
        spans: dict[str, Timed] = {}
        lrs = self.clip_on_device()
        before = _minor_faults()
        self._output, spans[FORWARD] = self._timed(lambda: self._forward(lrs, no_probe))
        page_faults = _minor_faults() - before
        whole_s = spans[FORWARD].wall_s
        if phase is Phase.STEADY:
            self._output = None
            self._device.synchronize()
            begin = perf_counter()
            clips = [self._clip] * STREAMED_CLIPS
            with torch.inference_mode():
                self._output, spans[TOTAL] = timed_stream(pipeline, clips)
            whole_s += perf_counter() - begin
            self._draft.calls += STREAMED_CLIPS
        return spans, page_faults, whole_s

    def clip_on_device(self) -> Tensor:
        """The clip where a call takes it from; under a memory plan that is where it is."""
        return self._clip.to(self._device.torch_device) if self.plan is None else self._clip

    def _to_host(self, output: Tensor) -> Tensor:
        return output.to("cpu") if self._landing is None else self._landing.copy_(output)

    # The stage passes.

    def plain(self, pass_: Pass, repetition: int, lrs: Tensor) -> float:
        """The call that a probed one is compared with; its seconds."""
        _, span = self._timed(lambda: self._forward(lrs, no_probe))
        self._draft.sample(pass_, Phase.STEADY, repetition, FORWARD_UNPROBED, span)
        self._count(span.wall_s)
        return span.wall_s

    def probed(self, pass_: Pass, make_probe: type[Probe], repetition: int, lrs: Tensor) -> float:
        """A call with its stages; its seconds."""
        probe = make_probe(self._device, perf_counter)
        with self._network.instrumented():
            span, stages = timed_stages(
                lambda listening: self._forward(lrs, listening), probe, device=self._device
            )
        self._draft.sample(pass_, Phase.STEADY, repetition, FORWARD, span)
        for stage, start in stages.start_s.items():
            of_stage = Timed(start_s=start, wall_s=stages.wall_s[stage], device_s=stages.device_s.get(stage))
            self._draft.sample(pass_, Phase.STEADY, repetition, stage, of_stage)
        rest = Timed(start_s=span.start_s, wall_s=stages.other_wall_s, device_s=stages.other_device_s)
        self._draft.sample(pass_, Phase.STEADY, repetition, OTHER, rest)
        self._count(span.wall_s)
        return span.wall_s

    # The memory pass.

    def memory_curve(self, lrs: Tensor) -> MemoryProfile:
        return memory.curve(lambda: self._profiled(lrs), device=self._device)

    def memory_by_line(self, lrs: Tensor) -> tuple[MemoryLine, ...]:
        network = self._network.module if isinstance(self._network, Adapted) else self._network
        return memory.by_line(type(network).forward, lambda: self._profiled(lrs))

    def _profiled(self, lrs: Tensor) -> None:
        """A call under a profiler. The call alone counts as measured; what profiling costs is the tool's."""
        begin = perf_counter()
        self._forward(lrs, no_probe)
        self._device.synchronize()
        self._count(perf_counter() - begin)

    # The profiler pass.

    def traced(self, lrs: Tensor, scratch: Path) -> dict[str, Any]:
        """The trace of a call under the profiler (bench.measure.profiling); the calls count as measured."""

        def forward(probe: StageProbe) -> Tensor | None:
            begin = perf_counter()
            result = self._forward(lrs, probe)
            self._device.synchronize()
            self._count(perf_counter() - begin)
            return result

        return profiling.trace_of(forward, self._device, scratch)

    def _timed(self, action: Callable[[], T]) -> tuple[T, Timed]:
        return timed(action, device=self._device)

    def _count(self, measured_s: float) -> None:
        self._draft.measured_s += measured_s
        self._draft.calls += 1


def _start(span: Timed) -> float:
    return span.start_s


def _minor_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
