"""Work of known length, through the same worker, passes and probes as a network.

On a CPU each stage spins until a clock of its own (CLOCK_MONOTONIC_RAW, which the harness does not read and
which nothing adjusts) has passed a given time, and keeps how long that really was: a spin that the system
interrupts is longer, and says so. What the harness reports is held against that, call by call. On a GPU each
stage is `torch.cuda._sleep`, whose unit is the device's cycles: the longest call says how long a cycle is,
and the others must be as much shorter as their cycles are fewer.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final, cast

import pandas as pd

from bench.grid import plan
from bench.grid.config import Experiment, Model
from bench.machine import environment
from bench.messages import GO, Message, Ready, Task
from bench.process.launcher import Launcher
from bench.records import FORWARD, FORWARD_UNPROBED, CellRecord, Pass, Phase, Status
from bench.reporting.markdown import Column, table
from bench.statistics.stats import Summary, paired_ratio, summarise
from benchmarks import evidence
from benchmarks.evidence import Evidence
from vsr_model.errors import BadInput
from vsr_model.stages import STAGES, Stage, StageProbe, no_probe

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME: Final = "known_length"
COLUMNS: Final = ("length_s", "round", "pass", "stage", "repetition", "clock", "reported_s", "true")

RELATIVE: Final = 0.01
ABSOLUTE_S: Final = 50e-6
"""What is asked: the reported time is within 1 % or 50 microseconds, whichever is more."""

SHARES: Final = {
    Stage.ALIGNMENT: 0.1,
    Stage.PROPAGATION: 0.4,
    Stage.AGGREGATION: 0.2,
    Stage.UPSAMPLING: 0.3,
}
"""Of a call's length; no two alike, so that one stage cannot pass for another."""

LENGTHS_S: Final = (50e-6, 200e-6, 1e-3, 5e-3, 20e-3, 100e-3)
LONG_S: Final = (1.0,)
ROUNDS: Final = 6

CYCLES_PER_S: Final = 1_500_000_000
"""About a GPU's clock, so that lengths are roughly those asked for; nothing is concluded from it."""


WAKE_S: Final = 0.5
"""Work before the first call on a GPU, whose clock takes a while to come up from idle."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Calls of these lengths, so many of each in a pass of each of the rounds."""

    lengths_s: tuple[float, ...]
    repetitions: int
    rounds: int


FULL: Final = (
    Plan(lengths_s=LENGTHS_S, repetitions=20, rounds=ROUNDS),
    Plan(lengths_s=LONG_S, repetitions=3, rounds=ROUNDS),
)
QUICK: Final = (Plan(lengths_s=(200e-6, 2e-3), repetitions=6, rounds=1),)


def own_clock_s() -> float:
    """Seconds on a clock that the harness does not use."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) / 1e9


def spin(length_s: float) -> float:
    """Keep the processor busy until the clock has passed so many seconds; how many it really were."""
    begin = own_clock_s()
    while (passed := own_clock_s() - begin) < length_s:
        pass
    return passed


def network() -> "nn.Module":
    """Has the four stages, and `calls`: for each call the true length of its stages and of the whole."""
    import torch  # noqa: PLC0415 - the parent imports none

    class Spinning(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.length_s = 0.0
            self.calls: list[dict[str, float]] = []

        def forward(self, lrs: "Tensor", probe: StageProbe = no_probe) -> "Tensor":
            if lrs.is_cuda and not self.calls:  # a part of the cold call, which nothing is concluded from
                torch.cuda._sleep(round(WAKE_S * CYCLES_PER_S))  # type: ignore[no-untyped-call]
            begin = own_clock_s()
            true: dict[str, float] = {}
            for stage, share in SHARES.items():
                with probe(stage):
                    true[stage] = self._work(share, lrs)
            output = lrs.repeat_interleave(4, 3).repeat_interleave(4, 4)
            true[FORWARD] = sum(true.values()) if lrs.is_cuda else own_clock_s() - begin
            self.calls.append(true)
            return output

        def _work(self, share: float, lrs: "Tensor") -> float:
            if not lrs.is_cuda:
                return spin(share * self.length_s)
            cycles = round(share * self.length_s * CYCLES_PER_S)
            torch.cuda._sleep(cycles)  # type: ignore[no-untyped-call]
            return cycles

    return Spinning()


def serve(connection: Connection) -> None:
    """The real worker with that network in it; an input's name is the length of its calls.

    After each record it sends what the network's calls of that round really took.
    """
    from bench.measure import worker, workload  # noqa: PLC0415 - imports torch

    spinning: Any = network()
    make_clip = workload.make_clip

    def build_model(model: Model) -> "nn.Module":  # noqa: ARG001 - whichever is asked for
        return cast("nn.Module", spinning)

    def make_clip_and_set_length(cell: plan.Cell) -> "Tensor":
        spinning.length_s = length_of(cell.input.name)
        return make_clip(cell)

    workload.build_model = build_model
    workload.make_clip = make_clip_and_set_length
    worker.main(_Telling(connection, spinning.calls))  # type: ignore[arg-type]  # as much as it uses


class _Telling:
    """A worker's end of the connection that sends the calls' true lengths after their record."""

    def __init__(self, connection: Connection, calls: list[dict[str, float]]) -> None:
        self.recv = connection.recv
        self._connection = connection
        self._calls = calls

    def send(self, message: Message) -> None:
        self._connection.send(message)
        if isinstance(message, CellRecord):
            self._connection.send(self._calls)
            self._calls.clear()


def length_of(name: str) -> float:
    """Seconds, from an input's name."""
    return int(name.removesuffix("us")) / 1e6


