"""What an NVIDIA GPU says of itself, through nvidia-ml-py; whatever is absent is None, and nothing raises.

The handle is found by the device's own identity, since NVML counts all GPUs of a machine and torch only those
that CUDA_VISIBLE_DEVICES leaves, in that order.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

import psutil

from bench.records import OtherProcess

_T = TypeVar("_T")

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
"""nvmlClocksEventReason*, bit by bit (nvml.h); a test holds them against nvidia-ml-py's own constants."""

HARMFUL: Final = frozenset(
    {"power cap", "hardware slowdown", "heat", "heat (hardware)", "power brake", "board limit", "reliability"}
)
"""Of these, what makes a GPU slower than it could be. An idle one lowers its clocks by right, and application
clocks are somebody's choice, often made for steadiness."""


NOT_INSTALLED: Final = "no GPU telemetry: nvidia-ml-py is not installed"


class Nvml(Protocol):
    """The part of the module pynvml that is used, so that tests can give a fake."""

    def nvmlInit(self) -> None: ...  # noqa: N802 - NVML's names
    def nvmlShutdown(self) -> None: ...  # noqa: N802
    def nvmlSystemGetDriverVersion(self) -> str: ...  # noqa: N802
    def nvmlDeviceGetCount(self) -> int: ...  # noqa: N802
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...  # noqa: N802
    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any: ...  # noqa: N802
    def nvmlDeviceGetHandleByPciBusId(self, pci: str) -> Any: ...  # noqa: N802
    def nvmlDeviceGetClockInfo(self, handle: Any, kind: int) -> int: ...  # noqa: N802
    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int: ...  # noqa: N802
    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any) -> int: ...  # noqa: N802
    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int: ...  # noqa: N802
    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any) -> int: ...  # noqa: N802
    def nvmlDeviceGetViolationStatus(self, handle: Any, policy: int) -> Any: ...  # noqa: N802
    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any) -> list[Any]: ...  # noqa: N802


CLOCK_SM: Final = 1
CLOCK_MEMORY: Final = 2
TEMPERATURE_GPU: Final = 0
POLICY_POWER: Final = 0
POLICY_THERMAL: Final = 1
# nvml.h's numbers, held against nvidia-ml-py's by a test: the protocol needs functions only.


@dataclass(frozen=True, kw_only=True)
class GpuIdentity:
    """What tells one GPU from all others, whatever their order: `uuid` or the PCI address, or both."""

    uuid: str | None = None  # with or without NVML's "GPU-" in front
    pci: str | None = None  # domain:bus:device.function, hexadecimal


@dataclass(frozen=True, kw_only=True)
class GpuProcesses:
    """The processes with a context on the GPU that are none of the run's."""

    count: int
    named: tuple[tuple[int, int | None], ...]  # process id and bytes held, where they can be told apart
    device_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """One moment of a GPU, in the fields of bench.records.TelemetryReading; None where it does not say."""

    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    power_w: float | None = None
    energy_j: float | None = None
    temperature_c: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    power_capped_s: float | None = None
    heat_capped_s: float | None = None
    other_device_processes: int | None = None
    other_device_bytes: int | None = None


