"""TGA: frames of a window in groups by their distance from the middle, weighted by attention, then fused.

Isobe et al., "Video Super-Resolution with Temporal Group Attention", CVPR 2020 (arXiv 2007.10595), as it was
released: without the paper's homographies, and with 7,057,853 parameters where the paper says 5.8 million.
Submodules are named as in that release.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr_model.network import Facts
from vsr_model.stages import AGGREGATION, FEATURES, RECONSTRUCTION, UPSAMPLING, StageProbe
from vsr_model.windows import WindowNetwork

CHANNELS: Final = 64
GROWTH: Final = 16
GROUPS: Final = ((0, 3, 6), (2, 3, 4), (1, 3, 5))
"""Frames of the window of each group, as they were released."""
EPS: Final = 1e-3  # of the normalisations
PER_UNIT: Final = 3 * GROWTH
INTRA: Final = ("head", "middle_1", "middle_2", "middle_3", "middle_4", "last")
INTER: Final = tuple(f"middle_{number}" for number in range(6, 13))


class Unit(nn.Module):
    """Three dense steps: each normalises, convolves by 1x1x1 and 1x3x3, and adds channels."""

    def __init__(self, channels: int, *, last_growth: int = GROWTH) -> None:
        super().__init__()
        for step, growth in enumerate((GROWTH, GROWTH, last_growth)):
            _add_step(self, step, channels + step * GROWTH, growth, flat=True)

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, c + 48, t, h, w) of `features` (n, c, t, h, w)."""
        for step in range(2):
            features = torch.cat((features, self.added(features, step)), 1)
        return torch.cat((features, self.weighted(self.added(features, 2))), 1)

    def added(self, features: Tensor, step: int) -> Tensor:
        """Return the channels that a step adds."""
        return _step(self, step, features)

    def weighted(self, added: Tensor) -> Tensor:
        """Return 16 channels, weighted by the attention over time where there is a seventeenth."""
        if added.shape[1] == GROWTH:
            return added
        attention = added[:, GROWTH:].float().softmax(2)
        return added[:, :GROWTH] * attention.to(added.dtype)


