"""What cells will cost, before they run: FLOPs exactly, memory and seconds roughly. No torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Final

import numpy as np
import psutil

from bench.grid.backend_spec import Backend
from bench.grid.config import Model
from bench.grid.config_measure import Measure, Repetitions
from bench.grid.plan import Cell
from vsr_model.registry import find_model
from vsr_model.stages import Stage

if TYPE_CHECKING:
    from vsr_model.memory_cost import Needs

CONVOLUTION_SHARE: Final = {"cpu": 0.6, "cuda": 0.3}
"""Share of the matrix-multiply rate that BasicVSR's convolutions are taken to reach; they reach 0.5 to 0.9 of
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
    """What one round of a cell is expected to take."""

    cell: Cell
    stage_flops: dict[Stage, int]  # of one forward
    calls: int  # of forward, all passes together
    peak_bytes: int  # live tensors and weights during one forward, on the backend's device
    seconds: float | None  # of all calls; None where nothing is known of the device

    @property
    def flops(self) -> int:
        return sum(self.stage_flops.values())


@dataclass(frozen=True, kw_only=True)
class Calls:
    """Calls of forward in one round, by pass, as expected."""

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
    """How many calls a round will make, if one takes `call_s` seconds.

    Exact where the measure gives numbers; where it gives a rule, the rule is taken to be content after
    TYPICAL_REPETITIONS, or when its budget is spent.
    """
    on_events = int(backend.is_cuda)
    probes = {"off": 0, "sync": 1, "events": on_events, "both": 1 + on_events}
    if backend.no_stages is not None:
        probes = dict.fromkeys(probes, 0)
    per_sample = 1 + STREAMED_CLIPS if backend.transfer == "overlapped" else 1
    return Calls(
        first=1 + (TYPICAL_WARMUP if measure.warmup == "auto" else measure.warmup),
        end_to_end=per_sample * _repetitions(measure.repetitions, call_s and per_sample * call_s),
        stages=probes[measure.stages] * 2 * _repetitions(measure.repetitions, call_s and 2 * call_s),
        memory=0 if backend.is_divided else {"off": 0, "curve": 1, "lines": 2}[measure.memory],
        check=int(backend.memory_plan is not None),
        profile=2 * int(measure.profile and not backend.is_divided),
    )


def _repetitions(rule: Repetitions, sample_s: float | None) -> int:
    wanted = min(TYPICAL_REPETITIONS, rule.max)
    if sample_s:
        wanted = min(wanted, math.ceil(rule.budget_s / sample_s))
    return max(wanted, rule.min)


def cost(cell: Cell, model: Model, measure: Measure, rates: dict[str, float | None]) -> Estimate:
    """The estimate of a cell; `rates` are FLOP/s by device kind, as `machine_rates` gives them."""
    flops = stage_flops(cell, model)
    rate = rates["cuda" if cell.backend.is_cuda else "cpu"]
    threads = _threads(cell.backend)
    if rate is not None and not cell.backend.is_cuda and threads is not None:
        cores = psutil.cpu_count(logical=False) or 1
        rate *= min(1.0, threads / cores)
    call_s = None if rate is None else sum(flops.values()) / rate
    calls = expected_calls(measure, cell.backend, call_s).total
    seconds = None if call_s is None else calls * call_s
    return Estimate(
        cell=cell,
        stage_flops=flops,
        calls=calls,
        peak_bytes=peak_bytes(cell, model),
        seconds=seconds,
    )


def _threads(backend: Backend) -> int | None:
    """Of all its processes together; None where PyTorch takes what there is."""
    if backend.is_divided:
        return backend.processes * (backend.threads or 1)
    return backend.threads


def stage_flops(cell: Cell, model: Model) -> dict[Stage, int]:
    """FLOPs of each stage of one forward of the cell, those that its memory plan computes again included."""
    entry = find_model(model.name)
    shape = {"batch": cell.batch, "height": cell.height, "width": cell.width}
    flops = entry.stage_flops(model.parameters, frames=cell.frames, **shape)
    needed = _needs(cell, model)
    if needed is None or not needed.recomputed_frames:
        return flops
    again = entry.stage_flops(model.parameters, frames=needed.recomputed_frames, **shape)
    propagation = again[Stage.PROPAGATION] // 2  # one direction's; flow is the rest
    return flops | {
        Stage.PROPAGATION: flops[Stage.PROPAGATION] + propagation,
        Stage.ALIGNMENT: flops[Stage.ALIGNMENT] + needed.extra_flops - propagation,
    }


