"""pytest's and pytest-benchmark's hooks for the suite, which is loaded only where the suite is named."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from bench.machine import environment
from bench.measure import preflight
from bench.process.launcher import Launcher
from tests.benchmarks.references import References
from tests.benchmarks.saved import other_machine
from tests.benchmarks.subject import Subject, placed
from tests.benchmarks.suite import Suite
from vsr_model.errors import BadInput
from vsr_model.one_line import one_line

DEFAULT: Final = Path(__file__).parent / "suite.yaml"

SUITE: Final = pytest.StashKey[Suite]()
ANSWER: Final = pytest.StashKey[preflight.Answer]()

OF_THE_CODE: Final = ("git_commit", "vsr_bench", "workers_environment")
"""Of environment.json: what commit_info has, and what only the harness's own workers have."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("vsr-bench").addoption(
        "--vsr-config",
        metavar="FILE",
        default=str(DEFAULT),
        help="Grid (docs/grid.md) that tests/benchmarks measures. Default: tests/benchmarks/suite.yaml.",
    )


def pytest_configure(config: pytest.Config) -> None:
    # What pytest-benchmark has to say (nothing to save, another machine) is for its user to read, and no
    # failure: an error in the middle of its work would lose what was measured. It speaks while tests run, by
    # the filters of the configuration, and before and after, by those in force now.
    config.addinivalue_line("filterwarnings", "default::pytest.PytestWarning:pytest_benchmark")
    warnings.filterwarnings("default", category=pytest.PytestWarning, module="pytest_benchmark")
    try:
        config.stash[SUITE] = Suite.load(Path(config.getoption("vsr_config")))
    except BadInput as refusal:
        raise _usage_error(refusal) from None


def pytest_report_header(config: pytest.Config) -> str:
    suite = config.stash[SUITE]
    return f"vsr-bench: {len(suite.cells)} cells of {one_line(str(suite.path))}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    suite = metafunc.config.stash[SUITE]
    if "stage" in metafunc.fixturenames:
        pairs = [(id_, stage) for id_, cell in suite.cells.items() for stage in suite.stages(cell)]
        metafunc.parametrize(("cell_id", "stage"), pairs, ids=["-".join(pair) for pair in pairs])
    elif "cell_id" in metafunc.fixturenames:
        metafunc.parametrize("cell_id", list(suite.cells))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Ask, before anything is measured, what the cells need and this machine has, as before a run."""
    suite = session.config.stash[SUITE]
    called = [item.callspec.params for item in session.items if isinstance(item, pytest.Function)
              and hasattr(item, "callspec")]  # fmt: skip
    asked = {params["cell_id"] for params in called if "cell_id" in params}
    if not asked or session.config.option.collectonly:
        return
    try:
        with Launcher() as launcher:
            session.config.stash[ANSWER] = preflight.ask(
                launcher, [cell for id_, cell in suite.cells.items() if id_ in asked]
            )
    except BadInput as refusal:
        raise _usage_error(refusal) from None


def _usage_error(refusal: BadInput) -> pytest.UsageError:
    return pytest.UsageError(one_line(str(refusal)))


# pytest-benchmark's own hooks, which are unknown with `-p no:benchmark`.


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """What explains a figure later, and nothing private."""
    from bench.measure import backends  # noqa: PLC0415 - it has torch, which --help can do without

    machine_info.pop("node", None)  # the host's name
    # The clock at this moment, with which every comparison would be one of two machines.
    for name in [name for name in machine_info.get("cpu", {}) if name.startswith("hz_")]:
        del machine_info["cpu"][name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's of a driver: why a backend is skipped is said elsewhere
        described = environment.collect(backends.describe_devices(), {})
    machine_info["vsr_bench"] = {name: said for name, said in described.items() if name not in OF_THE_CODE}


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_compare_machine_info(
    config: pytest.Config,
    benchmarksession: Any,
    machine_info: dict[str, Any],
    compared_benchmark: dict[str, Any],
) -> None:
    """Like is compared with like: pytest-benchmark itself goes by the names of tests alone."""
    try:
        config.stash[SUITE].check_comparable(compared_benchmark)
    except BadInput as refusal:
        raise _usage_error(refusal) from None
    if difference := other_machine(machine_info, compared_benchmark.get("machine_info")):
        benchmarksession.logger.warning(difference)
    # pytest-benchmark's own words, which come next, would be both descriptions as a whole; and where the
    # storage is not below the current folder it has none, and raises.
    compared_benchmark["machine_info"] = machine_info


@pytest.fixture(scope="session")
def suite(request: pytest.FixtureRequest) -> Suite:
    return request.config.stash[SUITE]


@pytest.fixture(scope="session")
def references(tmp_path_factory: pytest.TempPathFactory) -> References:
    return References(tmp_path_factory.mktemp("references"))


@pytest.fixture
def subject(request: pytest.FixtureRequest, suite: Suite, cell_id: str) -> Iterator[Subject]:
    """The cell, ready to be called; skipped where this machine or the input has not what it needs."""
    cell = suite.cells[cell_id]
    if reason := preflight.skip_reason(cell, request.config.stash[ANSWER]):
        pytest.skip(reason)
    with placed(cell) as ready:
        yield ready
