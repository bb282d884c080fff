"""Work whose length is known, through the same worker, passes and probes as a network.

On a CPU each stage spins until a clock of its own (CLOCK_MONOTONIC_RAW, which the harness does not read and
which nothing adjusts) has passed a given time, and keeps how long that really was: a spin that the system
interrupts is longer, and counts as such. On a GPU each stage is `torch.cuda._sleep`, whose unit is the
device's cycles: the longest call tells how long a cycle is, and the others must be as much shorter as their
cycles are fewer. The exit status is 1 where a reported time is not the truth within 1 % or 50 microseconds.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final, cast

import pandas as pd

from bench.grid import plan
from bench.grid.config import Experiment
from bench.grid.spans import FORWARD, FORWARD_UNPROBED
from bench.messages import GO, Message, Ready, Task
from bench.process.launcher import Launcher
from bench.records import CellRecord, Pass, Phase, Status
from bench.statistics.stats import Summary, paired_ratio, summarise
from benchmarks import common
from benchmarks.common import Evidence
from vsr_model.errors import BadInput
from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING, StageProbe, no_probe

if TYPE_CHECKING:
    from torch import Tensor

    from vsr_model.network import Network

NAME: Final = "known_length"
COLUMNS: Final = ("length_s", "round", "pass", "stage", "repetition", "clock", "reported_s", "true")

RELATIVE: Final = 0.01
ABSOLUTE_S: Final = 50e-6
"""A reported time should be the truth within 1 % or 50 microseconds, whichever is more."""

SHARES: Final = {
    ALIGNMENT: 0.1,
    PROPAGATION: 0.4,
    AGGREGATION: 0.2,
    UPSAMPLING: 0.3,
}
"""Of a call's length; no two alike, so that one stage cannot pass for another."""

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
    Plan(lengths_s=(50e-6, 200e-6, 1e-3, 5e-3, 20e-3, 100e-3), repetitions=20, rounds=6),
    Plan(lengths_s=(1.0,), repetitions=3, rounds=6),
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


def network() -> "Network":
    """Has the four stages, and `calls`: for each call the true length of its stages and of the whole."""
    import torch  # noqa: PLC0415 - the parent imports none

    from vsr_model.network import Facts, Network  # noqa: PLC0415

    class Spinning(Network):
        facts = Facts(title="Spinning", source=__name__, stages=dict.fromkeys(SHARES, "Spins."))

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
    from bench.measure import networks, worker, workload  # noqa: PLC0415 - imports torch

    spinning: Any = network()
    make_clip = workload.make_clip

    def make_clip_and_set_length(cell: plan.Cell) -> "Tensor":
        spinning.length_s = length_of(cell.input.name)
        return make_clip(cell)

    networks.build = lambda model: spinning  # noqa: ARG005 - whichever is asked for
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


def reported_and_true(one: Plan, backend: str, launcher: Launcher) -> pd.DataFrame:
    """Run the plan, a worker per round of each length. Raises BadInput for a round that does not end well."""
    asked = Experiment.model_validate({
        "name": "known-length",
        "input": tuple(
            {"name": f"{round(1e6 * length)}us", "kind": "random"} for length in one.lengths_s
        ),
        "grid": {"frames": (1,), "size": ((16, 16),)},
        "backends": (backend,),
        "measure": {
            "warmup": 2, "repetitions": one.repetitions, "rounds": one.rounds,
            "stages": "both", "memory": "off",
        },
        "plots": (),
    })  # fmt: skip
    jobs = plan.schedule(plan.cells(asked), asked.measure)
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, job in enumerate(jobs, start=1):
            common.say(f"{number}/{len(jobs)}: round {job.round + 1} of {job.cell.id}")
            task = Task(
                job=job,
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


def _rows(record: CellRecord, calls: Sequence[Mapping[str, float]]) -> list[tuple[object, ...]]:
    """The steady samples of a round beside the truth; calls and their samples stand in the same order."""
    wholes = [sample for sample in record.samples if sample.stage in (FORWARD, FORWARD_UNPROBED)]
    true = {
        (whole.pass_, whole.phase, whole.repetition, whole.stage): call
        # On a device the reference makes a last call on the CPU, which no sample is of.
        for whole, call in zip(wholes, calls, strict=record.backend == "cpu")
    }
    rows: list[tuple[object, ...]] = []
    for sample in record.samples:
        is_stage = sample.stage in SHARES
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
    return samples.assign(true=samples["true"] * median(longest["reported_s"] / longest["true"]))


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


def deviations(samples: pd.DataFrame) -> dict[tuple[float, str, str, str], Deviation]:
    """By length, pass, clock and stage."""
    found = {}
    for key, rows in in_seconds(samples).groupby(["length_s", "pass", "clock", "stage"], sort=False):
        rounds = [of_round for _, of_round in rows.groupby("round")]
        found[cast("tuple[float, str, str, str]", key)] = Deviation(
            length_s=median(rows["true"]),
            difference=summarise([list(one["reported_s"] - one["true"]) for one in rounds]),
            ratio=paired_ratio(
                [list(one["reported_s"]) for one in rounds], [list(one["true"]) for one in rounds]
            ),
        )
    return found


def render(kept: Evidence) -> str:
    """A table: for each length the call in each pass, and of the stages the one that is furthest off."""
    rows = []
    groups: dict[tuple[float, str, str], dict[str, Deviation]] = {}
    for (length_s, pass_, clock, stage), found in deviations(kept.samples).items():
        groups.setdefault((length_s, pass_, clock), {})[stage] = found
    for (_, pass_, clock), by_stage in groups.items():
        stages = [stage for stage in SHARES if stage in by_stage]
        shown = {FORWARD: FORWARD} if FORWARD in by_stage else {}
        if stages:
            worst = max(stages, key=lambda stage: abs(by_stage[stage].difference.median))
            shown[worst] = f"{worst}, the worst of {len(stages)} stages"
        for stage, title in shown.items():
            found = by_stage[stage]
            rows.append({
                "true length": f"{1000 * found.length_s:.4g} ms",
                "timed": title, "pass": pass_, "clock": clock,
                "reported - true": f"{1e6 * found.difference.median:+.1f} us",
                "95 % interval": common.interval(found.difference, "+.1f", 1e6),
                "reported / true": f"{found.ratio.median:.5f}",
                "its interval": common.interval(found.ratio, ".5f"),
                "within 1 % or 50 us": "yes" if found.is_within else "no",
            })  # fmt: skip
    numeric = ("true length", "reported - true", "reported / true")
    return (
        f"{common.table(rows, numeric=numeric)}\n\n"
        f"{kept.samples['round'].nunique()} rounds of each length. {kept.source}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status."""
    parser = common.parser(__doc__, NAME)
    parser.add_argument("--backend", default="cpu", choices=("cpu", "cuda", "cudnn"))
    options = parser.parse_args(argv)
    name = NAME if options.backend == "cpu" else f"{NAME}_cuda"

    def measure(given: argparse.Namespace) -> Evidence:
        with Launcher(common.RETAIN) as launcher:
            described = common.environment_of(launcher)
            plans = QUICK if given.quick else FULL
            found = [reported_and_true(one, given.backend, launcher) for one in plans]
        return Evidence(samples=pd.concat(found, ignore_index=True), environment=described)

    if status := common.conduct(options, name, measure, render):
        return status
    found = deviations(common.read(options.output, name).samples)
    return 0 if all(one.is_within for one in found.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
