"""The machine from made-up trees of /proc and /sys, and from this one."""

import json
from pathlib import Path

import pytest

from bench.machine.environment_host import describe

CPU = "sys/devices/system/cpu"


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


def test_this_machine():
    described = describe()
    assert json.loads(json.dumps(described)) == described
    assert set(described) == set(describe(Path("/nowhere")))


def test_a_machine_that_says_all(tmp_path):
    described = describe(
        tree(
            tmp_path,
            {
                "proc/cpuinfo": "processor : 0\nmicrocode\t: 0x42\nflags\t: fpu hypervisor sse\n\n",
                "proc/cmdline": "root=UUID=1-2-3 user=me mitigations=off nosmt quiet isolcpus=2,3\n",
                "proc/sys/vm/swappiness": "10\n",
                "proc/sys/kernel/randomize_va_space": "2\n",
                f"{CPU}/smt/active": "1\n",
                f"{CPU}/intel_pstate/no_turbo": "1\n",
                f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave\n",
                f"{CPU}/cpu0/cpufreq/scaling_driver": "intel_pstate\n",
                f"{CPU}/cpu0/cpufreq/energy_performance_preference": "balance_power\n",
                f"{CPU}/cpu0/cpufreq/cpuinfo_max_freq": "4700000\n",
                f"{CPU}/cpu0/cache/index0/level": "1\n",
                f"{CPU}/cpu0/cache/index0/type": "Data\n",
                f"{CPU}/cpu0/cache/index0/size": "48K\n",
                f"{CPU}/cpu0/cache/index3/level": "3\n",
                f"{CPU}/cpu0/cache/index3/type": "Unified\n",
                f"{CPU}/cpu0/cache/index3/size": "32768K\n",
                f"{CPU}/vulnerabilities/meltdown": "Not affected\n",
                f"{CPU}/vulnerabilities/spectre_v2": "Mitigation: IBRS\n",
                "sys/devices/system/node/node0/cpulist": "0-1\n",
                "sys/devices/system/node/node1/cpulist": "2-3\n",
                "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
                "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
                "sys/class/dmi/id/sys_vendor": "Amazon EC2\n",
                "sys/class/dmi/id/product_name": "m7i.large\n",
                "sys/class/dmi/id/product_serial": "private\n",
                ".dockerenv": "",
            },
        )
    )
    assert described == {
        "cpu_caches": {"L1d": "48K", "L3": "32768K"},
        "cpu_microcode": "0x42",
        "cpu_smt": True,
        "cpu_turbo": False,
        "cpu_governor": "powersave",
        "cpu_frequency_driver": "intel_pstate",
        "cpu_energy_preference": "balance_power",
        "cpu_max_mhz": 4700,
        "cpu_mitigations": {"spectre_v2": "Mitigation: IBRS"},
        "numa_nodes": 2,
        "clocksource": "tsc",
        "transparent_huge_pages": "madvise",
        "swappiness": 10,
        "address_randomisation": 2,
        "kernel_options": ["mitigations=off", "nosmt", "isolcpus=2,3"],
        "hypervisor": True,
        "machine_model": "Amazon EC2 m7i.large",
        "container": "docker",
        "cgroup": {"version": None, "cpu_quota_cores": None, "memory_bytes": None},
    }


def test_a_machine_that_says_nothing(tmp_path):
    described = describe(tmp_path)
    cgroup, options = described.pop("cgroup"), described.pop("kernel_options")
    assert set(described.values()) == {None}
    assert set(cgroup.values()) == {None}
    assert options == []


@pytest.mark.parametrize(
    ("files", "turbo"),
    [
        ({f"{CPU}/cpufreq/boost": "1\n"}, True),
        ({f"{CPU}/cpufreq/boost": "0\n"}, False),
        ({f"{CPU}/intel_pstate/no_turbo": "0\n"}, True),
        ({f"{CPU}/intel_pstate/no_turbo": "?\n"}, None),
    ],
)
def test_turbo_by_either_driver(tmp_path, files, turbo):
    assert describe(tree(tmp_path, files))["cpu_turbo"] is turbo


@pytest.mark.parametrize(
    ("files", "container"),
    [
        ({}, None),
        ({"run/.containerenv": "", ".dockerenv": ""}, "podman"),
        ({"run/systemd/container": "lxc\n"}, "lxc"),
    ],
)
def test_containers_by_their_marks(tmp_path, files, container):
    assert describe(tree(tmp_path, files))["container"] == container


def test_a_cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert describe(tmp_path)["container"] == "kubernetes"
