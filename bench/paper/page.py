"""The reproduction's page from its runs: figures, claims.csv, report.md and report.html."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from itertools import starmap
from pathlib import Path
from typing import Any, Final

import jinja2
import pandas as pd
import yaml
from matplotlib.figure import Figure as Drawing

from bench.machine.environment import in_short
from bench.paper import published
from bench.paper.claims import Finding, Form, Verdict, claims_table, findings, refuted, tallies
from bench.paper.experiments import (
    BRIEF,
    CORRECTED,
    EXPERIMENTS,
    FAITHFUL,
    FAULTS,
    FAULTS_KEY,
    FULL,
    METHODS,
    QUICK,
    Request,
    steps,
)  # fmt: skip
from bench.paper.folder import alone, is_done, runs_of
from bench.paper.metrics import METRICS, Figure, shown
from bench.paper.sources import Cell, NotKnownError, Role, Run, Source, together
from bench.plotting.plots import FORMATS, data, figure, save
from bench.reporting.html_files import relative, write_pages
from bench.reporting.markdown import Column, escape, image, table, target
from bench.results.run_folder import RunFolder, to_csv
from bench.results.whole_file import write_whole

CLAIMS_NAME: Final = "claims.csv"
FIGURES_NAME: Final = "figures"
TITLE: Final = "A course paper reproduced"

WAYS: Final = {
    FAITHFUL: "measured by the paper's script: gradients recorded, nothing waits for the GPU, no warm-up, "
    "the first call counts, and cuDNN on under the name CUDA",
    CORRECTED: "measured properly: no gradients, synchronised, the first call apart, processes that no other "
    "backend has used, and a backend that really has no cuDNN",
}

VERSIONS: Final = {
    FULL: "",
    QUICK: " A quick version: shorter clips and fewer calls than the paper's.",
    BRIEF: " A brief version: the paper's clips, and few calls of each.",
}

_Cells = Sequence[tuple[Source, Cell]]

LINES: Final = 5
"""Source lines of a forward that a table shows: those that add most memory."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """Where the page is, and what it came to."""

    markdown: Path
    html: Path
    claims: Path
    verdicts: tuple[str, ...]  # counts in words
    refuted: tuple[str, ...]  # claims that this machine refutes, by the best method that was run


def write(folder: Path, wanted: Request) -> Written:
    """Make the page, its figures and claims.csv anew from the folder's runs, whole or begun.

    Raises BadInput where another process is at them.
    """
    with alone(folder):
        return _write(folder, wanted)


def _write(folder: Path, wanted: Request) -> Written:
    runs = runs_of(folder, wanted)
    sources = sources_of(folder, wanted)
    found = findings(sources)
    write_whole(folder / CLAIMS_NAME, to_csv(claims_table(found)))
    drawn = _draw(sources, wanted, folder / FIGURES_NAME)
    missing = sum(not is_done(folder / step.folder) for step in steps(wanted))
    text = _template().render(
        title=TITLE,
        sources=sources,
        ways=WAYS,
        versions=VERSIONS,
        note=f"{missing} of the runs are not done yet." if missing else "",
        tallies=list(tallies(found)),
        findings=found,
        verdicts=_verdicts(found),
        details=_details(found),
        figures=[
            {
                **section(key, sources),
                "pictures": [image(relative(path, folder)) for path in drawn.get(key, ())],
            }
            for key in wanted.figures
            if key != FAULTS_KEY
        ],
        faults=[_fault(name, sources[-1]) for name in FAULTS] if FAULTS_KEY in wanted.figures else (),
        runs=_runs(runs),
    )
    pictures = [path for paths in drawn.values() for path in paths]
    pages = write_pages(folder, text, title=TITLE, pictures=pictures)
    own = CORRECTED if CORRECTED in wanted.methods else FAITHFUL
    return Written(
        markdown=pages.markdown,
        html=pages.html,
        claims=folder / CLAIMS_NAME,
        verdicts=tuple(tallies(found)),
        refuted=tuple(refuted(found, own)),
    )


def sources_of(folder: Path, wanted: Request) -> list[Source]:
    """Return the paper, and the methods whose runs are in the folder, the best last.

    The experiments on faults are of this machine, and stand with the last.
    """
    read = {step.folder: run for step, run in runs_of(folder, wanted)}
    sources = [published.source()]
    for method in METHODS[::-1]:
        runs = {name: _run(read[f"{method}/{name}"]) for name in EXPERIMENTS if f"{method}/{name}" in read}
        if method == next(iter(wanted.methods)):
            runs |= {
                name.removeprefix(f"{FAULTS_KEY}/"): _run(run)
                for name, run in read.items()
                if name.startswith(FAULTS_KEY)
            }
        if runs:
            machine = in_short(next(iter(read.values())).environment)
            sources.append(Source(name=method, machine=machine, version=wanted.version, runs=runs))
    return sources


def _run(folder: RunFolder) -> Run:
    return Run.of(folder.tables(), folder.experiment, folder.environment)


@cache
def _texts() -> dict[str, dict[str, Any]]:
    text = files("bench.paper").joinpath("figures.yaml").read_text(encoding="utf-8")
    read: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return read


def _template() -> jinja2.Template:
    made = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    made.filters["escape"] = escape
    return made.from_string(files("bench.paper").joinpath("page.md.j2").read_text(encoding="utf-8"))


# The paper's figures: the ordinary ones, of all sources together.


def drawings(key: str, sources: Sequence[Source]) -> Iterator[tuple[str, Drawing]]:
    """Return the pictures of one of the paper's figures, one for each length of the clip but in 15 and 16."""
    kind, experiment = _texts()["figures"][key].get("plot"), _experiment(key)
    every = together(sources, experiment, gpus=kind == "speedup")
    if every is None or kind is None:
        return
    lengths = sorted(set(every.summary["frames"]))
    for frames in lengths if experiment != "frames" else [None]:
        tables = every if frames is None else together(sources, experiment, frames=frames)
        assert tables is not None
        for group in data(kind, tables):
            if group.series:
                name = f"figure-{key}" if key.isdecimal() else key
                place = f"-t{frames}" if frames is not None and len(lengths) > 1 else ""
                yield name + place, figure(group, baseline="the CPU")


