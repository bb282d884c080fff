"""The page of one run or of several: what was measured, what differs, and what came out.

It tests nothing and gives no verdict. Cells of one place in the grid and one backend stand together.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from bench.grid.baseline import Baseline
from bench.machine.environment import in_short
from bench.records import Status
from bench.reporting import rendering, sections
from bench.reporting.answers import Answer, answers, not_measured
from bench.reporting.cells import PLACE, column, columns_of, distinct, owner, place_of, right
from bench.reporting.ladder import LadderPart, ladder_part
from bench.reporting.markdown import Column, filled
from bench.reporting.rendering import File, Pages
from bench.reporting.roofline import Roofline, ceilings, roofline
from bench.reporting.runs import DEVICES_NAME, ReportedRun, Runs, devices_table
from bench.results.files import to_csv, write_whole
from bench.results.identity import differing_facts, facts, flat
from bench.results.tables import MEASURED, WARNINGS_SEPARATOR, Row, rows_of
from bench.units import counted

Columns = Sequence[Column]

TEMPLATE: Final = "report.j2"

SECTIONS: Final = {
    "ladder": "ladder", "relative": "times", "time": "times", "speedup": "times", "scaling": "growth",
    "stages": "stages", "roofline": "roofline", "repetitions": "sampling", "peak_memory": "memory",
    "memory": "memory", "stage_memory": "stage_memory",
}  # fmt: skip
"""The section that shows a kind of picture; `other` shows the rest, and those of sections left out."""

NEVER_THE_SAME: Final = ("timer",)
"""Fields of an environment that are measured anew in each run, and say nothing of the machine."""

NAMED: Final = 3
"""Cells or runs that are named one by one where they have something in common; more are counted."""

IN_COLUMNS: Final = 4
"""Runs whose differing facts stand in columns; of more there is a row per value."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A page's content; a section whose table has no rows is left out."""

    cells: Runs
    folder: Path  # that the page is to lie in
    plots: Sequence[Path] = ()  # images, each called by its kind: `speedup-...`
    left_out: Sequence[str] = ()  # of the runs that were to be here, why

    @property
    def runs(self) -> Sequence[ReportedRun]:
        return self.cells.runs

    @property
    def is_several(self) -> bool:
        return self.cells.are_several

    @property
    def title(self) -> str:
        names = ", ".join(run.name for run in self.runs)
        return f"Side by side: {names}" if self.is_several else self.runs[0].experiment

    def file(self, path: Path) -> File:
        """Return a file as the page links it."""
        return File.beside(path, self.folder)

    @property
    def counts(self) -> str:
        rows, rounds = self.cells.rows, self.cells.tables.cells
        return f"{counted(len(rows), 'cell')} in {counted(len(rounds), 'round')}" if rows else ""

    @property
    def ended(self) -> list[str]:
        return _ended(self.cells.rows)

    @property
    def machine(self) -> str:
        """Return one run's machine in a few words."""
        return "" if self.is_several else in_short(self.runs[0].environment)

    @property
    def started(self) -> str:
        return "" if self.is_several else _started(self.cells.rows)

    @property
    def answers(self) -> list[Answer]:
        """Return the first screen of one run."""
        if self.is_several:
            return []
        return answers(self.cells.rows, self.cells.tables, self.runs[0].baseline)

    @property
    def not_measured(self) -> dict[str, str]:
        """Return which cells of one run did not end ok, by the reason."""
        return {} if self.is_several else not_measured(self.cells.rows, self.cells.tables)

    @property
    def axes(self) -> dict[str, str]:
        """Return the values of each axis of the grid."""
        names = {
            "networks": "model", "inputs": "input", "sizes": "size", "batches": "batch", "frames": "frames",
        }  # fmt: skip
        axes = {title: distinct(row[name] for row in self.cells.rows) for title, name in names.items()}
        axes["frames"].sort()
        baselines = {run.baseline for run in self.runs}
        axes["backends"] = [
            f"{name} (baseline)" if baselines == {Baseline(backend=name)} else name
            for name in distinct(row["backend"] for row in self.cells.rows)
        ]
        if len(baselines) == 1 and (over := next(iter(baselines))).model is not None:
            axes["baseline"] = [str(over)]
        return {title: ", ".join(map(str, values)) for title, values in axes.items()}

    @property
    def common(self) -> str:
        having = Counter(tuple(row[name] for name in (*PLACE, "backend")) for row in self.cells.rows)
        common = sum(count == len(self.runs) for count in having.values())
        return f"{common} of {len(having)} cells are in {'both' if len(self.runs) == 2 else 'all'} runs"

    @property
    def lacking(self) -> list[ReportedRun]:
        """Return the runs that have no figure of their baseline."""
        summary = self.cells.tables.summary
        # Memory alone may have been measured, which has no stages.
        staged = set(summary[summary["stage"].notna()]["cell"])
        having = {
            row.get("run", self.runs[0].name)
            for row in self.cells.rows
            if row["is_baseline"] and (row["cell"] in staged or row["status"] in MEASURED)
        }
        return [run for run in self.runs if run.name not in having]

    @cached_property
    def tables(self) -> Mapping[str, Sequence[Columns]]:
        """Return the tables of each section; none where it is to be left out."""
        runs, tables, rows = self.runs, self.cells.tables, self.cells.rows
        calls, longest = sections.profile(tables, rows)
        environment = {} if self.is_several else dict(flat(runs[0].environment))
        shown: dict[str, Columns] = {
            "runs": _runs(self.cells) if self.is_several else [],
            "environments": _differing(
                {run.name: facts(run.environment, but=NEVER_THE_SAME) for run in runs}
            ),
            "configurations": _differing({run.name: facts(run.configuration) for run in runs}),
            "times": sections.headline(rows),
            "growth": sections.growth(tables.scaling),
            "roofline": self.roofline.columns if self.roofline else [],
            "ceilings": ceilings(tables),
            "sampling": sections.sampling(rows),
            "perturbation": sections.perturbation(tables, rows),
            "profile": calls,
            "longest": longest,
            "cold": sections.cold(rows),
            "memory": sections.memory(rows),
            "memory_lines": sections.memory_lines(tables),
            "costs": sections.costs(tables, rows),
            "output_check": sections.output_check(rows),
            "machine": sections.machine(rows),
            "harness": sections.harness(tables),
            "failures": sections.failures(tables.cells, rows),
            "environment": [column("what", environment), column("value", environment.values())],
        }
        return {
            **{name: [columns] if filled(columns) else [] for name, columns in shown.items()},
            "stages": sections.stages(tables.summary, rows),
            "stage_memory": sections.stage_memory(tables.summary, rows),
            "ladder": [ladder.steps for ladder in self.ladders],
        }

    @property
    def pictures(self) -> Mapping[str, Sequence[File]]:
        """Return the pictures of each section, in the order of their kinds."""
        found: dict[str, list[File]] = {name: [] for name in (*self.tables, "other")}
        kinds = [*SECTIONS]
        files = map(self.file, self.plots)
        for file in sorted(files, key=lambda one: kinds.index(one.kind) if one.kind in kinds else len(kinds)):
            section = SECTIONS.get(file.kind, "other")
            found[section if self.tables.get(section) else "other"].append(file)
        return found

    @cached_property
    def ladders(self) -> list[LadderPart]:
        return [
            ladder_part(" ".join([f"{run.name}:"] * self.is_several + clip.split("/")), steps)
            for run in self.runs
            for clip, steps in run.ladders.items()
        ]

    @property
    def warnings(self) -> list[Row]:
        """Return each kind of warning of a run once, with where it is, and how many more are like it."""
        by_id = {row["cell"]: row for row in self.cells.rows}
        found = []
        by = ["code"] + ["run"] * self.is_several
        for key, group in self.cells.tables.warnings.groupby(by, sort=False):
            rows = rows_of(group)
            whose = [by_id[row["cell"]] for row in rows if row["cell"] in by_id]
            places = _first_of([f"{place_of(row, self.cells.rows)}, {row['backend']}" for row in whose], "; ")
            where = ": ".join(filter(None, [*map(str, key[1:]), places]))
            found.append(rows[0] | {"where": where, "more": len(rows) - 1})
        return found

    @property
    def of_workers(self) -> dict[str, str]:
        """Return what workers themselves had to say, and which."""
        found: dict[str, list[str]] = {}
        for row in rows_of(self.cells.tables.cells):
            for warning in filter(None, str(row["warnings"]).split(WARNINGS_SEPARATOR)):
                found.setdefault(warning, []).append(owner(row))
        return {
            warning: f"{counted(len(owners), 'round')}: {', '.join(distinct(owners))}"
            for warning, owners in found.items()
        }

    @cached_property
    def roofline(self) -> Roofline | None:
        return roofline(self.cells.tables, self.cells.rows)

    @property
    def memory_cell(self) -> str:
        return sections.memory_cell(self.cells.tables)

    @property
    def harness_s(self) -> tuple[float, float]:
        """Return the seconds of the tool itself, and of the whole rounds."""
        rounds = self.cells.tables.cells
        rounds = rounds[rounds["harness_s"].notna()]
        return float(rounds["harness_s"].sum()), float(rounds["round_wall_s"].sum())

    @property
    def timer(self) -> tuple[float, float] | None:
        """Return the seconds that asking for the time takes, and the timer's smallest step, of one run."""
        timer = None if self.is_several else self.runs[0].environment.get("timer")
        match timer:
            case {"cost_s": int() | float() as cost_s, "resolution_s": int() | float() as step_s}:
                return cost_s, step_s
        return None

    @property
    def has_idle(self) -> bool:
        """Return whether a launch-bound share is known."""
        return bool(self.cells.tables.cells["launch_bound_share"].notna().any())

    @property
    def has_within(self) -> bool:
        """Return whether a ratio to the reference has an interval within one process."""
        return any(map(sections.is_within, self.cells.rows))


