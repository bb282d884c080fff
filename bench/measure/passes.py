"""The passes over one cell, by the protocol in docs/measurement.md. Each leaves its figures in the draft."""

import resource
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from statistics import median
from time import perf_counter
from typing import Final

from torch import Tensor, nn

from bench.grid.config_measure import Measure
from bench.grid.estimate import expected_calls
from bench.measure import backends, memory, workload
from bench.measure.draft import Draft
from bench.measure.reference import ReferenceCheck
from bench.measure.timing import EventProbe, Probe, SyncProbe, Timed, timed, timed_stages
from bench.measure.watch import Watch
from bench.messages import Message, Progress, Task
from bench.records import (
    DEVICE_TO_HOST,
    FORWARD,
    FORWARD_UNPROBED,
    HOST_TO_DEVICE,
    OTHER,
    TOTAL,
    Pass,
    Phase,
    WarmupEnd,
)
from bench.statistics.steady import Steadiness, steadiness, tuning_calls
from bench.statistics.stopping import Rule, decide
from vsr_model.stages import no_probe

Report = Callable[[Message], None]

_WARMUP_ENDS: Final = {Steadiness.STEADY: WarmupEnd.STEADY, Steadiness.GAVE_UP: WarmupEnd.GAVE_UP}


MENTION_INTERVAL_S: Final = 0.5
"""Between two words of progress from call to call, at least."""


