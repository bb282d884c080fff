"""The same call timed by torch.utils.benchmark, pytest-benchmark and this project, in turns.

Each round is a worker process as a run's are, with the call that a round of a cell makes on the backend
`cpu`. In it pytest runs one test per turn, in which every tool times one call, in an order that goes through
all six. All three make two calls untimed (torch's Timer cannot be told otherwise) and one timed, and free its
output after the clock was read; Python's garbage collector is off, and torch's Timer uses the threads that
are in force and not its default of one.
"""

import argparse
import gc
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import permutations
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, Final

import pandas as pd

from bench.grid.backend import BUILT_IN
from bench.grid.config import RandomInput
from bench.grid.config_model import Model
from bench.grid.plan import Cell
from bench.process.launcher import Launcher
from bench.stats.intervals import Summary, paired_ratio
from benchmarks import common
from benchmarks.common import Evidence

NAME: Final = "agreement"
COLUMNS: Final = ("call", "round", "turn", "place", "tool", "wall_s")

OURS: Final = "vsr-bench"
TORCH: Final = "torch.utils.benchmark"
PYTEST: Final = "pytest-benchmark"
TOOLS: Final = (OURS, TORCH, PYTEST)

PAIRS: Final = ((OURS, TORCH), (OURS, PYTEST), (TORCH, PYTEST))
"""The last is the yardstick: how far the other two are from each other."""

WITHIN: Final = 0.01
"""How close to 1 a ratio should be."""

UNTIMED: Final = 2
WARMUP: Final = 5
"""Calls before each timed one, and before the first turn of a process."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A forward pass of BasicVSR on a clip of `frames`, batch 1; turns per process."""

    name: str
    mid_channels: int
    num_blocks: int
    frames: int
    side: int
    turns: int  # a multiple of six: every order as often
    threads: int | None = None  # PyTorch's choice


CALLS: Final = (
    Call(name="small", mid_channels=8, num_blocks=1, frames=3, side=32, turns=60),
    Call(name="medium", mid_channels=32, num_blocks=5, frames=3, side=64, turns=18),
    Call(name="as published", mid_channels=64, num_blocks=30, frames=3, side=64, turns=6),
)
ROUNDS: Final = 10
QUICK: Final = (Call(name="small", mid_channels=8, num_blocks=1, frames=1, side=16, turns=6, threads=1),)


def serve(connection: Connection) -> None:
    """Receive a Call in a worker, and send a row (turn, place, tool, seconds) per timed call."""
    import torch  # noqa: PLC0415 - the parent imports none

    from bench.measure import backends, clips, networks, workload  # noqa: PLC0415
    from vsr_model.stages import no_probe  # noqa: PLC0415

    gc.freeze()  # as bench.measure.worker.main
    gc.disable()
    call = Call(**connection.recv())
    backend = BUILT_IN["cpu"].replace(threads=call.threads)
    noise = RandomInput(name="noise", kind="random")
    size = {"mid_channels": call.mid_channels, "num_blocks": call.num_blocks}
    model = Model(parameters=size)
    cell = Cell(
        model=model,
        input=noise,
        batch=1,
        frames=call.frames,
        height=call.side,
        width=call.side,
        backend=backend,
    )
    with backends.applied(backend):
        device = backends.device_of(backend)
        network = workload.prepare(networks.build(model), backend, device.torch_device)
        forward = workload.forward_of(network)
        clip = clips.make_clip(cell, network.facts)

        def action() -> torch.Tensor:
            return forward(clip, no_probe)

        for _ in range(WARMUP):
            action()
        connection.send(_Turns(call.turns, action, device).run())


