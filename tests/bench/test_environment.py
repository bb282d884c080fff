"""environment.json: from made-up trees of /proc and /sys, and what keeps private things out of it."""

import json
import platform
from pathlib import Path

import pytest

from bench import __version__
from bench.machine.environment import ALLOCATOR_VARIABLES, collect, cpu_in_short, in_short
from bench.machine.host import describe, last_cache_bytes

CPU = "sys/devices/system/cpu"
CLOCK = f"{CPU}/cpu0/cpufreq"
MIB = 2**20


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def caches(core: int, *found: tuple[int, str, str, str]) -> dict[str, str]:
    """Files of a core's caches: level, type, size and who shares each."""
    names = ("level", "type", "size", "shared_cpu_list")
    return {
        f"{CPU}/cpu{core}/cache/index{index}/{name}": str(word)
        for index, words in enumerate(found)
        for name, word in zip(names, words, strict=True)
    }


def test_it_says_what_explains_a_number():
    described = collect({"torch": "2.13.0", "threads": 2}, ALLOCATOR_VARIABLES["retain"])
    assert described["vsr_bench"] == __version__
    assert described["python"] == platform.python_version()
    assert described["cpu"]
    assert described["memory_bytes"] > 0
    assert described["packages"]["torch"]
    assert described["torch"] == {"torch": "2.13.0", "threads": 2}
    assert described["workers_environment"] == ALLOCATOR_VARIABLES["retain"]
    assert json.loads(json.dumps(described)) == described


