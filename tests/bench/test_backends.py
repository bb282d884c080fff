"""Settings of a backend in force and restored, reasons why it is unavailable, and torch's own counts."""

import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bench.grid.backend import BUILT_IN
from bench.measure import backends
from bench.measure.backends import applied, is_out_of_memory, unavailable
from bench.records import Status
from tests.bench.fakes import experiment
from tests.bench.rounds import Ran, measure
from tests.compiler import needs_compiler

CPU = BUILT_IN["cpu"]
CUDNN = BUILT_IN["cudnn"]

SWITCHES = {
    "mkldnn.conv.fp32_precision": (torch.backends.mkldnn.conv, "fp32_precision"),
    "mkldnn.matmul.fp32_precision": (torch.backends.mkldnn.matmul, "fp32_precision"),
    "cudnn.conv.fp32_precision": (torch.backends.cudnn.conv, "fp32_precision"),
    "cuda.matmul.fp32_precision": (torch.backends.cuda.matmul, "fp32_precision"),
    "cudnn.enabled": (torch.backends.cudnn, "enabled"),
    "cudnn.benchmark": (torch.backends.cudnn, "benchmark"),
}


def switches() -> dict[str, object]:
    return {name: getattr(owner, attribute) for name, (owner, attribute) in SWITCHES.items()} | {
        "threads": torch.get_num_threads()
    }


@pytest.fixture(autouse=True)
def _unchanged() -> Iterator[None]:
    before = switches()
    yield
    assert switches() == before


@pytest.mark.parametrize(
    ("name", "precision"), [("cpu", "ieee"), ("cuda", "tf32"), ("cudnn", "ieee"), ("cudnn_autotune", "tf32")]
)
def test_settings_are_in_force_and_read_back(name, precision):
    backend = BUILT_IN[name].replace(fp32_precision=precision)
    with applied(backend) as settings:
        found = switches()
        expected = {key: precision for key in SWITCHES if key.endswith("precision")}
        if backend.is_cuda:
            expected["cudnn.enabled"] = backend.cudnn_enabled
            expected["cudnn.benchmark"] = backend.cudnn_benchmark
        assert {key: found[key] for key in expected} == expected
        assert {key: settings[key] for key in ("device", "dtype", "threads")} == {
            "device": backend.device, "dtype": "float32", "threads": str(torch.get_num_threads()),
        }  # fmt: skip
        for key, value in expected.items():
            assert settings.get(key) == (str(value) if backend.is_cuda or "mkldnn" in key else None)


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_what_was_set_before_is_restored_also_after_an_exception(name):
    with applied(BUILT_IN["cudnn_autotune"].replace(fp32_precision="tf32", threads=1)):
        before = switches()
        with suppress(ZeroDivisionError), applied(BUILT_IN[name]):
            assert switches() != before
            raise ZeroDivisionError
        assert switches() == before
    # Reading `allow_tf32` raises after `fp32_precision` was set otherwise; restored, it does not.
    with torch.backends.cudnn.flags():
        pass


def test_threads_are_left_alone_unless_given():
    before = torch.get_num_threads()
    with applied(CPU):
        assert torch.get_num_threads() == before
    with applied(CPU.replace(threads=1)) as settings:
        assert torch.get_num_threads() == backends.thread_count() == 1
        assert settings["threads"] == "1"