class Round:
    """One round of one cell."""

    def __init__(self, task: Task, draft: Draft, report: Report, wait_for_go: Callable[[], None]) -> None:
        self._draft = draft
        self._report = report
        self._wait_for_go = wait_for_go
        self._cell = task.job.cell
        self._task = task
        self._measure = task.measure
        self._device = backends.device_of(self._cell.backend)
        self._rule = _rule(task.measure)
        self._done = 0  # calls
        self._said_s = 0.0
        self._expected = expected_calls(task.measure, self._cell.backend)
        self._faults = 0  # of the last forward

    def run(self) -> None:
        self._say("starting")
        with ExitStack() as opened:
            settings = opened.enter_context(backends.applied(self._cell.backend))
            self._draft.values["settings"] = {**settings, "gc": "off while timing"}
            self._draft.values["threads"] = backends.thread_count()
            network, clip = self._build()
            self._wait_for_go()
            # A process that other cells share may have its context, and their leftovers, already.
            had_context = self._device.has_context()
            _, context = timed(self._device.create_context, device=backends.CpuDevice())
            if self._device.has_events and not had_context:
                self._draft.keep("context_s", context)
            self._device.release_cached_memory()
            self._move_to_device(network)
            del network  # the device's copies go before the reference is made
            self._watch = opened.enter_context(Watch(self._draft, self._device.gpu))
            output = self._end_to_end_pass(clip)
            on_device = clip.to(self._device.torch_device)
            for pass_, make_probe in self._probes():
                self._stage_pass(pass_, make_probe, on_device)
            if self._measure.memory != "off":
                self._memory_pass(on_device)
            self._watch.finish()
            # The network may be needed again as the reference; the device's copies are not.
            del on_device, self._network, self._forward
        ReferenceCheck(self._draft, self._report, self._say)(clip, output)

    def _build(self) -> tuple[nn.Module, Tensor]:
        """The model and the clip, on the host."""
        begin = perf_counter()
        self._say("building the model")
        network = workload.build_model(self._task.model)
        self._draft.values["parameters"] = sum(item.numel() for item in network.parameters())
        clip = workload.make_clip(self._cell)
        self._draft.values["setup_s"] = perf_counter() - begin
        return network, clip

    def _move_to_device(self, network: nn.Module) -> None:
        backend, target = self._cell.backend, self._device.torch_device
        self._network, moved = timed(lambda: workload.prepare(network, backend, target), device=self._device)
        self._draft.keep("model_to_device_s", moved)
        self._forward = workload.forward_of(self._network)

    def _end_to_end_pass(self, clip: Tensor) -> Tensor:
        self._device.reset_peak_bytes()
        self._say("cold call")
        self._watch.look()
        _, cold_s, _ = self._end_to_end(clip, Phase.COLD, 0)
        self._draft.values["first_forward_s"] = cold_s
        warmup_s = self._warm_up(clip, cold_s)
        if peaks := self._device.peak_bytes():
            self._draft.values["cold_peak_device_bytes"] = peaks[0]
            self._draft.values["cold_peak_device_reserved_bytes"] = peaks[1]
        call_s = (warmup_s or [cold_s])[-1]
        self._expected = expected_calls(self._measure, self._cell.backend, call_s)
        steady_s: list[float] = []
        spent_s = 0.0
        faults = []
        output = None
        stop = None
        self._watch.steady_begins()
        while stop is None:
            self._mention(f"end to end {self._number(steady_s)}")
            output = None  # not two outputs at once
            output, forward_s, total_s = self._end_to_end(clip, Phase.STEADY, len(steady_s))
            steady_s.append(forward_s)
            faults.append(self._faults)
            self._watch.glance()
            spent_s += total_s
            stop = decide(self._rule, steady_s, spent_s)
        self._watch.look()
        self._draft.values["stop_end_to_end"] = stop
        self._draft.values["page_faults_per_forward"] = median(faults)
        tuning = tuning_calls([cold_s, *warmup_s, *steady_s])
        self._draft.values["tuning_calls"] = tuning
        self._draft.mark_tuning(tuning)
        assert output is not None  # there is at least one repetition
        return output

    def _warm_up(self, clip: Tensor, cold_s: float) -> list[float]:
        """The wall times of the calls between the cold one and the steady ones."""
        walls: list[float] = []
        wanted = self._measure.warmup
        end = None
        while end is None:
            if wanted == "auto":
                end = _WARMUP_ENDS.get(steadiness(cold_s, walls))
            elif len(walls) == wanted:
                end = WarmupEnd.COUNT
            if end is None:
                self._mention(f"warm-up {len(walls) + 1}" + ("" if wanted == "auto" else f"/{wanted}"))
                _, forward_s, _ = self._end_to_end(clip, Phase.WARMUP, len(walls))
                walls.append(forward_s)
        self._draft.values["warmup_end"] = end
        return walls

    def _end_to_end(self, clip: Tensor, phase: Phase, repetition: int) -> tuple[Tensor, float, float]:
        """One call with nothing inside the network instrumented, and the transfers where there are any; its
        output, and the seconds of the forward and of all."""
        target = self._device.torch_device
        spans: dict[str, Timed] = {}
        if self._device.has_events:
            on_device, spans[HOST_TO_DEVICE] = timed(lambda: clip.to(target), device=self._device)
            before = _minor_faults()
            result, forward = timed(lambda: self._forward(on_device, no_probe), device=self._device)
            self._faults = _minor_faults() - before
            output, spans[DEVICE_TO_HOST] = timed(lambda: result.to("cpu"), device=self._device)
        else:
            before = _minor_faults()
            output, forward = timed(lambda: self._forward(clip, no_probe), device=self._device)
            self._faults = _minor_faults() - before
        spans[FORWARD] = forward
        first, last = min(spans.values(), key=_start), max(spans.values(), key=_start)
        spans[TOTAL] = Timed(start_s=first.start_s, wall_s=last.start_s + last.wall_s - first.start_s)
        for stage, span in spans.items():
            self._draft.sample(Pass.END_TO_END, phase, repetition, stage, span)
        self._count(spans[TOTAL].wall_s)
        return output, forward.wall_s, spans[TOTAL].wall_s

    def _probes(self) -> list[tuple[Pass, type[Probe]]]:
        """The stage passes that the measure asks for and the device can do."""
        wanted = self._measure.stages
        probes: list[tuple[Pass, type[Probe]]] = []
        if wanted in ("sync", "both"):
            probes.append((Pass.STAGE_SYNC, SyncProbe))
        if wanted in ("events", "both") and self._device.has_events:
            probes.append((Pass.STAGE_EVENTS, EventProbe))
        return probes

    def _stage_pass(self, pass_: Pass, make_probe: type[Probe], lrs: Tensor) -> None:
        """Probed calls, each beside a plain one; which goes first alternates, so that drift hits both.

        The rule is asked about the ratios of the pairs: enough of them show what the probes cost.
        """
        ratios: list[float] = []
        spent_s = 0.0
        stop = None
        while stop is None:
            repetition = len(ratios)
            self._mention(f"stages ({pass_.removeprefix('stage_')}) {self._number(ratios)}")
            if repetition % 2 == 0:
                plain_s = self._plain_call(pass_, repetition, lrs)
                probed_s = self._probed_call(pass_, make_probe, repetition, lrs)
            else:
                probed_s = self._probed_call(pass_, make_probe, repetition, lrs)
                plain_s = self._plain_call(pass_, repetition, lrs)
            ratios.append(probed_s / plain_s)
            spent_s += plain_s + probed_s
            self._watch.glance()
            stop = decide(self._rule, ratios, spent_s)
        self._watch.look()
        self._draft.values[f"stop_{pass_}"] = stop

    def _plain_call(self, pass_: Pass, repetition: int, lrs: Tensor) -> float:
        _, span = timed(lambda: self._forward(lrs, no_probe), device=self._device)
        self._draft.sample(pass_, Phase.STEADY, repetition, FORWARD_UNPROBED, span)
        self._count(span.wall_s)
        return span.wall_s

    def _probed_call(self, pass_: Pass, make_probe: type[Probe], repetition: int, lrs: Tensor) -> float:
        probe = make_probe(self._device, perf_counter)
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

    def _memory_pass(self, lrs: Tensor) -> None:
        self._say("memory")
        # What earlier passes left in the device's cache, autotuning's workspaces too, is not this call's.
        self._device.release_cached_memory()
        self._device.reset_peak_bytes()
        profile = memory.curve(lambda: self._profiled_call(lrs), device=self._device)
        self._draft.values |= {
            "host_before_bytes": profile.before_bytes,
            "peak_host_bytes": profile.peak_bytes,
            "host_growth_bytes": max(0, profile.peak_bytes - profile.before_bytes),
            "memory": profile.points,
        }
        if peaks := self._device.peak_bytes():
            self._draft.values["peak_device_bytes"], self._draft.values["peak_device_reserved_bytes"] = peaks
        if self._measure.memory == "lines":
            self._draft.values["memory_lines"] = memory.by_line(
                type(self._network).forward, lambda: self._profiled_call(lrs)
            )

    def _profiled_call(self, lrs: Tensor) -> None:
        """A call under a profiler. The call alone counts as measured; what profiling costs is the tool's."""
        begin = perf_counter()
        self._forward(lrs, no_probe)
        self._device.synchronize()
        self._count(perf_counter() - begin)

    def _count(self, measured_s: float) -> None:
        self._draft.measured_s += measured_s
        self._done += 1

    def _number(self, done: Sequence[float]) -> str:
        """Which call comes next, and of how many where that is known."""
        return f"{len(done) + 1}" + (f"/{self._rule.max}" if self._measure.repetitions.is_fixed else "")

    def _mention(self, doing: str) -> None:
        """Say it, if nothing was said for a while: the parent wakes up to hear it, beside the next call."""
        if perf_counter() - self._said_s >= MENTION_INTERVAL_S:
            self._say(doing)

    def _say(self, doing: str) -> None:
        self._said_s = perf_counter()
        with suppress(BrokenPipeError):  # a parent that has gone ends the worker elsewhere
            self._report(Progress(doing=doing, done=self._done, total=max(self._done, self._expected.total)))


def _rule(measure: Measure) -> Rule:
    wanted = measure.repetitions
    if wanted.is_fixed:
        return Rule.fixed(wanted.max)
    return Rule(min=wanted.min, max=wanted.max, target=wanted.target, budget_s=wanted.budget_s)


def _start(span: Timed) -> float:
    return span.start_s


def _minor_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