def _experiment(key: str) -> str:
    return next(name for name, keys in EXPERIMENTS.items() if key in keys)


def _draw(sources: Sequence[Source], wanted: Request, folder: Path) -> dict[str, list[Path]]:
    """Draw the figures that there is something to draw for; return the .png of each."""
    folder.mkdir(exist_ok=True)
    drawn: dict[str, list[Path]] = {}
    kept = set()
    for key in wanted.figures:
        for name, drawing in drawings(key, sources) if key != FAULTS_KEY else ():
            paths = [folder / f"{name}.{ending}" for ending in FORMATS]
            save(drawing, paths)
            kept |= set(paths)
            drawn.setdefault(key, []).append(next(path for path in paths if path.suffix == ".png"))
    for path in folder.iterdir():
        if path not in kept and path.name.startswith(("figure-", "headline")):
            path.unlink()
    return drawn


# Tables.


def section(key: str, sources: Sequence[Source]) -> dict[str, Any]:
    """Return a figure's title, its numbers as a table, what is missing, and what is to be known of it."""
    entry, experiment = _texts()["figures"][key], _experiment(key)
    cells = [(source, cell) for source in sources for cell in _cells(source, experiment)]
    reasons: dict[str, list[str]] = {}
    for source in sources:
        run = source.runs.get(experiment)
        for reason in ["it was not run"] if run is None else run.missing():
            reasons.setdefault(reason, []).append(source.name)
    missing = "; ".join(f"of {' and '.join(names)}, {escape(reason)}" for reason, names in reasons.items())
    if "by_length" in entry:
        columns = _by_length(cells, entry["by_length"])
    elif key == "18":
        columns = _lines(cells)
    else:
        columns = [*_heads(cells), *starmap(partial(_column, cells), entry.get("columns", {}).items())]
    return {
        **entry,
        "table": table(columns) if len(columns) > len(_heads(())) or "by_length" in entry else "",
        "missing": missing and f"Not shown: {missing}.",
    }


def markdown_of(key: str, sources: Sequence[Source]) -> str:
    """Return a figure's section without its pictures, for a notebook."""
    found = section(key, sources)
    parts = [f"## {found['title']}", found["table"], found["missing"], found["text"]]
    return "\n\n".join(part for part in parts if part)


def figure_of(source: Source, cell: Cell, what: str) -> Figure:
    """Return a figure of a cell, by the name that figures.yaml has for it."""
    if what in METRICS:
        return METRICS[what](source, cell.role)[0]
    if what.endswith(("_s", "_bytes", "_error")):
        unit = {"_s": "s", "_bytes": "bytes", "_error": ""}[what[what.rindex("_") :]]
        return Figure(name=what, value=cell.column(what), unit=unit)
    if what == "speedup":
        row, names, unit = cell.stage(), ("speedup", "speedup_low", "speedup_high"), "×"
    else:
        row, names, unit = cell.stage(what), ("median_s", "low_s", "high_s"), "s"
    value, low, high = (None if pd.isna(row[name]) else float(row[name]) for name in names)
    if value is None:
        raise NotKnownError(f"{what} of {cell.backend} is not known")
    return Figure(name=what, value=value, unit=unit, low=low, high=high)


def _cells(source: Source, experiment: str) -> list[Cell]:
    try:
        return source.run(experiment).cells()
    except NotKnownError:
        return []


def _amount(source: Source, cell: Cell, what: str) -> str:
    try:
        return escape(figure_of(source, cell, what).amount)
    except NotKnownError:
        return ""


