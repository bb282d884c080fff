"""pytest's and pytest-benchmark's hooks for the suite, which is loaded only where the suite is named."""

import warnings
from pathlib import Path
from typing import Any, Final

import pytest

from bench.grid import config, plan
from bench.grid.plan import Cell
from bench.machine import environment
from bench.measure import preflight
from bench.process.launcher import Launcher
from vsr_model.errors import BadInput
from vsr_model.one_line import one_line
from vsr_model.registry import network_class

DEFAULT: Final = Path(__file__).parent / "suite.yaml"

CELLS: Final = pytest.StashKey[dict[str, Cell]]()
ANSWER: Final = pytest.StashKey[preflight.Answer]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("vsr-bench").addoption(
        "--vsr-config",
        metavar="FILE",
        default=str(DEFAULT),
        help="Grid (docs/grid.md) that tests/benchmarks measures. Default: tests/benchmarks/suite.yaml.",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Warnings of pytest-benchmark (nothing to save, another machine) are for its user to read: as errors in
    # the middle of its work they would lose what was measured.
    config.addinivalue_line("filterwarnings", "default::pytest.PytestWarning:pytest_benchmark")
    warnings.filterwarnings("default", category=pytest.PytestWarning, module="pytest_benchmark")
    try:
        config.stash[CELLS] = cells_of(Path(config.getoption("vsr_config")))
    except BadInput as refusal:
        raise pytest.UsageError(one_line(str(refusal))) from None


def cells_of(path: Path) -> dict[str, Cell]:
    """Return the cells of a grid by id. Raises BadInput for a bad grid, or one that the suite cannot call."""
    cells = plan.cells(config.load(path)[0])
    for cell in cells:
        if cell.backend.memory_plan is not None:
            raise BadInput(
                f"{path}: backend {cell.backend.name} has a memory_plan, and the pytest-benchmark suite "
                "makes only the plain call; vsr-bench run measures it"
            )
    return {cell.id: cell for cell in cells}


def stages_of(cell: Cell) -> tuple[str, ...]:
    """Return the stages of the cell's network."""
    model = cell.model
    return tuple(model.stages if model.import_ else network_class(model.name).facts.stages)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cells = metafunc.config.stash[CELLS]
    if "stage" in metafunc.fixturenames:
        pairs = [(cell, stage) for cell in cells.values() for stage in stages_of(cell)]
        metafunc.parametrize(("cell", "stage"), pairs, ids=[f"{cell.id}-{stage}" for cell, stage in pairs])
    elif "cell" in metafunc.fixturenames:
        metafunc.parametrize("cell", list(cells.values()), ids=list(cells))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Ask, before anything is measured, what the cells need and this machine has, as before a run."""
    cells = {
        item.callspec.params["cell"].id: item.callspec.params["cell"]
        for item in session.items
        if "cell" in getattr(getattr(item, "callspec", None), "params", ())
    }
    if not cells or session.config.option.collectonly:
        return
    try:
        with Launcher() as launcher:
            session.config.stash[ANSWER] = preflight.ask(launcher, list(cells.values()))
    except BadInput as refusal:
        raise pytest.UsageError(one_line(str(refusal))) from None


@pytest.hookimpl(optionalhook=True)  # unknown with `-p no:benchmark`
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Add what explains a figure later; take out what is private, and the clock at this moment."""
    from bench.measure import backends  # noqa: PLC0415 - it has torch, which --help can do without

    machine_info.pop("node", None)
    for name in [name for name in machine_info.get("cpu", {}) if name.startswith("hz_")]:
        del machine_info["cpu"][name]
    described = environment.collect(backends.describe_devices(), {})
    del described["git_commit"], described["workers_environment"]  # commit_info, and of a run's workers
    machine_info["vsr_bench"] = described


@pytest.fixture(autouse=True)
def _possible(request: pytest.FixtureRequest, cell: Cell) -> None:
    """Skip a cell that this machine or the input cannot have."""
    if reason := preflight.skip_reason(cell, request.config.stash[ANSWER]):
        pytest.skip(reason)
