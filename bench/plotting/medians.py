"""The figures `time`, `speedup` and `relative`: medians along the axes of the grid, or at one place."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.grid.spans import FORWARD
from bench.plotting.axes import held, one_place, panels
from bench.plotting.curves import TITLE_IN, curves, grid, is_far, scale_of, set_scale
from bench.plotting.groups import Kind, Labels
from bench.plotting.scaling import exponent_text
from bench.plotting.sheet import LOG_RATIO, backend_rows, handles, logarithmic, series, sheet
from bench.plotting.style import plain
from bench.results.tables import Tables
from bench.stats.intervals import CONFIDENCE, IntervalKind
from bench.units import Unit, significant, unit_for

INTERVALS: Final = {
    IntervalKind.BETWEEN_ROUNDS: "between processes",
    IntervalKind.BETWEEN_ROUNDS_T: "between three to five processes, by Student's t",
    IntervalKind.WITHIN_PROCESS: "within these processes only",
}

_TIMES: Final = Unit(name="×", scale=1.0)
_AT_ONE: Final[dict[str, Any]] = {"color": "black", "linewidth": 1.2, "linestyle": "-"}


def time_figure(table: pd.DataFrame, labels: Labels) -> Figure:
    unit = unit_for(table["value"].astype(float))
    return _figure(table, labels, "Time of one forward", f"forward time ({unit.name})", unit)


def speedup_figure(table: pd.DataFrame, labels: Labels) -> Figure:
    over = labels.baseline
    at_one = "baseline" if labels.runs else f"{over} (baseline)"
    label = f"speedup over {plain(over)} (×)"
    return _figure(table, labels, f"Speedup over {over}", label, at_one=at_one, notes=_gains(table))


def relative_figure(table: pd.DataFrame, labels: Labels) -> Figure:
    over = labels.baseline
    return _figure(table, labels, f"Speed relative to {over}", "relative speed (×)", at_one=over)


def _gains(table: pd.DataFrame) -> list[str]:
    """Return a note where no cell is faster than the baseline."""
    if table["value"].max() <= 1:
        return ["Nothing gained: no backend is faster than the baseline here."]
    if table["low"].notna().any() and not (table["low"] > 1).any():
        return ["No certain gain: no interval lies above 1."]
    return []


def _figure(
    table: pd.DataFrame,
    labels: Labels,
    title: str,
    label: str,
    unit: Unit = _TIMES,
    at_one: str = "",
    notes: Sequence[str] = (),
) -> Figure:
    """Draw `value`, `low`, `high` and `interval` by series, along the axes that vary."""
    bounds = ("value", "low", "high")
    table = table.assign(**{name: table[name].astype(float) / unit.scale for name in bounds})
    shown = panels(table)
    rows = pd.concat([panel.rows for panel in shown]) if shown else one_place(table)
    ends = [*(rows[name].min() for name in bounds), *(rows[name].max() for name in bounds)]
    ends = [end for end in ends if not pd.isna(end)] + [1.0] * bool(at_one)
    legend: list[tuple[Artist, str]] = [(Line2D([], [], **_AT_ONE), at_one)] * bool(at_one)
    figure = sheet(
        labels,
        title,
        shown[0].held if len(shown) == 1 else held(rows),
        legend=[*legend, *_named(table, labels, with_growth=len(shown) == 1)] if shown else legend,
        notes=[_interval_note(rows), *notes],
        axes_height_in=_height(len(shown)) if shown else 0.75 + 0.38 * rows["label"].nunique(),
    )
    if not shown:
        axes = figure.add_subplot()
        if at_one:
            axes.axvline(1, zorder=1.5, **_AT_ONE)
        _rows(axes, rows, labels, unit, min(ends), max(ends))
        axes.set_xlabel(label)
        return figure
    # A time grows along every axis, and on logarithmic ones in a straight line; a ratio need not.
    grows = not at_one
    scales = [scale_of(panel, log=grows and len(shown) > 1) for panel in shown]
    is_log = is_far(rows) or (grows and any(scale.is_log for scale in scales))
    (drawn,) = grid(figure, 1, shown)
    for axes, panel, scale in zip(drawn, shown, scales, strict=True):
        if at_one:
            axes.axhline(1, zorder=1.5, **_AT_ONE)
        curves(axes, panel, labels, scale)
        set_scale(axes, scale, len(shown))
    if is_log:
        logarithmic(drawn[0], drawn[0].yaxis, min(ends), max(ends))
    else:
        drawn[0].set_ylim(0, max(ends) * 1.06)
    drawn[0].set_ylabel(label)
    return figure


def _named(table: pd.DataFrame, labels: Labels, *, with_growth: bool) -> list[tuple[Artist, str]]:
    """Return the legend of a table's series, with how each grows along the one axis that is shown."""
    growth = dict(table[["label", "growth"]].dropna().values) if with_growth and "growth" in table else {}
    return [
        (line, f"{name}, ∝ {growth[name]}" if name in growth else name)
        for line, name in handles(table, labels)
    ]


