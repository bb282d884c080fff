"""DUF: three-dimensional convolutions over a window of seven frames, and a filter for each output pixel.

Jo et al., "Deep Video Super-Resolution Network Using Dynamic Upsampling Filters Without Explicit Motion
Compensation", CVPR 2018. Submodules are named as in BasicSR's checkpoints.
"""

from typing import Annotated, Final, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vsr_model.network import Facts, Published
from vsr_model.stages import AGGREGATION, UPSAMPLING, StageProbe
from vsr_model.windows import WindowNetwork

SCALE: Final = 4
CHANNELS: Final = 64
FILTER_SIZE: Final = 5
SHAPES: Final = {16: (3, 32), 28: (9, 16), 52: (21, 16)}
"""Dense blocks of the first part, and the channels that each adds, by the number of layers."""


class DenseBlocks(nn.Module):
    """Blocks that each add channels to what all before them made; time keeps its length."""

    def __init__(self, blocks: int, growth: int, eps: float) -> None:
        super().__init__()
        self.dense_blocks = nn.ModuleList(
            _block(CHANNELS + index * growth, growth, eps, time_padding=1) for index in range(blocks)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, c + blocks * growth, t, h, w) of `features` (n, c, t, h, w)."""
        for block in self.dense_blocks:
            features = torch.cat((features, block(features)), 1)
        return features


class Reduction(nn.Module):
    """Three blocks that each take a frame from both ends."""

    def __init__(self, channels: int, growth: int, eps: float) -> None:
        super().__init__()
        for number in (1, 2, 3):
            block = _block(channels + (number - 1) * growth, growth, eps, time_padding=0)
            self.add_module(f"temporal_reduce{number}", block)

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, c + 3 * growth, t - 6, h, w) of `features` (n, c, t, h, w)."""
        for number in (1, 2, 3):
            added = self.get_submodule(f"temporal_reduce{number}")(features)
            features = torch.cat((features[:, :, 1:-1], added), 1)
        return features


class DUF(WindowNetwork):
    """Super-resolution of a video by four, frame by frame from a window of seven.

    With 52 layers it has 5,821,952 parameters, with 28 2,118,432, with 16 1,900,640.
    """

    facts = Facts(
        title="DUF",
        source="Jo et al., Deep Video Super-Resolution Network Using Dynamic Upsampling Filters Without "
        "Explicit Motion Compensation, CVPR 2018",
        stages={
            AGGREGATION: "Runs the dense blocks of three-dimensional convolutions over the window.",
            UPSAMPLING: "Predicts a filter and a residual for each output pixel, and applies them.",
        },
        compiled=("dense_block1", "dense_block2"),
        gains=((r"^conv3d_f2\.", 2.0), (r"^conv3d_r2\.", 0.3), (r"", 1.4)),
        published=(
            Published(quantity="parameters", value=5.8e6, unit="", source="Chan et al. 2021, table 1",
                      conditions="52 layers"),
            Published(quantity="time per frame", value=0.974, unit="s", source="Chan et al. 2021, table 1",
                      conditions="180x320 input, 52 layers; copied there from other work"),
        ),
    )  # fmt: skip
    window = 7
    ends = "repeat"

    def __init__(
        self,
        num_layers: Annotated[Literal[16, 28, 52], Field(description="Layers of the published forms.")] = 52,
        *,
        official_weights: Annotated[
            bool, Field(description="Normalise as the weights need that the authors released (eps 1e-3).")
        ] = False,
    ) -> None:
        super().__init__()
        blocks, growth = SHAPES[num_layers]
        eps = 1e-3 if official_weights else 1e-5
        dense = CHANNELS + blocks * growth
        self.conv3d1 = _flat(3, CHANNELS)
        self.dense_block1 = DenseBlocks(blocks, growth, eps)
        self.dense_block2 = Reduction(dense, growth, eps)
        self.bn3d2 = nn.BatchNorm3d(dense + 3 * growth, eps=eps)
        self.conv3d2 = _flat(dense + 3 * growth, 256)
        self.conv3d_r1, self.conv3d_r2 = nn.Conv3d(256, 256, 1), nn.Conv3d(256, 3 * SCALE**2, 1)
        self.conv3d_f1 = nn.Conv3d(256, 512, 1)
        self.conv3d_f2 = nn.Conv3d(512, FILTER_SIZE**2 * SCALE**2, 1)

    def middle(self, frames: list[Tensor], probe: StageProbe) -> Tensor:
        """Enlarge the middle one of `frames`, each (n, 3, h, w), to (n, 3, 4h, 4w)."""
        with probe(AGGREGATION):
            clip = torch.stack(frames, 2).to(self.conv3d1.weight.dtype)
            features = self.dense_block2(self.dense_block1(self.conv3d1(clip)))
            features = F.relu(self.conv3d2(F.relu(self.bn3d2(features), inplace=True)), inplace=True)
        with probe(UPSAMPLING):
            residual = self.conv3d_r2(F.relu(self.conv3d_r1(features), inplace=True)).squeeze(2)
            filters = self.conv3d_f2(F.relu(self.conv3d_f1(features), inplace=True)).squeeze(2)
            filtered = _filtered(frames[self.centre], filters.float())
            return F.pixel_shuffle(filtered + residual, SCALE)


def _filtered(frame: Tensor, filters: Tensor) -> Tensor:
    """Filter `frame` (n, 3, h, w) by the 16 filters of each pixel (n, 400, h, w) to (n, 48, h, w)."""
    n, _, height, width = frame.shape
    weights = filters.view(n, 1, FILTER_SIZE**2, SCALE**2, height, width).softmax(2)
    patches = F.unfold(frame, FILTER_SIZE, padding=FILTER_SIZE // 2)
    patches = patches.view(n, 3, FILTER_SIZE**2, 1, height, width)
    return (patches * weights).sum(2).view(n, 3 * SCALE**2, height, width)


def _block(channels: int, growth: int, eps: float, *, time_padding: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm3d(channels, eps=eps), nn.ReLU(inplace=True), nn.Conv3d(channels, channels, 1),
        nn.BatchNorm3d(channels, eps=eps), nn.ReLU(inplace=True),
        nn.Conv3d(channels, growth, 3, padding=(time_padding, 1, 1)),
    )  # fmt: skip


def _flat(channels_in: int, channels_out: int) -> nn.Conv3d:
    """Return a convolution of single frames."""
    return nn.Conv3d(channels_in, channels_out, (1, 3, 3), padding=(0, 1, 1))
