"""Convolutions by im2col and by FFT, against PyTorch's own."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests import golden
from tests.networks import golden_basicvsr
from vsr_model import convolutions
from vsr_model.convolutions import FftConv2d, Im2colConv2d, fft, keeps_size, replace_convolutions
from vsr_model.layers import is_channels_last

METHODS = ("im2col", "fft")
CHANNELS_LAST = torch.channels_last

by_method = pytest.mark.parametrize("method", METHODS)


def replaced(plain: nn.Conv2d, method: Any) -> Any:
    holder = nn.Sequential(copy.deepcopy(plain))
    replace_convolutions(holder, method, on_cpu=True)
    return holder[0]


def convolution(channels_in: int, channels_out: int, size: int) -> nn.Conv2d:
    torch.manual_seed(channels_in)
    return nn.Conv2d(channels_in, channels_out, size, padding=size // 2).double()


SHAPES = [
    (1, 1, 1, 1, 3), (2, 3, 5, 7, 3), (1, 4, 33, 17, 3), (3, 2, 14, 28, 3), (1, 1, 1, 1, 7), (2, 8, 2, 3, 7),
    (1, 3, 27, 53, 7), (2, 1, 40, 9, 5),
]  # fmt: skip
"""Batch, channels, height, width and kernel: smaller than a tile, its multiples, and one more than them."""


@by_method
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("n", "channels", "height", "width", "size"), SHAPES)
def test_the_output_is_that_of_nn_conv2d(
    method: str, channels_last: bool, n: int, channels: int, height: int, width: int, size: int
) -> None:
    plain = convolution(channels, channels + 1, size)
    features = torch.randn(n, channels, height, width, dtype=torch.float64)
    if channels_last:
        plain, features = plain.to(memory_format=CHANNELS_LAST), features.to(memory_format=CHANNELS_LAST)
    expected = plain(features)
    with torch.no_grad():
        torch.testing.assert_close(replaced(plain, method)(features), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(replaced(plain, method)(features), expected, rtol=0, atol=1e-13)


@by_method
def test_bands_are_joined(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row of pixels, or of tiles, at a time."""
    monkeypatch.setattr(convolutions, "CPU_BAND_BYTES", 1)
    plain = convolution(2, 3, 3)
    features = torch.randn(2, 2, 31, 9, dtype=torch.float64)
    for layout in (torch.contiguous_format, CHANNELS_LAST):
        found = replaced(plain, method)(features.to(memory_format=layout))
        torch.testing.assert_close(found, plain(features), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("method", "row_bytes", "module", "name"),
    [
        ("im2col", 4 * 9 * 20 * 8, F, "unfold"),
        ("fft", 2 * (2 * 4 * 16 * 9 * 16), torch.fft, "rfft2"),  # of inputs and outputs, two tiles in a row
    ],
)
@pytest.mark.parametrize("rows", [1, 2, 4, 60])
def test_memory_is_bounded(
    method: str, row_bytes: int, module: Any, name: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns and spectra of a band stay within the limit, and no band is smaller than it need be."""
    sizes = []
    plain = getattr(module, name)

    def transform(band: Tensor, *arguments: int) -> Tensor:
        made: Tensor = plain(band, *arguments)
        sizes.append(made.nbytes * (2 if method == "fft" else 1))  # as many again are the outputs'
        return made

    monkeypatch.setattr(convolutions, "CPU_BAND_BYTES", rows * row_bytes)
    replacement = replaced(convolution(4, 4, 3), method)
    features = torch.zeros(5, 4, 40, 20, dtype=torch.float64)
    height = 40 if method == "im2col" else 3  # in pixels, or in tiles
    with torch.no_grad():
        replacement(features)  # the spectra of the weights are kept
        monkeypatch.setattr(module, name, transform)
        replacement(features)
    assert sum(sizes) == 5 * height * row_bytes
    assert max(sizes) <= rows * row_bytes
    images = min(rows // height, 5)
    assert len(sizes) == (-(-5 // images) if images else 5 * -(-height // rows))


@by_method
@pytest.mark.parametrize("weight_is", [False, True])
@pytest.mark.parametrize("input_is", [False, True])
def test_the_output_has_the_layout_of_nn_conv2d(method: str, weight_is: bool, input_is: bool) -> None:
    plain = convolution(4, 6, 3)
    features = torch.randn(2, 4, 8, 9, dtype=torch.float64)
    if weight_is:
        plain = plain.to(memory_format=CHANNELS_LAST)
    if input_is:
        features = features.to(memory_format=CHANNELS_LAST)
    found = replaced(plain, method)(features)
    assert is_channels_last(found) == is_channels_last(plain(features)) == (weight_is or input_is)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_im2col_in_any_precision(dtype: torch.dtype) -> None:
    plain = convolution(8, 8, 3).to(dtype)
    features = torch.randn(1, 8, 16, 20).to(dtype)
    for layout in (torch.contiguous_format, CHANNELS_LAST):
        found = replaced(plain, "im2col")(features.to(memory_format=layout))
        assert found.dtype is dtype
        expected = plain.double()(features.double())
        plain.to(dtype)
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=8 * torch.finfo(dtype).eps)


def test_gradients_are_those_of_nn_conv2d() -> None:
    plain = convolution(2, 3, 3)
    features = torch.randn(1, 2, 6, 5, dtype=torch.float64)
    plain(features).square().sum().backward()
    expected = plain.weight.grad
    for method in METHODS:
        plain.weight.grad = None
        other = replaced(plain, method)
        other(features).square().sum().backward()
        torch.testing.assert_close(other.get_parameter("weight").grad, expected)


def test_spectra_are_of_the_weights_that_were_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = convolution(2, 2, 3)
    fast = replaced(plain, "fft")
    made = []
    spectra = fft._spectra

    def counted(weight: Tensor, tile: tuple[int, int]) -> Tensor:
        made.append(tile)
        return spectra(weight, tile)

    monkeypatch.setattr(fft, "_spectra", counted)
    small, large = torch.randn(1, 2, 4, 4).double(), torch.randn(1, 2, 40, 4).double()
    with torch.inference_mode():
        before = plain(large)
        fast(small)
        fast.get_parameter("weight").data.mul_(2)
        for features in (large, small, large):
            found = fast(features)
        torch.testing.assert_close(found, before)  # a size that comes later is of the same weights
        assert made == [(8, 8), (16, 8)]
        again = replaced(fast, "fft")
        fast.get_parameter("bias").data.zero_()
        again.get_parameter("bias").data.zero_()
        torch.testing.assert_close(again(small), 2 * fast(small))
    # What is kept from inference mode may be recorded for what is not these weights.
    again.requires_grad_(False)
    again(small.requires_grad_()).sum().backward()
    assert small.grad is not None


@by_method
def test_a_network_made_in_inference_mode(method: str) -> None:
    features = torch.randn(1, 2, 9, 9).double()
    with torch.inference_mode():
        plain = convolution(2, 3, 3)
        assert plain.weight.is_inference()
        torch.testing.assert_close(replaced(plain, method)(features), plain(features))


def test_one_method_may_take_anothers_place() -> None:
    plain = convolution(2, 3, 3)
    assert type(replaced(replaced(plain, "fft"), "im2col")) is Im2colConv2d
    assert type(replaced(replaced(plain, "im2col"), "fft")) is FftConv2d


def test_a_network_without_any_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^Sequential has no convolution that fft can compute: square, .*\.$"
    ):
        replace_convolutions(nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU()), "fft", on_cpu=True)


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 2), nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, (3, 5), padding=(1, 2)),
        nn.Conv2d(2, 2, 3, padding=1, stride=2), nn.Conv2d(2, 2, 3, padding=1, groups=2),
        nn.Conv2d(2, 2, 3, padding=2, dilation=2), nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 2, 3, padding=1, bias=False),
    ],
    ids=str,
)  # fmt: skip
def test_other_convolutions_stay(other: nn.Conv2d) -> None:
    assert not keeps_size(other)
    holder = nn.Sequential(other, convolution(2, 2, 3))
    replace_convolutions(holder, "fft", on_cpu=True)
    assert [type(item) for item in holder] == [nn.Conv2d, FftConv2d]


@by_method
@pytest.mark.parametrize("layout", [torch.contiguous_format, CHANNELS_LAST])
def test_the_network_gives_the_same(method: Any, layout: torch.memory_format) -> None:
    plain = golden_basicvsr()
    model = copy.deepcopy(plain).to(memory_format=layout)  # type: ignore[call-overload]
    replace_convolutions(model, method, on_cpu=True)
    lrs = torch.cat((golden.clip(3, 33, 41), golden.clip(3, 33, 41).flip(1)))
    with torch.inference_mode():
        error = model(lrs) - plain(lrs)
    assert -10 * math.log10(float(error.square().mean())) >= 100


@by_method
def test_names_and_parameters_stay(method: Any) -> None:
    model = golden_basicvsr()
    before = dict(model.named_parameters())
    state = list(model.state_dict())
    replace_convolutions(model, method, on_cpu=True)
    assert list(model.state_dict()) == state
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is parameter for name, parameter in before.items())
    [one] = (item for item in model.modules() if type(item) is nn.Conv2d)
    assert one is model.aggregation.fusion
