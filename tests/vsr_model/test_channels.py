"""Luma, and the chroma that goes with it."""

import torch
import torch.nn.functional as F

from vsr_model.channels import luma_of, with_chroma


def test_luma_lies_between_16_and_235_of_255():
    white = torch.ones(1, 3, 2, 2)
    assert torch.allclose(255 * luma_of(white), torch.tensor(235.0), atol=0.01)
    assert torch.allclose(255 * luma_of(0 * white), torch.tensor(16.0))


def test_chroma_is_enlarged_as_it_is_and_luma_is_kept():
    rgb = torch.rand(1, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    luma = torch.rand(1, 1, 32, 24, generator=torch.Generator().manual_seed(1))
    made = with_chroma(luma, rgb)
    assert torch.allclose(luma_of(made), luma, atol=1e-5)
    enlarged = F.interpolate(rgb, (32, 24), mode="bicubic", align_corners=False)
    assert torch.allclose(with_chroma(luma_of(enlarged), rgb), enlarged, atol=1e-5)
