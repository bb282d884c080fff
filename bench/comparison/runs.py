"""Runs that are there to comparisons: reads folders, and says what a reader must know of them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.cautions.cautions import cautions
from bench.comparison.cells import MeasuredCell, cells_of
from bench.comparison.compare import compare as compare_cells
from bench.comparison.comparison import CellComparison, Comparison, Limits, Side
from bench.comparison.doubts import doubts
from bench.machine.environment import in_short
from bench.results.identity import differing_facts, facts, lasting
from bench.results.run_folder import RunFolder, run_names
from vsr_model.errors import BadInput

_HARMLESS: Final = ("vsr_bench", "git_commit", "timer", "workers_environment")
"""Of an environment: the code is named beside the machine, the timer is measured anew in each run, and the
allocator's variables are told by the grid's own field."""


@dataclass(frozen=True, kw_only=True)
class _Opened:
    name: str
    folder: RunFolder
    cells: list[MeasuredCell]
    warned: Counter[str]  # cells by what they are warned of
    missing: int  # rounds

    @property
    def side(self) -> Side:
        begun = sorted(r.started_at for cell in self.cells for r in cell.records if r.started_at)
        code = self.folder.code
        return Side(
            name=self.name,
            experiment=self.folder.experiment.name,
            machine=in_short(self.folder.environment),
            code=code.in_short if code else "not known",
            started_at=begun[0] if begun else "",
        )


def compare(
    base: Path,
    news: Sequence[Path],
    limits: Limits,
    names: Sequence[str] | None = None,
    *,
    family: int = 0,
) -> list[Comparison]:
    """Each of the new runs against the base; `names` are the base's and theirs, else made from the folders'.

    `family`: see bench.comparison.compare. Raises BadInput for what holds no run or a broken one, and where a
    new run has no cell that the base has.
    """
    paths = [base, *news]
    real = [path.resolve() for path in paths]
    for place, path in enumerate(real):
        if path in real[:place]:
            raise BadInput(f"{paths[place]}: is named twice; a run is compared with others, not with itself")
    told = run_names(real) if names is None else names
    opened = [_open(path, name) for path, name in zip(paths, told, strict=True)]
    return [_compared(opened[0], other, limits, family) for other in opened[1:]]


def _open(path: Path, name: str) -> _Opened:
    folder = RunFolder.open(path)
    if folder.begun_with is not None:  # earlier versions did not keep it
        folder.check_config()
    records = folder.records()
    planned = folder.cells()
    if not records:
        raise BadInput(f"{path}: its journal holds no record yet; there is nothing to compare")
    folder.check_tables(records)
    return _Opened(
        name=name,
        folder=folder,
        cells=cells_of(
            planned,
            records,
            experiment=folder.experiment,
            files=folder.files,
            environment=folder.environment,
        ),
        warned=Counter(str(notice.code) for notice in cautions(records, folder.environment)),
        missing=len(planned) * folder.experiment.measure.rounds - len(records),
    )


def _compared(base: _Opened, new: _Opened, limits: Limits, family: int) -> Comparison:
    cells = compare_cells(base.cells, new.cells, limits, family=family)
    if not any(cell.base_status is not None and cell.new_status is not None for cell in cells):
        raise BadInput(
            f"{new.folder.path}: has no cell in common with {base.folder.path} "
            f"({_some(new.cells)}; {_some(base.cells)})"
        )
    return Comparison(
        base=base.side,
        new=new.side,
        limits=limits,
        cells=cells,
        differing=_differing(base.folder, new.folder),
        cautions=tuple(_cautions(base, new, cells)),
    )


def _some(cells: Sequence[MeasuredCell]) -> str:
    return cells[0].id if len(cells) == 1 else f"{cells[0].id} ... {cells[-1].id}"


def _differing(base: RunFolder, new: RunFolder) -> dict[str, tuple[str, str]]:
    """What the machines and their software differ in, by name; `-` is what a side does not say."""
    found = differing_facts([facts(lasting(run.environment), but=_HARMLESS) for run in (base, new)])
    return {
        name: ("-" if here is None else here, "-" if there is None else there)
        for name, (here, there) in found.items()
    }


def _cautions(base: _Opened, new: _Opened, cells: Sequence[CellComparison]) -> Iterator[str]:
    for side, run in (("base", base), ("new", new)):
        if run.missing:
            yield f"The {side} run is not whole: {run.missing} of its rounds are missing."
    yield from doubts(base.cells, new.cells, cells)
    kinds = sorted(
        code for code in base.warned.keys() | new.warned.keys() if base.warned[code] != new.warned[code]
    )
    if kinds:
        counted = ", ".join(f"{code} {base.warned[code]} and {new.warned[code]}" for code in kinds)
        yield f"Warnings differ (base and new): {counted}; each run's report has them with their remedies."
