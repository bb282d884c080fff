"""Telemetry: real readings of this machine, made-up trees of /proc and /sys, and a fake NVML."""
# ruff: noqa: N802, N815 - NVML's names

import mmap
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.machine import control_groups, telemetry
from bench.machine.telemetry import Telemetry, busiest, others_cores
from bench.machine.telemetry_nvidia import (
    CLOCK_MEMORY,
    CLOCK_SM,
    HARMFUL,
    NOT_INSTALLED,
    POLICY_POWER,
    POLICY_THERMAL,
    REASONS,
    TEMPERATURE_GPU,
    GpuIdentity,
    describe,
    names_of,
    open_gpu,
    states,
)
from bench.records import TelemetryReading

OWN_PID = os.getpid()
UUID = "GPU-5f0d4a2e-0000-1111-2222-333344445555"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def stat(*cores: str) -> str:
    """/proc/stat of cores 0, 1, ...: user nice system idle iowait irq softirq steal guest guest_nice."""
    columns = [list(map(int, core.split())) for core in cores]
    total = " ".join(str(sum(values)) for values in zip(*columns, strict=True))
    lines = [f"cpu{number} {core}" for number, core in enumerate(cores)]
    return "\n".join([f"cpu  {total}", *lines, "intr 5 1 2", "ctxt 99"]) + "\n"


@pytest.fixture
def _two_cores(monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def test_this_machine_is_read_and_its_counters_never_fall():
    with Telemetry(origin=0.0) as machine:
        readings = [machine.read() for _ in range(3)]
    assert readings[0].elapsed_s < readings[1].elapsed_s < readings[2].elapsed_s
    assert readings[0].own_cpu_s is not None
    assert readings[0].own_cpu_s > 0
    for name in ("own_cpu_s", "minor_faults", "involuntary_switches", "busy_s", "steal_s", "swap_pages"):
        values = [getattr(item, name) for item in readings]
        if None not in values:
            assert values == sorted(values)
    assert machine.affinity_cores == len(os.sched_getaffinity(0))
    assert machine.notes == ()
    assert readings[0].power_w is None


def test_the_workers_own_faults_are_counted():
    with Telemetry(origin=0.0) as machine:
        before = machine.read()
        with mmap.mmap(-1, 2**20) as new:  # pages that no allocator has had before
            new.write(bytes(2**20))
        after = machine.read()
    assert before.minor_faults is not None
    assert after.minor_faults is not None
    assert after.minor_faults > before.minor_faults


@pytest.mark.usefixtures("_two_cores")
def test_a_machine_that_has_everything(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/stat": stat("100 10 20 500 7 3 2 40 9 9", "200 0 30 400 0 0 0 10 0 0"),
            "proc/loadavg": "1.25 0.70 0.40 2/300 4242\n",
            "proc/vmstat": "nr_free_pages 12\npswpin 30\npswpout 12\npgfault 5\n",
            "proc/self/cgroup": "0::/job\n",
            "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory",
            "sys/fs/cgroup/job/cpu.stat": "usage_usec 9\nnr_throttled 3\nthrottled_usec 250000\n",
            "sys/fs/cgroup/cpu.stat": "usage_usec 99\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "3000000\n",
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "2000000\n",
            "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "4\n",
            "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "5\n",
        },
    )
    clock = Clock()
    clock.now = 12.0
    with Telemetry(origin=10.0, clock=clock, root=root) as machine:
        reading = machine.read()
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert reading.elapsed_s == 2.0
    assert reading.busy_s == pytest.approx((100 + 10 + 20 + 3 + 2 + 200 + 30) * tick)
    assert reading.steal_s == pytest.approx(50 * tick)
    assert reading.load_1m == 1.25
    assert reading.swap_pages == 42
    assert reading.throttled_periods == 3
    assert reading.throttled_s == 0.25
    assert reading.cpu_mhz == 2500
    assert reading.cpu_throttle_events == 9


def test_only_the_cores_that_may_be_used_count(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1})
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    lines = {"proc/stat": stat("900 0 0 0 0 0 0 900 0 0", "5 0 0 0 0 0 0 3 0 0")}
    with Telemetry(origin=0.0, root=tree(tmp_path, lines)) as machine:
        reading = machine.read()
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert reading.busy_s == pytest.approx(5 * tick)
    assert reading.steal_s == pytest.approx(3 * tick)
    assert machine.affinity_cores == 1


