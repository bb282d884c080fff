"""SPMC: frames splatted along their flow onto the output's grid, encoded, carried by a ConvLSTM and decoded.

Tao et al., "Detail-revealing Deep Video Super-resolution", ICCV 2017 (arXiv 1704.02738), in the form of the
rebuild in psychopa4/PFNL; the authors released frozen graphs alone. Layers are named as there.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr_model.layers import CornerBicubic, conv3x3
from vsr_model.motion import MULTIPLE, Halving, MotionNet, splat
from vsr_model.network import Facts
from vsr_model.stages import ALIGNMENT, FEATURES, PROPAGATION, UPSAMPLING, StageProbe
from vsr_model.windows import WindowNetwork

SCALE: Final = 4
HIDDEN: Final = 128
FORGET_BIAS: Final = 1.0


class Coder(nn.Module):
    """The encoder, the recurrent cell and the decoder, at the output's size and below."""

    def __init__(self) -> None:
        super().__init__()
        self.enc1 = nn.Conv2d(1, 32, 5, padding=2)
        self.enc2, self.enc2_1 = Halving(32, 64, 3), conv3x3(64, 64)
        self.enc3, self.enc3_1 = Halving(64, HIDDEN, 3), conv3x3(HIDDEN, HIDDEN)
        self.convLSTM = nn.ModuleDict({"LSTM_conv": conv3x3(2 * HIDDEN, 4 * HIDDEN)})
        self.dec1, self.dec1_1 = _doubling(HIDDEN, 64), conv3x3(64, 64)
        self.dec2, self.dec2_1 = _doubling(64, 32), conv3x3(32, 32)
        self.dec3 = nn.Conv2d(32, 1, 5, padding=2)

    def encode(self, frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features of `frame` (n, 1, H, W) at its size, a half and a quarter."""
        whole = F.relu(self.enc1(frame.to(self.enc1.weight.dtype)), inplace=True)
        half = F.relu(self.enc2_1(F.relu(self.enc2(whole), inplace=True)), inplace=True)
        return whole, half, F.relu(self.enc3(half), inplace=True)

    def carry(self, features: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Return the next hidden state and cell (n, 128, H / 4, W / 4)."""
        hidden, cell = (torch.zeros_like(features),) * 2 if state is None else state
        gates = self.convLSTM["LSTM_conv"](torch.cat((features, hidden), 1))
        enter, new, forget, leave = gates.chunk(4, 1)
        cell = cell * torch.sigmoid(forget + FORGET_BIAS) + torch.sigmoid(enter) * torch.tanh(new)
        return torch.tanh(cell) * torch.sigmoid(leave), cell

    def decode(self, hidden: Tensor, half: Tensor, whole: Tensor) -> Tensor:
        """Return the residual (n, 1, H, W), in float32."""
        features = F.relu(self.enc3_1(hidden), inplace=True)
        features = F.relu(self.dec1(features), inplace=True) + half
        features = F.relu(self.dec1_1(features), inplace=True)
        features = F.relu(self.dec2(features), inplace=True) + whole
        residual: Tensor = self.dec3(F.relu(self.dec2_1(features), inplace=True))
        return residual.float()


class SPMC(WindowNetwork):
    """Super-resolution of the luma of a video by four, frame by frame from three: 1,722,161 parameters."""

    facts = Facts(
        title="SPMC",
        source="Tao et al., Detail-revealing Deep Video Super-resolution, ICCV 2017",
        stages={
            ALIGNMENT: "Estimates the flow of each frame, and splats it onto the output's grid.",
            FEATURES: "Encodes each splatted frame.",
            PROPAGATION: "Carries the features from frame to frame by a ConvLSTM.",
            UPSAMPLING: "Decodes the state to the residual, and adds the enlarged frame.",
        },
        inputs={"luma": 1},
        multiple=MULTIPLE,
        min_size=MULTIPLE,
        narrow=("sr",),
        compiled=("motion",),
        gains=(
            (r"^motion\.[cs]5", 2.5), (r"^motion", 1.4), (r"LSTM", 1.5), (r"dec[12]\.", 2.4), (r"dec3", 2.0),
            (r"", 1.3),
        ),
        names=(
            (r"^easyflow/", "motion/"), (r"^srmodel/", "sr/"), (r"/", "."), (r"weights$", "weight"),
            (r"biases$", "bias"),
        ),
    )  # fmt: skip
    window = 3
    ends = "repeat"

    def __init__(self) -> None:
        super().__init__()
        self.motion = MotionNet()
        self.sr = Coder()
        self.bicubic = CornerBicubic()

    def middle(self, frames: list[Tensor], probe: StageProbe) -> Tensor:
        """Enlarge the middle one of `frames`, each (n, 1, h, w), to (n, 1, 4h, 4w)."""
        return self.outputs(frames, probe)[-1]

    def outputs(self, frames: list[Tensor], probe: StageProbe) -> list[Tensor]:
        """Return an output (n, 1, 4h, 4w) after each frame; the last one has seen all."""
        centre = frames[self.centre]
        with probe(UPSAMPLING):
            enlarged = self.bicubic(centre)
        state = None
        made = []
        for frame in frames:
            with probe(ALIGNMENT):
                splatted = splat(frame, self.motion(frame, centre), SCALE)
            with probe(FEATURES):
                whole, half, features = self.sr.encode(splatted)
            with probe(PROPAGATION):
                state = self.sr.carry(features, state)
            with probe(UPSAMPLING):
                made.append(enlarged + self.sr.decode(state[0], half, whole))
        return made


def _doubling(channels_in: int, channels_out: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels_in, channels_out, 4, stride=2, padding=1)
