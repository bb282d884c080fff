"""Stages told apart by hooks, against timers written by hand round the same submodules.

A class that imports nothing of this project is called in pairs: once with this project's hooks and probe,
once with a clock read before and after each submodule's forward by a few lines as people write them. Which
goes first alternates. Of each stage the seconds are compared pair by pair. With `--basicsr FOLDER` the class
is BasicVSR of BasicSR 1.4.2, whose unpacked sources are there. The exit status is 1 where a median of ratios
is off by more than 2 %.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from bench.grid.config_model import Model
from bench.process.launcher import Launcher
from bench.stats.intervals import Summary, paired_ratio
from benchmarks import common
from benchmarks.common import Evidence

if TYPE_CHECKING:
    from torch import nn

    from vsr_model.adapted import Adapted

NAME: Final = "hooks"
WITHIN: Final = 0.02
PAIRS: Final = {"hooks": 240, "hooks_basicsr": 60}
SHAPE: Final = (1, 5, 3, 64, 64)

OWN: Final = Model.model_validate({
    "name": "own", "import": "benchmarks.stranger:Stranger", "folder": ".", "scale": 4,
    "stages": {"features": ("head", "body"), "fusion": ("fuse",), "upsampling": ("up*", "last")},
})  # fmt: skip
BASICSR: Final = {
    "name": "basicsr", "import": "basicsr.archs.basicvsr_arch:BasicVSR",
    "arguments": {"num_feat": 64, "num_block": 30}, "scale": 4,
    "stages": {
        "alignment": ("spynet",), "propagation": ("backward_trunk", "forward_trunk"),
        "aggregation": ("fusion",), "upsampling": ("up*", "conv_hr", "conv_last", "pixel_shuffle"),
    },
}  # fmt: skip


@contextmanager
def by_hand(module: "nn.Module", stage_of: Mapping[str, str]) -> Iterator[dict[str, float]]:
    """Add up the seconds of the submodules' forwards by stage, as a script written for the day does."""
    seconds: dict[str, float] = defaultdict(float)
    submodules = {name: module.get_submodule(name) for name in stage_of}
    for name, submodule in submodules.items():

        def timed(*args: Any, forward: Any = submodule.forward, stage: str = stage_of[name]) -> Any:
            begin = perf_counter()
            result = forward(*args)
            seconds[stage] += perf_counter() - begin
            return result

        submodule.forward = timed
    try:
        yield seconds
    finally:
        for submodule in submodules.values():
            del submodule.forward


def pairs(network: "Adapted", count: int) -> pd.DataFrame:
    """Return a row per pair and stage: seconds by hooks and by hand; `other` is what no stage claims."""
    import torch  # noqa: PLC0415 - the parent of a run imports none

    from bench.measure.backends import CpuDevice  # noqa: PLC0415
    from bench.measure.timing import SyncProbe, timed_stages  # noqa: PLC0415

    lrs = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0))
    outermost = {
        name: stage for name, stage in network.stage_of.items() if f"module.{name}" in network.facts.compiled
    }
    rows = []

    def hooked() -> dict[str, float]:
        with network.instrumented():
            _, stages = timed_stages(lambda probe: network(lrs, probe), SyncProbe(CpuDevice(), perf_counter))
        return {stage: span.wall_s for stage, span in stages.items()}

    def written() -> dict[str, float]:
        with by_hand(network.module, outermost) as seconds:
            begin = perf_counter()
            network(lrs)
            whole = perf_counter() - begin
        return {**seconds, "other": whole - sum(seconds.values())}

    with torch.inference_mode():
        hooked(), written()
        for number in range(count):
            if number % 2:
                second, first = written(), hooked()
            else:
                first, second = hooked(), written()
            rows += [(number, stage, first[stage], second[stage]) for stage in first]
            common.say(f"{number + 1}/{count}")
    return pd.DataFrame(rows, columns=["pair", "stage", "hooks_s", "by_hand_s"])


def ratios(samples: pd.DataFrame) -> dict[str, Summary]:
    """Return the ratio of hooks to timers by hand, by stage."""
    return {
        str(stage): paired_ratio([list(rows["hooks_s"])], [list(rows["by_hand_s"])])
        for stage, rows in samples.groupby("stage", sort=False)
    }


def render(kept: Evidence) -> str:
    """Render a row per stage."""
    found = ratios(kept.samples)
    medians: dict[str, dict[str, float]] = {
        str(stage): {name: median(rows[name]) for name in ("hooks_s", "by_hand_s")}
        for stage, rows in kept.samples.groupby("stage", sort=False)
    }
    whole = sum(of_stage["hooks_s"] for of_stage in medians.values())
    rows = [
        {
            "stage": stage,
            "share": f"{100 * medians[stage]['hooks_s'] / whole:.1f} %",
            "hooks": f"{1000 * medians[stage]['hooks_s']:.3f} ms",
            "by hand": f"{1000 * medians[stage]['by_hand_s']:.3f} ms",
            "hooks / by hand": f"{ratio.median:.4f}",
            "95 % interval": common.interval(ratio, ".4f"),
        }
        for stage, ratio in found.items()
    ]
    numeric = ("share", "hooks", "by hand", "hooks / by hand")
    return f"{common.table(rows, numeric=numeric)}\n\n{kept.samples['pair'].nunique()} pairs. {kept.source}"


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status."""
    parser = common.parser(__doc__, NAME)
    parser.add_argument("--basicsr", type=Path, help="folder that holds the package basicsr, unpacked")
    options = parser.parse_args(argv)
    name = NAME if options.basicsr is None else f"{NAME}_basicsr"

    def measure(given: argparse.Namespace) -> Evidence:
        from bench.measure import networks  # noqa: PLC0415 - imports torch

        model = OWN
        if given.basicsr is not None:
            model = Model.model_validate({**BASICSR, "folder": str(given.basicsr)})
        with Launcher(common.RETAIN) as launcher:
            described = common.environment_of(launcher)
        if given.basicsr is not None:
            # BasicSR 1.4.2, its last release, imports by this name what torchvision has moved since 0.17.
            with suppress(ImportError):  # BasicSR will say itself what it lacks
                moved = import_module("torchvision.transforms.functional")
                sys.modules.setdefault("torchvision.transforms.functional_tensor", moved)
        network = networks.build(model)
        samples = pairs(network, 6 if given.quick else PAIRS[name])  # type: ignore[arg-type]
        return Evidence(samples=samples, environment=described)

    if status := common.conduct(options, name, measure, render):
        return status
    found = ratios(common.read(options.output, name).samples)
    return (
        0 if all(abs(ratio.median - 1) <= WITHIN for stage, ratio in found.items() if stage != "other") else 1
    )


if __name__ == "__main__":
    raise SystemExit(main())
