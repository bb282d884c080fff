"""The recurrence of BasicVSR, whoever holds what it needs: frames, flows, and the other branch's features.

Nothing is kept here but what one step hands to the next: memory is bounded where the callers bound it.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeAlias

from torch import Tensor, nn

from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING, StageProbe

Step: TypeAlias = tuple[int, Tensor, Tensor | None]
"""A frame's index in the clip, the frame (n, 3, h, w), and the flow (n, 2, h, w) that starts at it and points
into the frame that a branch comes from. It is None where a branch starts."""


class Propagation(Protocol):
    """The cell of the forward branch: a frame and what was propagated so far, to that frame's features."""

    @property
    def forward_trunk(self) -> nn.Module: ...


class Stages(Protocol):
    """A network of BasicVSR's stages, as `BasicVSR` is one."""

    @property
    def alignment(self) -> nn.Module: ...

    @property
    def propagation(self) -> Propagation: ...

    @property
    def aggregation(self) -> nn.Module: ...

    @property
    def upsampling(self) -> nn.Module: ...


def propagate(
    trunk: nn.Module, alignment: nn.Module, steps: Iterable[Step], feat_prop: Tensor, probe: StageProbe
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Index, frame, and features (n, mid_channels, h, w) of each step, in the order of the steps.

    `feat_prop` is what the first step is given: zeros where the branch starts, else the features of the frame
    that its flow points into.
    """
    for index, frame, flow in steps:
        if flow is not None:
            with probe(ALIGNMENT):
                feat_prop = alignment(feat_prop, flow)
        del flow  # it keeps those that were estimated with it
        with probe(PROPAGATION):
            feat_prop = trunk(frame, feat_prop)
        yield index, frame, feat_prop


def forward_branch(
    stages: Stages,
    steps: Iterator[Step],
    feats_backward: Callable[[int], Tensor],
    feat_prop: Tensor,
    probe: StageProbe,
    *,
    frames: int,
) -> Iterator[Tensor]:
    """The outputs (n, 3, 4h, 4w) of all frames, first to last.

    `feats_backward` is asked once for the backward features (n, mid_channels, h, w) of each frame, in this
    order, and before the frame's step is asked for: whoever has to compute them does so while no more frames
    and flows are held than need be.
    """
    propagated = propagate(stages.propagation.forward_trunk, stages.alignment, steps, feat_prop, probe)
    del feat_prop
    for index in range(frames):
        feat_backward = feats_backward(index)
        _, frame, feat_forward = next(propagated)
        with probe(AGGREGATION):
            features = stages.aggregation(feat_backward, feat_forward)
        del feat_backward, feat_forward
        with probe(UPSAMPLING):
            output = stages.upsampling(features, frame)
        del features, frame
        yield output
        del output  # its receiver alone decides how long it lives
