"""The passes over one cell, by the protocol in docs/measurement.md. Each leaves its figures in the draft."""

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import count
from statistics import median
from time import perf_counter
from typing import Final

from torch import Tensor

from bench.grid.estimate import expected_calls, stage_passes
from bench.measure import backends, clips, memory, networks, profiling, read_back, trace_reading
from bench.measure.calls import Called, Calls
from bench.measure.draft import Draft, error_line
from bench.measure.output_check import ReferenceCheck
from bench.measure.timing import EventProbe, Probe, SyncProbe
from bench.measure.watch import Watch
from bench.messages import Message, Progress, Task
from bench.records import Pass, Phase, WarmupEnd
from bench.stats.steady import Steadiness, steadiness, tuning_calls
from bench.stats.stopping import Rule, Stop, decide
from vsr_model.network import Network

Report = Callable[[Message], None]

_WARMUP_ENDS: Final = {Steadiness.STEADY: WarmupEnd.STEADY, Steadiness.GAVE_UP: WarmupEnd.GAVE_UP}

PROGRESS_INTERVAL_S: Final = 0.5
"""Between two messages of progress, at least, as each wakes the parent beside the next call."""


WARMUP_SHARE: Final = 0.25
"""Of the seconds that a round may take, where there is a limit: first calls that have taken so much end."""