def write(folder: Path, cells: Runs, *, plots: Sequence[Path] = (), left_out: Sequence[str] = ()) -> Pages:
    """Write `report.md` and `report.html` into the folder, and `devices.csv` of several runs.

    `plots` are absolute or relative to the working directory; of each the HTML has the .svg beside the .png.
    Raises OSError where the folder cannot be written.
    """
    view = View(cells=cells, folder=folder, plots=plots, left_out=left_out)
    if cells.are_several:
        write_whole(folder / DEVICES_NAME, to_csv(devices_table(cells)))
    return rendering.write(folder, TEMPLATE, view, title=view.title)


def unfinished(missing: int, why: str = "the run was interrupted") -> str | None:
    """Return the note of a run that lacks so many of its planned rounds."""
    if not missing:
        return None
    return f"{'1 round is' if missing == 1 else f'{missing} rounds are'} not done yet: {why}."


def _ended(rows: Sequence[Row]) -> list[str]:
    ended = Counter(str(row["status"]) for row in rows)
    return [f"{ended[status]} {status}" for status in Status if ended[status]]


def _started(rows: Sequence[Row]) -> str:
    return min((row["started_at"] for row in rows if row["started_at"]), default="")


def _runs(cells: Runs) -> Columns:
    own = {run.name: [row for row in cells.rows if row["run"] == run.name] for run in cells.runs}
    return columns_of(
        [vars(run) for run in cells.runs],
        ("run", "name", column),
        ("experiment", "experiment", column),
        ("on", lambda run: in_short(run["environment"]), column),
        ("cells", lambda run: len(own[run["name"]]), right),
        ("ended", lambda run: ", ".join(_ended(own[run["name"]])), column),
        ("baseline", "baseline", column),
        ("first round", lambda run: _started(own[run["name"]]), column),
    )


def _differing(sides: Mapping[str, Mapping[str, str]]) -> Columns:
    """Return what is not the same in all runs: a column per run, or of many runs a row per value."""
    found = {
        name: ["–" if text is None else text for text in texts]
        for name, texts in differing_facts([*sides.values()]).items()
    }
    if not found:
        return []
    if len(sides) <= IN_COLUMNS:
        by_run = zip(sides, zip(*found.values(), strict=True), strict=True)
        return [column("what", found), *(column(run, texts) for run, texts in by_run)]
    rows = [
        (name, text, [run for run, own in zip(sides, texts, strict=True) if own == text])
        for name, texts in found.items()
        for text in distinct(texts)
    ]
    return [
        column("what", [name for name, _, _ in rows]),
        column("value", [text for _, text, _ in rows]),
        right("runs", [len(runs) for _, _, runs in rows]),
        column("which", [_first_of(runs, ", ") for _, _, runs in rows]),
    ]


def _first_of(names: Sequence[str], separator: str) -> str:
    """Return the first of the names, and how many more there are."""
    more = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
    return separator.join([*names[:NAMED], *more])
