"""What the suite measures, from a grid of this project, and what it may be compared with."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from bench.grid import config, plan
from bench.grid.config import Experiment
from bench.grid.plan import Cell
from bench.measure.networks import DEFAULT_SEED
from vsr_model.errors import BadInput
from vsr_model.registry import network_class, resolve


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A grid and its cells."""

    path: Path
    experiment: Experiment

    @classmethod
    def load(cls, path: Path) -> Self:
        """The suite of a YAML file. Raises BadInput as bench.grid.config.load does, and for a
        backend that the suite cannot call."""
        experiment, _ = config.load(path)
        for backend in (cell.backend for cell in plan.cells(experiment)):
            if backend.memory_plan is not None:
                raise BadInput(
                    f"{path}: backend {backend.name} has a memory_plan, and the pytest-benchmark suite knows "
                    "only the plain call; vsr-bench run measures it"
                )
        return cls(path=path, experiment=experiment)

    @cached_property
    def cells(self) -> dict[str, Cell]:
        """By their ids, in the plan's order."""
        return {cell.id: cell for cell in plan.cells(self.experiment)}

    def measured(self, cell: Cell) -> dict[str, dict[str, Any]]:
        """What a figure of the cell is of, as plain data: without it equal, two figures are of two things."""
        data = config.resolved(self.experiment, self.path.parent)
        (model,) = (item for item in data["model"] if item["name"] == cell.model.name)
        if cell.model.import_ is None:
            model |= resolve(cell.model.name, cell.model.parameters)
        if model.setdefault("checkpoint", None) is None:
            model.setdefault("seed", DEFAULT_SEED)
        (item,) = (item for item in data["input"] if item["name"] == cell.input.name)
        item.pop("grid", None)
        backend = {
            "name": cell.backend.name,
            **cell.backend.settings,
            "min_psnr_db": cell.backend.min_psnr_db,
        }
        return {"model": {"seed": None, **model}, "input": item, "backend": backend}

    def stages(self, cell: Cell) -> tuple[str, ...]:
        """The stages of the cell's network."""
        model = cell.model
        return tuple(model.stages if model.import_ else network_class(model.name).facts.stages)

    def check_comparable(self, saved: Mapping[str, Any]) -> None:
        """Raises BadInput for a saved run in which a cell of the same id is something else, and for one that
        has no cell of this suite: a comparison of nothing would pass."""
        infos = [benchmark.get("extra_info") or {} for benchmark in saved["benchmarks"]]
        shared = [info for info in infos if info.get("cell") in self.cells]
        if not shared:
            raise BadInput(
                f"--benchmark-compare: the saved run has none of the cells of {self.path} "
                f"({', '.join(self.cells)}); it should be one of the same grid"
            )
        for info in shared:
            for part, value in self.measured(self.cells[info["cell"]]).items():
                if not _agree(value, info.get(part)):
                    raise BadInput(
                        f"--benchmark-compare: the saved run measured {info['cell']} with another {part} "
                        f"than {self.path} has; it should be one of the same grid"
                    )


def _agree(ours: Mapping[str, Any], theirs: object) -> bool:
    """Whether the fields that both have are equal; one that only one of them has came with newer code, and
    between its code and another's a comparison is mostly made."""
    return isinstance(theirs, Mapping) and all(ours[name] == theirs[name] for name in ours.keys() & theirs)
