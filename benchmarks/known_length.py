"""Work whose length is known, through the same worker, passes and probes as a network.

A network of this kind tells its stages apart by the probe (`probed`), and another, which is adapted as a
class of a user's own is, by hooks (`hooked`). See benchmarks.spinning.

On a CPU each stage spins until a clock of its own (CLOCK_MONOTONIC_RAW, which the harness does not read and
which nothing adjusts) has passed a given time, and keeps how long that really was: a spin that the system
interrupts is longer, and counts as such. On a GPU each stage is `torch.cuda._sleep`, whose unit is the
device's cycles: the longest call tells how long a cycle is, and the others must be as much shorter as their
cycles are fewer. The exit status is 1 where a reported time is not the truth within 1 % or 50 microseconds.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final, cast

import pandas as pd

from bench.grid import plan
from bench.grid.config import Experiment
from bench.grid.spans import FORWARD, FORWARD_UNPROBED
from bench.messages import GO, Ready, Task
from bench.process.launcher import Launcher
from bench.records import CellRecord, Pass, Phase, Status
from bench.stats.intervals import Summary, paired_ratio, summarise
from benchmarks import common
from benchmarks.common import Evidence
from vsr_model.errors import BadInput
from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING

NAME: Final = "known_length"
COLUMNS: Final = (
    "network",
    "length_s",
    "round",
    "pass",
    "stage",
    "repetition",
    "clock",
    "reported_s",
    "true",
)

PROBED: Final = "probed"
HOOKED: Final = "hooked"

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


def length_of(name: str) -> float:
    """Return the seconds in an input's name."""
    return int(name.removesuffix("us")) / 1e6


def reported_and_true(one: Plan, backend: str, launcher: Launcher) -> pd.DataFrame:
    """Run the plan, a worker per round of each length. Raises BadInput for a round that does not end well."""
    asked = Experiment.model_validate({
        "name": "known-length",
        "model": tuple(
            {"name": name, "import": "benchmarks.spinning:Spinning", "stages": {"all": ("*",)}}
            for name in (PROBED, HOOKED)
        ),
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
    worker = launcher.spawn("benchmarks.spinning:serve")
    with worker.connection as connection:
        connection.send(task)
        try:
            while not isinstance(record := connection.recv(), CellRecord):
                if isinstance(record, Ready):
                    connection.send(GO)
            calls: list[dict[str, float]] = connection.recv()
        except EOFError:
            raise BadInput(f"{task.job.cell.id}: the worker ended ({launcher.last_line()})") from None
    launcher.exit_status(worker)
    if record.status is not Status.OK:
        raise BadInput(f"{record.cell}: {record.status} ({record.reason})")
    return record, calls


def _rows(record: CellRecord, calls: Sequence[Mapping[str, float]]) -> list[tuple[object, ...]]:
    """Return the steady samples of a round beside the truth; calls and samples have the same order."""
    wholes = [sample for sample in record.samples if sample.stage in (FORWARD, FORWARD_UNPROBED)]
    # The last calls make the reference of the output check, where there is none yet, and confirm it.
    checks = 0 if record.reference_s is None else 1 if record.backend == "cpu" else 2
    true = {
        (whole.pass_, whole.phase, whole.repetition, whole.stage): call
        for whole, call in zip(wholes, calls[: len(calls) - checks], strict=True)
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
            (record.model, length_of(record.input), record.round, str(sample.pass_), sample.stage,
             sample.repetition, clock, seconds, known)
            for clock, seconds in clocks.items() if seconds is not None
        ]  # fmt: skip
    return rows


def in_seconds(samples: pd.DataFrame) -> pd.DataFrame:
    """Return truths in seconds: cycles are converted by the longest calls of the end-to-end pass."""
    if "device" not in set(samples["clock"]):
        return samples
    longest = samples[
        (samples["length_s"] == samples["length_s"].max())
        & (samples["clock"] == "device")
        & (samples["pass"] == str(Pass.END_TO_END))
    ]
    return samples.assign(true=samples["true"] * median(longest["reported_s"] / longest["true"]))


Key = tuple[str, float, str, str, str]
"""Network, length, pass, clock and stage."""


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Reported less true, in seconds, and their ratio; over the calls of a length."""

    length_s: float  # the true one, a median
    difference: Summary
    ratio: Summary

    @property
    def is_within(self) -> bool:
        """Return whether it is within 1 % or 50 microseconds."""
        return abs(self.difference.median) <= max(RELATIVE * self.length_s, ABSOLUTE_S)


def deviations(samples: pd.DataFrame) -> dict[Key, Deviation]:
    """Return deviations by network, length, pass, clock and stage."""
    found = {}
    by = ["network", "length_s", "pass", "clock", "stage"]
    for key, rows in in_seconds(samples).groupby(by, sort=False):
        rounds = [of_round for _, of_round in rows.groupby("round")]
        found[cast("Key", key)] = Deviation(
            length_s=median(rows["true"]),
            difference=summarise([list(one["reported_s"] - one["true"]) for one in rounds]),
            ratio=paired_ratio(
                [list(one["reported_s"]) for one in rounds], [list(one["true"]) for one in rounds]
            ),
        )
    return found


def render(kept: Evidence) -> str:
    """Tabulate for each length the call in each pass, and of the stages the one that is furthest off."""
    rows = []
    groups: dict[tuple[str, float, str, str], dict[str, Deviation]] = {}
    for (*group, stage), found in deviations(kept.samples).items():
        groups.setdefault(cast("tuple[str, float, str, str]", tuple(group)), {})[stage] = found
    for (network, _, pass_, clock), by_stage in groups.items():
        stages = [stage for stage in SHARES if stage in by_stage]
        shown = {FORWARD: FORWARD} if FORWARD in by_stage else {}
        if stages:
            worst = max(stages, key=lambda stage: abs(by_stage[stage].difference.median))
            shown[worst] = f"{worst}, the worst of {len(stages)} stages"
        for stage, title in shown.items():
            found = by_stage[stage]
            rows.append({
                "network": network, "true length": f"{1000 * found.length_s:.4g} ms",
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
