"""TOFlow: a window of seven enlarged frames, warped along a flow that is learned for the task.

Xue et al., "Video Enhancement with Task-Oriented Flow", IJCV 2019 (arXiv 1711.09078). Submodules are named as
in BasicSR's checkpoints.
"""

from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr_model.network import Facts
from vsr_model.spynet import KERNEL_SIZE, LEVEL_CHANNELS, MEAN, STD
from vsr_model.stages import ALIGNMENT, RECONSTRUCTION, UPSAMPLING, StageProbe
from vsr_model.warp import warp
from vsr_model.windows import WindowNetwork

SCALE: Final = 4
LEVELS: Final = 4
CHANNELS: Final = 64


class Level(nn.Module):
    """Five convolutions, the first four with batch normalisation, that refine a flow."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        *inner, (before, last) = pairwise(LEVEL_CHANNELS)
        for channels_in, channels_out in inner:
            layers += [_conv7x7(channels_in, channels_out, bias=False), nn.BatchNorm2d(channels_out)]
            layers.append(nn.ReLU())
        self.basic_module = nn.Sequential(*layers, _conv7x7(before, last, bias=True))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the refinement (n, 2, h, w) of two images and a flow, (n, 8, h, w) together."""
        refined: Tensor = self.basic_module(inputs)
        return refined


class FlowNet(nn.Module):
    """SPyNet with four levels and batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.basic_module = nn.ModuleList(Level() for _ in range(LEVELS))

    def forward(self, ref: Tensor, supp: Tensor) -> Tensor:
        """Estimate the flow (n, 2, h, w) from `ref` to `supp`, both (n, 3, h, w) and normalised."""
        pyramid = [(ref, supp)]
        while len(pyramid) < LEVELS:
            a, b = pyramid[0]
            pyramid.insert(0, (F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)))
        flow = torch.zeros_like(pyramid[0][0][:, :2])
        for number, (level, (of, to)) in enumerate(zip(self.basic_module, pyramid, strict=True)):
            if number:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            flow = flow + level(torch.cat((of, warp(to, flow), flow), 1))
        return flow


class TOFlow(WindowNetwork):
    """Super-resolution of a video by four, frame by frame from a window of seven: 1,405,899 parameters.

    All but the first enlargement works at the output's size.
    """

    facts = Facts(
        title="TOFlow",
        source="Xue et al., Video Enhancement with Task-Oriented Flow, IJCV 2019",
        stages={
            UPSAMPLING: "Enlarges the frames of the window bicubically.",
            ALIGNMENT: "Estimates flow from the middle frame to each other, and warps along it.",
            RECONSTRUCTION: "Convolves the warped frames together, and adds the middle one.",
        },
        min_size=4,
        multiple=4,
        narrow=("conv_1", "conv_2", "conv_3", "conv_4"),
        compiled=("spynet",),
        gains=((r"^spynet\..*basic_module\.12\.", 1.2), (r"^conv_4\.", 1.0), (r"", 1.4)),
    )
    window = 7
    ends = "repeat"

    def __init__(self) -> None:
        super().__init__()
        self.spynet = FlowNet()
        self.conv_1 = nn.Conv2d(3 * self.window, CHANNELS, 9, padding=4)
        self.conv_2 = nn.Conv2d(CHANNELS, CHANNELS, 9, padding=4)
        self.conv_3 = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.conv_4 = nn.Conv2d(CHANNELS, 3, 1)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    mean: Tensor
    std: Tensor

    def middle(self, frames: list[Tensor], probe: StageProbe) -> Tensor:
        """Enlarge the middle one of `frames`, each (n, 3, h, w), to (n, 3, 4h, 4w)."""
        with probe(UPSAMPLING):
            enlarged = [
                (F.interpolate(frame, scale_factor=SCALE, mode="bicubic", align_corners=False) - self.mean)
                / self.std
                for frame in frames
            ]
        centre = enlarged[self.centre]
        with probe(ALIGNMENT):
            aligned = [
                frame if frame is centre else warp(frame, self.spynet(centre, frame)) for frame in enlarged
            ]
        with probe(RECONSTRUCTION):
            features = torch.cat(aligned, 1).to(self.conv_1.weight.dtype)
            for convolution in (self.conv_1, self.conv_2, self.conv_3):
                features = F.relu(convolution(features), inplace=True)
            output: Tensor = (self.conv_4(features) + centre) * self.std + self.mean
            return output


def _conv7x7(channels_in: int, channels_out: int, *, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, KERNEL_SIZE, padding=KERNEL_SIZE // 2, bias=bias)
