"""The figure `scaling`: how time grows along each axis of the grid, as the exponent of a power."""

from typing import Any, Final

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.grid.spans import FORWARD
from bench.plotting.groups import Kind, Labels
from bench.plotting.sheet import WIDTH_IN, sheet
from bench.plotting.style import cut, stage_looks
from bench.records import Status
from bench.results.tables import SCALING_AXES, Tables
from bench.stats.intervals import CONFIDENCE

_ROW_IN: Final = 0.145
_TEXT_IN: Final = 1.22
_BETWEEN: Final = 1.9  # rows, with the name of the next backend in between

_NOTE: Final = (
    "Exponent e of time ∝ axis^e, by least squares. 1: in proportion; below 1: fixed costs, or larger inputs "
    "are computed more efficiently."
)


def _growth(tables: Tables) -> pd.DataFrame:
    """Return the rows of scaling.csv, for each cell that ended ok."""
    summary = tables.summary[tables.summary["status"] == Status.OK].drop_duplicates("cell")
    by = [name for name in ("run", "model", "input", "backend") if name in tables.scaling]
    return summary[["cell", *by]].merge(tables.scaling, on=by)


def scaling_figure(table: pd.DataFrame, labels: Labels) -> Figure:
    found = table.drop_duplicates(["label", "stage", "axis"])
    axes_shown = [axis for axis in SCALING_AXES if axis in set(found["axis"])]
    stages = [stage for stage in labels.stages if stage in set(found["stage"])]
    looks = {stage: stage_looks(labels.stages)[stage][0] for stage in stages} | {FORWARD: "black"}
    rows = [FORWARD, *stages]
    names = list(dict.fromkeys(found["label"]))
    height = len(rows) + _BETWEEN
    legend: list[tuple[Artist, str]] = [
        (Line2D([], [], color=tint, **_mark(stage)), stage) for stage, tint in looks.items()
    ]
    figure = sheet(
        labels,
        "How time grows",
        "",
        legend=legend,
        notes=[_NOTE, _interval_note(found)],
        axes_height_in=_ROW_IN * height * len(names) + 0.75,
    )
    drawn = figure.subplots(1, len(axes_shown), sharey=True, squeeze=False)[0]
    for axes, axis in zip(drawn, axes_shown, strict=True):
        axes.axvline(1, color="black", linewidth=0.8, linestyle=(0, (4, 2)))
        own = found[found["axis"] == axis].set_index(["label", "stage"])
        low, high = min(0.8, own["exponent"].min()) - 0.1, max(1.2, own["exponent"].max()) + 0.1
        for number, name in enumerate(names):
            for place, stage in enumerate(rows):
                if (name, stage) not in own.index:
                    continue
                row, at = own.loc[(name, stage)], number * height + place
                axes.plot([row["exponent"]], [at], color=looks[stage], **_mark(stage))
                axes.hlines(at, row["low"], min(row["high"], high), color=looks[stage], linewidth=1.6)
            if (name, FORWARD) in own.index:
                axes.text(
                    0.99, number * height, exponent_text(own.loc[(name, FORWARD)]), ha="right", va="center",
                    transform=axes.get_yaxis_transform(), fontsize=8,
                )  # fmt: skip
        # Beside the points there is room for the forward's exponent in figures.
        room = (high - low) * _TEXT_IN * len(axes_shown) / (WIDTH_IN - _TEXT_IN * len(axes_shown))
        axes.set(xlim=(low, high + room), ylim=(height * len(names) - _BETWEEN + 0.6, -_BETWEEN))
        ticks = MaxNLocator(3, steps=[1, 2, 5, 10]).tick_values(low, high)
        axes.set_xticks([tick for tick in ticks if low <= tick <= high])
        axes.set_title(f"with {axis}", fontsize=8.5)
        axes.set_xlabel("exponent")
        axes.set_yticks([])
        axes.grid(visible=False, axis="y")
    drawn[0].set_zorder(1)  # its names go on over the others
    drawn[0].patch.set_visible(False)
    for number, name in enumerate(names):
        drawn[0].annotate(
            cut(name), (0, number * height - 1.0), xycoords=drawn[0].get_yaxis_transform(),
            fontsize=8.5, fontweight="bold", va="center", in_layout=False,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip
    return figure


def exponent_text(row: "pd.Series[Any]") -> str:
    """Return a row's exponent with its interval."""
    interval = "" if pd.isna(row["low"]) else f" ({row['low']:.2f} to {row['high']:.2f})"
    return f"{row['exponent']:.2f}{interval}"


def _mark(stage: str) -> dict[str, Any]:
    return {"linestyle": "", "marker": "D" if stage == FORWARD else "o", "markersize": 5}


def _interval_note(found: pd.DataFrame) -> str:
    fewest, most = found["points"].min(), found["points"].max()
    cells = f"{most} cells" if fewest == most else f"{fewest} to {most} cells"
    if found["low"].notna().any():
        return f"Lines, and in brackets for the forward: {100 * CONFIDENCE:g} % intervals, of {cells} a fit."
    return f"No intervals: {cells} a fit are too few."


SCALING: Final = Kind(rows=_growth, draw=scaling_figure, lacking="no axis of the grid varies", over_axes=True)
