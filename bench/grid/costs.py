"""The cost of one forward, stage by stage. Pure."""

from collections.abc import Mapping
from typing import TypeAlias

from pydantic import BaseModel, ConfigDict, NonNegativeInt


class StageCost(BaseModel):
    """Cost of a stage of one forward, as traced (bench.measure.tracing)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flops: NonNegativeInt  # of convolutions and matrix products, a multiply-accumulate as two
    bytes: NonNegativeInt  # moved if every layer reads its inputs and writes its output once
    fused_bytes: NonNegativeInt  # moved if nothing within an interval of the stage leaves the cache
    peak_bytes: NonNegativeInt  # alive at the worst moment of the stage, weights and clip included
    dtype: str = "float32"  # that most of its FLOPs are computed in


Costs: TypeAlias = Mapping[str, StageCost]
"""Costs of one forward, by stage; those of no stage are under `other`."""
