"""What figures of all kinds say in the same words: titles, footnotes, legend entries, rows."""

from collections.abc import Sequence
from typing import Any, Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bench.plotting.plot_data import Labels
from bench.plotting.plot_style import colour, line, marker, wrapped

NOTES: Final = 3
"""Reasons for cells not shown that a figure names; the report names all."""

REFERENCE_LINE: Final[dict[str, Any]] = {"color": "black", "linewidth": 1.2, "linestyle": "-", "zorder": 1.5}


def title_of(labels: Labels, what: str) -> str:
    place = [labels.subject, f"{labels.height}×{labels.width}", f"batch {labels.batch}"]
    return f"{what}: {', '.join(filter(None, place))}" + (f" ({labels.part})" if labels.part else "")


def frames_of(table: pd.DataFrame) -> str:
    (count,) = table["frames"].unique()
    return "1 frame" if count == 1 else f"{count} frames"


def missing(labels: Labels) -> list[str]:
    if not labels.not_shown:
        return []
    more = len(labels.not_shown) - NOTES
    rest = [f"and {more} more"] if more > 0 else []
    return [f"Not shown: {'; '.join([*labels.not_shown[:NOTES], *rest])}."]


def series(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the rows of each label, in their order."""
    return [(str(name), rows) for name, rows in table.groupby("label", sort=False)]


def look(rows: pd.DataFrame, labels: Labels) -> dict[str, Any]:
    """Return the colour, line and marker of a series: by backend, and of several runs by run."""
    backend, run = rows["backend"].iloc[0], rows["run"].iloc[0]
    place = labels.backends.index(backend)
    shape = labels.runs.index(run) if labels.runs else place
    return {"color": colour(place), "linestyle": line(shape), "marker": marker(shape)}


def handle(rows: pd.DataFrame, labels: Labels) -> Line2D:
    return Line2D([], [], **look(rows, labels))


def handles(table: pd.DataFrame, labels: Labels) -> list[tuple[Any, str]]:
    return [(handle(rows, labels), name) for name, rows in series(table)]


def reference_handle() -> Line2D:
    return Line2D([], [], **{**REFERENCE_LINE, "zorder": 1})


def known(values: "pd.Series[float]") -> list[float]:
    return [float(value) for value in values.dropna()]


def backend_rows(axes: Axes, names: Sequence[str]) -> None:
    """Backends from the top down, in their order."""
    axes.set_yticks(range(len(names)), [wrapped(name, 26) for name in names])
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
