"""What the whole suite needs."""

import signal
from collections.abc import Iterator

import pytest


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
