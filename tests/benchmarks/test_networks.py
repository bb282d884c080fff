"""A network, and each of its stages alone, per cell of the grid.

`benchmark(call)` and not `benchmark.pedantic`: how many calls are made stays with the user's options
(`--benchmark-min-rounds`, `--benchmark-max-time`, `--benchmark-precision`). Its calibration costs one call of
those that take longer than some microseconds, and finds one call per round for them.
"""

from collections.abc import Callable
from typing import Any

import pytest

from bench.grid.spans import FORWARD
from bench.measure import workload
from bench.measure.timing import timed
from tests.benchmarks.references import References
from tests.benchmarks.stages_alone import StagesAlone
from tests.benchmarks.subject import Subject, waited_for, warm_up
from tests.benchmarks.suite import Suite
from vsr_model.stages import no_probe

pytestmark = [
    # As everywhere in the project; pytest-benchmark's option can only say the same.
    pytest.mark.benchmark(disable_gc=True),
    # Versions are the machine's own here: what their libraries deprecate is no fault of a measurement.
    pytest.mark.filterwarnings("default"),
]


def test_network(benchmark: Any, suite: Suite, subject: Subject, references: References) -> None:
    """The whole network, without probes, on a clip that is on the device; waited for until it is done."""
    forward = workload.forward_of(subject.network, backend=subject.cell.backend)
    call = waited_for(lambda: forward(subject.lrs, no_probe), subject.device)
    output, first = timed(call, device=subject.device)
    # Before it is timed: a fast wrong answer leaves no figure to compare with.
    psnr_db = references.check(subject.cell, output, subject.network.facts.scale)
    del output
    benchmark.extra_info |= {"output_psnr_db": psnr_db, "first_call_s": first.wall_s}
    take(benchmark, suite, subject, FORWARD, call, first.wall_s)


def test_stage(benchmark: Any, suite: Suite, subject: Subject, stage: str) -> None:
    """The submodules of one stage, called alone on the inputs that they have in a forward pass: all frames in
    a row (`tests.benchmarks.stages_alone`); waited for once, at the end."""
    alone = StagesAlone(subject.network, subject.lrs)
    if not alone.calls(stage):
        pytest.skip(f"{stage} calls no submodule with {subject.cell.frames} frame(s)")
    assert alone.is_finite(stage)
    call = waited_for(lambda: alone.call(stage), subject.device)
    _, first = timed(call, device=subject.device)
    benchmark.extra_info |= {"calls": alone.calls(stage)}
    take(benchmark, suite, subject, stage, call, first.wall_s)


def take(
    benchmark: Any, suite: Suite, subject: Subject, stage: str, call: Callable[[], object], first_s: float
) -> None:
    """Warm up, and have pytest-benchmark time the call; what was measured goes into its JSON."""
    cell = subject.cell
    benchmark.group = f"{stage} {'/'.join(cell.clip_id)}"  # backends stand beside each other
    wanted = suite.experiment.measure.warmup if benchmark.enabled else 0
    walls = warm_up(call, first_s, wanted, subject.device)
    benchmark.extra_info |= {
        "cell": cell.id,
        "stage": stage,
        "batch": cell.batch,
        "frames": cell.frames,
        "height": cell.height,
        "width": cell.width,
        "parameters": subject.parameters,
        "settings": subject.settings,
        "warmup_calls": len(walls),
        **suite.measured(cell),
    }
    benchmark(call)