def test_files_are_read_anew_each_time(tmp_path):
    root = tree(tmp_path, {"proc/loadavg": "0.50 0 0 1/1 1\n"})
    with Telemetry(origin=0.0, root=root) as machine:
        assert machine.read().load_1m == 0.5
        (root / "proc/loadavg").write_text("7.25 0 0 1/1 1\n")
        assert machine.read().load_1m == 7.25


@pytest.mark.parametrize("text", ["", "cpu", "cpu a b c d e f g h i j\n", "\0\0\0", "cpu 1 2\n"])
def test_a_machine_that_has_nothing_or_nonsense_gives_none(tmp_path, text):
    root = tree(tmp_path, dict.fromkeys(("proc/stat", "proc/vmstat", "proc/self/cgroup"), text))
    with Telemetry(origin=0.0, root=root) as machine:
        reading = machine.read()
    assert (reading.busy_s, reading.steal_s, reading.swap_pages, reading.load_1m) == (None,) * 4
    assert (reading.throttled_s, reading.cpu_mhz, reading.cpu_throttle_events) == (None,) * 3
    assert reading.own_cpu_s is not None


def test_after_close_a_reading_is_empty_and_does_not_raise():
    machine = Telemetry(origin=0.0)
    machine.close()
    machine.close()
    assert machine.read().busy_s is None


def test_a_slow_source_is_asked_as_seldom_as_it_costs():
    clock = Clock()
    asked = []

    def slow() -> dict[str, float]:
        asked.append(clock.now)
        clock.now += 0.01
        return {"load_1m": 1.0}

    source = telemetry._Source(slow)
    answers = []
    for now in (0.0, 0.1, 0.4, 0.6, 0.7):
        clock.now = now
        answers.append(source.read(now, clock, sparing=True))
    assert asked == [0.0, 0.6]
    assert answers == [{"load_1m": 1.0}, {}, {}, {"load_1m": 1.0}, {}]


def test_where_a_pass_begins_or_ends_a_slow_source_is_asked_too():
    clock = Clock()

    def slow() -> dict[str, float]:
        clock.now += 0.01
        return {"load_1m": clock.now}

    source = telemetry._Source(slow)
    assert source.read(0.0, clock, sparing=True)
    assert source.read(0.1, clock, sparing=True) == {}
    assert source.read(0.1, clock, sparing=False) == {"load_1m": pytest.approx(0.02)}


def test_a_fast_source_is_always_asked():
    source = telemetry._Source(lambda: {"load_1m": 2.0})
    assert [source.read(0.0, Clock(), sparing=True) for _ in range(3)] == [{"load_1m": 2.0}] * 3


def test_a_source_that_raises_gives_nothing():
    assert telemetry._Source(lambda: {"load_1m": 1 / 0}).read(0.0, Clock(), sparing=True) == {}


def reading(elapsed_s: float, **values: float) -> TelemetryReading:
    return TelemetryReading.model_validate({"elapsed_s": elapsed_s, **values})


def test_what_others_kept_busy_is_what_the_worker_did_not():
    span = (reading(1.0, busy_s=10.0, own_cpu_s=1.0), reading(2.0), reading(3.0, busy_s=14.0, own_cpu_s=2.0))
    assert others_cores(span) == 1.5
    assert others_cores(span[:1]) is None
    assert others_cores(()) is None
    assert others_cores([reading(1.0), reading(2.0)]) is None


def test_nobody_is_looked_for_where_the_machine_was_ours_alone(monkeypatch):
    monkeypatch.setattr(telemetry, "busiest", lambda _: pytest.fail("looked at every process"))
    with Telemetry(origin=0.0) as machine:
        quiet = [reading(0.0, busy_s=1.0, own_cpu_s=1.0), reading(9.0, busy_s=10.2, own_cpu_s=10.0)]
        assert machine.others(quiet) == ()
        assert machine.others(()) == ()


def test_a_busy_process_is_named_without_its_arguments():
    code = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code, "secret"], stdout=subprocess.PIPE) as spinning:
        try:
            assert spinning.stdout is not None
            spinning.stdout.readline()
            found = {item.pid: item for item in busiest(1e9)}
            assert spinning.pid in found
            assert "secret" not in found[spinning.pid].name
            assert "/" not in found[spinning.pid].name
            assert (found[spinning.pid].cores or 0) > 0
            assert os.getpid() not in found
        finally:
            spinning.kill()


