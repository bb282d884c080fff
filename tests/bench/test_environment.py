import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from bench import __version__
from bench.machine.environment import ALLOCATOR_VARIABLES, collect, in_short

ROOT = Path(__file__).resolve().parents[2]


def test_it_says_what_explains_a_number():
    described = collect({"torch": "2.13.0", "threads": 2}, ALLOCATOR_VARIABLES["retain"])
    assert described["vsr_bench"] == __version__
    assert described["python"] == platform.python_version()
    assert described["cpu"]
    assert described["cpu_logical_cores"] >= 1
    assert described["memory_bytes"] > 0
    assert described["packages"]["torch"]
    assert described["torch"] == {"torch": "2.13.0", "threads": 2}
    assert described["workers_environment"] == ALLOCATOR_VARIABLES["retain"]
    assert json.loads(json.dumps(described)) == described


def test_it_is_collected_without_torch():
    code = (
        "import sys; from bench.machine.environment import collect;"
        "collect({}, {}); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


@pytest.fixture
def _somebody(monkeypatch) -> None:
    for name, value in {
        "HOME": "/home/somebody",
        "USER": "somebody",
        "LOGNAME": "somebody",
        "LD_PRELOAD": "/home/somebody/lib/libtcmalloc.so",
        "CUDA_CACHE_PATH": "/scratch/somebody/cuda",
        "TORCH_HOME": "/home/somebody",
        "NVIDIA_API_KEY": "nvapi-hidden",
        "TORCH_HUB_TOKEN": "hidden",
        "CUDA_SECRET": "hidden",
        "CUDA_VISIBLE_DEVICES": "1",
        "OMP_NUM_THREADS": "3",
        "EDITOR": "vi",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(platform, "node", lambda: "somebodys-machine")


@pytest.mark.usefixtures("_somebody")
def test_nothing_private_is_in_it():
    described = collect({}, {})
    text = json.dumps(described)
    assert "somebody" not in text
    assert "hidden" not in text
    inherited = described["inherited_environment"]
    assert inherited["LD_PRELOAD"] == "~/lib/libtcmalloc.so"
    assert inherited["CUDA_CACHE_PATH"] == "/scratch/<user>/cuda"
    assert inherited["TORCH_HOME"] == "~"
    assert inherited["CUDA_VISIBLE_DEVICES"] == "1"
    assert inherited["OMP_NUM_THREADS"] == "3"
    assert "EDITOR" not in inherited
    assert "host_name" not in described


@pytest.mark.usefixtures("_somebody")
def test_the_host_name_is_there_where_asked_for():
    assert collect({}, {}, with_host_name=True)["host_name"] == "somebodys-machine"


def test_another_path_that_begins_like_the_home_is_left_alone(monkeypatch):
    monkeypatch.setenv("HOME", "/home/some")
    monkeypatch.setenv("CUDA_CACHE_PATH", "/home/somewhere/cuda")
    assert collect({}, {})["inherited_environment"]["CUDA_CACHE_PATH"] == "/home/somewhere/cuda"


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
        "Fast CPU (8 cores, 4 threads), 2 × Fast GPU, torch 2.13.0, CUDA 13.0, cuDNN 91200"
    )
    assert in_short({"cpu": "Fast CPU", "cpu_physical_cores": None}) == "Fast CPU"
    assert in_short({}) == ""


def test_retaining_keeps_the_heap():
    assert ALLOCATOR_VARIABLES["system"] == {}
    assert ALLOCATOR_VARIABLES["retain"]["MALLOC_MMAP_MAX_"] == "0"
