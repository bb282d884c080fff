"""Bicubic and bilinear interpolation: the floor that every network is compared with. They have no weights."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from vsr_model.images import ImageNetwork
from vsr_model.network import Facts
from vsr_model.stages import UPSAMPLING, StageProbe


class Bicubic(ImageNetwork):
    """Enlargement of images by four, by PyTorch's bicubic kernel (a = -0.75, edges aligned)."""

    facts = Facts(
        title="bicubic",
        source="Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE TASSP 1981",
        stages={UPSAMPLING: "Interpolates the frame."},
        narrow=(),
        compiled=(),
    )
    mode: Literal["bicubic", "bilinear"] = "bicubic"

    def image(self, image: Tensor, probe: StageProbe) -> Tensor:
        """Enlarge `image` (n, 3, h, w) to (n, 3, 4h, 4w)."""
        with probe(UPSAMPLING):
            return F.interpolate(image, scale_factor=self.facts.scale, mode=self.mode, align_corners=False)


class Bilinear(Bicubic):
    """Enlargement of images by four, bilinear (edges aligned)."""

    facts = Facts(title="bilinear", source="", stages=Bicubic.facts.stages, narrow=(), compiled=())
    mode = "bilinear"
