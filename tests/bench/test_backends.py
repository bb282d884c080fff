from types import SimpleNamespace

import pytest
import torch

from bench.grid.backend import BUILT_IN
from bench.measure import backends
from bench.measure.backends import applied, is_out_of_memory, unavailable

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

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")


def switches() -> dict[str, object]:
    return {name: getattr(owner, attribute) for name, (owner, attribute) in SWITCHES.items()} | {
        "threads": torch.get_num_threads()
    }


@pytest.fixture(autouse=True)
def _unchanged():
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
        assert {found[key] for key in SWITCHES if key.endswith("precision")} == {precision}
        assert settings["mkldnn.conv.fp32_precision"] == precision
        assert settings["mkldnn.matmul.fp32_precision"] == precision
        assert settings["device"] == backend.device
        assert settings["dtype"] == "float32"
        assert settings["threads"] == str(torch.get_num_threads())
        if backend.is_cuda:
            assert found["cudnn.enabled"] is backend.cudnn_enabled
            assert found["cudnn.benchmark"] is backend.cudnn_benchmark
            assert settings["cudnn.enabled"] == str(backend.cudnn_enabled)
            assert settings["cudnn.benchmark"] == str(backend.cudnn_benchmark)
            assert settings["cuda.matmul.fp32_precision"] == precision
        else:
            assert not any(key.startswith("cud") for key in settings)


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_what_was_set_before_is_restored(name):
    """Also where it is not what torch starts with."""
    with applied(BUILT_IN["cudnn_autotune"].replace(fp32_precision="tf32")):
        before = switches()
        with applied(BUILT_IN[name]):
            assert switches() != before
        assert switches() == before


def test_restored_after_an_exception():
    before = switches()

    def fail_inside():
        with applied(CUDNN.replace(fp32_precision="tf32", threads=1)):
            assert switches() != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert switches() == before


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


def test_tf32_flags_can_still_be_used_afterwards():
    """Reading `allow_tf32` raises after `fp32_precision` was set otherwise; restored, it does not."""
    with applied(CUDNN):
        pass
    with torch.backends.cudnn.flags():
        pass


@without_cuda
def test_no_cuda_has_a_reason():
    assert unavailable(CPU.replace(dtype="bfloat16")) is None
    reason = unavailable(CUDNN)
    assert reason is not None
    assert reason.startswith("no CUDA")
    assert torch.__version__ in reason


def _machine(monkeypatch, *, devices: int, cudnn: bool = True, capability: int = 9) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    properties = SimpleNamespace(major=capability)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: cudnn)


def test_reasons_of_a_machine_with_cuda(monkeypatch):
    _machine(monkeypatch, devices=0)
    assert unavailable(CUDNN).startswith("no CUDA device: torch")
    _machine(monkeypatch, devices=1)
    assert unavailable(CUDNN) is None
    assert unavailable(CUDNN.replace(device="cuda:1")) == "no device cuda:1: this machine has 1"
    assert unavailable(CUDNN.replace(device="cuda:0")) is None
    _machine(monkeypatch, devices=1, cudnn=False)
    assert unavailable(CUDNN).startswith("no cuDNN")
    assert unavailable(BUILT_IN["cuda"]) is None
    _machine(monkeypatch, devices=1, capability=7)
    assert unavailable(CUDNN.replace(dtype="bfloat16")) == "no bfloat16 on GPU 0"
    assert unavailable(CUDNN.replace(dtype="float16")) is None


def test_device_of_initialises_nothing():
    before = torch.cuda.is_initialized()
    assert isinstance(backends.device_of(CPU), backends.CpuDevice)
    assert backends.device_of(CUDNN).torch_device == torch.device("cuda", 0)
    assert backends.device_of(CUDNN.replace(device="cuda:3")).torch_device == torch.device("cuda", 3)
    assert torch.cuda.is_initialized() is before


def test_the_cpu_has_no_queue():
    device = backends.CpuDevice()
    device.synchronize()
    assert device.record_event() is None
    assert device.elapsed_s(None, None) is None
    assert device.peak_bytes() is None
    assert device.allocated_bytes() is None


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
        (ValueError("out of memory"), False),  # not torch's word
    ],
)
def test_which_errors_are_out_of_memory(error, is_one):
    assert is_out_of_memory(error) is is_one


def test_devices_are_described():
    described = backends.describe_devices()
    assert described["torch"] == torch.__version__
    assert described["threads"] == torch.get_num_threads()
    assert len(described["devices"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)