def experiment(one: Plan, backend: str) -> Experiment:
    """What a YAML file would say."""
    names = [f"{round(1e6 * length)}us" for length in one.lengths_s]
    return Experiment.model_validate({
        "name": "known-length",
        "input": tuple({"name": name, "kind": "random"} for name in names),
        "grid": {"frames": (1,), "size": ((16, 16),)},
        "backends": (backend,),
        "measure": {
            "warmup": 2, "repetitions": one.repetitions, "rounds": one.rounds,
            "stages": "both", "memory": "off",
        },
        "plots": (),
    })  # fmt: skip


def reported_and_true(one: Plan, backend: str, launcher: Launcher) -> pd.DataFrame:
    """Run the plan, a worker per round of each length. Raises BadInput for a round that does not end well."""
    asked = experiment(one, backend)
    jobs = plan.schedule(plan.cells(asked), asked.measure)
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, job in enumerate(jobs, start=1):
            evidence.say(f"{number}/{len(jobs)}: round {job.round + 1} of {job.cell.id}")
            task = Task(
                job=job,
                model=asked.model,
                measure=asked.measure,
                reference=Path(folder) / f"{job.cell.input.name}.npy",
                import_torch_s=launcher.import_torch_s,
            )
            rows += _rows(*_round(launcher, task))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _round(launcher: Launcher, task: Task) -> tuple[CellRecord, list[dict[str, float]]]:
    worker = launcher.spawn(f"benchmarks.known_length:{serve.__name__}")
    with worker.connection as connection:
        connection.send(task)
        try:
            while not isinstance(record := connection.recv(), CellRecord):
                if isinstance(record, Ready):
                    connection.send(GO)
            calls: list[dict[str, float]] = connection.recv()
        except EOFError:
            raise BadInput(f"{task.job.cell.id}: the worker ended ({launcher.last_words()})") from None
    launcher.exit_status(worker)
    if record.status is not Status.OK:
        raise BadInput(f"{record.cell}: {record.status} ({record.reason})")
    return record, calls


def _rows(record: CellRecord, calls: Iterable[Mapping[str, float]]) -> list[tuple[object, ...]]:
    """The steady samples of a round beside the truth; calls and their samples stand in the same order."""
    wholes = [sample for sample in record.samples if sample.stage in (FORWARD, FORWARD_UNPROBED)]
    true = {
        (whole.pass_, whole.phase, whole.repetition, whole.stage): call
        # On a device the reference makes a last call on the CPU, which no sample is of.
        for whole, call in zip(wholes, calls, strict=record.backend == "cpu")
    }
    rows: list[tuple[object, ...]] = []
    for sample in record.samples:
        is_stage = sample.stage in map(str, STAGES)
        key = (sample.pass_, sample.phase, sample.repetition, FORWARD if is_stage else sample.stage)
        if sample.phase is not Phase.STEADY or key not in true:
            continue
        known = true[key][sample.stage if is_stage else FORWARD]
        clocks = {"wall": sample.wall_s, "device": sample.device_s}
        if is_stage and sample.pass_ is Pass.STAGE_EVENTS:
            del clocks["wall"]  # of the launch alone
        rows += [
            (length_of(record.input), record.round, str(sample.pass_), sample.stage, sample.repetition,
             clock, seconds, known)
            for clock, seconds in clocks.items() if seconds is not None
        ]  # fmt: skip
    return rows


