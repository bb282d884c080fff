"""Features stored channels last stay so from convolution to convolution, the warp notwithstanding."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests import golden
from tests.networks import golden_basicvsr
from vsr_model import no_probe
from vsr_model.layers import is_channels_last, joined, shuffled_channels_last
from vsr_model.schedules import Pipelined

CHANNELS_LAST = torch.channels_last


def layouts_of_inputs(network: nn.Module, call: Callable[..., Tensor], lrs: Tensor) -> dict[str, set[bool]]:
    """Of each convolution, by name, whether its inputs were channels last."""
    seen: dict[str, set[bool]] = {}

    def listen(name: str, module: nn.Module) -> None:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.setdefault(name, set()).add(is_channels_last(inputs[0]))

        module.register_forward_pre_hook(hook)

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            listen(name, module)
    with torch.inference_mode():
        assert call(lrs, no_probe).is_contiguous()
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("pipelined", [False, True])
def test_every_convolution_of_features_is_given_channels_last(
    pipelined: bool, n: int, dtype: torch.dtype
) -> None:
    network = golden_basicvsr().to(memory_format=CHANNELS_LAST)  # type: ignore[call-overload]
    network.cast_features(dtype)
    lrs = golden.clip(3 * n, 17, 20).view(n, 3, 3, 17, 20)
    seen = layouts_of_inputs(network, Pipelined(network) if pipelined else network, lrs)
    features = {name: found for name, found in seen.items() if not name.startswith("alignment.")}
    assert len(features) == 2 * (1 + 2 * 2) + 1 + 4
    assert set().union(*features.values()) == {True}


def test_without_being_asked_nothing_is_channels_last() -> None:
    network = golden_basicvsr()
    seen = layouts_of_inputs(network, network, golden.clip(3, 17, 20))
    assert set().union(*seen.values()) == {False}


def test_what_the_trunk_joins_is_copied_once() -> None:
    frame, features = torch.rand(2, 3, 5, 7), torch.rand(2, 4, 5, 7)
    expected = torch.cat((frame, features), 1)
    weight = torch.rand(4, 7, 3, 3)
    assert torch.equal(joined(frame, features, weight), expected)
    for dtype in (torch.float32, torch.bfloat16):
        found = joined(frame, features, weight.to(dtype).to(memory_format=CHANNELS_LAST))
        assert is_channels_last(found)
        assert torch.equal(found, expected.to(dtype))


@pytest.mark.parametrize("n", [1, 2])
def test_pixels_are_shuffled_channels_last(n: int) -> None:
    """What CUDA runs; on a CPU PyTorch's own keeps the format."""
    features = torch.rand(n, 12, 5, 7).to(memory_format=CHANNELS_LAST)
    found = shuffled_channels_last(features)
    assert torch.equal(found, F.pixel_shuffle(features, 2))
    assert is_channels_last(found)
    assert is_channels_last(F.pixel_shuffle(features, 2))