def test_a_setting_that_does_not_take_is_refused_and_restored(monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    unlike = torch.get_num_threads() + 1
    with pytest.raises(RuntimeError, match=f"threads is {unlike - 1} where {unlike} was set"):  # noqa: SIM117
        with applied(CPU.replace(threads=unlike)):
            pytest.fail("the block must not run")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_no_cuda_has_a_reason():
    assert unavailable(CPU.replace(dtype="bfloat16")) is None
    reason = unavailable(CUDNN)
    assert reason.startswith("no CUDA")
    assert torch.__version__ in reason


@pytest.mark.parametrize(
    ("machine", "backend", "reason"),
    [
        ({"devices": 0}, CUDNN, f"no CUDA device: torch {torch.__version__} finds no driver or no GPU"),
        ({}, CUDNN, None),
        ({}, CUDNN.replace(device="cuda:0"), None),
        ({}, CUDNN.replace(device="cuda:1"), "no device cuda:1: this machine has 1"),
        ({}, CUDNN.replace(processes=2), "processes: 2 need a GPU each, and this machine has 1"),
        ({"devices": 2}, CUDNN.replace(processes=2), None),
        ({"cudnn": False}, CUDNN, f"no cuDNN: this torch ({torch.__version__}) comes without it"),
        ({"cudnn": False}, BUILT_IN["cuda"], None),
        ({"capability": 7}, CUDNN.replace(dtype="bfloat16"), "no bfloat16 on GPU 0"),
        ({"capability": 7}, CUDNN.replace(dtype="float16"), None),
    ],
)
def test_reasons_of_a_machine_with_cuda(monkeypatch, machine, backend, reason):
    found = {"devices": 1, "cudnn": True, "capability": 9} | machine
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found["devices"] > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: found["devices"])
    properties = SimpleNamespace(major=found["capability"])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: found["cudnn"])
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    assert unavailable(backend) == reason


@pytest.mark.filterwarnings("default")  # of what the compiler imports
def test_reasons_of_a_machine_that_cannot_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder, exc  # noqa: PLC0415 - of this test alone
    from torch.utils import _triton  # noqa: PLC0415

    compiled = CPU.replace(name="compiled", compile=True)

    def none() -> str:
        raise exc.InvalidCxxCompiler

    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    needed = "compile: torch.compile needs a C++ compiler, and "
    assert unavailable(compiled) == f"{needed}there is none (`apt install g++`, or set CXX)"
    monkeypatch.setenv("CXX", "/nowhere/c++")
    assert str(unavailable(compiled)).startswith(f"{needed}CXX is /nowhere/c++, which does not run")
    assert unavailable(CPU) is None
    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", lambda: "g++")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: "/nowhere")
    assert "needs Python's headers" in str(unavailable(compiled))

    monkeypatch.setattr(backends, "_no_gpu", lambda _: None)
    on_gpu = CUDNN.replace(name="compiled", compile=True)
    monkeypatch.setattr(_triton, "has_triton", lambda: False)
    assert "needs Triton for this GPU" in str(unavailable(on_gpu))
    monkeypatch.setattr(_triton, "has_triton", lambda: True)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert "Triton needs a C compiler" in str(unavailable(on_gpu))
    monkeypatch.setenv("CC", "cc")
    assert unavailable(on_gpu) is None


def test_device_of_initialises_nothing():
    before = torch.cuda.is_initialized()
    assert isinstance(backends.device_of(CPU), backends.CpuDevice)
    assert backends.device_of(CUDNN).torch_device == torch.device("cuda", 0)
    assert backends.device_of(CUDNN.replace(device="cuda:3")).torch_device == torch.device("cuda", 3)
    assert torch.cuda.is_initialized() is before


def test_devices_are_described():
    described = backends.describe_devices()
    assert described["torch"] == torch.__version__
    assert described["threads"] == torch.get_num_threads()
    assert len(described["devices"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)


def test_torch_s_own_error_is_out_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError("out of memory"), False),  # not torch's
    ],
)
def test_which_errors_are_out_of_memory(error, is_one):
    assert is_out_of_memory(error) is is_one


# What torch.compile did.


@needs_compiler
@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of what the compiler imports
def test_a_compiled_round_reports_compile_time_apart(tmp_path: Path) -> None:
    one = experiment(backends=[{"name": "compiled", "from": "cpu", "compile": True}], measure=measure())
    record = Ran(one, tmp_path / "reference.npy").record
    assert record.status is Status.OK, record.reason
    assert record.compile_s is not None
    assert record.compile_s > 0
    assert (record.compile_graphs or 0) > 0
