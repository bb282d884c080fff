"""IconVSR: BasicVSR with features of key frames refilled, and with coupled propagation.

Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and Beyond", CVPR 2021,
section 4. Submodules are named as in BasicSR's checkpoints.
"""

from dataclasses import replace
from typing import Annotated, Final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vsr_model.layers import Tail, Trunk, conv3x3
from vsr_model.network import Facts, Network, Published, check_clip
from vsr_model.pcd import MULTIPLE, PCDAlignment, TSAFusion, add_pyramid, pyramid_of
from vsr_model.spynet import NAMES, SPyNet, neighbouring_flows
from vsr_model.stages import ALIGNMENT, PROPAGATION, REFILL, UPSAMPLING, StageProbe, no_probe
from vsr_model.warp import warp

SCALE: Final = 4
EXTRACT_BLOCKS: Final = 5  # of the key frames' features


class KeyFrames(nn.Module):
    """EDVR-M's features of a key frame from a window around it, without its reconstruction."""

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.window = window
        add_pyramid(self, channels, EXTRACT_BLOCKS)
        self.pcd_align = PCDAlignment(channels)
        self.fusion = TSAFusion(channels, window)

    def forward(self, frames: list[Tensor]) -> Tensor:
        """Return features (n, c, h, w) of the middle one of `frames`, each (n, 3, h, w)."""
        each = list(
            zip(*(level.chunk(self.window) for level in pyramid_of(self, torch.cat(frames))), strict=True)
        )
        reference = each[self.window // 2]
        fused: Tensor = self.fusion(torch.stack([self.pcd_align(frame, reference) for frame in each], 1))
        return fused


class IconVSR(Network, Tail):
    """Super-resolution of a video by four, from features that are propagated in both directions.

    The paper's 64 channels and 30 residual blocks per direction give 8,694,991 parameters.
    """

    facts = Facts(
        title="IconVSR",
        source="Chan et al., BasicVSR: The Search for Essential Components in Video Super-Resolution and "
        "Beyond, CVPR 2021",
        stages={
            ALIGNMENT: "Estimates optical flow between neighbouring frames, and warps features along it.",
            REFILL: "Computes features of key frames from a window around each, and fuses them in.",
            PROPAGATION: "Runs the residual trunks, the forward one on the backward one's features, too.",
            UPSAMPLING: "Shuffles features to the output's size, and adds the enlarged frame.",
        },
        min_size=33,  # as in the released class
        min_frames=5,
        narrow=(
            # Not the key frames' features: their offsets move pixels, as flow does.
            "backward_fusion", "forward_fusion", "backward_trunk", "forward_trunk",
                "upconv1", "upconv2", "conv_hr", "conv_last"),
        compiled=("spynet", "backward_trunk", "forward_trunk"),
        gains=(
            (r"(^|\.)spynet\.", 1.2),
            (r"\.conv2\.weight$", 0.1),
            (r"^(backward|forward)_fusion\.", 0.7),
            (r"(cas_dcnpack|dcn_pack\.l1)\.conv_offset\.weight$", 0.4),
            (r"dcn_pack\.l2\.conv_offset\.weight$", 0.8),
            (r"temporal_attn[12]\.weight$", 0.5),
            (r"pcd_align\.|fusion\.|conv_l[23]_|conv_first\.", 1.5),
            (r"^(upconv1|upconv2|conv_hr|conv_last)\.", 1.5),
        ),
        published=(
            Published(quantity="parameters", value=8.7e6, unit="", source="Chan et al. 2021, table 1"),
            Published(quantity="time per frame", value=0.070, unit="s", source="Chan et al. 2021, table 1",
                      conditions="180x320 input; the GPU is not stated with it"),
        ),
        names=NAMES,
    )  # fmt: skip

    def __init__(
        self,
        mid_channels: Annotated[int, Field(ge=8, le=4096, multiple_of=8, description="Channels.")] = 64,
        num_blocks: Annotated[int, Field(ge=1, le=1000, description="Blocks in each direction.")] = 30,
        *,
        key_frame_stride: Annotated[
            int,
            Field(ge=1, le=1000, description="Frames from one key frame to the next; the last is one, too."),
        ] = 5,
        reach: Annotated[
            int, Field(ge=1, le=9, description="Frames on each side of a key frame in its window.")
        ] = 2,
    ) -> None:
        super().__init__()
        self.mid_channels, self.key_frame_stride, self.reach = mid_channels, key_frame_stride, reach
        self.facts = replace(self.facts, min_frames=2 * reach + 1)
        self.spynet = SPyNet()
        self.edvr = KeyFrames(mid_channels, 2 * reach + 1)
        self.backward_fusion = conv3x3(2 * mid_channels, mid_channels)
        self.forward_fusion = conv3x3(2 * mid_channels, mid_channels)
        self.backward_trunk = Trunk(3 + mid_channels, mid_channels, num_blocks)
        self.forward_trunk = Trunk(3 + 2 * mid_channels, mid_channels, num_blocks)
        self.add_tail(mid_channels)

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        """Enlarge `lrs` (n, t, 3, h, w), RGB in [0, 1], to (n, t, 3, 4h, 4w); see `Network.forward`."""
        check_clip(self.facts, tuple(lrs.shape))
        height, width = lrs.shape[-2:]
        with probe(ALIGNMENT):
            lrs = _padded(lrs)
            flows_forward, flows_backward = neighbouring_flows(self.spynet, lrs)
        keys = self.key_features(lrs, probe)
        frames = list(enumerate(lrs.unbind(1)))
        backward: dict[int, Tensor] = {}
        state = None
        for i, frame in reversed(frames):
            flow = flows_backward[:, i] if state is not None else None
            state = self.refilled(state, flow, keys.get(i), frame, self.backward_fusion, probe)
            with probe(PROPAGATION):
                state = backward[i] = self.backward_trunk((frame, state))
        outputs = []
        state = None
        for i, frame in frames:
            flow = flows_forward[:, i - 1] if i else None
            state = self.refilled(state, flow, keys.get(i), frame, self.forward_fusion, probe)
            with probe(PROPAGATION):
                state = self.forward_trunk((frame, backward.pop(i), state))
            with probe(UPSAMPLING):
                outputs.append(self.enlarge(state, frame)[..., : SCALE * height, : SCALE * width])
        with probe(UPSAMPLING):
            return torch.stack(outputs, 1)

    def key_features(self, lrs: Tensor, probe: StageProbe) -> dict[int, Tensor]:
        """Return features (n, c, h, w) of the key frames of `lrs`, by their index."""
        last = lrs.shape[1] - 1
        keys = {}
        for index in sorted({*range(0, last + 1, self.key_frame_stride), last}):
            window = range(index - self.reach, index + self.reach + 1)
            with probe(REFILL):
                keys[index] = self.edvr([lrs[:, self.inside(i, last)] for i in window])
        return keys

    def inside(self, index: int, last: int) -> int:
        """Return the frame that stands for one beyond the clip's ends: no mirror, but so much further in."""
        if index < 0:
            return self.reach - index
        return last - self.reach - (index - last) if index > last else index

    def refilled(
        self, state: Tensor | None, flow: Tensor | None, key: Tensor | None, frame: Tensor,
        fusion: nn.Module, probe: StageProbe,
    ) -> Tensor:  # fmt: skip
        """Return the state (n, c, h, w) that enters a frame: warped, and refilled at a key frame."""
        if state is None or flow is None:
            with probe(PROPAGATION):
                state = frame.new_zeros(frame.shape[0], self.mid_channels, *frame.shape[-2:])
        else:
            with probe(ALIGNMENT):
                state = warp(state, flow)
        if key is not None:
            with probe(REFILL):
                dtype = fusion.get_parameter("weight").dtype
                state = fusion(torch.cat((state.to(dtype), key.to(dtype)), 1))
        return state


def _padded(lrs: Tensor) -> Tensor:
    """Extend (n, t, 3, h, w) by reflection at the right and the bottom to multiples of 4."""
    height, width = lrs.shape[-2:]
    below, right = -height % MULTIPLE, -width % MULTIPLE
    if not below and not right:
        return lrs
    padded = F.pad(lrs.flatten(0, 1), (0, right, 0, below), mode="reflect")
    return padded.view(*lrs.shape[:3], height + below, width + right)
