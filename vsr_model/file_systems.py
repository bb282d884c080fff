"""What some file systems lack (network, FUSE and FAT ones): locks, hard links, flushing, claimed space.

Each has a function that does without where the system says that it is not there, and raises what else fails.
"""

import errno
import fcntl
import os
from pathlib import Path
from typing import Final

LACKING: Final = frozenset(
    {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL, errno.ENOTTY}
)
"""Error numbers of calls that a file system does not implement."""


def lock(descriptor: int) -> str | None:
    """Lock an open file until it is closed; return why it cannot be, where its file system has no locks.

    Raises BlockingIOError while another process has it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in LACKING:
            raise
        return f"its file system has no locks ({error.strerror}): nothing keeps a second process from it"
    return None


def to_disk(descriptor: int) -> None:
    """Wait until an open file is on disk, or a power failure could leave its name with nothing behind it."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in LACKING:
            raise


def name_first(whole: Path, path: Path) -> None:
    """Give a whole file a name that no file may have. Of several that try at once one succeeds.

    Raises FileExistsError for the others.
    """
    try:
        os.link(whole, path)
    except FileExistsError:
        raise
    except OSError as error:
        # Without hard links the system says EPERM or EMLINK, too.
        if error.errno not in LACKING | {errno.EPERM, errno.EMLINK, errno.EACCES, errno.EXDEV}:
            raise
        path.open("x").close()  # whoever comes first has the name, and then what belongs to it
        whole.replace(path)


def claim(descriptor: int, size_bytes: int) -> None:
    """Claim space on disk for an open file, so that a disk that cannot hold it refuses at once."""
    if not size_bytes or not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as error:
        if error.errno not in LACKING:
            raise