def _needs(cell: Cell, model: Model) -> "Needs | None":
    """What one forward takes under the cell's memory plan."""
    plan = cell.memory_plan()
    if plan is None:
        return None
    # A revision of the network that is measured by this program may not have it yet.
    from vsr_model.memory_cost import Call, needs  # noqa: PLC0415

    call = Call(
        mid_channels=model.mid_channels,
        num_blocks=model.num_blocks,
        batch=cell.batch,
        frames=cell.frames,
        height=cell.height,
        width=cell.width,
        bytes_per_element=cell.backend.feature_bytes,
        on_cpu=not cell.backend.is_cuda,
    )
    return needs(call, plan)


def peak_bytes(cell: Cell, model: Model) -> int:
    """Live tensors and weights during one forward of the cell, on its backend's device. On GPUs of which each
    process has one, what the first takes.

    The clip is included where it lies there: under a memory plan it does not lie on a GPU, nor do outputs
    that were handed on.
    """
    if cell.backend.is_cuda:
        cell = replace(cell, batch=max(1, cell.batch // cell.backend.processes))
    tensors = _tensor_bytes(cell, _as_stored(model, cell.backend))
    return tensors + _convolution_bytes(cell, model) + _graph_bytes(cell, model)


def _as_stored(model: Model, backend: Backend) -> Model:
    """With as many channels as its features have in memory, which the compiled kernel fills up."""
    if backend.convolution != "winograd":
        return model
    # A revision of the network that is measured by this program may not have it yet.
    from vsr_model.native.memory import padded  # noqa: PLC0415

    return model.model_copy(update={"mid_channels": padded(model.mid_channels)})


def _convolution_bytes(cell: Cell, model: Model) -> int:
    """What convolutions keep and work in beside the network's own tensors, if they are not the library's."""
    backend = cell.backend
    if backend.convolution == "winograd":
        return _kernel_bytes(cell, model)
    if backend.convolution == "library":
        return 0
    # A revision of the network that is measured by this program may not have it yet.
    from vsr_model.convolution_memory import spectra_bytes, working_bytes  # noqa: PLC0415

    working = working_bytes(
        backend.convolution,
        mid_channels=model.mid_channels,
        batch=cell.batch,
        pairs=_pairs_at_once(cell),
        upsampled=1,
        height=cell.height,
        width=cell.width,
        bytes_per_element=backend.feature_bytes,
        on_cpu=not backend.is_cuda,
    )
    if backend.is_cuda and backend.schedule == "pipelined":  # on two streams
        working *= 2
    if backend.convolution == "im2col":
        return working
    return working + spectra_bytes(
        mid_channels=model.mid_channels, num_blocks=model.num_blocks, height=cell.height, width=cell.width
    )


def _graph_bytes(cell: Cell, model: Model) -> int:
    """The clip and the output that a CUDA graph has beside the call's own. No GPU has confirmed it."""
    if not cell.backend.cuda_graph:
        return 0
    pixels = cell.batch * cell.frames * cell.height * cell.width
    return 4 * 3 * pixels * (1 + find_model(model.name).scale ** 2)


def _kernel_bytes(cell: Cell, model: Model) -> int:
    """What the compiled kernel holds. Some takes the place of tensors, which are counted all the same."""
    # A revision of the network that is measured by this program may not have it yet.
    from vsr_model.native import memory  # noqa: PLC0415

    scratch = memory.scratch_bytes(
        mid_channels=model.mid_channels,
        batch=cell.batch,
        pairs=_pairs_at_once(cell),
        upsampled=1,
        height=cell.height,
        width=cell.width,
        threads=cell.backend.threads or psutil.cpu_count() or 1,
    )
    return scratch + memory.weight_bytes(
        mid_channels=model.mid_channels,
        num_blocks=model.num_blocks,
        in_bfloat16=cell.backend.dtype == "bfloat16",
    )


def _pairs_at_once(cell: Cell) -> int:
    """How many pairs of a clip's frames have their flow estimated in one call."""
    plan = cell.memory_plan()
    if plan is not None:
        return plan.pairs_at_once(cell.frames)
    return cell.frames - 1


def _tensor_bytes(cell: Cell, model: Model) -> int:
    needed = _needs(cell, model)
    if needed is not None:
        clip_bytes = 4 * 3 * cell.batch * cell.frames * cell.height * cell.width
        return needed.device_bytes if cell.backend.is_cuda else needed.host_bytes + clip_bytes
    axes = {
        "batch": cell.batch,
        "frames": cell.frames,
        "height": cell.height,
        "width": cell.width,
        "bytes_per_element": cell.backend.feature_bytes,
    }
    peak = find_model(model.name).estimate_peak_bytes(model.parameters, **axes)
    if cell.backend.schedule == "pipelined":  # the host may be done before any frame is upsampled
        waiting = (cell.frames - 1) * cell.batch * cell.height * cell.width * model.mid_channels
        peak += cell.backend.feature_bytes * waiting
    return peak


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
