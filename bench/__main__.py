"""`python -m bench` is the command `vsr-bench`."""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Final

INTERRUPTED: Final = 130


def entry_point() -> None:
    """Run the console script. Nothing is begun while its imports last: an interrupt then ends it at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    from bench.cli import main  # noqa: PLC0415 - takes a tenth of a second and more

    status = INTERRUPTED
    with suppress(KeyboardInterrupt):  # that came while an earlier one, or an error, was being told
        status = main()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # all is done and told: nothing may change the status now
    sys.exit(status)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)  # an exception would be one more traceback out of some half-imported library


if __name__ == "__main__":
    entry_point()
