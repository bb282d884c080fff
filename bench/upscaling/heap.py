"""The C library's heap, where a process has to keep to a limit."""

import ctypes
from typing import Final

# mallopt(3) and <malloc.h>
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_LEAST_MAPPED_BYTES: Final = 2**20
_MOST_KEPT_BYTES: Final = 2**22


def give_back_at_once() -> bool:
    """From here on, for this whole process, have glibc return freed memory of a tensor's size to the system.

    Left alone it keeps what it may need again, half as much as is in use and more: 311 MiB were held where
    218 were needed. Fetching it anew costs a few percent of a network's time. Nothing can undo it, so that it
    is for a process's owner to call. False where it did not take: another C library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    taken = [mallopt(_MMAP_THRESHOLD, _LEAST_MAPPED_BYTES), mallopt(_TRIM_THRESHOLD, _MOST_KEPT_BYTES)]
    return all(taken)
