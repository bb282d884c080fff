"""SPyNet, which estimates optical flow coarse to fine (Ranjan and Black, CVPR 2017)."""

from itertools import pairwise
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr_model.layers import resize
from vsr_model.warp import warp

LEVELS: Final = 6
LEVEL_CHANNELS: Final = (8, 32, 64, 32, 16, 2)  # two RGB images and a flow in, a flow out
KERNEL_SIZE: Final = 7
ALIGNMENT: Final = 2 ** (LEVELS - 1)  # each level halves the size, and every one must come out even

NAMES: Final = (
    # mmagic keeps convolution and activation in one module, so it counts layers where others count both.
    (
        r"^spynet\.basic_module\.(\d)\.basic_module\.(\d)\.conv\.",
        lambda match: f"spynet.levels.{match[1]}.{2 * int(match[2])}.",
    ),
    (r"^spynet\.basic_module\.(\d)\.basic_module\.", r"spynet.levels.\1."),
)
"""Names in public checkpoints of networks that have a SPyNet as `spynet` (`Facts.names`)."""

# The statistics of ImageNet, with which the published weights were trained.
MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)


class SPyNet(nn.Module):
    """Optical flow by a pyramid of six small networks, each refining the upsampled flow of the one before.

    `flow_resize` says how the images are brought to multiples of 32 and the flow back to their size.
    The weights are those of the published implementations; see `vsr_model.checkpoint` for their names.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, flow_resize: Literal["bilinear", "nearest"] = "bilinear") -> None:
        super().__init__()
        self.flow_resize = flow_resize
        self.levels = nn.ModuleList(_level() for _ in range(LEVELS))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, ref: Tensor, supp: Tensor) -> Tensor:
        """Estimate the flow that takes each pixel of `ref` to its place in `supp`.

        Both are (n, 3, h, w) RGB in [0, 1]; the flow is (n, 2, h, w) in pixels, horizontal then vertical.
        """
        height, width = ref.shape[-2:]
        aligned_height = -(-height // ALIGNMENT) * ALIGNMENT
        aligned_width = -(-width // ALIGNMENT) * ALIGNMENT
        if (aligned_height, aligned_width) == (height, width):
            return self._refine(ref, supp)
        aligned = (aligned_height, aligned_width)
        flow = self._refine(resize(ref, aligned, self.flow_resize), resize(supp, aligned, self.flow_resize))
        right, down = resize(flow, (height, width), self.flow_resize).unbind(1)
        # Vectors are in pixels, so they shrink with the image. The factors stay Python numbers: as a tensor
        # they would be copied to the device, which waits for it.
        return torch.stack((right * (width / aligned_width), down * (height / aligned_height)), 1)

    def _refine(self, ref: Tensor, supp: Tensor) -> Tensor:
        refs, supps = self._pyramid(ref), self._pyramid(supp)
        flow = torch.zeros_like(refs[0][:, :2])
        for level, (ref_level, supp_level) in enumerate(zip(refs, supps, strict=True)):
            if level > 0:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            warped = warp(supp_level, flow, padding_mode="border")
            flow = flow + self.levels[level](torch.cat((ref_level, warped, flow), 1))
        return flow

    def _pyramid(self, image: Tensor) -> list[Tensor]:
        """Return the normalised image at each level's size, coarsest first."""
        levels = [(image - self.mean) / self.std]
        while len(levels) < LEVELS:
            levels.append(F.avg_pool2d(levels[-1], kernel_size=2))
        return levels[::-1]


def neighbouring_flows(spynet: nn.Module, lrs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the flows of `lrs` (n, t, 3, h, w) between neighbours, each (n, t - 1, 2, h, w) in pixels.

    Of the first, `[:, i]` starts at frame i + 1 and points into frame i, so it takes features forward in
    time; of the second it starts at frame i and points into frame i + 1.
    """
    n, t, _, h, w = lrs.shape
    if t == 1:  # a single frame has no neighbour; pooling would refuse the empty batch
        return lrs.new_empty(n, 0, 2, h, w), lrs.new_empty(n, 0, 2, h, w)
    earlier, later = neighbours(lrs)
    backward: Tensor = spynet(earlier, later)
    forward: Tensor = spynet(later, earlier)
    return forward.view(n, t - 1, 2, h, w), backward.view(n, t - 1, 2, h, w)


def neighbours(lrs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the earlier and the later frame of each pair, both (n * (t - 1), 3, h, w)."""
    return lrs[:, :-1].reshape(-1, *lrs.shape[2:]), lrs[:, 1:].reshape(-1, *lrs.shape[2:])


def _level() -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (channels_in, channels_out) in enumerate(pairwise(LEVEL_CHANNELS)):
        if i > 0:
            layers.append(nn.ReLU(inplace=True))
        layers.append(nn.Conv2d(channels_in, channels_out, KERNEL_SIZE, padding=KERNEL_SIZE // 2))
    return nn.Sequential(*layers)
