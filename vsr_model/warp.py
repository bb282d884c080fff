"""Backward warping: sampling an image where an optical flow points."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def warp(image: Tensor, flow: Tensor, *, padding_mode: Literal["zeros", "border"] = "zeros") -> Tensor:
    """Sample `image` bilinearly at each pixel's own position plus its flow vector.

    `image` is (n, c, h, w); `flow` is (n, 2, h, w) in pixels, horizontal then vertical. The result is
    (n, c, h, w) in the flow's dtype: positions need its precision, so a narrower image is widened to it.
    What lies outside the image reads as zero, or as the nearest edge pixel for `padding_mode="border"`.
    """
    height, width = image.shape[-2:]
    columns = torch.arange(width, dtype=flow.dtype, device=flow.device)
    rows = torch.arange(height, dtype=flow.dtype, device=flow.device).unsqueeze(1)
    grid = torch.stack((_normalised(columns + flow[:, 0], width), _normalised(rows + flow[:, 1], height)), -1)
    return F.grid_sample(
        image.to(flow.dtype), grid, mode="bilinear", padding_mode=padding_mode, align_corners=True
    )


def _normalised(positions: Tensor, size: int) -> Tensor:
    """Map pixel positions to grid_sample's -1 (first pixel's centre) to 1 (last pixel's centre)."""
    return 2 * positions / max(size - 1, 1) - 1  # a single pixel has no extent to divide by