def test_a_process_list_that_cannot_be_read_names_nobody(monkeypatch):
    def refuse(_: float) -> None:
        raise PermissionError

    monkeypatch.setattr(telemetry, "busiest", refuse)
    busy = [reading(0.0, busy_s=0.0, own_cpu_s=0.0), reading(1.0, busy_s=2.0, own_cpu_s=0.1)]
    with Telemetry(origin=0.0) as machine:
        assert machine.others(busy) == ()


class FakeNvml:
    """The functions of pynvml that are used; its own constants, so that a wrong number finds nothing."""

    def __init__(self, **changes: object) -> None:
        pynvml = pytest.importorskip("pynvml")
        self.pynvml = pynvml
        self.opened = 0
        self.known = {UUID: "gpu", "00000000:1B:00.0": "gpu"}
        self.clocks = {pynvml.NVML_CLOCK_SM: 1410, pynvml.NVML_CLOCK_MEM: 1593}
        self.temperatures = {pynvml.NVML_TEMPERATURE_GPU: 61}
        self.violations = {
            pynvml.NVML_PERF_POLICY_POWER: 2_500_000_000,
            pynvml.NVML_PERF_POLICY_THERMAL: 500_000_000,
        }
        self.reasons = pynvml.nvmlClocksThrottleReasonSwPowerCap
        self.power_mw, self.energy_mj = 350_500, 9_000_250
        self.processes = [(OWN_PID, 4 * 2**30)]
        self.refused: tuple[str, ...] = ()
        self.limit_mw, self.default_mw = 600_000, 700_000
        for name, value in changes.items():
            setattr(self, name, value)

    def __getattribute__(self, name: str) -> object:
        if name.startswith("nvml") and name in object.__getattribute__(self, "refused"):
            return object.__getattribute__(self, "_refuse")
        return object.__getattribute__(self, name)

    def _refuse(self, *_: object) -> None:
        raise self.pynvml.NVMLError(self.pynvml.NVML_ERROR_NOT_SUPPORTED)

    def nvmlInit(self):
        self.opened += 1

    def nvmlShutdown(self):
        self.opened -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid not in self.known:
            raise self.pynvml.NVMLError(self.pynvml.NVML_ERROR_NOT_FOUND)
        return self.known[uuid]

    nvmlDeviceGetHandleByPciBusId = nvmlDeviceGetHandleByUUID

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return self.clocks[kind]

    def nvmlDeviceGetPowerUsage(self, handle):
        return self.power_mw

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        return self.energy_mj

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return self.temperatures[sensor]

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return self.reasons

    def nvmlDeviceGetViolationStatus(self, handle, policy):
        return SimpleNamespace(violationTime=self.violations[policy])

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(pid=pid, usedGpuMemory=held) for pid, held in self.processes]

    def nvmlDeviceGetCount(self):
        return 1

    def nvmlDeviceGetHandleByIndex(self, index):
        return "gpu"

    def nvmlSystemGetDriverVersion(self):
        return "575.51.03"

    def nvmlDeviceGetName(self, handle):
        return "Fast GPU"

    def nvmlDeviceGetPowerManagementLimit(self, handle):
        return self.limit_mw

    def nvmlDeviceGetPowerManagementDefaultLimit(self, handle):
        return self.default_mw

    def nvmlDeviceGetPersistenceMode(self, handle):
        return 0

    def nvmlDeviceGetEccMode(self, handle):
        return [1, 1]

    def nvmlDeviceGetMaxClockInfo(self, handle, kind):
        return self.clocks[kind]


ASKED_IN_A_READING = (
    "nvmlDeviceGetClockInfo", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetTotalEnergyConsumption",
    "nvmlDeviceGetTemperature", "nvmlDeviceGetCurrentClocksThrottleReasons",
    "nvmlDeviceGetViolationStatus", "nvmlDeviceGetComputeRunningProcesses",
)  # fmt: skip


def gpu_telemetry(nvml: FakeNvml, identity: GpuIdentity | None = None) -> Telemetry:
    return Telemetry(origin=0.0, gpu=identity or GpuIdentity(uuid=UUID), nvml=nvml)


