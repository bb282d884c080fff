"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write the text as UTF-8. Readers see the old file or the new one, also after a kill.

    Raises OSError that names the file.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        _fill(partial, text)
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        if not partial.is_dir():
            partial.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in an OSError of the block that names none, as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def create_whole(path: Path, text: str) -> None:
    """Write as `write_whole` does, where no such file may exist. Of several that try at once one succeeds.

    Raises FileExistsError for the others.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        _fill(partial, text)
        os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _fill(partial: Path, text: str) -> None:
    partial.unlink(missing_ok=True)  # a pipe or a link of that name is not to be written to
    partial.write_text(text, encoding="utf-8")