class _Turns:
    """A plugin of pytest: as many tests as turns, and what each does."""

    def __init__(self, turns: int, action: Callable[[], object], device: Any) -> None:
        import torch  # noqa: PLC0415
        from torch.utils.benchmark import Timer  # noqa: PLC0415

        self._rows: list[tuple[int, int, str, float]] = []
        self._turns = turns
        self._action = action
        self._device = device
        # `output` lives until the statement's function returns, after the clock was read.
        self._timer = Timer("output = call()", globals={"call": action}, num_threads=torch.get_num_threads())

    def run(self) -> list[tuple[int, int, str, float]]:
        import pytest  # noqa: PLC0415

        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        os.environ.pop("PYTEST_ADDOPTS", None)
        path = Path(__file__).with_name("agreement_turn.py")
        # The configuration of this repository's own tests is none of a measurement's.
        options = ["-c", os.devnull, "--rootdir", str(path.parent), "-p", "pytest_benchmark.plugin"]
        quiet = ["-q", "-s", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:faulthandler"]
        status = pytest.main([str(path), *options, *quiet, "--benchmark-quiet"], plugins=[self])
        if status != 0 or len(self._rows) != self._turns * len(TOOLS):
            raise RuntimeError(f"pytest ended with {status!r} after {len(self._rows)} samples")
        return self._rows

    def pytest_generate_tests(self, metafunc: Any) -> None:
        metafunc.parametrize("turn", range(self._turns))
        metafunc.parametrize("take", [self._take], ids=["all-tools"])

    def _take(self, benchmark: Any, turn: int) -> None:
        orders = list(permutations(TOOLS))
        tools: dict[str, Callable[[], float]] = {
            OURS: self._ours,
            TORCH: self._torch,
            PYTEST: lambda: self._pytest(benchmark),
        }
        for place, tool in enumerate(orders[turn % len(orders)]):
            self._rows.append((turn, place, tool, tools[tool]()))

    def _ours(self) -> float:
        from bench.measure.timing import timed  # noqa: PLC0415

        for _ in range(UNTIMED):
            self._action()
        output, span = timed(self._action, device=self._device)
        del output
        return span.wall_s

    def _torch(self) -> float:
        (seconds,) = self._timer.timeit(1).raw_times
        return float(seconds)

    def _pytest(self, benchmark: Any) -> float:
        benchmark.pedantic(self._action, warmup_rounds=UNTIMED, rounds=1, iterations=1)
        (seconds,) = benchmark.stats.stats.data
        return float(seconds)


def measure(options: argparse.Namespace) -> Evidence:
    """Measure every call in every round, the rounds of all calls interleaved."""
    calls, rounds = (QUICK, 2) if options.quick else (CALLS, ROUNDS)
    rows: list[tuple[object, ...]] = []
    with Launcher(common.RETAIN) as launcher:
        described = common.environment_of(launcher)
        for number in range(rounds):
            for call in calls:
                common.say(f"round {number + 1}/{rounds}: {call.name}")
                worker = launcher.spawn(f"benchmarks.agreement:{serve.__name__}")
                with worker.connection as connection:
                    connection.send(asdict(call))  # the class of a script that was started is __main__.Call
                    connection.poll(None)  # its first byte may take minutes; the rest then may not
                    rows += [(call.name, number, *row) for row in connection.recv()]
                launcher.exit_status(worker)
    return Evidence(samples=pd.DataFrame(rows, columns=list(COLUMNS)), environment=described)


def ratio_of(samples: pd.DataFrame, above: str, below: str) -> Summary:
    """Return the paired ratio of two tools on one call: a pair is of one turn, the interval over rounds."""
    sides = [
        [list(of_round["wall_s"]) for _, of_round in of_tool.sort_values("turn").groupby("round")]
        for of_tool in (samples[samples["tool"] == tool] for tool in (above, below))
    ]
    return paired_ratio(*sides)


def verdict(found: Summary) -> str:
    """Return whether the ratio is 1 within 1 %, by its interval."""
    if found.low is None or found.high is None:
        return "no interval"
    if found.low >= 1 - WITHIN and found.high <= 1 + WITHIN:
        return "yes"
    return "no" if found.low > 1 + WITHIN or found.high < 1 - WITHIN else "cannot tell"


def render(kept: Evidence) -> str:
    """Tabulate the ratios, with their source."""
    rows = []
    for name, samples in kept.samples.groupby("call", sort=False):
        for above, below in PAIRS:
            found = ratio_of(samples, above, below)
            rows.append({
                "call": str(name), "takes": f"{1000 * median(samples['wall_s']):.3g} ms",
                "pair": f"{above} / {below}", "ratio": f"{found.median:.4f}",
                "95 % interval": common.interval(found, ".4f"), "kind": str(found.interval),
                "rounds x pairs": f"{found.n_rounds} x {found.n // found.n_rounds}",
                "1 within 1 %": verdict(found),
            })  # fmt: skip
    return f"{common.table(rows, numeric=('takes', 'ratio'))}\n\n{kept.source}"


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status."""
    return common.conduct(common.parser(__doc__, NAME).parse_args(argv), NAME, measure, render)


if __name__ == "__main__":
    raise SystemExit(main())
