"""A disk that takes so much of a file and no more: what the system then says names no file."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def a_disk_of(size_bytes: int) -> Iterator[None]:
    """The largest file that this process can write meanwhile; Python ignores the signal beside the error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
