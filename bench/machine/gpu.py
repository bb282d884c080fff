"""Read NVIDIA GPUs through NVML. A value that a GPU does not report is None, and nothing here raises.

A GPU is found by its UUID, since NVML counts all GPUs of a machine and torch only those that
CUDA_VISIBLE_DEVICES leaves, in that order. Tests put a fake in the place of `pynvml`.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import psutil
import pynvml

from bench.records import OtherProcess

REASONS: Final = {
    0x001: "idle",
    0x002: "application clocks",
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "heat",
    0x040: "heat (hardware)",
    0x080: "power brake",
    0x100: "display clocks",
    0x200: "board limit",
    0x400: "reliability",
}
"""nvmlClocksEventReason*, bit by bit (nvml.h)."""

HARMFUL: Final = frozenset(REASONS.values()) - {"idle", "application clocks", "sync boost", "display clocks"}
"""Of these, what makes a GPU slower than it could be. An idle one lowers its clocks by right, and application
clocks are somebody's choice, often made for steadiness."""


@dataclass(frozen=True, kw_only=True)
class GpuState:
    """One GPU before a run; `index` is NVML's, as nvidia-smi counts."""

    index: int
    processes: tuple[OtherProcess, ...] = ()
    throttle_reasons: tuple[str, ...] = ()


