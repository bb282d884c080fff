"""Estimate what rounds of cells will take, from traced costs and a rate of this machine. No torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import numpy as np
import psutil
import pynvml

from bench.grid.backend import Backend
from bench.grid.config_measure import Measure, Repetitions
from bench.grid.costs import Costs
from bench.grid.plan import Cell

CONVOLUTION_SHARE: Final = {"cpu": 0.6, "cuda": 0.3}
"""Share of the matrix-multiply rate that convolutions are taken to reach; BasicVSR's reach 0.5 to 0.9 of
it on a CPU with AVX-512. A rough figure for a rough estimate: nothing measured depends on it."""

STREAMED_CLIPS: Final = 9
"""Clips of each sample of `total` where transfers are overlapped: one that fills the pipeline, and eight."""

TYPICAL_REPETITIONS: Final = 16
TYPICAL_WARMUP: Final = 3
"""Calls after which a rule for repetitions, and an automatic warm-up, are most often content."""

_PROBE_SIZE: Final = 1024
_PROBE_CALLS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Expected cost of one round of a cell."""

    cell: Cell
    flops: int | None  # of one forward; None where it is not known, as the next
    calls: int  # of forward, all passes together
    peak_bytes: int | None  # live tensors and weights during one forward, on the backend's device
    seconds: float | None  # of all calls; None where nothing is known of the device, or of the costs


@dataclass(frozen=True, kw_only=True)
class Calls:
    """Expected calls of forward in one round, by pass."""

    first: int  # cold and warm-up
    end_to_end: int
    stages: int  # of all stage passes, in pairs of a probed call and a plain one
    memory: int
    check: int = 0  # of the output, where a call leaves none
    profile: int = 0  # under the profiler: one that is thrown away, and the one that is looked at

    @property
    def total(self) -> int:
        return self.first + self.end_to_end + self.stages + self.memory + self.check + self.profile


def expected_calls(measure: Measure, backend: Backend, call_s: float | None = None) -> Calls:
    """Return how many calls a round will make, if one takes `call_s` seconds.

    Exact where the measure gives numbers; where it gives a rule, the rule is taken to be content after
    TYPICAL_REPETITIONS, or when its budget is spent.
    """
    on_events = int(backend.is_cuda)
    probes = {"off": 0, "sync": 1, "events": on_events, "both": 1 + on_events}
    if backend.no_stages is not None:
        probes = dict.fromkeys(probes, 0)
    memory = {"off": 0, "curve": 1, "lines": 2}[measure.memory]
    per_sample = 1 + STREAMED_CLIPS if backend.transfer == "overlapped" else 1
    return Calls(
        first=1 + (TYPICAL_WARMUP if measure.warmup == "auto" else measure.warmup),
        end_to_end=per_sample * _repetitions(measure.repetitions, call_s and per_sample * call_s),
        stages=probes[measure.stages] * 2 * _repetitions(measure.repetitions, call_s and 2 * call_s),
        memory=0 if backend.is_divided else memory + int(memory and probes[measure.stages] > 0),
        check=int(backend.memory_plan is not None),
        profile=2 * int(measure.profile and not backend.is_divided),
    )


def _repetitions(rule: Repetitions, sample_s: float | None) -> int:
    wanted = min(TYPICAL_REPETITIONS, rule.max)
    if sample_s:
        wanted = min(wanted, math.ceil(rule.budget_s / sample_s))
    return max(wanted, rule.min)


def cost(cell: Cell, costs: Costs | None, measure: Measure, rates: dict[str, float | None]) -> Estimate:
    """Estimate a round of a cell; `rates` are FLOP/s by device kind, as `machine_rates` gives them.

    `costs` are those of one forward, by stage; None where they are not known.
    """
    flops = None if costs is None else sum(stage.flops for stage in costs.values())
    rate = rates["cuda" if cell.backend.is_cuda else "cpu"]
    threads = _threads(cell.backend)
    if rate is not None and not cell.backend.is_cuda and threads is not None:
        cores = psutil.cpu_count(logical=False) or 1
        rate *= min(1.0, threads / cores)
    call_s = None if rate is None or flops is None else flops / rate
    calls = expected_calls(measure, cell.backend, call_s).total
    return Estimate(
        cell=cell,
        flops=flops,
        calls=calls,
        peak_bytes=peak_bytes(costs),
        seconds=None if call_s is None else calls * call_s,
    )


def peak_bytes(costs: Costs | None) -> int | None:
    """Return the bytes alive at the worst moment of a forward, weights and clip included, if known."""
    return max((stage.peak_bytes for stage in costs.values()), default=None) if costs else None


def _threads(backend: Backend) -> int | None:
    """Return the threads of all its processes together; None where PyTorch takes all that there are."""
    if backend.is_divided:
        return backend.processes * (backend.threads or 1)
    return backend.threads


def machine_rates(cells: Sequence[Cell]) -> dict[str, float | None]:
    """Return the FLOP/s that convolutions are expected to reach here, by device kind.

    On the CPU they come from a matrix product of a tenth of a second, on a GPU from its cores and clock. A
    rate that is not needed or not known is None.
    """
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
        pynvml.nvmlInit()
    except pynvml.NVMLError:
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
