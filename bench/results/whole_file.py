"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write the text as UTF-8; a reader, and whoever comes after a kill, sees the old file or the new one.

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
    """Whatever the system refuses in the block names a file: this one where the error has none, as that of a
    full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def create_whole(path: Path, text: str) -> None:
    """As `write_whole`, where there must be no such file yet: of several that try at once one succeeds.

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