class Fusion(nn.Module):
    """Two dense steps over all groups; with `ends` they leave the middle one."""

    def __init__(self, channels: int, *, ends: bool) -> None:
        super().__init__()
        self.ends = ends
        _add_step(self, 0, channels, GROWTH, flat=False, pad_time=not ends, normalise=ends)
        _add_step(self, 1, channels + GROWTH, GROWTH, flat=ends)

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, c + 32, t, h, w) of `features` (n, c, 3, h, w), t being 3 or 1."""
        added = _step(self, 0, features)
        features = features[:, :, 1:2] if self.ends else features
        features = torch.cat((features, added), 1)
        return torch.cat((features, _step(self, 1, features)), 1)


class TGA(WindowNetwork):
    """Super-resolution of a video by four, frame by frame from a window of seven: 7,057,853 parameters."""

    facts = Facts(
        title="TGA",
        source="Isobe et al., Video Super-Resolution with Temporal Group Attention, CVPR 2020",
        stages={
            FEATURES: "Convolves the frames, and each group's three to one.",
            AGGREGATION: "Runs the dense units of each group, weights the groups, and fuses them.",
            RECONSTRUCTION: "Runs the dense units of the fused features.",
            UPSAMPLING: "Shuffles features to the output's size, and adds the enlarged frame.",
        },
        compiled=("head", "fusion_head", "Fusion_last", *INTER),
        gains=((r"conv3d_r3", 1.0), (r"", 1.4)),
    )
    window = 7
    ends = "repeat"

    def __init__(self) -> None:
        super().__init__()
        for name, channels in (("1", 3), ("2", CHANNELS), ("2_1", CHANNELS)):
            self.add_module(f"conv3d_{name}", _flat(channels, CHANNELS))
            self.add_module(f"bn3d_{name}", nn.BatchNorm3d(CHANNELS, eps=EPS))
        self.conv3d_2_2 = nn.Conv3d(CHANNELS, CHANNELS, 3, stride=(3, 1, 1), padding=(0, 1, 1))
        channels = CHANNELS
        for name in INTRA:
            self.add_module(name, Unit(channels, last_growth=GROWTH + (name == "last")))
            channels += PER_UNIT
        self.fusion_head = Fusion(channels, ends=False)
        self.Fusion_last = Fusion(channels + 2 * GROWTH, ends=True)
        channels += 4 * GROWTH
        self.bn3d_2_2 = nn.BatchNorm3d(channels, eps=EPS)
        self.compress = _flat(channels, CHANNELS)
        for index, name in enumerate(INTER):
            self.add_module(name, Unit(CHANNELS + index * PER_UNIT))
        channels = CHANNELS + len(INTER) * PER_UNIT
        self.bn3d_3 = nn.BatchNorm3d(channels, eps=EPS)
        self.conv3d_3 = _flat(channels, 256)
        self.conv3d_r1 = nn.Conv3d(256, 256, 1)
        self.conv3d_r2 = _flat(256, 512)
        self.conv3d_r4, self.conv3d_r3 = nn.Conv3d(128, 128, 1), nn.Conv3d(128, 12, 1)

    def middle(self, frames: list[Tensor], probe: StageProbe) -> Tensor:
        """Enlarge the middle one of `frames`, each (n, 3, h, w), to (n, 3, 4h, 4w)."""
        with probe(FEATURES):
            regrouped = torch.stack([frames[index] for group in GROUPS for index in group], 2)
        residual = self.residual(regrouped, probe)
        with probe(UPSAMPLING):
            frame = frames[self.centre]
            return F.interpolate(frame, scale_factor=4, mode="bicubic", align_corners=False) + residual

    def residual(self, regrouped: Tensor, probe: StageProbe) -> Tensor:
        """Return (n, 3, 4h, 4w), in float32, of nine frames (n, 3, 9, h, w) in their groups."""
        with probe(FEATURES):
            features = regrouped.to(self.compress.weight.dtype)
            for name in ("1", "2", "2_1"):
                convolved = self.get_submodule(f"conv3d_{name}")(features)
                features = F.relu(self.get_submodule(f"bn3d_{name}")(convolved), inplace=True)
            features = self.conv3d_2_2(features)
        with probe(AGGREGATION):
            for name in INTRA:
                features = self.get_submodule(name)(features)
            features = self.Fusion_last(self.fusion_head(features))
            features = self.compress(F.relu(self.bn3d_2_2(features), inplace=True))
        with probe(RECONSTRUCTION):
            for name in INTER:
                features = self.get_submodule(name)(features)
            features = self.conv3d_3(F.relu(self.bn3d_3(features), inplace=True))
        with probe(UPSAMPLING):
            features = F.relu(self.conv3d_r1(F.relu(features, inplace=True)), inplace=True)
            shuffled = F.pixel_shuffle(self.conv3d_r2(features).squeeze(2), 2).unsqueeze(2)
            features = F.relu(self.conv3d_r4(F.relu(shuffled, inplace=True)), inplace=True)
            return F.pixel_shuffle(self.conv3d_r3(features).squeeze(2), 2).float()


def _add_step(
    owner: nn.Module, step: int, channels: int, growth: int, *, flat: bool, pad_time: bool = True,
    normalise: bool = True,
) -> None:  # fmt: skip
    first, second = 2 * step + 1, 2 * step + 2
    if normalise:
        owner.add_module(f"bn3d_{first}", nn.BatchNorm3d(channels, eps=EPS))
    owner.add_module(f"conv3d_{first}", nn.Conv3d(channels, channels, 1))
    owner.add_module(f"bn3d_{second}", nn.BatchNorm3d(channels, eps=EPS))
    convolution = (
        _flat(channels, growth) if flat else nn.Conv3d(channels, growth, 3, padding=(int(pad_time), 1, 1))
    )
    owner.add_module(f"conv3d_{second}", convolution)


def _step(owner: nn.Module, step: int, features: Tensor) -> Tensor:
    for number in (2 * step + 1, 2 * step + 2):
        normalisation = getattr(owner, f"bn3d_{number}", nn.Identity())
        features = owner.get_submodule(f"conv3d_{number}")(F.relu(normalisation(features)))
    return features


def _flat(channels_in: int, channels_out: int) -> nn.Conv3d:
    """Return a convolution of single frames."""
    return nn.Conv3d(channels_in, channels_out, (1, 3, 3), padding=(0, 1, 1))
