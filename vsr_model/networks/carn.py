"""CARN: a cascading residual network for single images.

Ahn et al., "Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual Network", ECCV 2018
(arXiv 1803.08664). Submodules are named as in the released checkpoints.
"""

from typing import Annotated, Final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vsr_model.images import ImageNetwork, MeanShift
from vsr_model.layers import pixel_shuffle
from vsr_model.network import Facts, Published
from vsr_model.stages import FEATURES, UPSAMPLING, StageProbe

CHANNELS: Final = 64
MEAN: Final = (0.4488, 0.4371, 0.4040)  # of the training images' red, green and blue

MultiScale = Annotated[
    bool,
    Field(description="Have the enlargements by 2 and 3, which are not used, as some released checkpoints."),
]


class Residual(nn.Module):
    """Convolutions beside a shortcut, and a ReLU after their sum."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(CHANNELS, groups), nn.ReLU(inplace=True), _conv(CHANNELS, groups))
        if groups > 1:  # a 1x1 convolution brings the groups together
            self.body.extend((nn.ReLU(inplace=True), nn.Conv2d(CHANNELS, CHANNELS, 1)))

    def forward(self, features: Tensor) -> Tensor:
        """Add the residual to `features` (n, 64, h, w)."""
        return F.relu(self.body(features) + features, inplace=True)


class Join(nn.Module):
    """A 1x1 convolution of all that a cascade has so far to 64 channels."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(parts * CHANNELS, CHANNELS, 1), nn.ReLU(inplace=True))

    def forward(self, parts: list[Tensor]) -> Tensor:
        """Join features (n, 64, h, w)."""
        joined: Tensor = self.body(torch.cat(parts, 1))
        return joined


class Cascade(nn.Module):
    """Three residual blocks, each of which sees what all before it made; or one block three times."""

    def __init__(self, groups: int, *, one_block: bool) -> None:
        super().__init__()
        self.one_block = one_block
        add_cascade(self, *(Residual(groups) for _ in range(1 if one_block else 3)))

    def forward(self, features: Tensor) -> Tensor:
        """Return (n, 64, h, w) of `features` of the same shape."""
        return run_cascade(self, features, one_block=self.one_block)


def add_cascade(owner: nn.Module, *blocks: nn.Module) -> None:
    """Add blocks and the joins after each step to a module."""
    for number, block in enumerate(blocks, start=1):
        owner.add_module(f"b{number}", block)
    for number in (1, 2, 3):
        owner.add_module(f"c{number}", Join(number + 1))


def run_cascade(owner: nn.Module, features: Tensor, *, one_block: bool = False) -> Tensor:
    """Run a module's cascade on `features` (n, 64, h, w)."""
    parts = [features]
    for number in (1, 2, 3):
        parts.append(owner.get_submodule("b1" if one_block else f"b{number}")(features))
        features = owner.get_submodule(f"c{number}")(parts)
    return features


class Enlarge(nn.Module):
    """Convolutions that widen, a ReLU after each, and shuffles."""

    def __init__(self, factors: tuple[int, ...], groups: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for factor in factors:
            layers += [_conv(factor**2 * CHANNELS, groups), nn.ReLU(inplace=True), nn.PixelShuffle(factor)]
        self.body = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Enlarge `features` (n, 64, h, w) by two for each of the factors."""
        for index in range(0, len(self.body), 3):
            features = pixel_shuffle(F.relu(self.body[index](features), inplace=True))
        return features


class CARN(ImageNetwork):
    """Super-resolution of images by four: 1,111,899 parameters; 1,591,963 with the other two scales."""

    facts = Facts(
        title="CARN",
        source="Ahn et al., Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual "
        "Network, ECCV 2018",
        stages={
            FEATURES: "Runs the cascade of residual blocks.",
            UPSAMPLING: "Shuffles the features to the output's size, and convolves them to RGB.",
        },
        narrow=("b1", "b2", "b3", "c1", "c2", "c3", "entry", "upsample", "exit"),
        compiled=("b1", "b2", "b3"),
        gains=(
            (r"body\.[24]\.weight$", 0.3),
            (r"^(exit|entry)", 1.0),
            (r"(^|\.)c[123]\.", 1.4),
            (r"upsample|body\.0", 1.4),
        ),
        fixed=r"_mean\.",
        published=(
            Published(
                quantity="cost of an image", value=90.9, unit="GMAC", source="Ahn et al. 2018",
                conditions="1280x720 output",
            ),
        ),
    )  # fmt: skip

    groups = 1  # of the convolutions; with more the blocks are CARN-M's

    def __init__(self, *, multi_scale: MultiScale = False) -> None:
        super().__init__()
        groups = self.groups
        add_cascade(self, *(Cascade(groups, one_block=groups > 1) for _ in range(3)))
        self.sub_mean, self.add_mean = MeanShift(MEAN, -1), MeanShift(MEAN, 1)
        self.entry = nn.Conv2d(3, CHANNELS, 3, padding=1)
        scales = {"up2": (2,), "up3": (3,), "up4": (2, 2)} if multi_scale else {"up": (2, 2)}
        self.upsample = nn.ModuleDict({name: Enlarge(by, groups) for name, by in scales.items()})
        self.exit = nn.Conv2d(CHANNELS, 3, 3, padding=1)

    def image(self, image: Tensor, probe: StageProbe) -> Tensor:
        """Enlarge `image` (n, 3, h, w) to (n, 3, 4h, 4w)."""
        with probe(FEATURES):
            features = self.entry(self.sub_mean(image).to(self.entry.weight.dtype))
            features = run_cascade(self, features)
        with probe(UPSAMPLING):
            enlarge = self.upsample["up4" if "up4" in self.upsample else "up"]
            output: Tensor = self.add_mean(self.exit(enlarge(features)).float())
            return output


def _conv(channels_out: int, groups: int) -> nn.Conv2d:
    return nn.Conv2d(CHANNELS, channels_out, 3, padding=1, groups=groups)