def in_seconds(samples: pd.DataFrame) -> pd.DataFrame:
    """With truths in seconds: cycles become seconds by the longest calls of the end-to-end pass."""
    if "device" not in set(samples["clock"]):
        return samples
    longest = samples[
        (samples["length_s"] == samples["length_s"].max())
        & (samples["clock"] == "device")
        & (samples["pass"] == str(Pass.END_TO_END))
    ]
    cycle_s = median(longest["reported_s"] / longest["true"])
    return samples.assign(true=samples["true"] * cycle_s)


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Reported less true, in seconds, and their ratio; over the calls of a length."""

    length_s: float  # the true one, a median
    difference: Summary
    ratio: Summary

    @property
    def is_within(self) -> bool:
        """Within 1 % or 50 microseconds."""
        return abs(self.difference.median) <= max(RELATIVE * self.length_s, ABSOLUTE_S)


def deviation(samples: pd.DataFrame) -> Deviation:
    """Of samples of one length, stage, pass and clock."""
    rounds = [of_round for _, of_round in samples.groupby("round")]
    reported, true = ([list(of_round[side]) for of_round in rounds] for side in ("reported_s", "true"))
    differences = [list(of_round["reported_s"] - of_round["true"]) for of_round in rounds]
    return Deviation(
        length_s=median(samples["true"]),
        difference=summarise(differences),
        ratio=paired_ratio(reported, true),
    )


def deviations(samples: pd.DataFrame) -> dict[tuple[float, str, str, str], Deviation]:
    """By length, pass, stage and clock."""
    found: dict[tuple[float, str, str, str], Deviation] = {}
    for key, rows in in_seconds(samples).groupby(["length_s", "pass", "stage", "clock"], sort=False):
        length_s, pass_, stage, clock = cast("tuple[float, str, str, str]", key)
        found[length_s, pass_, stage, clock] = deviation(rows)
    return found


def render(kept: Evidence) -> str:
    """A table: for each length the call in each pass, and of the stages the one that is furthest off."""
    rows: list[list[str]] = []
    groups: dict[tuple[float, str, str], dict[str, Deviation]] = {}
    for (length_s, pass_, stage, clock), found in deviations(kept.samples).items():
        groups.setdefault((length_s, pass_, clock), {})[stage] = found
    for (_, pass_, clock), by_stage in groups.items():
        stages = [stage for stage in map(str, STAGES) if stage in by_stage]
        shown = [stage for stage in (FORWARD,) if stage in by_stage]
        if stages:
            shown.append(max(stages, key=lambda stage: abs(by_stage[stage].difference.median)))
        for stage in shown:
            found = by_stage[stage]
            rows.append([
                f"{1000 * found.length_s:.4g} ms",
                f"{stage}, the worst of {len(stages)} stages" if stage in stages else stage, pass_, clock,
                f"{1e6 * found.difference.median:+.1f} us", _limits(found.difference, 1e6, "+.1f"),
                f"{found.ratio.median:.5f}", _limits(found.ratio, 1.0, ".5f"),
                "yes" if found.is_within else "no",
            ])  # fmt: skip
    titles = (
        "true length", "timed", "pass", "clock", "reported - true", "95 % interval",
        "reported / true", "95 % interval ", "within 1 % or 50 us",
    )  # fmt: skip
    numeric = ("true length", "reported - true", "reported / true")
    columns = [
        Column(title=title, cells=[row[place] for row in rows], numeric=title in numeric)
        for place, title in enumerate(titles)
    ]
    on_device = "device" in set(kept.samples["clock"])
    command = f"python -m benchmarks.{NAME}" + (" --backend cuda" if on_device else "")
    source = evidence.source_line(kept.environment, command)
    return f"{table(columns)}\n\n{kept.samples['round'].nunique()} rounds of each length. {source}"


def _limits(found: Summary, factor: float, form: str) -> str:
    if found.low is None or found.high is None:
        return ""
    return f"{format(factor * found.low, form)} to {format(factor * found.high, form)}"


def measure(plans: Sequence[Plan], backend: str) -> Evidence:
    """Run the plans on the backend."""
    variables = environment.ALLOCATOR_VARIABLES["retain"]
    with Launcher(variables) as launcher:
        described = evidence.environment_of(launcher, variables)
        found = [reported_and_true(one, backend, launcher) for one in plans]
    return Evidence(samples=pd.concat(found, ignore_index=True), environment=described)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 for a request that cannot be met."""
    parser = evidence.parser(__doc__, NAME)
    parser.add_argument("--backend", default="cpu", choices=("cpu", "cuda", "cudnn"))
    options = parser.parse_args(argv)

    def measured(given: argparse.Namespace) -> Evidence:
        return measure(QUICK if given.quick else FULL, given.backend)

    name = NAME if options.backend == "cpu" else f"{NAME}_cuda"
    return evidence.conduct(options, name, columns=COLUMNS, measure=measured, render=render)


if __name__ == "__main__":
    raise SystemExit(main())
