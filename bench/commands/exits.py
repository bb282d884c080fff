"""How a command ends: its exit status, and the one line that says why."""

import errno
import os
import sys
import traceback
from typing import Final

from bench.errors import RunStoppedError, ServerDiedError
from vsr_model.errors import BadInput
from vsr_model.one_line import one_line

OK: Final = 0
FOUND: Final = 1  # a regression, a refuted claim, or what spoils a measurement here (`env --check`)
BAD_REQUEST: Final = 2
SOME_FAILED: Final = 3
FAILED: Final = 70  # the program itself, or the system under it: never 1, which speaks of the results
INTERRUPTED: Final = 130
OUTPUT_CLOSED: Final = 141  # as a shell reports a program that SIGPIPE ended

OF_THE_REQUEST: Final = (
    errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR,
    errno.EPERM, errno.EROFS,
)  # fmt: skip
"""System errors for a path that is not usable as given."""


def without_output() -> int:
    """Return the exit status of a command whose output has no reader; silence Python's last flush."""
    for stream in (sys.stdout, sys.stderr):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return OUTPUT_CLOSED


def explain(error: Exception) -> int:
    """Print the reason for an error, and return its exit status."""
    # A wrong use of the command line: its base class has had several homes, its methods have not.
    if hasattr(error, "show") and hasattr(error, "format_message"):
        message = " ".join(error.format_message().replace("Value error, ", "").split())
        if message:  # otherwise the help is shown already
            refuse(f"{message.rstrip('.')} (vsr-bench --help lists all)")
        return BAD_REQUEST
    if isinstance(error, BadInput):
        return refuse(str(error))
    if isinstance(error, OSError) and error.errno == errno.EIO and error.filename is None:
        raise error  # a terminal that was closed
    if isinstance(error, OSError):
        where = error.filename or ("standard output" if error.errno == errno.ENOSPC else None)
        refuse(f"{where}: {error.strerror}" if where else str(error))
        return BAD_REQUEST if error.errno in OF_THE_REQUEST else FAILED
    if isinstance(error, RunStoppedError):
        refuse(str(error))
    elif isinstance(error, ServerDiedError):
        refuse(f"the process that workers are forked from: {error}")
    else:
        traceback.print_exception(error)
    return FAILED


def refuse(sentence: str) -> int:
    """Print the reason in one line without control characters, and return the exit status."""
    print("vsr-bench:", one_line(sentence), file=sys.stderr)  # noqa: T201 - the command line prints
    return BAD_REQUEST
