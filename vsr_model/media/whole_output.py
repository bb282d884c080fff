"""Output files and folders that appear whole or not at all, however the process ends."""

import errno
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vsr_model import file_systems
from vsr_model.errors import BadInput

_NAME_LENGTH = 40  # characters of the output's name in a hidden one, which must be short enough to exist

_OF_THE_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE)
"""Errors of the system, not of the request: a full disk, a quota, a failing device."""


def fault_of_the_system(error: BaseException, path: Path) -> OSError | None:
    """Return an OSError that names `path` if the system made writing fail, None if the request did.

    FFmpeg's errors are not all OSErrors, and they name other files.
    """
    code = getattr(error, "errno", None)
    return OSError(code, os.strerror(code), str(path)) if code in _OF_THE_SYSTEM else None


@contextmanager
def refusing_to_write(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into one that names `path`, or BadInput where the request is at fault."""
    try:
        yield
    except OSError as error:
        refusal = BadInput(f"{path} cannot be written ({error.strerror}).")
        raise fault_of_the_system(error, path) or refusal from error


@contextmanager
def appearing(path: Path, *, rehearsal: bool = False) -> Iterator[Path]:
    """Give a name to write under; when the block ends the file appears as `path`, or replaces it.

    Nothing is left if the block ends by an exception, or is a `rehearsal`. Where the system can (Linux, most
    file systems) the file has no name until it is whole, so that a process that is killed leaves nothing
    either; elsewhere it has a hidden name beside `path`, which the next block for the same output takes over.

    Raises BadInput for a folder as `path` and for a missing one around it, OSError for faults of the system.
    """
    path = path.resolve() if path.is_symlink() else path  # the file that it names is what is replaced
    if path.is_dir():
        raise BadInput(f"{path} is a folder, and a file is to be written.")
    if not path.parent.is_dir():
        raise BadInput(f"{path} is to be written, and the folder {path.parent} does not exist.")
    mode = path.stat().st_mode & 0o777 if path.exists() else None  # what was private stays so
    hidden = _hidden(path)
    descriptor = _nameless(path.parent)
    try:
        if descriptor is None:
            yield hidden
            if not rehearsal:
                _to_disk(hidden)
        else:
            nameless = Path(f"/proc/self/fd/{descriptor}")
            yield nameless
            if not rehearsal:
                file_systems.to_disk(descriptor)
                _name(nameless, hidden)
        if not rehearsal:
            if mode is not None:
                hidden.chmod(mode)
            hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def appearing_folder(path: Path, *, rehearsal: bool = False) -> Iterator[Path]:
    """Give a folder to write into; when the block ends it appears as `path`, or replaces that empty folder.

    Nothing is left if the block ends by an exception, or is a `rehearsal`. A process that is killed leaves
    the folder under a hidden name beside `path`, which the next block for the same output takes over.

    Raises BadInput for a file as `path`, a folder that holds something, and what cannot be made, OSError for
    faults of the system.
    """
    where = path.resolve()
    mode = where.stat().st_mode & 0o777 if where.is_dir() else None
    if mode is not None and any(where.iterdir()):
        raise BadInput(
            f"{path} is a folder that is not empty, and frames are written to a new or an empty one."
        )
    if mode is not None and (where.is_mount() or where == Path.cwd()):
        raise BadInput(f"{path} is where a disk or this program stands; name a new folder in it.")
    if mode is None and where.exists():
        raise BadInput(f"{path} is no folder, and one for frames is to be written.")
    if not where.parent.is_dir():
        raise BadInput(f"{path} is to be written, and the folder {path.parent} does not exist.")
    hidden = _hidden(where)
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        with refusing_to_write(path):
            hidden.mkdir()
        yield hidden
        if not rehearsal:
            with refusing_to_write(path):
                for file in hidden.iterdir():
                    _to_disk(file)
                if mode is not None:
                    hidden.chmod(mode)
                hidden.rename(where)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _hidden(path: Path) -> Path:
    """Return a name beside `path` that is its own, and never too long."""
    own = zlib.crc32(os.fsencode(path.name))
    return path.with_name(f".{path.stem[:_NAME_LENGTH]}.{own:08x}.partial{path.suffix}")


def _nameless(folder: Path) -> int | None:
    """Open a file without a name in `folder`; return None where there are none."""
    if not hasattr(os, "O_TMPFILE"):
        return None
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666)
    except OSError:  # this file system has none, or the folder is read-only: then writing fails, too
        return None
    if os.access(f"/proc/self/fd/{descriptor}", os.W_OK):
        return descriptor
    os.close(descriptor)  # without /proc it could be neither opened by others nor given a name
    return None


def _name(nameless: Path, hidden: Path) -> None:
    hidden.unlink(missing_ok=True)
    folder = os.open(hidden.parent, os.O_PATH)
    try:
        # With a folder given the system follows the link in /proc to the file, else it would link the link.
        os.link(nameless, hidden.name, dst_dir_fd=folder)
    except OSError:  # some systems open nameless files and cannot name them
        shutil.copyfile(nameless, hidden)
        _to_disk(hidden)
    finally:
        os.close(folder)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        file_systems.to_disk(descriptor)
    finally:
        os.close(descriptor)
