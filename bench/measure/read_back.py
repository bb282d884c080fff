"""Reads back, from what ran, whether a backend did what it claims. Runs in a worker, after its timed calls.

bench.measure.backends reads torch's switches; what they stand for can still be overruled, by a variable of
the environment, by a library, or by torch itself.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.grid.backend import Backend
from bench.measure import backends

IEEE_DB: Final = 80.0
"""Of a convolution and of a matrix product in float32 against float64, signal to error: with all 24 bits of
the mantissa over 100 dB, somewhat less by a Winograd algorithm; with the 11 of TF32 at most about 70."""

_THREAD_VALUES: Final = 1 << 17
"""Values for each thread, several times as many as torch gives one at least."""


def check(backend: Backend) -> None:
    """Raise RuntimeError where the backend's precision or threads are not what its settings say.

    Call it where the settings are applied, when nothing is timed: it computes.
    """
    if backend.fp32_precision == "ieee":
        device = backends.device_of(backend).torch_device
        for what, found_db in _float32_errors(device):
            if not found_db >= IEEE_DB:
                raise RuntimeError(
                    f"fp32_precision: ieee was set, and {what} in float32 came out {found_db:.0f} dB from "
                    f"that in float64, where {IEEE_DB:.0f} dB are the least: something overrules it"
                )
    if not backend.is_cuda:
        wanted = torch.get_num_threads()
        ran = _threads_that_ran(wanted)
        if ran is not None and ran < wanted:
            raise RuntimeError(f"threads: {wanted} was set, and {ran} ran: something overrules it")


def _float32_errors(device: torch.device) -> Iterator[tuple[str, float]]:
    """Yield operations, each with the error in dB of its float32 result against the one of float64."""
    generator = torch.Generator().manual_seed(0)
    image, weight = (
        torch.rand(shape, generator=generator) - 0.5 for shape in ((1, 64, 24, 24), (64, 64, 3, 3))
    )
    matrix = torch.rand((256, 256), generator=generator) - 0.5
    operations: tuple[tuple[str, Callable[[Tensor, Tensor], Tensor], tuple[Tensor, Tensor]], ...] = (
        ("a convolution", lambda of, by: F.conv2d(of, by, padding=1), (image, weight)),
        ("a matrix product", torch.mm, (matrix, matrix)),
    )
    with torch.inference_mode():
        for what, operation, (of, by) in operations:
            exact = operation(of.double(), by.double())
            error = operation(of.to(device), by.to(device)).cpu().double() - exact
            yield what, float(10 * torch.log10(exact.square().sum() / error.square().sum()))


def _threads_that_ran(wanted: int) -> int | None:
    """Return how many threads this process has after an operation with work for all, if known."""
    torch.ones(wanted * _THREAD_VALUES).mul_(2.0)
    try:
        return len([*Path("/proc/self/task").iterdir()])
    except OSError:
        return None


@contextmanager
def compilation(backend: Backend) -> Iterator[Callable[[], dict[str, Any]]]:
    """Compile anew in the block, so that no cell runs what was compiled for one before it.

    Gives a function that returns what torch.compile did so far, as fields of a record. It raises RuntimeError
    where nothing was compiled: torch then calls the plain code, and says nothing. In the block, torch raises
    an exception where it would otherwise give up and do so.
    """
    if not backend.compile:
        yield dict
        return
    torch.compiler.reset()
    dynamo: Any = sys.modules["torch._dynamo"]
    before, began_s = _graphs(), _compile_seconds()

    def compiled() -> dict[str, Any]:
        graphs, cached = (now - then for now, then in zip(_graphs(), before, strict=True))
        if not graphs:
            raise RuntimeError("compile: true was set, and torch.compile compiled nothing")
        return {
            "compile_s": _compile_seconds() - began_s,
            "compile_graphs": graphs,
            "compile_cache_hits": cached,
        }

    with dynamo.config.patch(fail_on_recompile_limit_hit=True, suppress_errors=False):
        yield compiled


def _graphs() -> tuple[int, int]:
    """Return the graphs that torch.compile made in this process, and how many its cache on disk had."""
    counters = sys.modules["torch._dynamo.utils"].counters
    return counters["stats"]["unique_graphs"], counters["inductor"]["fxgraph_cache_hit"]


def _compile_seconds() -> float:
    """Return the seconds that torch.compile has taken in this process, by its own count."""
    names, seconds = sys.modules["torch._dynamo.utils"].compile_times(repr="csv", aggregate=True)
    return float(dict(zip(names, seconds, strict=True)).get("_compile.compile_inner", 0.0))