class NvidiaGpu:
    """The GPU that this process measures, by its UUID. Raises pynvml.NVMLError where NVML has no such device,
    as where it is a part of one (MIG): what the whole board draws is not the part's own."""

    def __init__(self, uuid: str) -> None:
        pynvml.nvmlInit()
        try:
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")
        except pynvml.NVMLError:
            pynvml.nvmlShutdown()
            raise

    def read(self) -> dict[str, Any]:
        """Return fields of bench.records.TelemetryReading. Ask when this process has a context on the GPU."""
        handle = self._handle
        others = self._others()
        named = others and others[1]
        return {
            "sm_clock_mhz": _ask(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
            "memory_clock_mhz": _ask(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
            "power_w": _scaled(1e3, pynvml.nvmlDeviceGetPowerUsage, handle),
            "energy_j": _scaled(1e3, pynvml.nvmlDeviceGetTotalEnergyConsumption, handle),
            "temperature_c": _ask(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
            "throttle_reasons": _reasons(handle),
            "power_capped_s": _capped_s(handle, pynvml.NVML_PERF_POLICY_POWER),
            "heat_capped_s": _capped_s(handle, pynvml.NVML_PERF_POLICY_THERMAL),
            "other_device_processes": others and others[0],
            "other_device_bytes": None
            if named is None or None in named.values()
            else sum(filter(None, named.values())),
        }

    def others(self) -> list[OtherProcess]:
        """Return who has a context here beside this run, the largest first."""
        _, named = self._others() or (0, None)
        return named_processes((named or {}).items())

    def _others(self) -> tuple[int, dict[int, int | None] | None] | None:
        """Return how many others have a context here, and their bytes by process id where that is known.

        In a container ids are the host's, and this process is not found under its own: then one of those
        listed is it. None where the driver does not say: it does not list this process either.
        """
        found = dict(_contexts(self._handle))
        if not found:
            return None
        if os.getpid() not in found:
            return len(found) - 1, None if len(found) > 1 else {}
        others = {pid: held for pid, held in found.items() if pid != os.getpid() and not _is_of_this_run(pid)}
        return len(others), others

    def close(self) -> None:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def states() -> tuple[tuple[GpuState, ...], str]:
    """Return who has each GPU open and what holds its clocks back; with a note where nobody knows."""
    try:
        with _handles() as handles:
            return tuple(
                GpuState(
                    index=index,
                    processes=tuple(named_processes(_contexts(handle))),
                    throttle_reasons=_reasons(handle) or (),
                )
                for index, handle in enumerate(handles)
            ), ""
    except pynvml.NVMLError as error:
        return (), unreadable(error)


def describe() -> dict[str, Any]:
    """Return entries of environment.json: the driver, and how each GPU of the machine is set.

    Nothing that changes by itself and nothing that tells one GPU from another of its kind. Both are None
    where there is no NVML.
    """
    try:
        with _handles() as handles:
            return {
                "nvidia_driver": str(pynvml.nvmlSystemGetDriverVersion()),
                "nvidia_gpus": [_settings(handle) for handle in handles],
            }
    except pynvml.NVMLError:
        return {"nvidia_driver": None, "nvidia_gpus": None}


def unreadable(error: Exception) -> str:
    """Return the note that says why a GPU has no telemetry."""
    return f"no GPU telemetry: NVML does not give the device ({error})"


def _settings(handle: Any) -> dict[str, Any]:
    ecc, mig = _ask(pynvml.nvmlDeviceGetEccMode, handle), _ask(pynvml.nvmlDeviceGetMigMode, handle)
    persistence = _ask(pynvml.nvmlDeviceGetPersistenceMode, handle)
    return {
        "name": _ask(pynvml.nvmlDeviceGetName, handle),
        "power_limit_w": _scaled(1e3, pynvml.nvmlDeviceGetPowerManagementLimit, handle),
        "power_limit_default_w": _scaled(1e3, pynvml.nvmlDeviceGetPowerManagementDefaultLimit, handle),
        "sm_clock_max_mhz": _ask(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_SM),
        "memory_clock_max_mhz": _ask(pynvml.nvmlDeviceGetMaxClockInfo, handle, pynvml.NVML_CLOCK_MEM),
        "persistence_mode": None if persistence is None else bool(persistence),
        "ecc": None if ecc is None else bool(ecc[0]),
        "mig": None if mig is None else bool(mig[0]),
        "pcie_generation_max": _ask(pynvml.nvmlDeviceGetMaxPcieLinkGeneration, handle),
        "pcie_width_max": _ask(pynvml.nvmlDeviceGetMaxPcieLinkWidth, handle),
    }


@contextmanager
def _handles() -> Iterator[list[Any]]:
    """Give every GPU's handle. NVML is closed again: while it is open, it keeps the GPUs awake."""
    pynvml.nvmlInit()
    try:
        yield [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _ask(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return NVML's answer, or None where the driver refuses it."""
    try:
        return function(*arguments)
    except pynvml.NVMLError:
        return None


def _scaled(by: float, function: Callable[[Any], Any], handle: Any) -> float | None:
    value = _ask(function, handle)
    return None if value is None else value / by


def _reasons(handle: Any) -> tuple[str, ...] | None:
    """Return why the clocks are not higher at this moment, an idle device and settings included."""
    bits = _ask(pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    if bits is None:
        return None
    return tuple(REASONS.get(1 << bit, f"bit {bit}") for bit in range(bits.bit_length()) if bits >> bit & 1)


def _capped_s(handle: Any, policy: int) -> float | None:
    status = _ask(pynvml.nvmlDeviceGetViolationStatus, handle, policy)
    return None if status is None else status.violationTime / 1e9


def _contexts(handle: Any) -> list[tuple[int, int | None]]:
    """Return process id and bytes held of whoever has a context on the GPU."""
    listed = _ask(pynvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
    return [(item.pid, item.usedGpuMemory) for item in listed]


def named_processes(contexts: Iterable[tuple[int, int | None]]) -> list[OtherProcess]:
    """Return the processes, the largest first, with their commands' names: `?` where they cannot be known."""
    found = []
    for pid, held in sorted(contexts, key=lambda item: -(item[1] or 0)):
        name = "?"
        with suppress(psutil.Error):
            name = psutil.Process(pid).name()
        found.append(OtherProcess(pid=pid, name=name, device_bytes=held))
    return found


def _is_of_this_run(pid: int) -> bool:
    """Return whether a process is another worker of the run that this worker's server belongs to."""
    with suppress(psutil.Error):
        run = psutil.Process(os.getppid()).ppid()
        return run > 1 and run in {parent.pid for parent in psutil.Process(pid).parents()}
    return False
