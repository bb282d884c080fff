"""What torch.compile takes is reported apart from the calls that it is part of."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.measure import backends
from bench.records import Status
from tests.bench.fakes import experiment
from tests.bench.rounds import Ran, measure
from tests.compiler import needs_compiler


def test_it_is_torchs_own_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_times(**asked: object) -> tuple[list[str], list[str]]:
        assert asked == {"repr": "csv", "aggregate": True}
        return ["another", "_compile.compile_inner"], ["7.0", "1.5"]

    monkeypatch.setitem(sys.modules, "torch._dynamo.utils", SimpleNamespace(compile_times=compile_times))
    assert backends.compile_seconds() == 1.5


def test_who_compiles_nothing_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "torch._dynamo.utils", raising=False)
    assert backends.compile_seconds() == 0
    record = Ran(experiment(measure=measure()), tmp_path / "reference.npy").record
    assert record.compile_s is None


@needs_compiler
@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of what the compiler imports
def test_a_compiled_round(tmp_path: Path) -> None:
    one = experiment(backends=[{"name": "compiled", "from": "cpu", "compile": True}], measure=measure())
    record = Ran(one, tmp_path / "reference.npy").record
    assert record.status is Status.OK, record.reason
    assert record.compile_s is not None
    assert record.compile_s > 0