def _heads(cells: _Cells) -> list[Column]:
    return [
        Column(title="source", cells=[source.name for source, _ in cells]),
        Column(title="method", cells=[escape(cell.backend) for _, cell in cells]),
        Column(title="t", cells=[str(cell.frames) for _, cell in cells], numeric=True),
    ]


def _column(cells: _Cells, title: str, what: str) -> Column:
    return Column(title=title, cells=[_amount(*one, what) for one in cells], numeric=True)


def _by_length(cells: _Cells, what: str) -> list[Column]:
    """A row for each length and a column for each series."""
    series: dict[str, dict[int, str]] = {}
    for source, cell in cells:
        if what != "speedup" or cell.role is not Role.CPU:
            own = series.setdefault(f"{source.name}: {cell.backend}", {})
            own[cell.frames] = _amount(source, cell, what)
    lengths = sorted({frames for own in series.values() for frames in own})
    return [
        Column(title="t", cells=[str(frames) for frames in lengths], numeric=True),
        *(
            Column(title=escape(name), cells=[own.get(frames, "") for frames in lengths], numeric=True)
            for name, own in series.items()
        ),
    ]


def _lines(cells: _Cells) -> list[Column]:
    """The lines of the forward that add most memory."""
    rows = []
    for source, cell in cells:
        lines = cell.rows("memory_lines").sort_values("increment_bytes", ascending=False).head(LINES)
        rows += [(source, cell, line) for line in lines.to_dict("records") if line["increment_bytes"] > 0]
    added = [shown(line["increment_bytes"], "bytes") for *_, line in rows]
    return [
        *_heads([(source, cell) for source, cell, _ in rows]),
        Column(title="line", cells=[escape(str(line["source"]).strip()) for *_, line in rows]),
        Column(title="adds", cells=added, numeric=True),
    ]


def _fault(name: str, source: Source) -> dict[str, str]:
    """Return an experiment on a fault: each figure without the fault, with it, and their ratio."""
    entry = _texts()["faults"][name]
    try:
        off, on = (source.run(f"{name}/{which}").cells() for which in ("off", "on"))
    except NotKnownError as error:
        return {**entry, "table": "", "missing": str(error)}
    rows = []
    for one, other in zip(off, on, strict=False):
        for what in entry["compare"] if one.frames == other.frames else ():
            texts = [_amount(source, cell, what) for cell in (one, other)]
            if all(texts):
                values = [figure_of(source, cell, what).value for cell in (one, other)]
                backends = " and ".join(dict.fromkeys((one.backend, other.backend)))
                over = shown(values[1] / values[0], "×") if values[0] > 0 else ""
                rows.append((escape(what), escape(backends), str(one.frames), *texts, over))
    titles = ("figure", "method", "t", "without", "with", "with / without")
    return {**entry, "table": _table(titles, rows), "missing": "no figure is in both runs"}


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    columns = zip(titles, zip(*rows, strict=True), strict=True) if rows else ()
    return table([Column(title=title, cells=cells) for title, cells in columns])


def _verdicts(found: Sequence[Finding]) -> str:
    """A row for each claim; columns for the paper's form and for each source's verdict on the general."""
    marks = {Verdict.SUPPORTED: "supported", Verdict.REFUTED: "**refuted**", Verdict.CANNOT_TELL: "open"}
    titles: dict[str, dict[str, None]] = {}
    verdicts: dict[str, dict[str, str]] = {}
    for one in found:
        titles.setdefault(one.claim, {})[one.title] = None
        column = "paper's words" if one.form is Form.PAPER else one.edition
        verdicts.setdefault(one.claim, {})[column] = marks[one.verdict]
    columns = list(dict.fromkeys(column for own in verdicts.values() for column in own))
    rows = [
        (escape(f"{claim} {'. In general: '.join(titles[claim])}"), *(own[column] for column in columns))
        for claim, own in verdicts.items()
    ]
    return _table(("claim", *columns), rows)


def _details(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """The findings by claim, and within a claim by form."""
    claims: dict[str, dict[Form, list[Finding]]] = {}
    for one in found:
        claims.setdefault(one.claim, {}).setdefault(one.form, []).append(one)
    return [
        {"id": id_, "source": next(iter(forms.values()))[0].source, "forms": list(forms.values())}
        for id_, forms in claims.items()
    ]


def _runs(runs: Sequence[tuple[Any, RunFolder]]) -> str:
    rows = []
    for step, run in runs:
        tables = run.tables()
        statuses = Counter(map(str, tables.summary.drop_duplicates("cell")["status"]))
        warned = Counter(map(str, tables.warnings["code"]))
        link = f"[{escape(step.folder)}]({target(Path(step.folder) / 'report.md')})"
        rows.append(
            (link, *(", ".join(f"{n} {escape(name)}" for name, n in of.items()) for of in (statuses, warned)))
        )
    return _table(("run", "cells", "warned of"), rows)
