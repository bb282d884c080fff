"""The four stages of BasicVSR and the probe that a forward pass reports them to.

Free of torch, so that planning and analysis can name the stages without importing it.
"""

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from typing import Final, Protocol


class Stage(StrEnum):
    """What BasicVSR consists of (Chan et al., CVPR 2021, section 3). Their intervals never overlap."""

    ALIGNMENT = "alignment"  # optical flow between neighbouring frames, and warping features along it
    PROPAGATION = "propagation"  # the residual trunks of the backward and the forward branch
    AGGREGATION = "aggregation"  # fusing the features of both directions
    UPSAMPLING = "upsampling"  # pixel shuffle to the output size, base image added


STAGES: Final = tuple(Stage)


class StageProbe(Protocol):
    """Called by the network at the start of each stage interval; the returned context spans the interval.

    One forward pass opens many intervals of the same stage (one per frame and direction).
    """

    def __call__(self, stage: Stage, /) -> AbstractContextManager[None]: ...


_NOTHING: Final = nullcontext()


def no_probe(_stage: Stage, /) -> AbstractContextManager[None]:
    """The probe for when no one listens: a shared context that does nothing."""
    return _NOTHING