class NvidiaGpu:
    """One GPU of this machine. Make it with `open_gpu`."""

    def __init__(
        self, nvml: Nvml, handle: Any, *, own_pid: int, is_family: Callable[[int], bool] = lambda _: False
    ) -> None:
        self._nvml = nvml
        self._handle = handle
        self._own_pid = own_pid
        self._is_family = is_family  # whether a process is another worker of the same run
        self._refused: set[str] = set()

    def read(self) -> GpuReading:
        nvml, handle = self._nvml, self._handle
        energy_mj = self._asked("energy", lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        power_mw = self._asked("power", lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        others = self.processes()
        return GpuReading(
            sm_clock_mhz=self._asked("sm", lambda: float(nvml.nvmlDeviceGetClockInfo(handle, CLOCK_SM))),
            memory_clock_mhz=self._asked(
                "memory", lambda: float(nvml.nvmlDeviceGetClockInfo(handle, CLOCK_MEMORY))
            ),
            power_w=None if power_mw is None else power_mw / 1e3,
            energy_j=None if energy_mj is None else energy_mj / 1e3,
            temperature_c=self._asked(
                "temperature", lambda: float(nvml.nvmlDeviceGetTemperature(handle, TEMPERATURE_GPU))
            ),
            throttle_reasons=self.throttle_reasons(),
            power_capped_s=self._violation_s("power cap", POLICY_POWER),
            heat_capped_s=self._violation_s("heat cap", POLICY_THERMAL),
            other_device_processes=None if others is None else others.count,
            other_device_bytes=None if others is None else others.device_bytes,
        )

    def throttle_reasons(self) -> tuple[str, ...] | None:
        """Why the clocks are not higher at this moment, an idle device and settings included."""
        reasons = self._asked("reasons", lambda: _event_reasons(self._nvml)(self._handle))
        return None if reasons is None else names_of(reasons)

    def all_processes(self) -> tuple[OtherProcess, ...]:
        """Whoever has a context here, before this process has one."""
        listed = self._asked(
            "processes", lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        )
        return tuple(named_process(item.pid, item.usedGpuMemory) for item in listed or ())

    def processes(self) -> GpuProcesses | None:
        """Who has a context here beside this process and `family`; None where the driver does not say.

        To be asked when this process has its own. In a container ids are the host's, and this process is
        not found under its own: then one of those listed is it, and more than their number is not known.
        """
        listed = self._asked(
            "processes", lambda: self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        )
        if not listed:  # a driver that lists nobody while this process is there does not say
            return None
        found = {item.pid: item.usedGpuMemory for item in listed}
        if self._own_pid not in found:
            return GpuProcesses(count=len(found) - 1, named=(), device_bytes=0 if len(found) == 1 else None)
        others = {
            pid: held for pid, held in found.items() if pid != self._own_pid and not self._is_family(pid)
        }
        return GpuProcesses(
            count=len(others),
            named=tuple(others.items()),
            device_bytes=None if None in others.values() else sum(filter(None, others.values())),
        )

    def close(self) -> None:
        self._asked("shutdown", self._nvml.nvmlShutdown)

    def _violation_s(self, name: str, policy: int) -> float | None:
        status = self._asked(
            name, lambda: self._nvml.nvmlDeviceGetViolationStatus(self._handle, policy).violationTime
        )
        return None if status is None else status / 1e9

    def _asked(self, name: str, question: Callable[[], _T]) -> _T | None:
        """The answer, or None where the driver refuses it. What was refused once is not asked again."""
        if name in self._refused:
            return None
        try:
            return question()
        except Exception:
            self._refused.add(name)
            return None


def _is_divided(nvml: Any, handle: Any) -> bool:
    with suppress(Exception):  # GPUs that cannot be divided refuse the question
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    return False


def _event_reasons(nvml: Any) -> Callable[[Any], int]:
    """The question by its name since NVML 12.2, or by its old one, which is to go."""
    found: Callable[[Any], int] | None = getattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)
    return found or nvml.nvmlDeviceGetCurrentClocksThrottleReasons


def open_gpu(
    identity: GpuIdentity,
    *,
    own_pid: int,
    nvml: Nvml | None = None,
    is_family: Callable[[int], bool] = lambda _: False,
) -> tuple[NvidiaGpu | None, str]:
    """The GPU, or None and a note that says why it cannot be read."""
    try:
        library: Any = nvml or _pynvml()
    except ImportError:
        return None, NOT_INSTALLED
    try:
        library.nvmlInit()
    except Exception as error:
        return None, f"no GPU telemetry: NVML does not start ({_in_words(error)})"
    said = "torch gives neither its UUID nor its PCI address"
    for find, address in (
        (library.nvmlDeviceGetHandleByUUID, _nvml_uuid(identity.uuid)),
        (library.nvmlDeviceGetHandleByPciBusId, identity.pci),
    ):
        if address is None:
            continue
        try:
            handle = find(address)
        except Exception as error:  # MIG instances and virtual GPUs may have another id here than in torch
            said = _in_words(error)
        else:
            if find is library.nvmlDeviceGetHandleByPciBusId and _is_divided(library, handle):
                said = "it is a part of a GPU (MIG), and what the whole board draws is not its own"
                continue
            return NvidiaGpu(library, handle, own_pid=own_pid, is_family=is_family), ""
    with suppress(Exception):
        library.nvmlShutdown()
    return None, f"no GPU telemetry: NVML does not know the device ({said})"


@dataclass(frozen=True, kw_only=True)
class GpuState:
    """One GPU before a run; `index` is NVML's, as nvidia-smi counts."""

    index: int
    processes: tuple[OtherProcess, ...] = ()
    throttle_reasons: tuple[str, ...] = ()


def states(nvml: Nvml | None = None) -> tuple[tuple[GpuState, ...], str]:
    """Who has each GPU of the machine open, and what holds its clocks back; a note where nobody knows."""
    try:
        library: Any = nvml or _pynvml()
        library.nvmlInit()
    except ImportError:
        return (), NOT_INSTALLED
    except Exception as error:
        return (), f"no GPU telemetry: NVML does not start ({_in_words(error)})"
    found = []
    with suppress(Exception):
        for index in range(library.nvmlDeviceGetCount()):
            gpu = NvidiaGpu(library, library.nvmlDeviceGetHandleByIndex(index), own_pid=os.getpid())
            found.append(
                GpuState(
                    index=index, processes=gpu.all_processes(), throttle_reasons=gpu.throttle_reasons() or ()
                )
            )
    with suppress(Exception):
        library.nvmlShutdown()
    return tuple(found), ""


def describe(nvml: Nvml | None = None) -> dict[str, Any]:
    """Entries of environment.json: the driver, and how each GPU of the machine is set.

    Nothing that changes by itself and nothing that tells one GPU from another of its kind. Both are None
    where there is no NVML.
    """
    absent = {"nvidia_driver": None, "nvidia_gpus": None}
    try:
        library: Any = nvml or _pynvml()
        library.nvmlInit()
    except Exception:
        return absent
    try:
        gpus = [_settings(library, index) for index in range(library.nvmlDeviceGetCount())]
        return {"nvidia_driver": str(library.nvmlSystemGetDriverVersion()), "nvidia_gpus": gpus}
    except Exception:
        return absent
    finally:
        with suppress(Exception):
            library.nvmlShutdown()


def _settings(library: Any, index: int) -> dict[str, Any]:
    handle = library.nvmlDeviceGetHandleByIndex(index)

    def asked(question: Callable[[], Any]) -> Any:
        try:
            return question()
        except Exception:
            return None

    limit_mw = asked(lambda: library.nvmlDeviceGetPowerManagementLimit(handle))
    default_mw = asked(lambda: library.nvmlDeviceGetPowerManagementDefaultLimit(handle))
    persistence = asked(lambda: library.nvmlDeviceGetPersistenceMode(handle))
    ecc = asked(lambda: library.nvmlDeviceGetEccMode(handle)[0])
    mig = asked(lambda: library.nvmlDeviceGetMigMode(handle)[0])
    return {
        "name": asked(lambda: str(library.nvmlDeviceGetName(handle))),
        "power_limit_w": None if limit_mw is None else limit_mw / 1000,
        "power_limit_default_w": None if default_mw is None else default_mw / 1000,
        "sm_clock_max_mhz": asked(lambda: library.nvmlDeviceGetMaxClockInfo(handle, CLOCK_SM)),
        "memory_clock_max_mhz": asked(lambda: library.nvmlDeviceGetMaxClockInfo(handle, CLOCK_MEMORY)),
        "persistence_mode": None if persistence is None else bool(persistence),
        "ecc": None if ecc is None else bool(ecc),
        "mig": None if mig is None else bool(mig),
        "pcie_generation_max": asked(lambda: library.nvmlDeviceGetMaxPcieLinkGeneration(handle)),
        "pcie_width_max": asked(lambda: library.nvmlDeviceGetMaxPcieLinkWidth(handle)),
    }


def named_process(pid: int, device_bytes: int | None) -> OtherProcess:
    """With the command's name, or `?` where this user or container cannot know it."""
    name = "?"
    with suppress(psutil.Error, OSError):
        name = psutil.Process(pid).name()
    return OtherProcess(pid=pid, name=name, device_bytes=device_bytes)


def names_of(reasons: int) -> tuple[str, ...]:
    """The bits of nvmlDeviceGetCurrentClocksThrottleReasons in words; unknown ones by their number."""
    return tuple(
        REASONS.get(1 << bit, f"bit {bit}") for bit in range(reasons.bit_length()) if reasons >> bit & 1
    )


def _pynvml() -> Any:
    import pynvml  # noqa: PLC0415 - absent is a note, not an error

    return pynvml


def _nvml_uuid(uuid: str | None) -> str | None:
    if not uuid:
        return None
    return uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"


def _in_words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
