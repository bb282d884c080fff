"""What a backend claims, against what ran: precision, threads and compilation that something overrules."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from bench.grid.backend import CPU
from bench.measure import backends, read_back

TWO = CPU.replace(name="two", threads=2)


def test_what_keeps_its_claims_passes() -> None:
    for backend in (CPU, TWO, CPU.replace(name="one", threads=1), CPU.replace(name="b", dtype="bfloat16")):
        with backends.applied(backend):
            read_back.check(backend)


@pytest.mark.parametrize("name", ["conv2d", "mm"])
def test_a_precision_that_something_lowers_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    owner: Any = F if name == "conv2d" else torch
    exact = getattr(owner, name)

    def lowered(of: torch.Tensor, by: torch.Tensor, **named: Any) -> torch.Tensor:
        if of.dtype is torch.float64:
            return exact(of, by, **named)
        return exact(of.bfloat16().float(), by.bfloat16().float(), **named)

    monkeypatch.setattr(owner, name, lowered)
    with pytest.raises(
        RuntimeError, match=r"^fp32_precision: ieee was set, and a (convolution|matrix product)"
    ):
        read_back.check(CPU)
    read_back.check(CPU.replace(name="t", fp32_precision="tf32"))  # which may lower it


def test_threads_that_do_not_run_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_back, "_threads_that_ran", lambda _: 1)
    with backends.applied(TWO), pytest.raises(RuntimeError, match="threads: 2 was set, and 1 ran"):
        read_back.check(TWO)
    monkeypatch.setattr(read_back, "_threads_that_ran", lambda _: None)  # where the system does not say
    with backends.applied(TWO):
        read_back.check(TWO)


def test_a_compilation_that_compiled_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = {"stats": {"unique_graphs": 3}, "inductor": {"fxgraph_cache_hit": 1}}
    seconds = iter(["1.5", "4.0"])
    utils = SimpleNamespace(
        counters=counters,
        compile_times=lambda **_: (["another", "_compile.compile_inner"], ["7.0", next(seconds)]),
    )
    patched: dict[str, bool] = {}

    class Patch:
        def __init__(self, **values: bool) -> None:
            patched.update(values)

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None:
            patched.clear()

    monkeypatch.setattr(torch.compiler, "reset", lambda: None)
    monkeypatch.setitem(sys.modules, "torch._dynamo.utils", utils)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "torch._dynamo", SimpleNamespace(config=SimpleNamespace(patch=Patch)))  # type: ignore[arg-type]
    with read_back.compilation(CPU.replace(name="c", compile=True)) as compiled:
        assert patched == {"fail_on_recompile_limit_hit": True, "suppress_errors": False}
        with pytest.raises(RuntimeError, match="compiled nothing"):
            compiled()
        counters["stats"]["unique_graphs"] += 2
        counters["inductor"]["fxgraph_cache_hit"] += 1
        assert compiled() == {"compile_s": 2.5, "compile_graphs": 2, "compile_cache_hits": 1}
    assert patched == {}
    with read_back.compilation(CPU) as compiled:
        assert compiled() == {}