@pytest.fixture
def _somebody(monkeypatch) -> None:
    for name, value in {
        "HOME": "/home/somebody", "USER": "somebody", "LOGNAME": "somebody",
        "LD_PRELOAD": "/home/somebody/lib/libtcmalloc.so", "CUDA_HOME": "/scratch/somebody/cuda",
        "TORCH_HOME": "/home/somebody", "CUDNN_PATH": "/home/somebodyelse", "NVIDIA_API_KEY": "nvapi-hidden",
        "TORCH_HUB_TOKEN": "hidden", "CUDA_SECRET": "hidden", "OMP_NUM_THREADS": "3", "EDITOR": "vi",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(platform, "node", lambda: "somebodys-machine")


@pytest.mark.usefixtures("_somebody")
def test_nothing_private_is_in_it():
    described = collect({}, {})
    inherited = described["inherited_environment"]
    assert inherited["LD_PRELOAD"] == "~/lib/libtcmalloc.so"
    assert inherited["CUDA_HOME"] == "/scratch/<user>/cuda"
    assert inherited["TORCH_HOME"] == "~"
    assert inherited["CUDNN_PATH"] == "/home/somebodyelse"  # it only begins like the home folder
    dropped = described["dropped_environment"]
    assert dropped["OMP_NUM_THREADS"] == "3"
    assert not {"EDITOR", "NVIDIA_API_KEY", "TORCH_HUB_TOKEN", "CUDA_SECRET"} & {*inherited, *dropped}
    assert "host_name" not in described
    assert "somebodys-machine" not in json.dumps(described)
    assert collect({}, {}, with_host_name=True)["host_name"] == "somebodys-machine"


@pytest.mark.usefixtures("_somebody")
def test_a_user_without_a_home_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    assert collect({}, {})["inherited_environment"]["CUDA_HOME"] == "/scratch/<user>/cuda"


def test_in_short():
    described = {
        "cpu": "Fast CPU",
        "cpu_physical_cores": 8,
        "torch": {
            "torch": "2.13.0", "torch_cuda": "13.0", "cudnn": 91200, "threads": 4,
            "devices": [{"name": "Fast GPU"}, {"name": "Fast GPU"}],
        },
    }  # fmt: skip
    assert in_short(described) == (
        "Fast CPU, 8 cores, 4 threads, 2 × Fast GPU, torch 2.13.0, CUDA 13.0, cuDNN 91200"
    )
    assert in_short({"cpu": "Fast CPU", "cpu_physical_cores": None}) == "Fast CPU"
    assert in_short({}) == ""


@pytest.mark.parametrize(
    ("cpuinfo", "found", "model"),
    [
        ("flags\t: sse4_2 avx avx2 avx512f amx_tile", "AMX", None),
        ("flags\t: avx avx2 avx512f\nmodel\t: 2\ncpu family\t: 26", "AVX-512", "family 26, model 2"),
        ("flags\t: avx avx2", "AVX2", None),
        ("flags\t: sse4_2", "SSE4.2", None),
        ("Features\t: fp asimd sve\nCPU implementer\t: 0x41\nCPU part\t: 0xd40", "SVE",
         "implementer 0x41, part 0xd40"),
        ("Features\t: fp asimd", "NEON", None),
        ("", None, None),
    ],
)  # fmt: skip
def test_the_instruction_set_tells_processors_of_one_name_apart(tmp_path, cpuinfo, found, model):
    described = describe(tree(tmp_path, {"proc/cpuinfo": f"{cpuinfo}\n\n"}))
    assert (described["cpu_instruction_set"], described["cpu_model"]) == (found, model)
    named = cpu_in_short({**described, "cpu": "Fast CPU", "cpu_physical_cores": 2})
    assert named == ", ".join(filter(None, ("Fast CPU", found, "2 cores")))


def test_the_instruction_set_of_an_earlier_run_is_torchs():
    assert cpu_in_short({"cpu": "Fast CPU", "torch": {"cpu_capability": "AVX512"}}) == "Fast CPU, AVX-512"
    assert cpu_in_short({"cpu": "Fast CPU", "torch": {"cpu_capability": "DEFAULT"}}) == "Fast CPU"


def test_a_machine_that_says_all(tmp_path):
    files = {
        "proc/cpuinfo": "model name\t: Fast CPU\nmicrocode\t: 0x42\nflags\t: fpu hypervisor avx avx2\n"
        "cpu family\t: 6\nmodel\t: 143\nstepping\t: 8\n\nmodel name\t: Another\nmicrocode\t: 0x43\n",
        "proc/cmdline": "root=UUID=1-2-3 user=me mitigations=off nosmt quiet isolcpus=2,3",
        "proc/sys/vm/swappiness": "10", "proc/sys/kernel/randomize_va_space": "2",
        f"{CPU}/smt/active": "1", f"{CPU}/intel_pstate/no_turbo": "1",
        f"{CLOCK}/scaling_governor": "powersave", f"{CLOCK}/scaling_driver": "intel_pstate",
        f"{CLOCK}/energy_performance_preference": "balance_power", f"{CLOCK}/cpuinfo_max_freq": "4700000",
        f"{CPU}/vulnerabilities/mds": "Not affected", f"{CPU}/vulnerabilities/spectre": "Mitigation: IBRS",
        "sys/devices/system/node/node0/cpulist": "0-1", "sys/devices/system/node/node1/cpulist": "2-3",
        "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
        "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
        "sys/class/dmi/id/sys_vendor": "Amazon EC2", "sys/class/dmi/id/product_name": "m7i.large",
        "sys/class/dmi/id/product_serial": "private", ".dockerenv": "",
        **caches(0, (1, "Data", "48K", "0"), (3, "Unified", "32768K", "0-3")),
    }  # fmt: skip
    assert describe(tree(tmp_path, files)) == {
        "cpu": "Fast CPU", "cpu_caches": {"L1d": "48K", "L3": "32768K"}, "cpu_microcode": "0x42",
        "cpu_model": "family 6, model 143, stepping 8", "cpu_instruction_set": "AVX2",
        "cpu_smt": True, "cpu_turbo": False, "cpu_governor": "powersave",
        "cpu_frequency_driver": "intel_pstate", "cpu_energy_preference": "balance_power", "cpu_max_mhz": 4700,
        "cpu_mitigations": {"spectre": "Mitigation: IBRS"}, "numa_nodes": 2, "clocksource": "tsc",
        "transparent_huge_pages": "madvise", "swappiness": 10, "address_randomisation": 2,
        "kernel_options": ["mitigations=off", "nosmt", "isolcpus=2,3"], "hypervisor": True,
        "machine_model": "Amazon EC2 m7i.large", "container": "docker",
        "cgroup": {"version": None, "cpu_quota_cores": None, "memory_bytes": None},
    }  # fmt: skip


@pytest.fixture
def _no_cluster(monkeypatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


@pytest.mark.usefixtures("_no_cluster")
def test_a_machine_that_says_nothing(tmp_path):
    described = describe(tmp_path)
    assert described.pop("cpu")
    assert described.pop("kernel_options") == []
    assert set(described.pop("cgroup").values()) == {None}
    assert set(described.values()) == {None}


@pytest.mark.parametrize(
    ("files", "turbo"),
    [
        ({f"{CPU}/cpufreq/boost": "1"}, True),
        ({f"{CPU}/cpufreq/boost": "0"}, False),
        ({f"{CPU}/intel_pstate/no_turbo": "0"}, True),
        ({f"{CPU}/intel_pstate/no_turbo": "?"}, None),
    ],
)
def test_turbo_by_either_driver(tmp_path, files, turbo):
    assert describe(tree(tmp_path, files))["cpu_turbo"] is turbo


@pytest.mark.usefixtures("_no_cluster")
def test_containers_by_their_marks(tmp_path, monkeypatch):
    root = tree(tmp_path, {"run/systemd/container": "lxc"})
    assert describe(root)["container"] == "lxc"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert describe(root)["container"] == "kubernetes"
    assert describe(tree(root, {"run/.containerenv": "", ".dockerenv": ""}))["container"] == "podman"


@pytest.mark.parametrize(
    ("cores", "held"), [((0, 1, 2, 3), 64 * MIB), ((0, 1), 32 * MIB), ((1, 3), 64 * MIB), ((3,), 32 * MIB)]
)
def test_each_last_cache_counts_once(tmp_path, cores, held):
    for core in range(4):
        own = [(1, "Data", "48K", core), (1, "Instruction", "64M", core), (2, "Unified", "1024K", core)]
        tree(tmp_path, caches(core, *own, (3, "Unified", "32768K", "0-1" if core < 2 else "2-3")))
    assert last_cache_bytes(tmp_path, cores) == held


def test_the_level_that_holds_most_counts_and_no_sharing_means_own_caches(tmp_path):
    for core in range(4):
        tree(tmp_path, caches(core, (2, "Unified", "2048K", ""), (3, "Unified", "6M", "0-3")))
    assert last_cache_bytes(tmp_path, range(4)) == 8 * MIB
    assert last_cache_bytes(tree(tmp_path, caches(7, (3, "Unified", "no size", "7"))), (7, 8)) == 0
