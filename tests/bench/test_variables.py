"""Variables of the environment: what workers get of them, in a table and in a real process."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from bench.machine import environment, variables
from bench.places import ROOT
from bench.process.launcher import Launcher
from bench.records import Status
from bench.results.run_folder import RunFolder
from tests.compiler import why_no_compiler

OVERRULING: Final[Mapping[str, str]] = {
    "TORCHDYNAMO_DISABLE": "1", "TORCH_COMPILE_DISABLE": "1", "TORCHDYNAMO_SUPPRESS_ERRORS": "1",
    "TORCHINDUCTOR_FREEZING": "1", "TORCHINDUCTOR_MAX_AUTOTUNE": "1",
    "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
    "TORCHINDUCTOR_CACHE_DIR": "/elsewhere", "TRITON_CACHE_DIR": "/elsewhere", "TRITON_INTERPRET": "1",
    "INDUCTOR_SOMETHING": "1", "AOT_PARTITIONER_DEBUG": "1",
    "TORCH_LOGS": "dynamo", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1", "TORCH_CUDNN_V8_API_DISABLED": "1",
    "TORCH_BLAS_PREFER_CUBLASLT": "1", "TORCH_MKLDNN_MATMUL_MIN_DIM": "1", "LRU_CACHE_CAPACITY": "1",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "PYTORCH_ALLOC_CONF": "backend:cudaMallocAsync",
    "PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "PYTORCH_JIT": "0", "ATEN_CPU_CAPABILITY": "default",
    "OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1", "OMP_DYNAMIC": "true", "OMP_PROC_BIND": "close",
    "OMP_PLACES": "cores", "OMP_WAIT_POLICY": "active", "OMP_SCHEDULE": "dynamic", "GOMP_SPINCOUNT": "0",
    "GOMP_CPU_AFFINITY": "0", "KMP_AFFINITY": "compact", "KMP_BLOCKTIME": "0",
    "DNNL_DEFAULT_FPMATH_MODE": "BF16", "ONEDNN_DEFAULT_FPMATH_MODE": "BF16", "ONEDNN_MAX_CPU_ISA": "SSE41",
    "DNNL_VERBOSE": "1", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "0",
    "MKL_NUM_THREADS": "1", "MKL_DYNAMIC": "FALSE", "MKL_CBWR": "COMPATIBLE",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "OPENBLAS_NUM_THREADS": "1",
    "CUDA_LAUNCH_BLOCKING": "1", "CUDA_MODULE_LOADING": "EAGER", "CUDA_CACHE_DISABLE": "1",
    "CUDA_CACHE_PATH": "/elsewhere", "CUDA_DEVICE_MAX_CONNECTIONS": "1", "CUDA_FORCE_PTX_JIT": "1",
    "NVIDIA_TF32_OVERRIDE": "0", "CUBLAS_WORKSPACE_CONFIG": ":16:8", "CUDNN_LOGLEVEL_DBG": "3",
    "NCCL_P2P_DISABLE": "1", "GLOO_DEVICE_TRANSPORT": "TCP",
    "MALLOC_ARENA_MAX": "1", "MALLOC_CONF": "dirty_decay_ms:0", "GLIBC_TUNABLES": "glibc.malloc.perturb=1",
    "LD_BIND_NOW": "1", "PYTHONMALLOC": "debug", "PYTHONTRACEMALLOC": "1", "PYTHONDEVMODE": "1",
}  # fmt: skip
"""Variables of every family, each with a value that changes results, speed, or what is printed."""

CHOOSING: Final = (
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "CUDA_MPS_PIPE_DIRECTORY",
    "CUDA_HOME", "CUDNN_PATH", "MKLROOT", "TORCH_HOME", "TRITON_PTXAS_PATH", "LD_LIBRARY_PATH", "PATH",
    "PYTHONPATH", "HTTPS_PROXY", "INTEL_LICENSE_FILE", "CUDA_VERSION", "SLURM_JOB_ID", "HOME",
)  # fmt: skip


def test_docs_list_the_families() -> None:
    page = (ROOT / "docs" / "measurement.md").read_text(encoding="utf-8")
    for family, prefixes in variables.FAMILIES.items():
        assert f"| {family} | {', '.join(f'`{prefix}`' for prefix in prefixes)} |" in page


def test_workers_get_what_chooses_and_not_what_overrules() -> None:
    both = {**OVERRULING, **dict.fromkeys((*CHOOSING, *variables.SPOILING), "x")}
    assert [*variables.for_workers(both)] == [*CHOOSING, *variables.SPOILING]
    families = [prefix for prefixes in variables.FAMILIES.values() for prefix in prefixes]
    assert all(any(name.startswith(prefix) for prefix in families) for name in variables.SPOILING)


def test_a_worker_has_none_of_them_and_caches_of_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OVERRULING.items():
        monkeypatch.setenv(name, value)
    caches = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")
    with Launcher({"MALLOC_ARENA_MAX": "7"}) as launcher:
        worker = launcher.spawn("tests.bench.faulty_workers:describe")
        found = worker.connection.recv()["environment"]
        folders = {Path(found.pop(name)).parent for name in caches}
        assert found.pop("MALLOC_ARENA_MAX") == "7"  # the run's own
        assert not found.keys() & OVERRULING.keys()
        (folder,) = folders
        assert [*folder.iterdir()] == []
    assert not folder.exists()
    described = environment.collect({}, {})
    assert {*OVERRULING} <= described["dropped_environment"].keys()
    note = variables.dropped_note(described)
    assert note is not None
    assert "TORCHDYNAMO_DISABLE" in note
    assert variables.dropped_note({"dropped_environment": {}}) is variables.dropped_note({}) is None


def test_a_process_that_computes_itself_leaves_them_out() -> None:
    own = {"OMP_THREAD_LIMIT": "1", "PATH": "/bin", "LD_PRELOAD": "x"}
    variables.leave_out(own)
    assert own == {"PATH": "/bin", "LD_PRELOAD": "x"}


@pytest.mark.skipif(shutil.which("git") is None, reason="no git here")
def test_a_hooks_repository_is_not_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment.collect({}, {})["git_commit"]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for name in ("GIT_DIR", "GIT_COMMON_DIR"):
        monkeypatch.setenv(name, str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert environment.collect({}, {})["git_commit"] == before


OF_COMPILERS: Final = (
    "TORCHDYNAMO",
    "TORCH_COMPILE",
    "TORCHINDUCTOR",
    "TRITON",
    "INDUCTOR",
    "AOT",
    "PYTORCH_JIT",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", OVERRULING)
def test_a_run_under_it_is_as_without_it(name: str, tmp_path: Path) -> None:
    compiles = name.startswith(OF_COMPILERS) and why_no_compiler() is None
    grid = {
        "name": "tiny",
        "model": {"name": "basicvsr", "mid_channels": 8, "num_blocks": 1},
        "input": {"name": "noise", "kind": "random"},
        # Frames in which the smallest level of the flow network has work for half the threads.
        "grid": {"batch": [2], "frames": [2], "size": [[32, 32]]},
        "backends": [
            {"name": "two", "from": "cpu", "threads": 2},
            {"name": "fft", "from": "cpu", "threads": 2, "convolution": "fft"},
            *([{"name": "compiled", "from": "cpu", "threads": 2, "compile": True}] if compiles else []),
        ],
        "baseline": "two",
        "measure": {"warmup": 0, "repetitions": 1, "stages": "off", "memory": "off"},
        "plots": [],
    }
    (tmp_path / "grid.yaml").write_text(json.dumps(grid))
    command = [
        sys.executable,
        "-m",
        "bench",
        "run",
        str(tmp_path / "grid.yaml"),
        "--output",
        str(tmp_path / "run"),
    ]
    ended = subprocess.run(
        command,
        env=os.environ | {name: OVERRULING[name]},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert name in ended.stdout
    two, fft, *compiled = RunFolder.open(tmp_path / "run").records()
    assert two.settings["threads"] == fft.settings["threads"] == "2"
    assert two.settings["mkldnn.conv.fp32_precision"] == "ieee"
    # Nowhere are two ways of computing the same in float32 further apart, as they would be in bfloat16.
    assert all(one.status is Status.OK and (one.output_psnr_db or 0) > 110 for one in (two, fft, *compiled))
    assert all(one.compile_graphs and one.compile_cache_hits == 0 for one in compiled)
