"""VESPCN: two frames warped to the one between them, fused early, and a sub-pixel convolution, on luma.

Caballero et al., "Real-Time Video Super-Resolution with Spatio-Temporal Networks and Motion Compensation",
CVPR 2017 (arXiv 1611.05250). Its authors released no code; beside the network of the paper's table here is
that of the rebuild in psychopa4/PFNL.
"""

from typing import Annotated, Final, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vsr_model.layers import CornerBicubic, conv3x3, depth_to_space
from vsr_model.motion import MULTIPLE, MotionNet, splat
from vsr_model.network import Facts
from vsr_model.stages import ALIGNMENT, RECONSTRUCTION, UPSAMPLING, StageProbe
from vsr_model.warp import warp
from vsr_model.windows import WindowNetwork

SCALE: Final = 4
CHANNELS: Final = 24
LAYERS: Final = 9  # "9L-E3": nine layers, all three frames fused by the first
REBUILT_LAYERS: Final = 9  # between the first and the last ones


class VESPCN(WindowNetwork):
    """Super-resolution of the luma of a video by four, frame by frame from three.

    The paper's 9L-E3-MC has 93,992 parameters, 53,392 of them for motion; the rebuild 105,964.
    """

    facts = Facts(
        title="VESPCN",
        source="Caballero et al., Real-Time Video Super-Resolution with Spatio-Temporal Networks and Motion "
        "Compensation, CVPR 2017",
        stages={
            ALIGNMENT: "Estimates flow in two steps, and brings the neighbours to the middle frame.",
            RECONSTRUCTION: "Fuses the three frames, and convolves them.",
            UPSAMPLING: "Shuffles the last layer's channels to the output's size.",
        },
        inputs={"luma": 1},
        multiple=MULTIPLE,
        min_size=MULTIPLE,
        narrow=("sr",),
        compiled=("motion",),
        gains=((r"^motion\.[cs]5", 2.5), (r"^motion", 1.4), (r"rnn_out", 1.2), (r"", 1.3)),
        names=(
            (r"^easyflow/", "motion/"), (r"^srmodel/", "sr/"), (r"prelu/prelu$", "prelu/weight"), (r"/", "."),
            (r"weights$", "weight"), (r"biases$", "bias"),
        ),
    )  # fmt: skip
    window = 3
    ends = "repeat"

    def __init__(
        self,
        *,
        form: Annotated[
            Literal["paper", "rebuild"],
            Field(
                description="The paper's table, with frames warped backwards, or the rebuild, which splats "
                "them forwards, has another layer, PReLU, two shuffles, and the enlarged frame added."
            ),
        ] = "paper",
    ) -> None:
        super().__init__()
        self.form = form
        self.motion = MotionNet()
        self.sr = nn.ModuleDict()
        if form == "paper":
            self.sr["0"] = conv3x3(self.window, CHANNELS)
            self.sr.update({str(number): conv3x3(CHANNELS, CHANNELS) for number in range(1, LAYERS - 1)})
            self.sr["last"] = conv3x3(CHANNELS, SCALE**2)
        else:
            self.sr["enc1"] = _with_prelu(nn.Conv2d(self.window, CHANNELS, 5, padding=2))
            for number in range(REBUILT_LAYERS):
                self.sr[f"enc2_{number}"] = _with_prelu(conv3x3(CHANNELS, CHANNELS))
            self.sr["conv6"] = _with_prelu(conv3x3(CHANNELS, SCALE**2))
            self.sr["rnn_out"] = conv3x3(SCALE, SCALE)
            self.bicubic = CornerBicubic()

    def middle(self, frames: list[Tensor], probe: StageProbe) -> Tensor:
        """Enlarge the middle one of `frames`, each (n, 1, h, w), to (n, 1, 4h, 4w)."""
        centre = frames[self.centre]
        *body, last = self.sr.values()
        with probe(ALIGNMENT):
            features = torch.cat(self.aligned(centre, frames), 1)
        with probe(RECONSTRUCTION):
            features = features.to(last.get_parameter("weight").dtype)
            for layer in body:
                features = _activated(layer, features)
        with probe(UPSAMPLING):
            if self.form == "paper":
                return F.pixel_shuffle(last(features).float(), SCALE)
            shuffled = last(depth_to_space(features, 2)).float()
            enlarged: Tensor = self.bicubic(centre)
            return enlarged + depth_to_space(shuffled, 2)

    def aligned(self, centre: Tensor, frames: list[Tensor]) -> list[Tensor]:
        """Return the frames (n, 1, h, w), moved to where the middle one is."""
        if self.form == "rebuild":
            return [splat(frame, self.motion(frame, centre)) for frame in frames]
        return [
            frame if frame is centre else warp(frame, self.motion(centre, frame), padding_mode="border")
            for frame in frames
        ]


def _with_prelu(convolution: nn.Conv2d) -> nn.Conv2d:
    convolution.prelu = nn.PReLU(convolution.out_channels)
    return convolution


def _activated(layer: nn.Module, features: Tensor) -> Tensor:
    convolved: Tensor = layer(features)
    activation = getattr(layer, "prelu", None)
    return F.relu(convolved, inplace=True) if activation is None else activation(convolved)
