"""The reproduction's page from its runs: figures, claims.csv, report.md and report.html."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import yaml

from bench.paper.claims import Form, by_design, findings, tallies
from bench.paper.experiments import (
    BEYOND,
    BEYOND_KEY,
    EXPERIMENTS,
    FAULTS,
    FAULTS_KEY,
    Request,
    is_done,
    runs_of,
)
from bench.paper.metrics import shown, value_of
from bench.paper.sources import Cell, NotKnownError, Role, Source, sources_of, together
from bench.plotting.groups import data, figure
from bench.plotting.plots import FORMATS, save
from bench.reporting import rendering
from bench.reporting.markdown import Column, escape, table
from bench.reporting.rendering import File, Pages
from bench.results.files import to_csv, write_whole
from bench.results.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLAIMS_NAME: Final = "claims.csv"
FIGURES_NAME: Final = "figures"
TITLE: Final = "A course paper reproduced"
TEMPLATE: Final = "paper/page.j2"

APART: Final = (FAULTS_KEY, BEYOND_KEY)
"""Keys of what is no figure of the paper's, and has a part of the page to itself."""

LINES: Final = 5
"""Source lines of a forward that a table shows: those that add most memory."""


@dataclass(frozen=True, kw_only=True)
class Written(Pages):
    """Result of `write`: where the page is, and its findings."""

    claims: Path
    found: pd.DataFrame


def write(folder: Path, wanted: Request) -> Written:
    """Make the page, its figures and claims.csv anew from the folder's runs, whole or begun."""
    runs = runs_of(folder, wanted)
    sources = sources_of(folder, wanted)
    found = findings(sources)
    write_whole(folder / CLAIMS_NAME, to_csv(found))
    drawn = _draw(sources, wanted, folder / FIGURES_NAME)
    view = {
        "title": TITLE,
        "version": wanted.version,
        "sources": sources,
        "missing": sum(not is_done(runs.get(step.folder)) for step in wanted.steps),
        "tallies": list(tallies(found)),
        "findings": found.assign(by_design=by_design(found)).to_dict("records"),
        "claims": File.beside(folder / CLAIMS_NAME, folder),
        "verdicts": _verdicts(found),
        "figures": [
            {**section(key, sources), "pictures": [File.beside(path, folder) for path in paths]}
            for key, paths in drawn.items()
            if key not in APART
        ],
        "faults": [fault_section(name, sources[-1]) for name in FAULTS]
        if FAULTS_KEY in wanted.figures
        else (),
        "beyond": [beyond_section(name, sources[-1]) for name in BEYOND]
        if BEYOND_KEY in wanted.figures
        else (),
        "runs": [_run(folder, name, run) for name, run in runs.items()],
    }
    pages = rendering.write(folder, TEMPLATE, view, title=TITLE)
    return Written(**vars(pages), claims=folder / CLAIMS_NAME, found=found)


@cache
def _texts() -> dict[str, dict[str, Any]]:
    text = files("bench.paper").joinpath("figures.yaml").read_text(encoding="utf-8")
    read: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return read


# The paper's figures: the ordinary ones, of all sources together.


def drawings(key: str, sources: Sequence[Source]) -> Iterator[tuple[str, "Figure"]]:
    """Yield the pictures of one of the paper's figures, one for each length of the clip but in 15 and 16."""
    kind, experiment = _texts()["figures"][key].get("plot"), _experiment(key)
    every = together(sources, experiment, gpus=kind == "speedup")
    if every is None or kind is None:
        return
    lengths = sorted(set(every.summary["frames"]))
    for frames in lengths if experiment != "frames" else [None]:
        tables = every if frames is None else together(sources, experiment, frames=frames)
        assert tables is not None
        for group in data(kind, tables):
            if not group.empty:
                name = f"figure-{key}" if key.isdecimal() else key
                place = f"-t{frames}" if frames is not None and len(lengths) > 1 else ""
                yield name + place, figure(group, baseline="the CPU")


def _experiment(key: str) -> str:
    return next(name for name, keys in EXPERIMENTS.items() if key in keys)


def _draw(sources: Sequence[Source], wanted: Request, folder: Path) -> dict[str, list[Path]]:
    """Draw the figures that there is something to draw for; return the .png of each."""
    folder.mkdir(exist_ok=True)
    before = {path for path in folder.iterdir() if path.name.startswith(("figure-", "headline"))}
    drawn: dict[str, list[Path]] = {key: [] for key in wanted.figures}
    for key in drawn.keys() - {*APART}:
        for name, drawing in drawings(key, sources):
            paths = [folder / f"{name}.{ending}" for ending in FORMATS]
            save(drawing, paths)
            before.difference_update(paths)
            drawn[key].append(folder / f"{name}.png")
    for path in before:
        path.unlink()
    return drawn


# Tables.

_Row = Mapping[str, str]


def _table(rows: Sequence[_Row] | pd.DataFrame, *, numbers: bool = False) -> list[Column]:
    """Return rows as a table's columns; with `numbers` all are numeric, but for those that say of what."""
    frame = pd.DataFrame(rows).fillna("")
    texts = {"source", "method", "line"} if numbers else set(frame)
    return [
        Column(title=str(name), cells=list(cells), numeric=name not in texts) for name, cells in frame.items()
    ]


