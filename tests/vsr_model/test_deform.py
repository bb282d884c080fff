"""Deformable convolutions, against plain ones; windows of frames at the ends of a clip."""

import pytest
import torch
import torch.nn.functional as F

from vsr_model.deform import TAPS, deform_conv3x3
from vsr_model.windows import Ends, around

GENERATOR = torch.Generator().manual_seed(0)
FEATURES = torch.rand((2, 8, 9, 11), generator=GENERATOR)
WEIGHT = torch.rand((4, 8, 3, 3), generator=GENERATOR) - 0.5
BIAS = torch.rand(4, generator=GENERATOR)


def offsets(groups: int, rows: float, columns: float) -> torch.Tensor:
    """Move all taps of all groups alike."""
    each = torch.tensor([float(rows), float(columns)]).repeat(groups * TAPS)
    return each.view(1, -1, 1, 1).expand(2, -1, 9, 11).contiguous()


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_without_offsets_it_is_a_convolution(groups: int) -> None:
    found = deform_conv3x3(FEATURES, offsets(groups, 0, 0), WEIGHT, BIAS)
    torch.testing.assert_close(found, F.conv2d(FEATURES, WEIGHT, BIAS, padding=1), atol=1e-4, rtol=0)


def test_whole_offsets_are_a_shift() -> None:
    found = deform_conv3x3(FEATURES, offsets(2, 2, -1), WEIGHT)
    shifted = F.pad(FEATURES, (1, 0, 0, 2))[..., 2:, :11]  # row 2 further down, a column further left
    inside = (slice(None), slice(None), slice(1, 6), slice(2, 10))  # where no kernel meets an edge
    torch.testing.assert_close(found[inside], F.conv2d(shifted, WEIGHT, padding=1)[inside], atol=1e-4, rtol=0)


def test_each_group_moves_its_own_channels_and_a_mask_weights_the_samples() -> None:
    moved = offsets(2, 0, 0)
    moved[:, 2 * TAPS :] += 100.0  # the second half of the channels lies outside, which is zero
    half = FEATURES.clone()
    half[:, 4:] = 0
    expected = F.conv2d(half, WEIGHT, padding=1)
    torch.testing.assert_close(deform_conv3x3(FEATURES, moved, WEIGHT), expected, atol=1e-4, rtol=0)
    mask = torch.ones(2, 2 * TAPS, 9, 11)
    mask[:, TAPS:] = 0
    found = deform_conv3x3(FEATURES, offsets(2, 0, 0), WEIGHT, mask=mask)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("middle", "frames", "ends", "expected"),
    [
        (5, 10, "far", [3, 4, 5, 6, 7]),
        (0, 10, "far", [4, 3, 0, 1, 2]),
        (1, 10, "far", [4, 0, 1, 2, 3]),
        (8, 10, "far", [6, 7, 8, 9, 5]),
        (9, 10, "far", [7, 8, 9, 6, 5]),
        (0, 10, "mirror", [2, 1, 0, 1, 2]),
        (9, 10, "mirror", [7, 8, 9, 8, 7]),
        (0, 10, "repeat", [0, 0, 0, 1, 2]),
        (9, 10, "repeat", [7, 8, 9, 9, 9]),
        (0, 2, "far", [1, 1, 0, 1, 0]),
        (0, 2, "mirror", [0, 1, 0, 1, 0]),
        (0, 1, "far", [0, 0, 0, 0, 0]),
        (0, 1, "mirror", [0, 0, 0, 0, 0]),
    ],
)
def test_a_window_at_the_ends_of_a_clip(middle: int, frames: int, ends: Ends, expected: list[int]) -> None:
    assert around(middle, frames, 5, ends) == expected
