"""EDVR's alignment and fusion of a window's features (Wang et al., CVPRW 2019), which others have, too."""

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr_model.deform import ModulatedDeform
from vsr_model.layers import ResidualBlock, conv3x3, leaky_relu_

LEVELS: Final = ("l3", "l2", "l1")  # coarse to fine
GROUPS: Final = 8  # of deformable convolutions
MULTIPLE: Final = 4  # of both sides: two levels halve them


def add_pyramid(owner: nn.Module, channels: int, num_blocks: int) -> None:
    """Add the layers of `pyramid_of` to a module, by their public names."""
    owner.conv_first = conv3x3(3, channels)
    owner.feature_extraction = nn.Sequential(*(ResidualBlock(channels) for _ in range(num_blocks)))
    add_levels(owner, channels)


def add_levels(owner: nn.Module, channels: int) -> None:
    """Add the layers of `levels_of` to a module, by their public names."""
    for level in ("l2", "l3"):
        owner.add_module(f"conv_{level}_1", nn.Conv2d(channels, channels, 3, stride=2, padding=1))
        owner.add_module(f"conv_{level}_2", conv3x3(channels, channels))


def pyramid_of(owner: nn.Module, frames: Tensor) -> list[Tensor]:
    """Return features of `frames` (n, 3, h, w) at the full size, a half and a quarter."""
    first = owner.get_submodule("conv_first")
    dtype = first.get_parameter("weight").dtype
    return levels_of(owner, owner.get_submodule("feature_extraction")(leaky_relu_(first(frames.to(dtype)))))


def levels_of(owner: nn.Module, features: Tensor) -> list[Tensor]:
    """Return `features` (n, c, h, w) at the full size, a half and a quarter."""
    levels = [features]
    for level in ("l2", "l3"):
        halved = leaky_relu_(owner.get_submodule(f"conv_{level}_1")(levels[-1]))
        levels.append(leaky_relu_(owner.get_submodule(f"conv_{level}_2")(halved)))
    return levels


class PCDAlignment(nn.Module):
    """Alignment by deformable convolutions along a pyramid, and once more at its end (a cascade)."""

    def __init__(self, channels: int, *, groups: int = GROUPS, cascade: bool = True) -> None:
        super().__init__()
        self.cascade = cascade
        double = 2 * channels
        self.offset_conv1 = nn.ModuleDict({level: conv3x3(double, channels) for level in LEVELS})
        self.offset_conv2 = nn.ModuleDict(
            {level: conv3x3(channels if level == "l3" else double, channels) for level in LEVELS}
        )
        self.offset_conv3 = nn.ModuleDict({level: conv3x3(channels, channels) for level in LEVELS[1:]})
        self.dcn_pack = nn.ModuleDict({level: ModulatedDeform(channels, groups) for level in LEVELS})
        self.feat_conv = nn.ModuleDict({level: conv3x3(double, channels) for level in LEVELS[1:]})
        if cascade:
            self.cas_offset_conv1 = conv3x3(double, channels)
            self.cas_offset_conv2 = conv3x3(channels, channels)
            self.cas_dcnpack = ModulatedDeform(channels, groups)

    def forward(self, neighbour: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
        """Align the features of a frame, fine to coarse, to those of another; return (n, c, h, w)."""
        guide = features = torch.empty(0)
        for level, of, to in zip(LEVELS, reversed(neighbour), reversed(reference), strict=True):
            lower_guide, lower = guide, features
            guide = leaky_relu_(self.offset_conv1[level](torch.cat((of, to), 1)))
            if level == "l3":
                guide = leaky_relu_(self.offset_conv2[level](guide))
            else:
                joined = torch.cat((guide, 2 * _doubled(lower_guide)), 1)
                guide = leaky_relu_(self.offset_conv3[level](leaky_relu_(self.offset_conv2[level](joined))))
            features = self.dcn_pack[level](of, guide)
            if level != "l3":
                features = self.feat_conv[level](torch.cat((features, _doubled(lower)), 1))
            if level != "l1":
                features = leaky_relu_(features)
        if not self.cascade:
            return features
        guide = leaky_relu_(self.cas_offset_conv1(torch.cat((features, reference[0]), 1)))
        return leaky_relu_(self.cas_dcnpack(features, leaky_relu_(self.cas_offset_conv2(guide))))


class TSAFusion(nn.Module):
    """Fusion of a window by attention over its frames, and over positions at three sizes."""

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.temporal_attn1, self.temporal_attn2 = conv3x3(channels, channels), conv3x3(channels, channels)
        self.feat_fusion = nn.Conv2d(window * channels, channels, 1)
        self.spatial_attn1 = nn.Conv2d(window * channels, channels, 1)
        self.spatial_attn2 = nn.Conv2d(2 * channels, channels, 1)
        self.spatial_attn3 = conv3x3(channels, channels)
        self.spatial_attn4 = nn.Conv2d(channels, channels, 1)
        self.spatial_attn5 = conv3x3(channels, channels)
        self.spatial_attn_l1 = nn.Conv2d(channels, channels, 1)
        self.spatial_attn_l2 = conv3x3(2 * channels, channels)
        self.spatial_attn_l3 = conv3x3(channels, channels)
        self.spatial_attn_add1 = nn.Conv2d(channels, channels, 1)
        self.spatial_attn_add2 = nn.Conv2d(channels, channels, 1)

    def forward(self, aligned: Tensor) -> Tensor:
        """Fuse aligned features (n, window, c, h, w) to (n, c, h, w)."""
        centre = self.temporal_attn1(aligned[:, self.window // 2])
        likeness = [(self.temporal_attn2(frame) * centre).sum(1, keepdim=True) for frame in aligned.unbind(1)]
        weights = torch.sigmoid(torch.stack(likeness, 1))
        weighted = (aligned * weights).flatten(1, 2)
        attention, added = self._attention(leaky_relu_(self.spatial_attn1(weighted)))
        fused = leaky_relu_(self.feat_fusion(weighted))
        return 2 * fused * torch.sigmoid(attention) + added

    def _attention(self, features: Tensor) -> tuple[Tensor, Tensor]:
        half = leaky_relu_(self.spatial_attn2(_pooled(features)))
        quarter = leaky_relu_(self.spatial_attn_l1(half))
        quarter = leaky_relu_(self.spatial_attn_l2(_pooled(quarter)))
        quarter = leaky_relu_(self.spatial_attn_l3(quarter))
        half = leaky_relu_(self.spatial_attn3(half)) + _doubled(quarter)
        attention = self.spatial_attn5(_doubled(leaky_relu_(self.spatial_attn4(half))))
        added = self.spatial_attn_add2(leaky_relu_(self.spatial_attn_add1(attention)))
        return attention, added


def _doubled(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)


def _pooled(features: Tensor) -> Tensor:
    """Return the maximum and the mean of 3x3 pixels at every second position; the mean counts the padding."""
    return torch.cat(
        (
            F.max_pool2d(features, 3, stride=2, padding=1),
            F.avg_pool2d(features, 3, stride=2, padding=1),
        ),
        1,
    )
