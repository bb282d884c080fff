"""Compare runs in folders, and say what a reader must know of them before believing a figure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.comparison.cells import MEMORY, MeasuredCell, cells_of
from bench.comparison.compare import compare as compare_cells
from bench.comparison.comparison import CellComparison, Comparison, Limits, Method, Side
from bench.machine.environment import in_short
from bench.results.identity import differing_facts, facts, lasting
from bench.results.outputs import OutputDifference
from bench.results.run_folder import RunFolder, run_names
from bench.stats.changes import least_rounds, one_round
from vsr_model.errors import BadInput

SAME_OUTPUT_DB: Final = 80.0
"""As much as a backend of full float32 must have against the CPU: less is no rounding."""

_HARMLESS: Final = ("vsr_bench", "git_commit", "timer", "workers_environment")
"""Of an environment: the code is named beside the machine, the timer is measured anew in each run, and the
allocator's variables are told by the grid's own field."""


@dataclass(frozen=True, kw_only=True)
class _Run:
    name: str
    folder: RunFolder
    cells: list[MeasuredCell]
    warned: Counter[str]  # cells by what they are warned of
    missing: int  # rounds

    @property
    def side(self) -> Side:
        begun = [one["started_at"] for cell in self.cells for one in cell.rounds if one["started_at"]]
        code = self.folder.code
        return Side(
            name=self.name,
            experiment=self.folder.experiment.name,
            machine=in_short(self.folder.environment),
            code=code.in_short if code else "not known",
            started_at=min(begun, default=""),
        )


def compare(
    base: Path,
    news: Sequence[Path],
    limits: Limits,
    names: Sequence[str] | None = None,
    *,
    family: int = 0,
    outputs: Sequence[OutputDifference] = (),
) -> list[Comparison]:
    """Compare each of the new runs with the base; `names` are the base's and theirs, else their folders'.

    `family`: see bench.comparison.compare. `outputs` are how far those of the sides lie apart, where that is
    known. Raises BadInput for a path that holds no run or a broken one, and where a new run has no cell that
    the base has.
    """
    paths = [base, *news]
    real = [path.resolve() for path in paths]
    for place, path in enumerate(real):
        if path in real[:place]:
            raise BadInput(f"{paths[place]}: is named twice; a run is compared with others, not with itself")
    first, *others = [_open(path, name) for path, name in zip(paths, names or run_names(real), strict=True)]
    return [_compared(first, other, limits, family, outputs) for other in others]


def _open(path: Path, name: str) -> _Run:
    folder = RunFolder.open(path)
    if folder.begun_with is not None:  # earlier versions did not keep it
        folder.check_config()
    tables = folder.tables()
    planned = folder.cells()
    if not len(tables.cells):
        raise BadInput(f"{path}: its journal holds no record yet; there is nothing to compare")
    folder.check_tables(tables)
    return _Run(
        name=name,
        folder=folder,
        cells=cells_of(
            planned,
            tables,
            experiment=folder.experiment,
            files=folder.files,
            environment=folder.environment,
        ),
        warned=Counter(tables.warnings["code"]),
        missing=folder.round_count() - len(tables.cells),
    )


def _compared(
    base: _Run, new: _Run, limits: Limits, family: int, outputs: Sequence[OutputDifference]
) -> Comparison:
    cells = compare_cells(base.cells, new.cells, limits, family=family)
    if not any(cell.base_status is not None and cell.new_status is not None for cell in cells):
        raise BadInput(
            f"{new.folder.path}: has no cell in common with {base.folder.path} "
            f"({_some(new.cells)}; {_some(base.cells)})"
        )
    differing = differing_facts(
        [facts(lasting(run.folder.environment), but=_HARMLESS) for run in (base, new)]
    )
    return Comparison(
        base=base.side,
        new=new.side,
        limits=limits,
        cells=cells,
        differing={name: (here or "-", there or "-") for name, (here, there) in differing.items()},
        cautions=(*outputs_cautions(outputs), *_cautions(base, new, cells)),
    )


def _some(cells: Sequence[MeasuredCell]) -> str:
    return cells[0].id if len(cells) == 1 else f"{cells[0].id} ... {cells[-1].id}"


def outputs_cautions(outputs: Sequence[OutputDifference]) -> Iterator[str]:
    """Yield sentences where the two networks no longer give the same output.

    Each side is held against its own CPU float32 result, so that one which computes something else, and is
    faster for it, would pass. A network that computes in another type is another one, however near its
    values.
    """
    apart = {item.clip: item.psnr_db for item in outputs if item.psnr_db is not None}
    worst = min(apart, key=lambda clip: apart[clip], default="")
    if reshaped := [item.clip for item in outputs if item.psnr_db is None]:
        yield f"The outputs of the two sides have not even the same shape ({reshaped[0]})."
    elif worst and apart[worst] < SAME_OUTPUT_DB:
        yield (
            f"The two sides do not give the same output: {apart[worst]:.1f} dB apart on {worst}, where "
            f"rounding leaves {SAME_OUTPUT_DB:g} dB or more. What is faster or slower here is another "
            "network."
        )
    if retyped := [(item.clip, " and ".join(item.dtypes)) for item in outputs if item.dtypes is not None]:
        clip, types = retyped[0]
        yield f"The outputs of the two sides are of different types: {types} ({clip})."


def _cautions(base: _Run, new: _Run, compared: Sequence[CellComparison]) -> Iterator[str]:
    """Yield sentences on how the rounds were made, how many there are, and what only one side has."""
    for name, run in (("base", base), ("new", new)):
        if run.missing:
            yield f"The {name} run is not whole: {run.missing} of its rounds are missing."
    changes = [cell.change for cell in compared if cell.change is not None]
    methods = Counter(change.method for change in changes)
    if methods[Method.APART] or methods[Method.APART_T]:
        yield (
            "The two runs were not measured in turn: how the machine changed between them is in every ratio, "
            "and no interval of two runs can know it. Runs in turn (vsr-bench ci) tell the program alone; "
            "--apart widens the intervals by what the machine is known to do."
        )
    if assumed := methods[Method.PAIRS_T] + methods[Method.APART_T]:
        least = least_rounds(max(change.confidence for change in changes))
        yield (
            f"The intervals of {assumed} of {len(changes)} cells take the logarithms of their rounds "
            f"for normal: with {least} rounds or more, so many cells at once would need no assumption."
        )
    if few := methods[Method.NONE]:
        yield f"{few} of {len(changes)} cells have no interval."
    for name, run in (("base", base), ("new", new)):
        if sentence := one_round(max((len(cell.ok) for cell in run.cells), default=0)):
            yield f"The {name} run has {sentence}."
    for what, column in {**MEMORY, "accuracy": "output_psnr_db"}.items():
        on_base, on_new = (any(cell.figures(column) for cell in run.cells) for run in (base, new))
        if on_base != on_new:
            yield f"Nothing is said of {what}: the {'new run' if on_base else 'base'} has no figure of it."
    if kinds := sorted(code for code in base.warned | new.warned if base.warned[code] != new.warned[code]):
        counted = ", ".join(f"{code} {base.warned[code]} and {new.warned[code]}" for code in kinds)
        yield f"Warnings differ (base and new): {counted}; each run's report has them with their remedies."
