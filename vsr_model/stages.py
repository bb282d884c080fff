"""Stages that networks report to a probe. Free of torch.

A network names its own stages. Where they correspond to those of others, the names are the same, so that
shares of time can be compared across networks.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

FEATURES: Final = "features"  # computes features of single frames
ALIGNMENT: Final = "alignment"  # estimates motion between frames, and warps along it
REFILL: Final = "refill"  # brings features of key frames into what is carried
PROPAGATION: Final = "propagation"  # carries features or frames from step to step
AGGREGATION: Final = "aggregation"  # fuses features of several directions or frames
RECONSTRUCTION: Final = "reconstruction"  # refines what was fused
UPSAMPLING: Final = "upsampling"  # brings features to the output's size


class StageProbe(Protocol):
    """Called by a network at the start of each stage interval; the returned context spans the interval.

    One forward pass opens many intervals of the same stage, such as one per frame. Intervals never overlap.
    """

    def __call__(self, stage: str, /) -> AbstractContextManager[None]: ...


_NOTHING: Final = nullcontext()


def no_probe(_stage: str, /) -> AbstractContextManager[None]:
    """Listen to nothing."""
    return _NOTHING
