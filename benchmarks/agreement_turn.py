"""The test that benchmarks.agreement has pytest run: a turn of all tools, one of them its own fixture."""

from collections.abc import Callable
from typing import Any


def test_turn(benchmark: Any, turn: int, take: Callable[[Any, int], None]) -> None:
    """`turn` and `take` are given by the plugin that benchmarks.agreement runs pytest with."""
    take(benchmark, turn)
