"""A network, and each of its stages alone, per cell of the grid.

`benchmark(call)` and not `benchmark.pedantic`: how many calls are made stays with the user's options
(`--benchmark-min-rounds`, `--benchmark-max-time`, `--benchmark-precision`). Its calibration costs one call of
those that take longer than some microseconds, and finds one call per round for them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from torch import Tensor

from bench.grid.plan import Cell
from bench.grid.spans import FORWARD
from bench.measure import backends, clips, networks, output_check, workload
from bench.measure.backends import Device
from tests.benchmarks.stages_alone import StagesAlone
from vsr_model.network import Network
from vsr_model.stages import no_probe

pytestmark = [
    # As everywhere in the project; pytest-benchmark's option can only say the same.
    pytest.mark.benchmark(disable_gc=True),
    # Versions are the machine's own here: what their libraries deprecate is no fault of a measurement.
    pytest.mark.filterwarnings("default"),
]

WARMUP_CALLS: Final = 2
"""After the first call, which makes what later ones find."""


@contextmanager
def placed(cell: Cell) -> Iterator[tuple[Network, Tensor, Device, dict[str, str]]]:
    """Give the network and clip on their device, and the backend's settings as read back, in force."""
    device = backends.device_of(cell.backend)
    with backends.applied(cell.backend) as settings:
        network = networks.build(cell.model)
        clip = clips.make_clip(cell, network.facts)
        device.create_context()
        device.release_cached_memory()  # what the benchmarks before have left with the allocator
        network = workload.prepare(network, cell.backend, device.torch_device)
        yield network, clip.to(device.torch_device), device, settings


def test_network(benchmark: Any, cell: Cell) -> None:
    """Time the whole network, without probes, on a clip that is on the device."""
    with placed(cell) as (network, lrs, device, settings):
        forward = workload.forward_of(network, backend=cell.backend)
        # Before it is timed: a fast wrong answer leaves no figure to compare with.
        check(cell, forward(lrs, no_probe))
        take(benchmark, cell, FORWARD, lambda: forward(lrs, no_probe), device, settings)


def test_stage(benchmark: Any, cell: Cell, stage: str) -> None:
    """Time the submodules of one stage, called alone on the inputs that they have in a forward pass."""
    with placed(cell) as (network, lrs, device, settings):
        alone = StagesAlone(network, lrs)
        if not (calls := alone.calls(stage)):
            pytest.skip(f"{stage} calls no submodule with {cell.frames} frame(s)")
        benchmark.extra_info["calls"] = calls
        take(benchmark, cell, stage, lambda: alone.call(stage), device, settings)


def check(cell: Cell, output: Tensor) -> None:
    """Fail if the output is too far from the CPU float32 result of the same weights and clip."""
    with backends.applied(backends.CPU_REFERENCE):
        network = networks.build(cell.model)
        reference = workload.forward_of(network)(clips.make_clip(cell, network.facts), no_probe)
    psnr_db = output_check.compare(output.cpu().float().unbind(1), reference).psnr_db
    assert psnr_db >= cell.backend.min_psnr_db, f"{psnr_db:.1f} dB against the CPU float32 result"


def take(
    benchmark: Any,
    cell: Cell,
    stage: str,
    call: Callable[[], object],
    device: Device,
    settings: dict[str, str],
) -> None:
    """Warm up, and have pytest-benchmark time the call, which waits for the device at its end."""

    def measured() -> None:
        call()
        device.synchronize()

    benchmark.group = f"{stage} {'/'.join(cell.clip_id)}"  # backends stand beside each other
    benchmark.extra_info |= {
        "cell": cell.id,
        "stage": stage,
        "model": cell.model.model_dump(mode="json", by_alias=True),
        "settings": settings,
    }
    for _ in range(1 + WARMUP_CALLS):
        measured()
    benchmark(measured)
