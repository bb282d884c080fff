"""Modules computed by the compiled kernel. Each takes the place of the module that it has its weights from.

Features go from stage to stage as channels_last tensors of float32 on the CPU.
"""

import torch
from torch import Tensor, nn

from vsr_model.convolutions.winograd.kernel import (
    CHANNELS,
    Step,
    image,
    padded,
    prepare,
    run,
    scratch_image,
)
from vsr_model.layers import NEGATIVE_SLOPE, ResidualBlock, ResidualTrunk, resize
from vsr_model.network import title_of
from vsr_model.networks.basicvsr import SCALE, Upsampling
from vsr_model.spynet import SPyNet


def use_winograd(network: nn.Module, *, blocks_in_bfloat16: bool = False) -> None:
    """Compute convolutions of `ResidualTrunk`, BasicVSR's `Upsampling` and `SPyNet` by the kernel, in place.

    The kernel takes the weights that the network has now: after a change of weights, build the network
    again, and call this again. Parameters and their names stay. With `blocks_in_bfloat16` the residual blocks
    round the transformed factors of their convolutions to bfloat16; all else stays float32.

    Raises `Unavailable` where the kernel, or its products in bfloat16, cannot be had, and ValueError for a
    network that has none of these modules.
    """
    replaced = False
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            kernel: nn.Module | None = None
            if isinstance(child, ResidualTrunk):
                kernel = WinogradTrunk(child, blocks_in_bfloat16=blocks_in_bfloat16)
            elif isinstance(child, Upsampling):
                kernel = WinogradUpsampling(child)
            elif isinstance(module, SPyNet) and name == "levels":
                kernel = nn.ModuleList(
                    WinogradFlowLevel(level) for level in module.levels if isinstance(level, nn.Sequential)
                )
            if kernel is not None:
                setattr(module, name, kernel)
                replaced = True
    if not replaced:
        raise ValueError(f"the kernel has no module of {title_of(network)} to take the place of")


class WinogradTrunk(nn.Module):
    """`ResidualTrunk`, with activations and shortcuts fused into convolutions."""

    def __init__(self, trunk: ResidualTrunk, *, blocks_in_bfloat16: bool) -> None:
        super().__init__()
        self.conv_in, self.blocks = trunk.conv_in, trunk.blocks
        self.channels = trunk.conv_in.out_channels
        # The first convolution's two inputs are not laid side by side, but each convolved, and added up.
        self._frame = prepare(trunk.conv_in, inputs=slice(None, 3))
        self._features = prepare(trunk.conv_in, inputs=slice(3, None), with_bias=False)
        self._blocks = [
            tuple(prepare(conv, in_bfloat16=blocks_in_bfloat16) for conv in (block.conv1, block.conv2))
            for block in trunk.blocks
            if isinstance(block, ResidualBlock)
        ]

    def forward(self, frame: Tensor, feat_prop: Tensor) -> Tensor:
        """`frame` (n, 3, h, w) and `feat_prop` (n, mid_channels, h, w), to (n, mid_channels, h, w)."""
        n, _, h, w = frame.shape
        features = image(n, padded(self.channels), h, w)
        hidden = scratch_image("hidden", *features.shape)
        steps = [
            Step(weights=self._frame, image=_filled_up(frame, "frame"), out=features),
            Step(
                weights=self._features, image=_filled_up(feat_prop, "propagated"), out=features, add=features,
                negative_slope=NEGATIVE_SLOPE,
            ),
        ]  # fmt: skip
        for conv1, conv2 in self._blocks:
            steps.append(Step(weights=conv1, image=features, out=hidden, negative_slope=0))
            steps.append(Step(weights=conv2, image=hidden, out=features, add=features))
        run(steps)
        return features[:, : self.channels]


class WinogradUpsampling(nn.Module):
    """`Upsampling`, with pixel shuffles fused into convolutions."""

    def __init__(self, upsampling: Upsampling) -> None:
        super().__init__()
        self.base_upsample = upsampling.base_upsample
        self.upconv1, self.upconv2 = upsampling.upconv1, upsampling.upconv2
        self.conv_hr, self.conv_last = upsampling.conv_hr, upsampling.conv_last
        self._shuffled = prepare(self.upconv1, shuffled=True), prepare(self.upconv2, shuffled=True)
        self._hr, self._last = prepare(self.conv_hr), prepare(self.conv_last)

    def forward(self, features: Tensor, frame: Tensor) -> Tensor:
        """`features` (n, mid_channels, h, w) and `frame` (n, 3, h, w), to (n, 3, 4h, 4w)."""
        n, _, h, w = frame.shape
        steps = []
        current = _filled_up(features, "features")
        for i, weights in enumerate(self._shuffled):
            scale = 2 ** (i + 1)
            enlarged = scratch_image(f"enlarged {scale}", n, weights.channels_out // 4, scale * h, scale * w)
            steps.append(
                Step(
                    weights=weights, image=current, out=enlarged, negative_slope=NEGATIVE_SLOPE, shuffled=True
                )
            )
            current = enlarged
        hidden = scratch_image("hidden", n, self._hr.channels_out, SCALE * h, SCALE * w)
        residual = scratch_image("residual", n, self._last.channels_out, SCALE * h, SCALE * w)
        steps.append(Step(weights=self._hr, image=current, out=hidden, negative_slope=NEGATIVE_SLOPE))
        steps.append(Step(weights=self._last, image=hidden, out=residual))
        run(steps)
        return resize(frame, (SCALE * h, SCALE * w), self.base_upsample) + residual[:, :3]


class WinogradFlowLevel(nn.Sequential):
    """A level of `SPyNet`: two images and a flow (n, 8, h, w), to a flow (n, 2, h, w)."""

    def __init__(self, level: nn.Sequential) -> None:
        super().__init__(*level)
        self._weights = [prepare(layer) for layer in level if isinstance(layer, nn.Conv2d)]

    def forward(self, inputs: Tensor) -> Tensor:
        n, _, h, w = inputs.shape
        current = _filled_up(inputs, "flow 0")
        steps = []
        for i, weights in enumerate(self._weights):
            out = scratch_image(f"flow {i % 2 + 1}", n, weights.channels_out, h, w)
            is_last = i == len(self._weights) - 1
            steps.append(Step(weights=weights, image=current, out=out, negative_slope=1 if is_last else 0))
            current = out
        run(steps)
        return current[:, :2].contiguous()


def _filled_up(tensor: Tensor, role: str) -> Tensor:
    """Return the image as channels_last with a multiple of 16 channels, those that fill up being zero."""
    n, channels, h, w = tensor.shape
    if channels % CHANNELS == 0 and tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor
    filled = scratch_image(role, n, padded(channels), h, w)
    filled[:, :channels] = tensor.detach()
    filled[:, channels:] = 0
    return filled
