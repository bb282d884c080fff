"""Telemetry: counters from made-up files, psutil's from made-up answers, and a fake NVML."""

import mmap
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from threading import Event, Thread
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from bench.machine import gpu, telemetry
from bench.machine.gpu import NvidiaGpu
from bench.machine.host import allowed_cores
from bench.machine.telemetry import Telemetry, busiest, others_cores
from bench.records import TelemetryReading

OWN_PID = os.getpid()
UUID = "5f0d4a2e-0000-1111-2222-333344445555"


def test_this_machine_is_read_and_its_counters_never_fall():
    with Telemetry(origin=0.0) as machine:
        before = machine.read()
        with mmap.mmap(-1, 2**20) as new:  # pages that no allocator has had before
            new.write(bytes(2**20))
        after = machine.read()
    assert before.elapsed_s < after.elapsed_s
    assert before.minor_faults < after.minor_faults
    for name in ("own_cpu_s", "involuntary_switches", "busy_s", "steal_s", "swap_pages"):
        values = [getattr(before, name), getattr(after, name)]
        assert None in values or values == sorted(values)
    assert machine.affinity_cores == len(os.sched_getaffinity(0))
    assert (machine.notes, before.power_w) == ((), None)


def test_only_the_cores_that_may_be_used_count(monkeypatch, tmp_path):
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    cores = [
        SimpleNamespace(**dict(zip(names, (100.0, 1.0, 2.0, 5.0, 7.0, 3.0, 4.0, 9.0), strict=True))),
        SimpleNamespace(**dict(zip(names, (10.0, 0.0, 0.0, 5.0, 7.0, 0.0, 0.0, 1.0), strict=True))),
        SimpleNamespace(user=1.0, nice=0.0, system=0.0, idle=5.0),  # a system that counts no more
    ]
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: cores)
    assert telemetry.core_times([1], tmp_path) == {"busy_s": 10, "steal_s": 1}
    assert telemetry.core_times([0, 1, 2], tmp_path) == {"busy_s": 121, "steal_s": 10}
    # Two of five are switched off, and have no times.
    online = tmp_path / "sys" / "devices" / "system" / "cpu" / "online"
    online.parent.mkdir(parents=True)
    online.write_text("0,2-3\n")
    assert telemetry.core_times([2], tmp_path) == {"busy_s": 10, "steal_s": 1}
    assert telemetry.core_times([0, 3], tmp_path) == {"busy_s": 111, "steal_s": 9}


@pytest.mark.parametrize(
    ("counters", "held_s"),
    [
        ("usage_usec 9\nnr_throttled 3\nthrottled_usec 250000\n", 0.25),
        ("nr_throttled 3\nthrottled_time 500000000\n", 0.5),
    ],
)
def test_quotas_and_heat(tmp_path, counters, held_s):
    assert telemetry.throttling([tmp_path], tmp_path) == {}
    (tmp_path / "cpu.stat").write_text(counters)
    assert telemetry.throttling([tmp_path], tmp_path) == {"throttled_periods": 3, "throttled_s": held_s}
    heat = tmp_path / "sys/devices/system/cpu/cpu0/thermal_throttle"
    heat.mkdir(parents=True)
    (heat / "core_throttle_count").write_text("4\n")
    (heat / "package_throttle_count").write_text("5\n")
    assert telemetry.throttling([], tmp_path) == {"cpu_throttle_events": 9}


def test_the_clock_is_the_mean_of_a_few_cores(tmp_path):
    assert telemetry.clocks([0, 1], tmp_path) == {}
    for core in range(17):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(f"{1000 * core}\n")
    assert telemetry.clocks([1, 2], tmp_path) == {"cpu_mhz": 1.5}
    assert telemetry.clocks(range(17), tmp_path) == {"cpu_mhz": (0 + 3 + 6 + 9 + 12 + 15) / 6}


