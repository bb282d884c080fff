"""`pipelined` computes what the published order does, and orders its work on two streams."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests import golden
from tests.networks import STAGES, Spans, build_basicvsr, golden_basicvsr
from tests.vsr_model.fake_cuda import FakeCuda
from vsr_model import BasicVSR
from vsr_model.schedules import Pipelined


def checked(network: BasicVSR, lrs: Tensor) -> Spans:
    """Compare the output with the published order's, and return the stages."""
    spans = Spans()
    with torch.inference_mode():
        expected = network(lrs)
        found = Pipelined(network)(lrs, spans)
    assert found.is_contiguous()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    return spans


@settings(max_examples=5)
@given(
    n=st.integers(1, 3),
    t=st.integers(1, 11),
    height=st.integers(16, 35),
    width=st.integers(16, 35),
    channels=st.integers(1, 5),
)
def test_equals_the_published_order_at_any_size(
    n: int, t: int, height: int, width: int, channels: int
) -> None:
    network = build_basicvsr(channels, 1, seed=channels)
    checked(network, torch.rand(n, t, 3, height, width, generator=torch.Generator().manual_seed(t)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_it_in_any_precision_and_layout(dtype: torch.dtype) -> None:
    network = golden_basicvsr().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.cast_features(dtype)
    assert set(checked(network, golden.clip(3, 17, 20)).stages) == set(STAGES)


def test_frames_are_upsampled_on_a_stream_beside_the_next_ones_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    network = golden_basicvsr()
    cuda = FakeCuda(monkeypatch)
    parts = {
        "step": network.propagation.forward_trunk,
        "aggregate": network.aggregation,
        "upsample": network.upsampling,
    }
    for name, part in parts.items():
        part.register_forward_pre_hook(lambda *_, name=name: cuda.log.append(f"{name} on {cuda.current}"))
    call: Any = Pipelined(network)
    assert call._stream is None  # a CPU has none
    call._stream = torch.cuda.Stream(torch.device("cpu"))
    with torch.inference_mode():
        assert call(golden.clip(2, 16, 16)).shape == (1, 2, 3, 64, 64)
    frame = [
        "step on main", "stream 1 waits for main",
        *(f"(1, {channels}, 16, 16) is used on stream 1" for channels in (8, 8, 3)),
        "aggregate on stream 1", "upsample on stream 1",
    ]  # fmt: skip
    joined = ["main waits for stream 1", *["(1, 3, 64, 64) is used on main"] * 2]
    assert cuda.log == [*frame, *frame, *joined]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_streams_give_the_same_again_and_again() -> None:
    """A missing wait, or memory that is used again too early, would show sooner or later."""
    network = golden_basicvsr("full").cuda()
    lrs = golden.clip(7, 90, 160).cuda()
    with torch.inference_mode():
        expected = network(lrs)
        call = Pipelined(network)
        for _ in range(20):
            found = call(lrs)
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
            del found
