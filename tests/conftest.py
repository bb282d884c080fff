"""What the whole suite needs."""

import os
import signal
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from bench.machine import variables

# Machines are busy: no example has a time to keep to. Examples may share a temporary folder.
settings.register_profile(
    "vsr-bench",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("vsr-bench")

BENCHMARKS: Final = Path(__file__).resolve().parent / "benchmarks"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The pytest-benchmark suite measures, and tests nothing of the code: it runs where it is named."""
    if collection_path.resolve() != BENCHMARKS:
        return None
    given = (config.invocation_params.dir / argument.partition("::")[0] for argument in config.args)
    return None if any(path.resolve().is_relative_to(BENCHMARKS) for path in given) else True


# Processes under test write as they do for a user.
os.environ.pop("PYTHONUNBUFFERED", None)

# As in workers, nothing inherited overrules what is computed here. OpenMP's threads otherwise spin while they
# wait for each other: beside other work a test takes minutes. Its library reads this once, with torch.
variables.leave_out(os.environ)
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
import_module("torch")
del os.environ["OMP_WAIT_POLICY"]


@pytest.fixture(scope="session", autouse=True)
def _signals_as_from_a_terminal() -> Iterator[None]:
    """Processes inherit what their parent ignores: nohup ignores SIGHUP, a shell's background job SIGINT, and
    a program under test would rightly go on ignoring them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
