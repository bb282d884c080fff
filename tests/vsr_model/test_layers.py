"""Modules that networks share: the warp, SPyNet, and layers that keep channels last."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests import golden
from tests.networks import build_basicvsr, golden_basicvsr
from vsr_model import no_probe
from vsr_model.layers import is_channels_last, joined, shuffled_channels_last
from vsr_model.schedules import Pipelined
from vsr_model.warp import warp

CHANNELS_LAST = torch.channels_last


def constant_flow(height: int, width: int, right: float, down: float) -> Tensor:
    return torch.tensor([float(right), float(down)]).view(1, 2, 1, 1).expand(1, 2, height, width)


@given(
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    right=st.integers(-3, 3),
    down=st.integers(-3, 3),
    padding_mode=st.sampled_from(["zeros", "border"]),
)
@settings(max_examples=30)
def test_whole_pixels_shift_the_image(
    height: int, width: int, right: int, down: int, padding_mode: Any
) -> None:
    image = torch.rand(1, 2, height, width, generator=torch.Generator().manual_seed(0))
    padded = F.pad(image, (3, 3, 3, 3), mode={"zeros": "constant", "border": "replicate"}[padding_mode])
    expected = padded[..., 3 + down : 3 + down + height, 3 + right : 3 + right + width]
    warped = warp(image, constant_flow(height, width, right, down), padding_mode=padding_mode)
    torch.testing.assert_close(warped, expected, atol=1e-5, rtol=0)


def test_fractions_of_a_pixel_average_neighbours_in_the_flows_precision() -> None:
    image = torch.tensor([[[[0.0, 1.0, 4.0]]]]).expand(1, 1, 3, 3).bfloat16()
    warped = warp(image, constant_flow(3, 3, 0.5, 0), padding_mode="border")
    torch.testing.assert_close(warped[0, 0, 1], torch.tensor([0.5, 2.5, 4.0]))
    assert warp(image[..., :1, :1], constant_flow(1, 1, 0, 0)).item() == 0  # one pixel has no extent


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_spynet_rescales_the_vectors_of_resized_images(mode: str) -> None:
    spynet = build_basicvsr(1, 1, flow_resize=mode, seed=0).alignment.spynet
    ref, supp = torch.rand(2, 1, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {"mode": mode} | ({} if mode == "nearest" else {"align_corners": False})
    with torch.inference_mode():
        aligned = [F.interpolate(image, (32, 64), **options) for image in (ref, supp)]
        expected = F.interpolate(spynet(*aligned), (24, 40), **options)
        flow = spynet(ref, supp)
    torch.testing.assert_close(flow[:, 0], expected[:, 0] * 40 / 64)
    torch.testing.assert_close(flow[:, 1], expected[:, 1] * 24 / 32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, CHANNELS_LAST])
@pytest.mark.parametrize("pipelined", [False, True])
def test_every_convolution_of_features_gets_the_networks_layout(
    pipelined: bool, layout: torch.memory_format, dtype: torch.dtype
) -> None:
    """Otherwise each convolution would copy its input; the warp's output is never channels last."""
    network = golden_basicvsr().to(memory_format=layout)  # type: ignore[call-overload]
    network.cast_features(dtype)
    seen: dict[str, bool] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and not name.startswith("alignment."):
            module.register_forward_pre_hook(
                lambda _module, inputs, name=name: seen.update({name: is_channels_last(inputs[0])})
            )
    lrs = golden.clip(6, 17, 20).view(2, 3, 3, 17, 20)
    with torch.inference_mode():
        assert (Pipelined(network) if pipelined else network)(lrs, no_probe).is_contiguous()
    assert len(seen) == 2 * (1 + 2 * 2) + 1 + 4
    assert {*seen.values()} == {layout is CHANNELS_LAST}


def test_a_join_takes_the_weights_layout_and_dtype() -> None:
    frame, features = torch.rand(2, 3, 5, 7), torch.rand(2, 4, 5, 7)
    expected = torch.cat((frame, features), 1)
    weight = torch.rand(4, 7, 3, 3)
    assert torch.equal(joined(frame, features, weight), expected)
    found = joined(frame, features, weight.bfloat16().to(memory_format=CHANNELS_LAST))
    assert is_channels_last(found)
    assert torch.equal(found, expected.bfloat16())


@pytest.mark.parametrize("n", [1, 2])
def test_pixels_are_shuffled_channels_last(n: int) -> None:
    """The version for GPUs; on a CPU PyTorch's own keeps the format."""
    features = torch.rand(n, 12, 5, 7).to(memory_format=CHANNELS_LAST)
    for found in (shuffled_channels_last(features), F.pixel_shuffle(features, 2)):
        assert torch.equal(found, F.pixel_shuffle(features.contiguous(), 2))
        assert is_channels_last(found)