def section(key: str, sources: Sequence[Source]) -> dict[str, Any]:
    """Return a figure's title, its numbers as a table, what is missing, and what is to be known of it."""
    entry, experiment = _texts()["figures"][key], _experiment(key)
    cells: list[tuple[Source, Cell]] = []
    reasons: dict[str, list[str]] = {}
    for source in sources:
        run = source.runs.get(experiment)
        for reason in ["it was not run"] if run is None else run.missing():
            reasons.setdefault(reason, []).append(source.name)
        with suppress(NotKnownError):
            cells += [(source, cell) for cell in source.run(experiment).cells()]
    missing = "; ".join(f"of {' and '.join(names)}, {reason}" for reason, names in reasons.items())
    rows: Sequence[_Row] | pd.DataFrame
    if "by_length" in entry:
        rows = _by_length(cells, entry["by_length"])
    elif key == "18":
        rows = [row for source, cell in cells for row in _lines(source, cell)]
    else:
        columns = entry.get("columns", {})
        rows = [
            _head(source, cell) | {title: _amount(source, cell, what) for title, what in columns.items()}
            for source, cell in cells
            if columns
        ]
    return {**entry, "table": _table(rows, numbers=True), "missing": missing and f"Not shown: {missing}."}


def markdown_of(key: str, sources: Sequence[Source]) -> str:
    """Return a figure's section without its pictures, for a notebook."""
    found = section(key, sources)
    parts = [f"## {found['title']}", table(found["table"]), escape(found["missing"]), escape(found["text"])]
    return "\n\n".join(filter(None, parts))


def _head(source: Source, cell: Cell) -> dict[str, str]:
    return {"source": source.name, "method": cell.backend, "t": str(cell.frames)}


def _amount(source: Source, cell: Cell, what: str) -> str:
    try:
        return value_of(source, cell, what).amount
    except NotKnownError:
        return ""


def _by_length(cells: Sequence[tuple[Source, Cell]], what: str) -> pd.DataFrame:
    """Return a row for each length, with a value of each series."""
    series: dict[str, dict[int, str]] = {}
    for source, cell in cells:
        if what != "speedup" or cell.role is not Role.CPU:
            own = series.setdefault(f"{source.name}: {cell.backend}", {})
            own[cell.frames] = _amount(source, cell, what)
    frame = pd.DataFrame(series).sort_index()
    return frame.assign(t=frame.index.map(str))[["t", *frame]]


def _lines(source: Source, cell: Cell) -> list[_Row]:
    """Return the lines of the forward that add most memory."""
    lines = cell.rows("memory_lines").sort_values("increment_bytes", ascending=False).head(LINES)
    return [
        _head(source, cell)
        | {"line": line["source"].strip(), "adds": shown(line["increment_bytes"], "bytes")}
        for line in lines.to_dict("records")
        if line["increment_bytes"] > 0
    ]


def fault_section(name: str, source: Source) -> dict[str, Any]:
    """Return an experiment on a fault: each value without the fault, with it, and their ratio."""
    entry = _texts()["faults"][name]
    try:
        off, on = (source.run(f"{name}/{which}").cells() for which in ("off", "on"))
    except NotKnownError as error:
        return {**entry, "table": [], "missing": str(error)}
    rows: list[_Row] = []
    for pair in zip(off, on, strict=False):
        for what in entry["compare"] if pair[0].frames == pair[1].frames else ():
            try:
                without, with_ = (value_of(source, cell, what) for cell in pair)
            except NotKnownError:
                continue
            rows.append(
                {
                    "figure": what,
                    "method": " and ".join(dict.fromkeys(cell.backend for cell in pair)),
                    "t": str(pair[0].frames),
                    "without": without.amount,
                    "with": with_.amount,
                    "with / without": shown(with_.value / without.value, "×") if without.value > 0 else "",
                }
            )
    return {**entry, "table": _table(rows), "missing": "no figure is in both runs"}


def beyond_section(name: str, source: Source) -> dict[str, Any]:
    """Return a question beyond the paper's measurements: the time and speedup of each cell, or why none."""
    entry = _texts()["beyond"][name]
    try:
        run = source.run(name)
        cells = run.cells()
    except NotKnownError as error:
        return {**entry, "table": [], "missing": str(error)}
    rows: list[_Row] = []
    for cell in cells:
        row = {
            "method": cell.backend, "t": str(cell.frames), "size": cell.size,
            "time": value_of(source, cell, "forward").amount,
        }  # fmt: skip
        with suppress(NotKnownError):
            row["speedup"] = value_of(source, cell, "speedup").amount
        rows.append(row)
    return {**entry, "table": _table(rows), "missing": "; ".join(run.missing())}


def _verdicts(found: pd.DataFrame) -> list[Column]:
    """Return a row for each claim, and a column for the paper's form and each source's general verdict."""
    titles = found.groupby("claim", sort=False)["title"].unique().map(". In general: ".join)
    claims = titles.index + " " + titles
    columns = found["edition"].where(found["form"] != Form.PAPER, "paper's words")
    marks = found["verdict"].replace({"cannot tell": "open"})
    cells = found.assign(claim=found["claim"].map(claims), column=columns, mark=marks)
    rows = cells.pivot(index="claim", columns="column", values="mark")
    return _table(rows.reindex(index=claims, columns=columns.unique()).reset_index(names="claim"))


def _run(folder: Path, name: str, run: RunFolder) -> dict[str, Any]:
    tables = run.tables()
    counts = (tables.summary.drop_duplicates("cell")["status"], tables.warnings["code"])
    cells, warned = (
        ", ".join(f"{n} {value}" for value, n in Counter(sorted(map(str, values))).items())
        for values in counts
    )
    report = File.beside(folder / name / "report.md", folder, name)
    return {"report": report, "cells": cells, "warned": warned}
