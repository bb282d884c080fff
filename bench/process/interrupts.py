"""Signals that end a run: each acts as Ctrl-C does, and none may tear what is being written."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, kill, and a closed terminal."""


def listen() -> None:
    """Make each of them raise KeyboardInterrupt, except those that the caller ignores (nohup)."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


@contextmanager
def held_back() -> Iterator[None]:
    """Delay signals of the block until it ends. Only the main thread is ever interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    handled = [number for number, handler in before.items() if callable(handler)]
    for number in handled:
        signal.signal(number, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])
    if arrived:
        signal.raise_signal(arrived[0])


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