def test_constants_are_nvidias_own():
    pynvml = pytest.importorskip("pynvml")
    assert pynvml.NVML_CLOCK_SM == CLOCK_SM
    assert pynvml.NVML_CLOCK_MEM == CLOCK_MEMORY
    assert pynvml.NVML_TEMPERATURE_GPU == TEMPERATURE_GPU
    assert pynvml.NVML_PERF_POLICY_POWER == POLICY_POWER
    assert pynvml.NVML_PERF_POLICY_THERMAL == POLICY_THERMAL
    known = {
        "GpuIdle": "idle", "ApplicationsClocksSetting": "application clocks", "SwPowerCap": "power cap",
        "HwSlowdown": "hardware slowdown", "SyncBoost": "sync boost", "SwThermalSlowdown": "heat",
        "HwThermalSlowdown": "heat (hardware)", "HwPowerBrakeSlowdown": "power brake",
        "DisplayClockSetting": "display clocks",
    }  # fmt: skip
    for name, words in known.items():
        assert REASONS[getattr(pynvml, f"nvmlClocksEventReason{name}")] == words
    assert set(REASONS.values()) > HARMFUL
    missing = [name for name in vars(FakeNvml) if name.startswith("nvml") and not hasattr(pynvml, name)]
    assert missing == []


def test_a_gpu_is_read_in_base_units():
    nvml = FakeNvml()
    with gpu_telemetry(nvml) as machine:
        got = machine.read()
        assert machine.notes == ()
    assert (got.sm_clock_mhz, got.memory_clock_mhz) == (1410, 1593)
    assert (got.power_w, got.energy_j, got.temperature_c) == (350.5, 9000.25, 61)
    assert (got.power_capped_s, got.heat_capped_s) == (2.5, 0.5)
    assert got.throttle_reasons == ("power cap",)
    assert (got.other_device_processes, got.other_device_bytes) == (0, 0)
    assert nvml.opened == 0


@pytest.mark.parametrize("refused", ASKED_IN_A_READING)
def test_what_a_gpu_does_not_tell_is_none_and_the_rest_stands(refused):
    with gpu_telemetry(FakeNvml()) as machine:
        full = fields_without_a_value(machine)
    with gpu_telemetry(FakeNvml(refused=(refused,))) as machine:
        first, second = fields_without_a_value(machine), fields_without_a_value(machine)
    assert first == second
    assert 1 <= len(first - full) <= 2


def fields_without_a_value(machine: Telemetry) -> set[str]:
    return {name for name, value in machine.read().model_dump().items() if value is None}


@pytest.mark.parametrize(
    "identity",
    [
        GpuIdentity(uuid=UUID),
        GpuIdentity(uuid=UUID.removeprefix("GPU-")),
        GpuIdentity(uuid="GPU-of-another-kind", pci="00000000:1B:00.0"),
        GpuIdentity(pci="00000000:1B:00.0"),
    ],
)
def test_the_gpu_is_found_by_what_it_is_and_not_by_its_number(identity):
    with gpu_telemetry(FakeNvml(), identity) as machine:
        assert machine.read().sm_clock_mhz == 1410


@pytest.mark.parametrize(
    "identity", [GpuIdentity(uuid="GPU-none"), GpuIdentity(), GpuIdentity(pci="0:0:0.0")]
)
def test_a_gpu_that_is_not_found_is_a_note(identity):
    nvml = FakeNvml()
    with gpu_telemetry(nvml, identity) as machine:
        assert machine.read().sm_clock_mhz is None
        (note,) = machine.notes
        assert "NVML does not know the device" in note
    assert nvml.opened == 0


def test_no_driver_is_a_note():
    with gpu_telemetry(FakeNvml(refused=("nvmlInit",))) as machine:
        (note,) = machine.notes
        assert "NVML does not start" in note
        assert machine.read().own_cpu_s is not None


