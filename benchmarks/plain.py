"""The published network as one would write it down from the paper: plain eager PyTorch, and nothing else.

Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and Beyond", CVPR 2021,
section 3, with SPyNet (Ranjan and Black, CVPR 2017) for its flow. No probes, no seams between stages, no
choice of schedule, memory format or kernel: what every optimisation is held against, for speed and for its
answer. It shares no code with `vsr_model`, so that nothing done there can make it faster or wrong.

Its tensors have the names that BasicSR's checkpoints use.
"""

from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PYRAMID_LEVELS: Final = 6
LEVEL_CHANNELS: Final = (8, 32, 64, 32, 16, 2)  # reference, warped image and flow in; a flow out
SHUFFLED_CHANNELS: Final = 64  # of what is as large as the output


def sample(image: Tensor, flow: Tensor, outside: str = "zeros") -> Tensor:
    """Sample `image` (n, c, h, w) bilinearly where `flow` (n, 2, h, w) points from each pixel.

    The flow is in pixels, x then y. `outside` is grid_sample's padding mode.
    """
    height, width = flow.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=flow.device, dtype=flow.dtype),
        torch.arange(width, device=flow.device, dtype=flow.dtype),
        indexing="ij",
    )
    # grid_sample counts from -1, the first pixel's centre, to 1, the last one's.
    across = 2 * (x + flow[:, 0]) / max(width - 1, 1) - 1
    down = 2 * (y + flow[:, 1]) / max(height - 1, 1) - 1
    places = torch.stack((across, down), dim=3)
    return F.grid_sample(image, places, mode="bilinear", padding_mode=outside, align_corners=True)


class FlowLevel(nn.Module):
    """Five 7x7 convolutions, whose output one level of the pyramid adds to the flow."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels_in, channels_out in pairwise(LEVEL_CHANNELS):
            layers += [nn.Conv2d(channels_in, channels_out, 7, padding=3), nn.ReLU(inplace=True)]
        self.basic_module = nn.Sequential(*layers[:-1])  # the flow may be negative

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (n, 2, h, w) of (n, 8, h, w)."""
        correction: Tensor = self.basic_module(inputs)
        return correction


class FlowNet(nn.Module):
    """SPyNet: the flow at a thirty-second of the size, doubled and corrected level by level."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.basic_module = nn.ModuleList(FlowLevel() for _ in range(PYRAMID_LEVELS))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, reference: Tensor, neighbour: Tensor) -> Tensor:
        """Return the flow (n, 2, h, w), in pixels, from images (n, 3, h, w) to their neighbours."""
        height, width = reference.shape[-2:]
        step = 2 ** (PYRAMID_LEVELS - 1)
        even = (-(-height // step) * step, -(-width // step) * step)
        flow = self._refined(
            F.interpolate(reference, size=even, mode="bilinear", align_corners=False),
            F.interpolate(neighbour, size=even, mode="bilinear", align_corners=False),
        )
        flow = F.interpolate(flow, size=(height, width), mode="bilinear", align_corners=False)
        flow[:, 0] *= width / even[1]
        flow[:, 1] *= height / even[0]
        return flow

    def _refined(self, reference: Tensor, neighbour: Tensor) -> Tensor:
        references = [(reference - self.mean) / self.std]
        neighbours = [(neighbour - self.mean) / self.std]
        for _ in range(PYRAMID_LEVELS - 1):
            references.insert(0, F.avg_pool2d(references[0], 2))
            neighbours.insert(0, F.avg_pool2d(neighbours[0], 2))
        n, _, height, width = references[0].shape
        flow = references[0].new_zeros(n, 2, height, width)
        for i, correct in enumerate(self.basic_module):
            if i > 0:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            seen = sample(neighbours[i], flow, outside="border")
            flow = flow + correct(torch.cat((references[i], seen, flow), dim=1))
        return flow


class Block(nn.Module):
    """A residual block without normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, c, h, w) of the same."""
        residual: Tensor = self.conv2(self.relu(self.conv1(features)))
        return features + residual


class Trunk(nn.Module):
    """The cell of one direction: a convolution, and residual blocks."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels + 3, channels, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Sequential(*(Block(channels) for _ in range(blocks))),
        )

    def forward(self, frame_and_features: Tensor) -> Tensor:
        """Return (n, c, h, w) of (n, 3 + c, h, w)."""
        features: Tensor = self.main(frame_and_features)
        return features


class PlainBasicVSR(nn.Module):
    """BasicVSR with `num_feat` channels and `num_block` residual blocks per direction."""

    def __init__(self, num_feat: int = 64, num_block: int = 30) -> None:
        super().__init__()
        self.num_feat = num_feat
        self.spynet = FlowNet()
        self.backward_trunk = Trunk(num_feat, num_block)
        self.forward_trunk = Trunk(num_feat, num_block)
        self.fusion = nn.Conv2d(2 * num_feat, num_feat, 1)
        self.upconv1 = nn.Conv2d(num_feat, 4 * num_feat, 3, padding=1)
        self.upconv2 = nn.Conv2d(num_feat, 4 * SHUFFLED_CHANNELS, 3, padding=1)
        self.conv_hr = nn.Conv2d(SHUFFLED_CHANNELS, SHUFFLED_CHANNELS, 3, padding=1)
        self.conv_last = nn.Conv2d(SHUFFLED_CHANNELS, 3, 3, padding=1)
        self.pixel_shuffle = nn.PixelShuffle(2)
        self.lrelu = nn.LeakyReLU(0.1, inplace=True)

    def forward(self, clip: Tensor) -> Tensor:
        """Return (n, t, 3, 4h, 4w) of `clip` (n, t, 3, h, w), RGB in [0, 1]."""
        n, t, _, height, width = clip.shape
        to_later, to_earlier = self.flows(clip)

        state = clip.new_zeros(n, self.num_feat, height, width)
        from_later: list[Tensor] = []
        for i in reversed(range(t)):
            if i < t - 1:
                state = sample(state, to_later[:, i])
            state = self.backward_trunk(torch.cat((clip[:, i], state), dim=1))
            from_later.insert(0, state)

        state = torch.zeros_like(state)
        outputs = []
        for i in range(t):
            if i > 0:
                state = sample(state, to_earlier[:, i - 1])
            state = self.forward_trunk(torch.cat((clip[:, i], state), dim=1))
            features = self.lrelu(self.fusion(torch.cat((from_later[i], state), dim=1)))
            features = self.lrelu(self.pixel_shuffle(self.upconv1(features)))
            features = self.lrelu(self.pixel_shuffle(self.upconv2(features)))
            residual = self.conv_last(self.lrelu(self.conv_hr(features)))
            enlarged = F.interpolate(clip[:, i], scale_factor=4, mode="bilinear", align_corners=False)
            outputs.append(enlarged + residual)
        return torch.stack(outputs, dim=1)

    def flows(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Return the flows to the next frames and from them: both (n, t - 1, 2, h, w)."""
        n, t, channels, height, width = clip.shape
        if t == 1:
            none = clip.new_empty(n, 0, 2, height, width)
            return none, none
        earlier = clip[:, :-1].reshape(-1, channels, height, width)
        later = clip[:, 1:].reshape(-1, channels, height, width)
        shape = (n, t - 1, 2, height, width)
        return self.spynet(earlier, later).view(shape), self.spynet(later, earlier).view(shape)
