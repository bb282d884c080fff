"""The kinds of figure that a grid can ask for (`plots`), and where each is described. Free of matplotlib."""

from collections.abc import Mapping
from typing import Final

FIGURES: Final[Mapping[str, str]] = {
    "time": "bench.plotting.medians:TIME",
    "speedup": "bench.plotting.medians:SPEEDUP",
    "scaling": "bench.plotting.scaling:SCALING",
    "stages": "bench.plotting.stages:STAGES",
    "repetitions": "bench.plotting.traces:REPETITIONS",
    "peak_memory": "bench.plotting.peaks:PEAKS",
    "memory": "bench.plotting.traces:MEMORY",
    "roofline": "bench.plotting.roofline:ROOFLINE",
}
"""Each kind's name and its `bench.plotting.groups.Kind`, whose module is imported when the kind is drawn."""

DRAWN_UNASKED: Final = ("time", "speedup", "scaling", "stages", "peak_memory", "memory", "repetitions")
"""Kinds that are drawn where a grid names none."""
