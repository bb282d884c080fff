from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.vsr_model.test_cost import meta_model
from vsr_model import STAGES, Stage
from vsr_model.traffic import Traffic, stage_traffic

LAYERS = {"convolution", "grid_sampler_2d", "avg_pool2d", "upsample_bilinear2d", "upsample_nearest2d"}


class LayerBytes(TorchDispatchMode):
    """Adds up what each layer's tensors take, by the stage that is open, as torch runs the layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stage: Stage | None = None
        self.bytes = dict.fromkeys(STAGES, 0)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        tensors = [item for item in args if isinstance(item, torch.Tensor)]
        moved: list[torch.Tensor] = []
        if name in LAYERS:
            moved = [*tensors, out]
        elif name == "sub" and tensors[0].ndim == 4 and len(tensors) == 2:  # an image less its mean
            moved = [tensors[0], out]
        elif name == "add" and [item.shape for item in tensors] == [out.shape] * 2 and out.ndim == 4:
            moved = tensors[:1]  # beside what the layer before it gave
        if moved:
            assert self.stage is not None
            self.bytes[self.stage] += sum(item.nbytes for item in moved)
        return out


class _Open:
    """A probe that tells the counter which stage runs."""

    def __init__(self, counter: LayerBytes, stage: Stage) -> None:
        self.counter, self.stage = counter, stage

    def __enter__(self) -> None:
        self.counter.stage = self.stage

    def __exit__(self, *_: object) -> None:
        self.counter.stage = None


@pytest.mark.parametrize(
    ("mid_channels", "num_blocks", "shape"),
    [
        (8, 2, (1, 3, 3, 64, 96)),
        (5, 1, (2, 2, 3, 33, 40)),  # flow estimation has to resize
        (64, 1, (1, 1, 3, 16, 20)),  # no neighbour, no flow
        (64, 30, (1, 2, 3, 180, 320)),
    ],
)
def test_layers_move_what_torch_s_operators_are_given_and_give(
    mid_channels: int, num_blocks: int, shape: tuple[int, ...]
) -> None:
    batch, frames, _, height, width = shape
    counter = LayerBytes()
    with torch.no_grad(), counter:
        meta_model(mid_channels, num_blocks)(
            torch.empty(shape, device="meta"), lambda stage: _Open(counter, stage)
        )
    found = stage_traffic(
        mid_channels=mid_channels,
        num_blocks=num_blocks,
        batch=batch,
        frames=frames,
        height=height,
        width=width,
    )
    assert {stage: moved.layers for stage, moved in found.items()} == counter.bytes


def traffic(**changes: int) -> dict[Stage, Traffic]:
    axes = {"mid_channels": 2, "num_blocks": 1, "batch": 1, "frames": 1, "height": 16, "width": 16}
    return stage_traffic(**{**axes, **changes})


def test_a_frame_by_hand() -> None:
    pixels = 16 * 16
    weights = 9 * 5 * 2 + 2 + 2 * (9 * 2 * 2 + 2)  # of a trunk
    up = (9 * 2 * 8 + 8) + (9 * 2 * 256 + 256) + (9 * 64 * 64 + 64) + (9 * 64 * 3 + 3)
    assert traffic() == {
        Stage.ALIGNMENT: Traffic(layers=0, fused=0),
        Stage.PROPAGATION: Traffic(
            layers=2 * 4 * (pixels * ((5 + 2) + (2 + 2) + (2 + 2 + 2)) + weights),
            fused=2 * 4 * (pixels * (5 + 2) + weights),
        ),
        Stage.AGGREGATION: Traffic(layers=4 * (pixels * 6 + 4 * 2 + 2), fused=4 * (pixels * 6 + 4 * 2 + 2)),
        Stage.UPSAMPLING: Traffic(
            layers=4 * (pixels * ((2 + 8) + (8 + 1024) + 2 * 1024 + (1024 + 48) + (3 + 48) + 48) + up),
            fused=4 * (pixels * (2 + 3 + 48) + up),
        ),
    }


def test_narrow_features_leave_frames_flows_and_output_wide() -> None:
    pixels, narrow = 16 * 16, traffic(frames=2, bytes_per_element=2)
    wide = traffic(frames=2)
    # A warp in each direction: features in and out, and the flow.
    assert wide[Stage.ALIGNMENT].layers - narrow[Stage.ALIGNMENT].layers == 2 * pixels * 2 * 2 * 2
    assert narrow[Stage.AGGREGATION].layers * 2 == wide[Stage.AGGREGATION].layers
    frames = 4 * pixels * 3 * 4  # read by both trunks
    assert wide[Stage.PROPAGATION].fused - frames == 2 * (narrow[Stage.PROPAGATION].fused - frames)
    output = 2 * pixels * (3 + 48) * 4
    assert wide[Stage.UPSAMPLING].fused - output == 2 * (narrow[Stage.UPSAMPLING].fused - output)


def test_fused_flow_reads_a_clip_and_its_weights_and_writes_flows() -> None:
    pixels = 16 * 16
    flow = 6 * sum(49 * a * b + b for a, b in ((8, 32), (32, 64), (64, 32), (32, 16), (16, 2)))
    warps = 2 * 2 * pixels * (2 + 2 + 2) * 4
    assert traffic(frames=3)[Stage.ALIGNMENT].fused == warps + 4 * (
        3 * pixels * 3 + flow + 2 * 2 * pixels * 2
    )


@pytest.mark.parametrize("stage", STAGES)
def test_to_keep_a_stage_in_a_cache_is_never_worse(stage: Stage) -> None:
    found = stage_traffic(mid_channels=64, num_blocks=30, batch=2, frames=3, height=50, width=70)[stage]
    assert 0 < found.fused <= found.layers
