"""One round of a cell whose clips are divided over processes: the end-to-end pass, made by all of them."""

from collections.abc import Callable
from statistics import median

from torch import Tensor

from bench.grid.spans import FORWARD, TOTAL
from bench.measure import backends, workload
from bench.measure.calls import Called
from bench.measure.draft import Draft
from bench.measure.passes import Report, Round
from bench.measure.ranks import Ranks, spans_of
from bench.measure.reference import ReferenceCheck
from bench.measure.watch import Watch
from bench.messages import Task
from bench.records import Pass, Phase

NO_MEMORY = "no memory figures: each of the processes has its own, and they share what they were started from"
NO_PROFILE = "not profiled: the profiler sees one process"
NO_GPUS = "the GPUs of the processes are not watched: telemetry is the host's"


def round_of(task: Task, draft: Draft, report: Report, wait_for_go: Callable[[], None]) -> Round:
    """The round that the task's cell takes."""
    kind = ParallelRound if task.job.cell.backend.is_divided else Round
    return kind(task, draft, report, wait_for_go)


class ParallelRound(Round):
    """Calls are made by the cell's processes, beside which this one only waits."""

    def __init__(self, task: Task, draft: Draft, report: Report, wait_for_go: Callable[[], None]) -> None:
        super().__init__(task, draft, report, wait_for_go)
        self._device = backends.CpuDevice()  # this process's part; the others have their own

    def run(self) -> None:
        self._say("starting processes")
        with Ranks(self._task) as ranks:
            self._keep_settings(ranks)
            self._wait_for_go()
            calls = RankCalls(self._draft, ranks)
            self._calls = calls  # type: ignore[assignment]  # as much of one as this pass asks for
            with RanksWatch(self._draft, ranks) as self._watch:
                self._end_to_end_pass()
                self._watch.finish()
            self._draft.values["rank_forward_s"] = tuple(map(median, zip(*calls.own_s, strict=True)))
            self._tell_what_is_left_out()
            output = calls.output
        clip: Tensor = workload.make_clip(self._cell)
        ReferenceCheck(self._draft, self._report, self._say)(clip, output)

    def _keep_settings(self, ranks: Ranks) -> None:
        first, *others = ranks.prepared()
        self._draft.values["settings"] = {
            **first.settings,
            "gc": "off while timing",
            "processes": str(1 + len(others)),
            "process_group": "nccl" if self._cell.backend.is_cuda else "gloo",
        }
        self._draft.values["threads"] = first.threads
        self._draft.values["parameters"] = first.parameters
        self._draft.values["stages"] = first.stages
        self._draft.values["scale"] = first.scale

    def _tell_what_is_left_out(self) -> None:
        no_stages = self._cell.backend.no_stages
        if self._measure.stages != "off" and no_stages is not None:
            self._draft.warn(no_stages)
        if self._measure.memory != "off":
            self._draft.warn(NO_MEMORY)
        if self._measure.profile:
            self._draft.warn(NO_PROFILE)
        if self._cell.backend.is_cuda:
            self._draft.warn(NO_GPUS)


class RankCalls:
    """The calls of a round, made by all processes at once: what bench.measure.calls.Calls is of one."""

    def __init__(self, draft: Draft, ranks: Ranks) -> None:
        self._draft = draft
        self._ranks = ranks
        self._output: Tensor | None = None
        self.own_s: list[list[float]] = []  # of each steady call: each process's own forward

    def end_to_end(self, phase: Phase, repetition: int) -> Called:
        """One call of every process's share, together."""
        calls = self._ranks.call()
        spans = spans_of(calls)
        for name, span in spans.items():
            self._draft.sample(Pass.END_TO_END, phase, repetition, name, span)
        if phase is Phase.STEADY:
            self.own_s.append([call.spans[FORWARD].wall_s for call in calls])
        self._draft.measured_s += spans[TOTAL].wall_s
        self._draft.calls += 1
        return Called(
            forward_s=spans[FORWARD].wall_s,
            whole_s=spans[TOTAL].wall_s,
            page_faults=sum(call.page_faults for call in calls),
        )

    def bring_output(self) -> None:
        """Have the last call's output here."""
        if self._output is None:
            self._output = self._ranks.output()

    @property
    def output(self) -> Tensor:
        """The output that was brought."""
        assert self._output is not None  # a round makes a pass
        return self._output


class RanksWatch(Watch):
    """Counts what the processes take as this worker's own, not as others'."""

    def __init__(self, draft: Draft, ranks: Ranks) -> None:
        super().__init__(draft, None)
        self._ranks = ranks

    def finish(self) -> None:
        super().finish()
        others = self._draft.values["others"]
        self._draft.values["others"] = tuple(other for other in others if other.pid not in self._ranks.pids)

    def look(self) -> None:
        super().look()
        reading = self._readings[-1]
        if reading.own_cpu_s is not None:
            own_s = reading.own_cpu_s + self._ranks.cpu_s()
            self._readings[-1] = reading.model_copy(update={"own_cpu_s": own_s})