class Round:
    """One round of one cell."""

    def __init__(self, task: Task, draft: Draft, report: Report, wait_for_go: Callable[[], None]) -> None:
        self._task = task
        self._draft = draft
        self._report = report
        self._wait_for_go = wait_for_go
        self._cell = task.job.cell
        self._measure = task.measure
        self._device = backends.device_of(self._cell.backend)
        self._expected = expected_calls(task.measure, self._cell.backend)
        self._call_s = 0.0  # of a warm call
        self._weight_left = 1 + 2 * stage_passes(task.measure, self._cell.backend)
        self._reported_s = 0.0

    def run(self) -> None:
        """Measure the round: cold call, warm-up, steady calls, stages, memory, profile, output check."""
        self._progress("starting")
        backend, values = self._cell.backend, self._draft.values
        with ExitStack() as opened:
            values["settings"] = {**opened.enter_context(backends.applied(backend)), "gc": "off while timing"}
            values["threads"] = backends.thread_count()
            compilation = opened.enter_context(read_back.compilation(backend))
            network, clip = self._build()
            self._calls = calls = Calls(self._draft, self._device, network, clip)
            if plan := calls.plan:
                # Without its folder, which may be someone's home.
                values["settings"]["memory_plan"] = (
                    f"place {plan.place}, interval {plan.interval}, chunk {plan.chunk}"
                )
            self._wait_for_go()
            calls.place()
            self._watch = opened.enter_context(Watch(self._draft, self._device.gpu))
            forward_s = self._end_to_end_pass(calls.end_to_end)
            lrs = calls.clip_on_device()
            probes = self._probes()
            for pass_, make_probe in probes:
                self._stage_pass(pass_, make_probe, lrs)
            if self._measure.memory != "off":
                self._memory_pass(lrs, has_stages=bool(probes))
            self._watch.finish()
            if self._measure.profile:
                self._profiler_pass(lrs, forward_s)
            values |= compilation()
            read_back.check(backend)
        check = ReferenceCheck(self._draft, self._report, self._progress)
        if plan:
            check.frame_by_frame(clip, calls.outputs)
            return
        output = calls.output
        assert output is not None  # the end-to-end pass leaves one
        # Tensors on the device go before the reference is made.
        del self._calls, calls, network, lrs
        check(clip, output)

    def _build(self) -> tuple[Network, Tensor]:
        """Make the network and the clip, on the host."""
        begin = perf_counter()
        self._progress("building the model")
        network = networks.build(self._cell.model)
        self._draft.values |= networks.described(network, self._cell)
        clip = clips.make_clip(self._cell, network.facts)
        if note := clips.clip_note(self._cell, network.facts):
            self._draft.warn(note)
        self._draft.values["setup_s"] = perf_counter() - begin
        return network, clip

    def _end_to_end_pass(self, call: Callable[[Phase, int], Called]) -> float:
        """Make cold, warm-up and steady calls; return the median of the steady forwards."""
        self._progress("cold call")
        self._watch.read()
        cold_s = call(Phase.COLD, 0).forward_s
        self._draft.values["first_forward_s"] = cold_s
        early_s = [cold_s, *self._warm_up(cold_s, call)]
        if peaks := self._device.peak_bytes():
            self._draft.values["cold_peak_device_bytes"] = peaks[0]
            self._draft.values["cold_peak_device_reserved_bytes"] = peaks[1]
        self._call_s = early_s[-1]
        self._expected = expected_calls(self._measure, self._cell.backend, self._call_s)
        steady_s: list[float] = []
        faults: list[int] = []

        def steady_call() -> tuple[float, float]:
            called = call(Phase.STEADY, len(steady_s))
            steady_s.append(called.forward_s)
            faults.append(called.page_faults)
            return called.forward_s, called.whole_s

        self._watch.begin_steady()
        self._repeat(Pass.END_TO_END, "end to end", steady_call, calls=1)
        self._draft.values["page_faults_per_forward"] = median(faults)
        tuning = tuning_calls([*early_s, *steady_s])
        self._draft.values["tuning_calls"] = tuning
        self._draft.mark_tuning(tuning)
        return median(steady_s)

    def _warm_up(self, cold_s: float, call: Callable[[Phase, int], Called]) -> list[float]:
        """Return the wall times of the calls between the cold one and the steady ones."""
        walls: list[float] = []
        wanted = self._measure.warmup
        end = None
        while end is None:
            if wanted == "auto":
                end = _WARMUP_ENDS.get(steadiness(cold_s, walls))
                if end is None and self._is_out_of_warmup(cold_s + sum(walls)):
                    end = WarmupEnd.GAVE_UP
            elif len(walls) == wanted:
                end = WarmupEnd.COUNT
            if end is None:
                of = "" if wanted == "auto" else f"/{wanted}"
                self._progress_if_due(f"warm-up {len(walls) + 1}{of}")
                walls.append(call(Phase.WARMUP, len(walls)).forward_s)
        self._draft.values["warmup_end"] = end
        return walls

    def _is_out_of_warmup(self, spent_s: float) -> bool:
        """Return whether first calls have taken their part of the round's seconds, where it has some."""
        budget_s = self._task.budget_s
        return budget_s is not None and spent_s > budget_s * WARMUP_SHARE

    def _repeat(
        self, pass_: Pass, doing: str, action: Callable[[], tuple[float, float]], *, calls: int
    ) -> None:
        """Repeat an action, which returns a value and its seconds, until the rule has enough values.

        An action is so many `calls` of the network.
        """
        rule = self._rule(calls)
        values: list[float] = []
        spent_s = 0.0
        stop: Stop | None = None
        while stop is None:
            of = f"/{rule.max}" if self._measure.repetitions.is_fixed else ""
            self._progress_if_due(f"{doing} {len(values) + 1}{of}")
            value, took_s = action()
            values.append(value)
            spent_s += took_s
            self._watch.read_if_due()
            stop = decide(rule, values, spent_s)
        self._watch.read()
        self._draft.values[f"stop_{pass_}"] = stop

    def _rule(self, weight: int) -> Rule:
        """Return the next pass's rule, with its part by weight of the seconds that are left for the round."""
        wanted = self._measure.repetitions
        if wanted.is_fixed:
            return Rule.fixed(wanted.max)
        budget_s = wanted.budget_s
        if (left_s := self._left_s()) is not None:
            budget_s = min(budget_s, max(0.0, left_s * weight / self._weight_left))
            self._weight_left -= weight
        return Rule(min=wanted.min, max=wanted.max, target=wanted.target, budget_s=budget_s)

    def _left_s(self) -> float | None:
        """Return the seconds that are left of the round's own for warm-up and timed passes."""
        if self._task.budget_s is None:
            return None
        spent_s = perf_counter() - self._draft.origin_s
        return self._task.budget_s - spent_s - self._expected.untimed * self._call_s

    def _probes(self) -> list[tuple[Pass, type[Probe]]]:
        """Return the stage passes that the measure asks for and the device supports."""
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
        """Make probed calls, each beside a plain one; enough pairs show what the probes cost.

        Which goes first alternates, so that drift hits both.
        """
        pairs = count()

        def pair() -> tuple[float, float]:
            number = next(pairs)
            if number % 2 == 0:
                plain_s = self._calls.plain(pass_, number, lrs)
                probed_s = self._calls.probed(pass_, make_probe, number, lrs)
            else:
                probed_s = self._calls.probed(pass_, make_probe, number, lrs)
                plain_s = self._calls.plain(pass_, number, lrs)
            return probed_s / plain_s, plain_s + probed_s

        self._repeat(pass_, f"stages ({pass_.removeprefix('stage_')})", pair, calls=2)

    def _memory_pass(self, lrs: Tensor, *, has_stages: bool) -> None:
        self._progress("memory")

        def call() -> None:
            self._calls.observed(lrs)

        self._draft.values |= memory.curve(call, device=self._device)
        if has_stages:
            self._draft.values["stage_memory"] = memory.by_stage(
                lambda probe: self._calls.observed(lrs, probe), device=self._device
            )
        if self._measure.memory == "lines":
            self._draft.values["memory_lines"] = memory.by_line(self._calls.network_forward, call)

    def _profiler_pass(self, lrs: Tensor, forward_s: float) -> None:
        """Keep what ran in one call, by torch's profiler, and how it compares with a forward of `forward_s`.

        The last pass, since the profiler leaves traces of its own in the process. Where it fails, what was
        measured stands.
        """
        self._progress("profile")
        # Beside the references, where the run removes what is left when it ends.
        scratch = self._task.reference.with_name(f"{os.getpid()}.trace.partial")
        try:
            trace = profiling.trace_of(lambda probe: self._calls.observed(lrs, probe), self._device, scratch)
            call = trace_reading.read(trace, on_device=self._device.torch_device.type == "cuda")
        except Exception as error:
            self._draft.warn(f"not profiled: {error_line(error)}")
            return
        self._draft.values |= {
            "profile_wall_s": call.wall_s,
            "profile_busy_s": call.busy_s,
            "kernels": call.uses,
        }
        if call.busy_s is not None:
            self._draft.values["launch_bound_share"] = trace_reading.launch_bound_share(
                forward_s, call.busy_s
            )
        if call.unseen:
            self._draft.warn(
                f"the profiler did not show what {call.unseen} launches ran: kernels are missing, and for "
                "how long the device had nothing to do is not known"
            )
        if self._task.profiles is not None:
            file = f"{self._cell.id.replace('/', '+')}+r{self._task.job.round}.json.gz"  # no name has a +
            try:
                profiling.keep(trace, self._task.profiles / file, scratch)
                self._draft.values["profile_trace"] = f"{self._task.profiles.name}/{file}"
            except OSError as error:
                self._draft.warn(f"the profiler's trace was not kept: {error_line(error)}")

    def _progress_if_due(self, doing: str) -> None:
        if perf_counter() - self._reported_s >= PROGRESS_INTERVAL_S:
            self._progress(doing)

    def _progress(self, doing: str) -> None:
        self._reported_s = perf_counter()
        done = self._draft.calls
        with suppress(BrokenPipeError):  # a parent that has gone ends the worker elsewhere
            self._report(Progress(doing=doing, done=done, total=max(done, self._expected.total)))
