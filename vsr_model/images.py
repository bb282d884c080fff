"""Networks that enlarge single images, frame by frame, and what they share."""

import torch
from torch import Tensor, nn

from vsr_model.network import Network, check_clip
from vsr_model.stages import UPSAMPLING, StageProbe, no_probe


class ImageNetwork(Network):
    """A network that sees one frame at a time."""

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        """Enlarge `lrs` (n, t, 3, h, w), RGB in [0, 1], frame by frame; see `Network.forward`."""
        check_clip(self.facts, tuple(lrs.shape))
        enlarged = [self.image(frame, probe) for frame in lrs.unbind(1)]
        with probe(UPSAMPLING):
            return torch.stack(enlarged, 1)

    def image(self, image: Tensor, probe: StageProbe) -> Tensor:
        """Enlarge one frame (n, 3, h, w) to (n, 3, scale h, scale w), in float32."""
        raise NotImplementedError


class MeanShift(nn.Module):
    """The mean of the training images, subtracted (sign -1) or added, as a convolution with fixed weights."""

    def __init__(self, mean: tuple[float, float, float], sign: int) -> None:
        super().__init__()
        self.shifter = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.shifter.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
            self.shifter.bias.copy_(sign * torch.tensor(mean))  # type: ignore[union-attr]

    def forward(self, image: Tensor) -> Tensor:
        """Shift (n, 3, h, w)."""
        shifted: Tensor = self.shifter(image)
        return shifted
