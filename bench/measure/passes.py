"""The passes over one cell, by the protocol in docs/measurement.md. Each leaves its figures in the draft."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Final

from torch import Tensor

from bench.grid.config_measure import Measure
from bench.grid.estimate import expected_calls
from bench.grid.spans import FORWARD
from bench.measure import backends, networks, profiling, trace_reading, workload
from bench.measure.calls import Calls
from bench.measure.draft import Draft, in_words
from bench.measure.reference import ReferenceCheck
from bench.measure.timing import EventProbe, Probe, SyncProbe
from bench.measure.trace_reading import launch_bound_share
from bench.measure.watch import Watch
from bench.messages import Message, Progress, Task
from bench.records import Pass, Phase, WarmupEnd
from bench.stats.steady import Steadiness, steadiness, tuning_calls
from bench.stats.stopping import Rule, Stop, decide
from vsr_model.network import Network

if TYPE_CHECKING:
    from vsr_model.memory_plan import MemoryPlan

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
        self._said_s = 0.0
        self._expected = expected_calls(task.measure, self._cell.backend)

    def run(self) -> None:
        self._say("starting")
        with ExitStack() as opened:
            settings = opened.enter_context(backends.applied(self._cell.backend))
            self._draft.values["settings"] = {**settings, "gc": "off while timing"}
            self._draft.values["threads"] = backends.thread_count()
            network, clip = self._build()
            self._calls = Calls(self._draft, self._device, network, clip)
            if self._calls.plan is not None:
                self._draft.values["settings"]["memory_plan"] = _in_words(self._calls.plan)
            del network  # the device's copies go before the reference is made
            self._wait_for_go()
            compiled_before_s = backends.compile_seconds()  # for cells before, in a process that is shared
            self._calls.place()
            self._watch = opened.enter_context(Watch(self._draft, self._device.gpu))
            self._end_to_end_pass()
            on_device = self._calls.clip_on_device()
            for pass_, make_probe in self._probes():
                self._stage_pass(pass_, make_probe, on_device)
            if self._measure.memory != "off":
                self._memory_pass(on_device)
            self._watch.finish()
            if self._measure.profile:
                self._profiler_pass(on_device)
            if self._cell.backend.compile:
                self._draft.values["compile_s"] = backends.compile_seconds() - compiled_before_s
            del on_device
        check = ReferenceCheck(self._draft, self._report, self._say)
        if self._calls.plan is not None:
            check.frame_by_frame(clip, self._calls.outputs)
            return
        output = self._calls.output
        # The network may be needed again as the reference; the device's copies are not.
        del self._calls
        check(clip, output)

    def _build(self) -> tuple[Network, Tensor]:
        """The model and the clip, on the host."""
        begin = perf_counter()
        self._say("building the model")
        network = networks.build(self._cell.model)
        self._draft.values["stages"] = tuple(network.facts.stages)
        self._draft.values["scale"] = network.facts.scale
        self._draft.values["parameters"] = sum(item.numel() for item in network.parameters())
        clip = workload.make_clip(self._cell)
        self._draft.values["setup_s"] = perf_counter() - begin
        return network, clip

    def _end_to_end_pass(self) -> None:
        self._say("cold call")
        self._watch.look()
        cold_s = self._calls.end_to_end(Phase.COLD, 0).forward_s
        self._draft.values["first_forward_s"] = cold_s
        early_s = [cold_s, *self._warm_up(cold_s)]  # these count for nothing
        if peaks := self._device.peak_bytes():
            self._draft.values["cold_peak_device_bytes"] = peaks[0]
            self._draft.values["cold_peak_device_reserved_bytes"] = peaks[1]
        self._expected = expected_calls(self._measure, self._cell.backend, early_s[-1])
        steady_s: list[float] = []
        spent_s = 0.0
        faults = []
        stop = None
        self._watch.steady_begins()
        while stop is None:
            self._mention(f"end to end {self._number(steady_s)}")
            called = self._calls.end_to_end(Phase.STEADY, len(steady_s))
            steady_s.append(called.forward_s)
            faults.append(called.page_faults)
            self._watch.glance()
            spent_s += called.whole_s
            stop = decide(self._rule, steady_s, spent_s)
        self._end_pass(Pass.END_TO_END, stop)
        self._draft.values["page_faults_per_forward"] = median(faults)
        tuning = tuning_calls([*early_s, *steady_s])
        self._draft.values["tuning_calls"] = tuning
        self._draft.mark_tuning(tuning)

    def _warm_up(self, cold_s: float) -> list[float]:
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
                walls.append(self._calls.end_to_end(Phase.WARMUP, len(walls)).forward_s)
        self._draft.values["warmup_end"] = end
        return walls

    def _probes(self) -> list[tuple[Pass, type[Probe]]]:
        """The stage passes that the measure asks for and the device can do."""
        wanted = self._measure.stages
        reason = self._cell.backend.no_stages
        if reason is not None and wanted != "off":
            self._draft.warn(reason)
            return []
        probes: list[tuple[Pass, type[Probe]]] = []
        if wanted in ("sync", "both"):
            probes.append((Pass.STAGE_SYNC, SyncProbe))
        if wanted in ("events", "both") and self._device.has_events:
            probes.append((Pass.STAGE_EVENTS, EventProbe))
        return probes

    def _stage_pass(self, pass_: Pass, make_probe: type[Probe], lrs: Tensor) -> None:
        """Probed calls, each beside a plain one.

        The rule is asked about the ratios of the pairs, enough of which show what the probes cost.
        """
        ratios: list[float] = []
        spent_s = 0.0
        stop = None
        while stop is None:
            self._mention(f"stages ({pass_.removeprefix('stage_')}) {self._number(ratios)}")
            ratio, took_s = self._pair(pass_, make_probe, len(ratios), lrs)
            ratios.append(ratio)
            spent_s += took_s
            self._watch.glance()
            stop = decide(self._rule, ratios, spent_s)
        self._end_pass(pass_, stop)

    def _pair(
        self, pass_: Pass, make_probe: type[Probe], repetition: int, lrs: Tensor
    ) -> tuple[float, float]:
        """A probed call over a plain one, and the seconds of both.

        Which goes first alternates, so that drift hits both.
        """
        if repetition % 2 == 0:
            plain_s = self._calls.plain(pass_, repetition, lrs)
            probed_s = self._calls.probed(pass_, make_probe, repetition, lrs)
        else:
            probed_s = self._calls.probed(pass_, make_probe, repetition, lrs)
            plain_s = self._calls.plain(pass_, repetition, lrs)
        return probed_s / plain_s, plain_s + probed_s

    def _end_pass(self, pass_: Pass, stop: Stop) -> None:
        self._watch.look()
        self._draft.values[f"stop_{pass_}"] = stop
        self._calls.bring_output()

    def _memory_pass(self, lrs: Tensor) -> None:
        self._say("memory")
        # What earlier passes left in the device's cache, autotuning's workspaces too, is not this call's.
        self._device.release_cached_memory()
        self._device.reset_peak_bytes()
        profile = self._calls.memory_curve(lrs)
        self._draft.values |= {
            "host_before_bytes": profile.before_bytes,
            "peak_host_bytes": profile.peak_bytes,
            "host_growth_bytes": max(0, profile.peak_bytes - profile.before_bytes),
            "memory": profile.points,
        }
        if peaks := self._device.peak_bytes():
            self._draft.values["peak_device_bytes"], self._draft.values["peak_device_reserved_bytes"] = peaks
        if self._measure.memory == "lines":
            self._draft.values["memory_lines"] = self._calls.memory_by_line(lrs)

    def _profiler_pass(self, lrs: Tensor) -> None:
        """What ran in one call, by torch's profiler: the last of the round, since it leaves traces of its own
        in the process. Where it fails, what was measured stands."""
        self._say("profile")
        file = profiling.file_name(self._cell.id, self._task.job.round)
        scratch = profiling.scratch_beside(self._task.reference)
        try:
            trace = self._calls.traced(lrs, scratch)
            call = trace_reading.read(trace, on_device=self._device.torch_device.type == "cuda")
        except Exception as error:
            self._draft.warn(f"not profiled: {in_words(error)}")
            return
        plain_s = self._plain_forward_s()
        self._draft.values |= {
            "profile_wall_s": call.wall_s,
            "profile_busy_s": call.busy_s,
            "kernels": call.uses,
        }
        if call.busy_s is not None and plain_s is not None:
            self._draft.values["launch_bound_share"] = launch_bound_share(plain_s, call.busy_s)
        if call.unseen:
            self._draft.warn(
                f"the profiler did not show what {call.unseen} launches ran: kernels are missing, and for "
                "how long the device had nothing to do is not known"
            )
        if self._task.profiles is not None:
            try:
                profiling.keep(trace, self._task.profiles / file, scratch)
                self._draft.values["profile_trace"] = f"{self._task.profiles.name}/{file}"
            except OSError as error:
                self._draft.warn(f"the profiler's trace was not kept: {in_words(error)}")

    def _plain_forward_s(self) -> float | None:
        """The median of the round's forwards that nothing looked into."""
        walls = [
            sample.wall_s
            for sample in self._draft.samples
            if (sample.pass_, sample.phase, sample.stage) == (Pass.END_TO_END, Phase.STEADY, FORWARD)
        ]
        return median(walls) if walls else None

    def _number(self, done: Sequence[float]) -> str:
        """Which call comes next, and of how many where that is known."""
        return f"{len(done) + 1}" + (f"/{self._rule.max}" if self._measure.repetitions.is_fixed else "")

    def _mention(self, doing: str) -> None:
        """Say it, if nothing was said for a while: the parent wakes up to hear it, beside the next call."""
        if perf_counter() - self._said_s >= MENTION_INTERVAL_S:
            self._say(doing)

    def _say(self, doing: str) -> None:
        self._said_s = perf_counter()
        done = self._draft.calls
        with suppress(BrokenPipeError):  # a parent that has gone ends the worker elsewhere
            self._report(Progress(doing=doing, done=done, total=max(done, self._expected.total)))


def _rule(measure: Measure) -> Rule:
    wanted = measure.repetitions
    if wanted.is_fixed:
        return Rule.fixed(wanted.max)
    return Rule(min=wanted.min, max=wanted.max, target=wanted.target, budget_s=wanted.budget_s)


def _in_words(plan: "MemoryPlan") -> str:
    """What a call followed; not the folder, which may be someone's home."""
    return f"place {plan.place}, interval {plan.interval}, chunk {plan.chunk}"