def test_a_source_that_raises_gives_nothing(monkeypatch):
    monkeypatch.setattr(psutil, "getloadavg", lambda: 1 / 0)
    with Telemetry(origin=0.0) as machine:
        reading = machine.read()
    assert reading.load_1m is None
    assert reading.own_cpu_s is not None


def test_an_impossible_value_is_not_known(monkeypatch):
    monkeypatch.setattr(psutil, "getloadavg", lambda: (-1.0, 0.0, 0.0))
    with Telemetry(origin=0.0) as machine:
        reading = machine.read()
    assert reading.load_1m is None
    assert reading.own_cpu_s is not None


def reading(elapsed_s: float, **values: float) -> TelemetryReading:
    return TelemetryReading.model_validate({"elapsed_s": elapsed_s, **values})


QUIET = (reading(0.0, busy_s=1.0, own_cpu_s=1.0), reading(9.0, busy_s=10.2, own_cpu_s=10.0))
BUSY = (reading(1.0, busy_s=10.0, own_cpu_s=1.0), reading(2.0), reading(3.0, busy_s=14.0, own_cpu_s=2.0))


def test_what_others_kept_busy_is_what_the_worker_did_not():
    assert others_cores(BUSY) == 1.5
    for none in (BUSY[:1], (), [reading(1.0), reading(2.0)]):
        assert others_cores(none) is None


def test_others_are_looked_for_only_where_the_readings_say_so(monkeypatch):
    def refuse() -> None:
        looked.append(1)
        raise PermissionError

    looked: list[int] = []
    monkeypatch.setattr(telemetry, "busiest", refuse)
    with Telemetry(origin=0.0) as machine:
        assert machine.others(QUIET) == machine.others(()) == ()
        assert looked == []
        assert machine.others(BUSY) == ()  # a list that cannot be read is no reason to lose a round
        assert looked == [1]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity of threads here")
def test_a_process_may_use_the_cores_of_all_its_threads():
    before, ended = os.sched_getaffinity(0), Event()
    thread = Thread(target=ended.wait)
    thread.start()
    try:
        os.sched_setaffinity(0, {min(before)})  # of this thread alone, as OpenMP binds the one that calls it
        assert allowed_cores() == sorted(before)
    finally:
        os.sched_setaffinity(0, before)
        ended.set()
        thread.join()


def test_the_busiest_processes_are_named_in_order(monkeypatch):
    def process(pid: int, cores: float) -> SimpleNamespace:
        def ended() -> float:
            raise psutil.NoSuchProcess(pid)

        used = iter((0.0, 100 * cores))
        return SimpleNamespace(
            pid=pid, name=lambda: f"p{pid}", cpu_percent=ended if cores < 0 else lambda: next(used)
        )

    every = [
        process(*item)
        for item in ((1, 0.5), (2, 1.256), (3, 0.04), (4, -1), (5, 3.0), (6, 0.1), (OWN_PID, 9))
    ]
    monkeypatch.setattr(psutil, "process_iter", lambda: iter(every))
    found = [(item.pid, item.name, item.cores) for item in busiest(0.0)]
    assert found == [(5, "p5", 3.0), (2, "p2", 1.26), (1, "p1", 0.5)]


