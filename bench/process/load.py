"""Import what workers need in the server process, before it forks them, and explain failures."""

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Final

from PIL import Image

CONTRACT: Final = "vsr_model.channels"

_MAX_MESSAGE_CHARACTERS: Final = 400


class RefusedError(Exception):
    """The imported network cannot be measured; the message says why, without a full stop."""


def load(torch_imported: Callable[[float], None]) -> Path:
    """Import what workers need, and return the folder that the network was imported from.

    `torch_imported` is called with the seconds that torch took, before the network is imported. Raises
    RefusedError, and whichever error the network's import raises, SystemExit and KeyboardInterrupt included.
    """
    begin = perf_counter()
    import_module("torch")
    torch_imported(perf_counter() - begin)
    if find_spec(CONTRACT) is None:
        raise RefusedError(
            f"it has no {CONTRACT}, by which clips are made: a revision from before that "
            "needs the vsr-bench of its time"
        )
    import_module("bench.measure.worker")
    with suppress(ImportError):  # of a revision of the network that may not have it yet
        import_module("vsr_model.media")
        import_module("av.subtitles.stream")  # which PyAV imports when it first opens a file
    Image.init()  # its thirty formats, which it would else import again in every worker that opens a file
    import_module("bench.measure.workload").rehearse()
    return Path(str(import_module("vsr_model").__file__)).resolve().parents[1]


def why(error: BaseException) -> str:
    """Return an error of `load` in one line: its type, and the first line of its message."""
    if isinstance(error, RefusedError):
        return str(error)
    message = type(error).__name__
    with suppress(Exception):  # the message may be made by the code that is to be measured
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        message += f": {lines[0][:_MAX_MESSAGE_CHARACTERS]}" if lines else ""
    return f"it ended while it was being imported ({message})" if isinstance(error, SystemExit) else message