def test_no_library_is_a_note(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_gpu(GpuIdentity(uuid=UUID), own_pid=1) == (None, NOT_INSTALLED)
    assert states() == ((), NOT_INSTALLED)
    assert describe() == {"nvidia_driver": None, "nvidia_gpus": None}


@pytest.mark.parametrize(
    ("processes", "count", "held"),
    [
        ([(OWN_PID, 5)], 0, 0),
        ([(OWN_PID, 5), (1, 7), (2, 8)], 2, 15),
        ([(OWN_PID, 5), (1, None)], 1, None),
        ([(4_000_001, 5)], 0, 0),  # a container: the only process is this one under the host's number
        ([(4_000_001, 5), (4_000_002, 6)], 1, None),
        ([], None, None),  # this process is there, and a driver that does not list it says nothing
    ],
)
def test_who_else_is_on_the_gpu(processes, count, held):
    gpu, _ = open_gpu(GpuIdentity(uuid=UUID), own_pid=OWN_PID, nvml=FakeNvml(processes=processes))
    assert gpu is not None
    got = gpu.read()
    assert (got.other_device_processes, got.other_device_bytes) == (count, held)


def test_workers_of_the_same_run_are_no_others():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        nvml = FakeNvml(processes=[(OWN_PID, 5), (child.pid, 6)])
        gpu, _ = open_gpu(
            GpuIdentity(uuid=UUID), own_pid=OWN_PID, nvml=nvml, is_family=lambda pid: pid == child.pid
        )
        assert gpu is not None
        assert gpu.read().other_device_processes == 0
        with gpu_telemetry(nvml) as machine:  # a child is no worker beside this one
            (named,) = machine.others(())
        assert (named.pid, named.device_bytes) == (child.pid, 6)
        assert named.name.startswith("python")


def test_a_worker_beside_is_known_by_its_parents(monkeypatch):
    monkeypatch.setattr(os, "getppid", os.getpid)  # as if this process were the server of both
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert telemetry._is_family(child.pid)
    assert not telemetry._is_family(1)
    assert not telemetry._is_family(2**22 + 1)


def test_reasons_in_words():
    assert names_of(0) == ()
    assert names_of(0x1 | 0x40) == ("idle", "heat (hardware)")
    assert names_of(1 << 40) == ("bit 40",)


def test_what_each_gpu_is_set_to():
    described = describe(FakeNvml(refused=("nvmlDeviceGetEccMode",)))
    assert described["nvidia_driver"] == "575.51.03"
    (gpu,) = described["nvidia_gpus"]
    assert (gpu["name"], gpu["power_limit_w"], gpu["power_limit_default_w"]) == ("Fast GPU", 600, 700)
    assert (gpu["persistence_mode"], gpu["ecc"], gpu["mig"]) == (False, None, None)
    assert describe(FakeNvml(refused=("nvmlDeviceGetCount",))) == {"nvidia_driver": None, "nvidia_gpus": None}


def test_who_has_a_gpu_open_before_a_run():
    ((state,), note) = states(FakeNvml(processes=[(OWN_PID, 3)]))
    assert note == ""
    assert (state.index, state.throttle_reasons, state.processes[0].pid) == (0, ("power cap",), OWN_PID)


V1 = (
    "30 23 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "31 23 0:27 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def test_limits_of_the_first_hierarchy(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/mountinfo": V1,
            "proc/self/cgroup": "4:memory:/docker/abc/job\n2:cpu,cpuacct:/job\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.shares": "1024\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "150000\n",
            "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "1048576\n",
        },
    )
    found = control_groups.limits(root)
    assert (found.version, found.cpu_quota_cores, found.memory_bytes) == (1, 1.5, 1048576)


def test_the_tightest_limit_of_the_second_hierarchy_is_the_one(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
            "proc/self/cgroup": "0::/outer/inner\n",
            "sys/fs/cgroup/cgroup.controllers": "cpuset cpu memory\n",
            "sys/fs/cgroup/outer/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/outer/memory.max": "max\n",
            "sys/fs/cgroup/outer/inner/cpu.max": "max 100000\n",
            "sys/fs/cgroup/outer/inner/memory.max": "4096\n",
        },
    )
    found = control_groups.limits(root)
    assert (found.version, found.cpu_quota_cores, found.memory_bytes) == (2, 2.0, 4096)


@pytest.mark.parametrize("group", ["/host/kubepods/pod1", "/../../outside", "/"])
def test_a_group_that_is_not_below_its_mount_is_the_mount(tmp_path, group):
    root = tree(
        tmp_path,
        {
            "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
            "proc/self/cgroup": f"0::{group}\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu\n",
            "sys/fs/cgroup/cpu.max": "50000 100000\n",
        },
    )
    assert control_groups.limits(root).cpu_quota_cores == 0.5
    assert control_groups.folders("cpu", root) == [root / "sys/fs/cgroup"]


def test_without_control_groups_there_are_no_limits(tmp_path):
    found = control_groups.limits(tmp_path)
    assert (found.version, found.cpu_quota_cores, found.memory_bytes) == (None, None, None)