def _height(columns: int) -> float:
    return 3.5 if columns == 1 else 2.6 + TITLE_IN


def _rows(axes: Axes, table: pd.DataFrame, labels: Labels, unit: Unit, lowest: float, highest: float) -> None:
    """Draw one place: a line of one point says nothing, a row per series compares them."""
    every = series(table, labels)
    for place, one in enumerate(every):
        value, low, high = (float(one.rows[name].iloc[0]) for name in ("value", "low", "high"))
        low, high = (value if pd.isna(bound) else bound for bound in (low, high))
        axes.errorbar(
            value, place, xerr=[[value - low], [high - value]],
            **{**one.look, "linestyle": "none"}, markersize=7, elinewidth=1.5, capsize=3,
        )  # fmt: skip
        axes.annotate(
            f"{significant(value)}{'' if unit is _TIMES else ' '}{unit.name}", (high, place),
            xytext=(9, 0), textcoords="offset points", va="center", fontsize=8.5,
            zorder=5, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3},  # of the line at 1
        )  # fmt: skip
    if table["value"].max() > LOG_RATIO * table["value"].min():
        logarithmic(axes, axes.xaxis, lowest, highest)
        # The room that the last label needs grows with the axis.
        axes.set_xlim(lowest / 1.25, highest * (highest / lowest) ** 0.17)
    else:
        axes.set_xlim(0, highest * 1.2)
    backend_rows(axes, [one.name for one in every])


def _interval_note(table: pd.DataFrame) -> str:
    kinds = set(table[table["low"].notna()]["interval"])
    names = [text for kind, text in INTERVALS.items() if kind in kinds]
    if not names:
        return "Medians of the steady calls; too few for an interval."
    return f"Medians of the steady calls with {100 * CONFIDENCE:g} % intervals ({' or '.join(names)})."


def _forward(value: str, low: str, high: str, interval: str) -> Callable[[Tables], pd.DataFrame]:
    """Return a finder of `value`, `low`, `high` and `interval` of the forward."""
    names = {value: "value", low: "low", high: "high", interval: "interval"}

    def find(tables: Tables) -> pd.DataFrame:
        rows = tables.summary[(tables.summary["stage"] == FORWARD) & tables.summary[value].notna()]
        return rows[["cell", *names]].rename(columns=names)

    return find


def _times(tables: Tables) -> pd.DataFrame:
    """Return the medians, with `growth`, the exponents of scaling.csv in words."""
    rows = _forward("median_s", "low_s", "high_s", "interval")(tables)
    by = [name for name in ("run", "model", "input", "backend") if name in tables.scaling]
    found = tables.scaling[tables.scaling["stage"] == FORWARD]
    growth = found.assign(growth=found["axis"] + "^" + found.apply(exponent_text, axis="columns"))
    texts = growth.groupby(by, sort=False)["growth"].agg(", ".join).reset_index()
    cells = tables.summary.drop_duplicates("cell")[["cell", *by]].merge(texts, on=by)
    return rows.merge(cells[["cell", "growth"]], on="cell", how="left")


TIME: Final = Kind(
    rows=_times,
    draw=time_figure,
    lacking="no steady samples",
    over_axes=True,
)
SPEEDUP: Final = Kind(
    rows=_forward("speedup", "speedup_low", "speedup_high", "speedup_interval"),
    draw=speedup_figure,
    lacking="the baseline was not measured there",
    over_axes=True,
    over_baseline=True,
)
