"""What cells will cost, before they run: FLOPs exactly, memory and seconds roughly. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import numpy as np
import psutil

from bench.backend_spec import Backend
from bench.config import Measure, Model
from bench.plan import Cell
from vsr_model.registry import find_model
from vsr_model.stages import Stage

CONVOLUTION_SHARE: Final = {"cpu": 0.6, "cuda": 0.3}
"""Share of the matrix-multiply rate that BasicVSR's convolutions are taken to reach; they reach 0.5 to 0.9 of
it on a CPU with AVX-512. A rough figure for a rough estimate: nothing measured depends on it."""

_PROBE_SIZE: Final = 1024
_PROBE_CALLS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What one round of a cell is expected to take."""

    cell: Cell
    stage_flops: dict[Stage, int]  # of one forward
    calls: int  # of forward, all passes together
    peak_bytes: int  # live tensors and weights during one forward, on the backend's device
    seconds: float | None  # of all calls; None where nothing is known of the device

    @property
    def flops(self) -> int:
        return sum(self.stage_flops.values())


def forward_calls(measure: Measure, backend: Backend) -> int:
    """Calls of forward in one round: cold, warm-up, end to end, stages in pairs, memory."""
    probes = {"off": 0, "sync": 1, "events": int(backend.is_cuda), "both": 1 + int(backend.is_cuda)}
    memory = {"off": 0, "curve": 1, "lines": 2}
    return (
        1 + measure.warmup + measure.repetitions * (1 + 2 * probes[measure.stages]) + memory[measure.memory]
    )


def cost(cell: Cell, model: Model, measure: Measure, rates: dict[str, float | None]) -> Estimate:
    """The estimate of a cell; `rates` are FLOP/s by device kind, as `machine_rates` gives them."""
    entry = find_model(model.name)
    parameters = model.parameters
    flops = entry.stage_flops(
        parameters, batch=cell.batch, frames=cell.frames, height=cell.height, width=cell.width
    )
    peak = entry.estimate_peak_bytes(
        parameters,
        batch=cell.batch,
        frames=cell.frames,
        height=cell.height,
        width=cell.width,
        bytes_per_element=cell.backend.feature_bytes,
    )
    calls = forward_calls(measure, cell.backend)
    rate = rates["cuda" if cell.backend.is_cuda else "cpu"]
    if rate is not None and not cell.backend.is_cuda and cell.backend.threads is not None:
        cores = psutil.cpu_count(logical=False) or 1
        rate *= min(1.0, cell.backend.threads / cores)
    seconds = None if rate is None else calls * sum(flops.values()) / rate
    return Estimate(cell=cell, stage_flops=flops, calls=calls, peak_bytes=peak, seconds=seconds)


def machine_rates(cells: Sequence[Cell]) -> dict[str, float | None]:
    """FLOP/s that convolutions are expected to reach here: on the CPU from a matrix product of a tenth of a
    second, on a GPU from its cores and clock; None for what is not needed or not known."""
    needs_cpu = any(not cell.backend.is_cuda for cell in cells)
    return {
        "cpu": _cpu_rate() * CONVOLUTION_SHARE["cpu"] if needs_cpu else None,
        "cuda": _gpu_rate() if any(cell.backend.is_cuda for cell in cells) else None,
    }


def _cpu_rate() -> float:
    matrix = np.ones((_PROBE_SIZE, _PROBE_SIZE), dtype=np.float32)
    seconds = []
    for _ in range(_PROBE_CALLS):
        begin = perf_counter()
        np.matmul(matrix, matrix)
        seconds.append(perf_counter() - begin)
    return 2 * _PROBE_SIZE**3 / float(min(seconds))


def _gpu_rate() -> float | None:
    try:
        import pynvml  # noqa: PLC0415 - absent on many machines

        pynvml.nvmlInit()
    except Exception:
        return None
    try:
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        cores: int = pynvml.nvmlDeviceGetNumGpuCores(device)
        clock_mhz: int = pynvml.nvmlDeviceGetMaxClockInfo(device, pynvml.NVML_CLOCK_SM)
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()
    return 2 * cores * clock_mhz * 1e6 * CONVOLUTION_SHARE["cuda"]