class FakeNvml:
    """What is used of pynvml, with one GPU and pynvml's own constants; what is `refused` raises."""

    def __init__(
        self, refused: str = "", processes: Sequence[tuple[int, int | None]] = ((OWN_PID, 5),)
    ) -> None:
        self.opened = 0
        clocks = {pynvml.NVML_CLOCK_SM: 1410, pynvml.NVML_CLOCK_MEM: 1593}
        capped_ns = {
            pynvml.NVML_PERF_POLICY_POWER: 2_500_000_000,
            pynvml.NVML_PERF_POLICY_THERMAL: 500_000_000,
        }
        listed = [SimpleNamespace(pid=pid, usedGpuMemory=held) for pid, held in processes]
        self.functions: dict[str, Callable[..., object]] = {
            "nvmlInit": lambda: self.open(1),
            "nvmlShutdown": lambda: self.open(-1),
            "nvmlDeviceGetHandleByUUID": lambda uuid: "gpu" if uuid == f"GPU-{UUID}" else self.refuse(),
            "nvmlDeviceGetClockInfo": lambda _, kind: clocks[kind],
            "nvmlDeviceGetMaxClockInfo": lambda _, kind: clocks[kind],
            "nvmlDeviceGetViolationStatus": lambda _, kind: SimpleNamespace(violationTime=capped_ns[kind]),
            "nvmlDeviceGetComputeRunningProcesses": lambda _: listed,
            "nvmlSystemGetDriverVersion": lambda: "575.51.03",
            "nvmlDeviceGetCount": lambda: 1,
            "nvmlDeviceGetHandleByIndex": lambda index: ["gpu"][index],
        }
        for name, value in {
            "Name": "Fast GPU", "PowerUsage": 350_500, "TotalEnergyConsumption": 9_000_250, "Temperature": 61,
            "CurrentClocksEventReasons": pynvml.nvmlClocksEventReasonSwPowerCap | 1 << 40,
            "PowerManagementLimit": 600_000, "PowerManagementDefaultLimit": 700_000, "PersistenceMode": 0,
            "EccMode": [1, 1], "MigMode": [0, 0], "MaxPcieLinkGeneration": 5, "MaxPcieLinkWidth": 16,
        }.items():  # fmt: skip
            self.functions[f"nvmlDeviceGet{name}"] = lambda *_, value=value: value
        if refused:
            self.functions[refused] = self.refuse

    def __getattr__(self, name: str) -> object:
        return getattr(pynvml, name) if name.startswith("NVML") else self.functions[name]

    def open(self, by: int) -> None:
        self.opened += by

    def refuse(self, *_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


@pytest.fixture
def nvml(monkeypatch):
    """Put a fake in NVML's place; what was opened is closed in the end."""
    fakes = []

    def use(*args: object, **values: object) -> None:
        fakes.append(FakeNvml(*args, **values))
        monkeypatch.setattr(gpu, "pynvml", fakes[-1])

    yield use
    assert {fake.opened for fake in fakes} == {0}


def test_every_function_of_the_fake_and_every_reason_is_nvidias_own():
    assert [name for name in FakeNvml().functions if not hasattr(pynvml, name)] == []
    known = {
        "GpuIdle": "idle", "ApplicationsClocksSetting": "application clocks", "SwPowerCap": "power cap",
        "HwSlowdown": "hardware slowdown", "SyncBoost": "sync boost", "SwThermalSlowdown": "heat",
        "HwThermalSlowdown": "heat (hardware)", "HwPowerBrakeSlowdown": "power brake",
        "DisplayClockSetting": "display clocks",
    }  # fmt: skip
    for name, words in known.items():
        assert gpu.REASONS[getattr(pynvml, f"nvmlClocksEventReason{name}")] == words


GPU_VALUES = {
    "sm_clock_mhz": 1410.0, "memory_clock_mhz": 1593.0, "power_w": 350.5, "energy_j": 9000.25,
    "temperature_c": 61.0, "throttle_reasons": ("power cap", "bit 40"), "power_capped_s": 2.5,
    "heat_capped_s": 0.5, "other_device_processes": 0, "other_device_bytes": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("refused", "unknown"),
    [
        ("", ()),
        ("ClockInfo", ("sm_clock_mhz", "memory_clock_mhz")),
        ("PowerUsage", ("power_w",)),
        ("TotalEnergyConsumption", ("energy_j",)),
        ("Temperature", ("temperature_c",)),
        ("CurrentClocksEventReasons", ("throttle_reasons",)),
        ("ViolationStatus", ("power_capped_s", "heat_capped_s")),
        ("ComputeRunningProcesses", ("other_device_processes", "other_device_bytes")),
    ],
)
def test_what_a_gpu_does_not_tell_is_none_and_the_rest_stands(nvml, refused, unknown):
    nvml(refused and f"nvmlDeviceGet{refused}")
    with Telemetry(origin=0.0, gpu=UUID) as machine:
        got = machine.read().model_dump()
    assert machine.notes == ()
    assert {name: got[name] for name in GPU_VALUES} == {**GPU_VALUES, **dict.fromkeys(unknown)}


@pytest.mark.parametrize(("refused", "uuid"), [("", "another"), ("nvmlInit", UUID)])
def test_a_gpu_that_cannot_be_read_is_a_note(nvml, refused, uuid):
    nvml(refused)
    with Telemetry(origin=0.0, gpu=uuid) as machine:
        assert machine.read().sm_clock_mhz is None
    assert machine.notes == ("no GPU telemetry: NVML does not give the device (Not Supported)",)


@pytest.mark.parametrize(
    ("processes", "count", "held"),
    [
        ([(OWN_PID, 5), (1, 7), (2, 8)], 2, 15),
        ([(OWN_PID, 5), (1, None)], 1, None),
        ([(4_000_001, 5)], 0, 0),  # a container: the only process is this one under the host's number
        ([(4_000_001, 5), (4_000_002, 6)], 1, None),
        ([], None, None),  # this process is there, and a driver that does not list it says nothing
    ],
)
def test_who_else_is_on_the_gpu(nvml, processes, count, held):
    nvml(processes=processes)
    with Telemetry(origin=0.0, gpu=UUID) as machine:
        got = machine.read()
    assert (got.other_device_processes, got.other_device_bytes) == (count, held)


def test_workers_of_the_same_run_are_no_others(nvml, monkeypatch):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        nvml(processes=[(OWN_PID, 5), (child.pid, 6)])
        with Telemetry(origin=0.0, gpu=UUID) as machine:
            monkeypatch.setattr(gpu, "_is_of_this_run", lambda _: False)
            (named,) = machine.others(())
            assert (named.pid, named.device_bytes) == (child.pid, 6)
            assert named.name.startswith("python")
            monkeypatch.setattr(gpu, "_is_of_this_run", lambda pid: pid == child.pid)
            assert machine.others(()) == ()


def test_the_run_is_known_by_its_process(monkeypatch):
    monkeypatch.setattr(os, "getppid", lambda: 7)  # the server
    parents = {7: (5, 1), 9: (8, 5, 1), 3: (1,)}
    monkeypatch.setattr(
        psutil,
        "Process",
        lambda pid: SimpleNamespace(
            ppid=lambda: parents[pid][0],
            parents=lambda: [SimpleNamespace(pid=above) for above in parents[pid]],
        ),
    )
    assert gpu._is_of_this_run(9)
    assert not gpu._is_of_this_run(3)


def test_what_each_gpu_is_set_to(nvml):
    nvml("nvmlDeviceGetEccMode")
    assert gpu.describe() == {
        "nvidia_driver": "575.51.03",
        "nvidia_gpus": [
            {
                "name": "Fast GPU", "power_limit_w": 600, "power_limit_default_w": 700,
                "sm_clock_max_mhz": 1410, "memory_clock_max_mhz": 1593, "persistence_mode": False,
                "ecc": None, "mig": False, "pcie_generation_max": 5, "pcie_width_max": 16,
            }
        ],
    }  # fmt: skip
    nvml("nvmlDeviceGetCount")
    assert gpu.describe() == {"nvidia_driver": None, "nvidia_gpus": None}


def test_who_has_a_gpu_open_before_a_run(nvml):
    nvml(processes=[(OWN_PID, 3), (2**30, 4)])
    ((state,), note) = gpu.states()
    assert (state.index, state.throttle_reasons, note) == (0, ("power cap", "bit 40"), "")
    assert [(item.pid, item.device_bytes) for item in state.processes] == [(2**30, 4), (OWN_PID, 3)]
    assert state.processes[0].name == "?"
    nvml("nvmlInit")
    assert gpu.states() == ((), "no GPU telemetry: NVML does not give the device (Not Supported)")
    with pytest.raises(pynvml.NVMLError):
        NvidiaGpu(UUID)
