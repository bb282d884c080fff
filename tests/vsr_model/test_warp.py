import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vsr_model.warp import warp


def constant_flow(height: int, width: int, right: float, down: float) -> Tensor:
    return torch.tensor([float(right), float(down)]).view(1, 2, 1, 1).expand(1, 2, height, width)


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    right=st.integers(-3, 3),
    down=st.integers(-3, 3),
    padding_mode=st.sampled_from(["zeros", "border"]),
)
@settings(max_examples=30)
def test_whole_pixels_shift_the_image(height, width, right, down, padding_mode):
    image = torch.rand(1, 2, height, width, generator=torch.Generator().manual_seed(0))
    warped = warp(image, constant_flow(height, width, right, down), padding_mode=padding_mode)

    for y in range(height):
        for x in range(width):
            source_y, source_x = y + down, x + right
            inside = 0 <= source_y < height and 0 <= source_x < width
            source = image[0, :, min(max(source_y, 0), height - 1), min(max(source_x, 0), width - 1)]
            # A single row or column has no extent: it is sampled at its centre, wherever the flow points.
            if padding_mode == "zeros" and not inside and height > 1 and width > 1:
                source = torch.zeros(2)
            elif not inside and padding_mode == "zeros":
                continue
            torch.testing.assert_close(warped[0, :, y, x], source, atol=1e-5, rtol=0)


def test_half_a_pixel_averages_neighbours():
    image = torch.tensor([[[[0.0, 1.0, 4.0]]]]).expand(1, 1, 3, 3)
    warped = warp(image, constant_flow(3, 3, 0.5, 0), padding_mode="border")
    torch.testing.assert_close(warped[0, 0, 1], torch.tensor([0.5, 2.5, 4.0]))


def test_a_narrow_image_is_sampled_in_the_flows_precision():
    image = torch.rand(1, 2, 5, 5).bfloat16()
    warped = warp(image, constant_flow(5, 5, 0.3, 0.1))
    assert warped.dtype == torch.float32
    assert torch.equal(warped, warp(image.float(), constant_flow(5, 5, 0.3, 0.1)))
