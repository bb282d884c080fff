"""EDVR: a window of five frames, aligned by deformable convolutions and fused by attention.

Wang et al., "EDVR: Video Restoration with Enhanced Deformable Convolutional Networks", CVPRW 2019 (arXiv
1905.02716). Submodules are named as in BasicSR's checkpoints.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vsr_model.layers import ResidualBlock, Tail
from vsr_model.network import Facts, Published
from vsr_model.pcd import MULTIPLE, PCDAlignment, TSAFusion, add_pyramid, pyramid_of
from vsr_model.stages import AGGREGATION, ALIGNMENT, FEATURES, RECONSTRUCTION, UPSAMPLING, StageProbe
from vsr_model.windows import WindowNetwork


class EDVR(WindowNetwork, Tail):
    """Super-resolution of a video by four, frame by frame from a window around it.

    With 64 channels and 10 blocks (EDVR-M) it has 3,300,131 parameters, with 128 and 40 (EDVR-L) 20,633,827.
    """

    facts = Facts(
        title="EDVR",
        source="Wang et al., EDVR: Video Restoration with Enhanced Deformable Convolutional Networks, "
        "CVPRW 2019",
        stages={
            FEATURES: "Computes features of each frame of the window at three sizes.",
            ALIGNMENT: "Aligns each frame's features to the middle frame's (PCD).",
            AGGREGATION: "Fuses the aligned features by temporal and spatial attention (TSA).",
            RECONSTRUCTION: "Runs the residual blocks.",
            UPSAMPLING: "Shuffles the features to the output's size, and adds the enlarged frame.",
        },
        min_size=4,
        multiple=MULTIPLE,
        compiled=("feature_extraction", "fusion", "reconstruction"),
        gains=(
            (r"\.conv2\.weight$", 0.1),
            (r"(cas_dcnpack|l1)\.conv_offset\.weight$", 0.4),
            (r"l2\.conv_offset\.weight$", 0.8),
            (r"temporal_attn[12]\.weight$", 0.5),
            (r"pcd_align\.|fusion\.|conv_l[23]_|conv_first\.", 1.5),
        ),
        published=(
            Published(quantity="parameters", value=20.6e6, unit="", source="Chan et al. 2021, table 1",
                      conditions="128 channels, 40 blocks"),
            Published(quantity="time per frame", value=0.378, unit="s", source="Chan et al. 2021, table 1",
                      conditions="180x320 input, 128 channels, 40 blocks; copied there from other work"),
        ),
    )  # fmt: skip
    ends = "far"

    def __init__(
        self,
        mid_channels: Annotated[int, Field(ge=8, le=4096, multiple_of=8, description="Channels.")] = 64,
        num_blocks: Annotated[int, Field(ge=1, le=1000, description="Blocks of the reconstruction.")] = 10,
        *,
        extract_blocks: Annotated[int, Field(ge=1, le=1000, description="Blocks of the features.")] = 5,
        window: Annotated[Literal[3, 5, 7], Field(description="Frames of a window.")] = 5,
        with_tsa: Annotated[bool, Field(description="Fuse by attention, and not by a convolution.")] = True,
    ) -> None:
        super().__init__()
        self.window = window
        add_pyramid(self, mid_channels, extract_blocks)
        self.pcd_align = PCDAlignment(mid_channels)
        self.fusion = (
            TSAFusion(mid_channels, window) if with_tsa else nn.Conv2d(window * mid_channels, mid_channels, 1)
        )
        self.reconstruction = nn.Sequential(*(ResidualBlock(mid_channels) for _ in range(num_blocks)))
        self.add_tail(mid_channels)

    def middle(self, frames: list[Tensor], probe: StageProbe) -> Tensor:
        """Enlarge the middle one of `frames`, each (n, 3, h, w), to (n, 3, 4h, 4w)."""
        with probe(FEATURES):
            levels = [level.chunk(self.window) for level in pyramid_of(self, torch.cat(frames))]
        with probe(ALIGNMENT):
            each = list(zip(*levels, strict=True))
            reference = each[self.centre]
            aligned = torch.stack([self.pcd_align(frame, reference) for frame in each], 1)
        with probe(AGGREGATION):
            fused = self.fusion(aligned if isinstance(self.fusion, TSAFusion) else aligned.flatten(1, 2))
        with probe(RECONSTRUCTION):
            features = self.reconstruction(fused)
        with probe(UPSAMPLING):
            return self.enlarge(features, frames[self.centre])
