"""Threads that have ended before what they work on is taken from them."""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

from bench.process.interrupts import held_back


@contextmanager
def one_thread(name: str) -> Iterator[Executor]:
    """A thread for the block, which ends with what it is at; what it has not begun is dropped."""
    executor = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        yield executor
    finally:
        with held_back():  # a second Ctrl-C, too, waits for a call into a library that must not be torn
            executor.shutdown(wait=True, cancel_futures=True)
