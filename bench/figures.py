"""The kinds of figure that a grid can ask for (`plots`), and where each is described. Free of matplotlib."""

from collections.abc import Mapping
from typing import Final

FIGURES: Final[Mapping[str, str]] = {
    "time": "bench.plotting.medians:TIME",
    "speedup": "bench.plotting.medians:SPEEDUP",
    "scaling": "bench.plotting.scaling:SCALING",
    "stages": "bench.plotting.stages:STAGES",
    "peak_memory": "bench.plotting.peaks:PEAKS",
    "stage_memory": "bench.plotting.stage_memory:STAGE_MEMORY",
    "memory": "bench.plotting.traces:MEMORY",
    "repetitions": "bench.plotting.traces:REPETITIONS",
    "roofline": "bench.plotting.roofline:ROOFLINE",
}
"""Each kind's name and its `bench.plotting.groups.Kind`, whose module is imported when the kind is drawn."""

DRAWN_UNASKED: Final = tuple(kind for kind in FIGURES if kind != "roofline")
"""Kinds that are drawn where a grid names none."""
