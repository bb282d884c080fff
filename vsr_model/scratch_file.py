"""Files for what does not fit into memory, which nobody has to remove."""

import errno
import mmap
import os
import shutil
import tempfile
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor


def nameless_file(folder: Path, size_bytes: int) -> FileIO:
    """A new file of `size_bytes`, zeros, in `folder`, unbuffered.

    It has no name from the moment it is there (where the system has such files; else from the next moment),
    so that whatever ends the process, the system takes its space back. Its space is claimed at once: a disk
    that cannot hold it refuses here, not half way. Raises OSError that names the folder.
    """
    try:
        free_bytes = shutil.disk_usage(folder).free
        if free_bytes < size_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - the caller's
        try:
            if size_bytes and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size_bytes)
            else:  # macOS and Windows: the file may be one of holes
                file.truncate(size_bytes)
        except BaseException:
            file.close()
            raise
    except OSError as error:
        reason = f"{error.strerror}; {size_bytes} bytes are needed for intermediate results"
        raise OSError(error.errno, reason, str(folder)) from None
    return file


class ScratchFile:
    """A memory-mapped `nameless_file` of `size_bytes` (1 or more) in `folder`, inside a `with` block."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        with nameless_file(folder, size_bytes) as file:
            # The mapping keeps the file.
            self._map: mmap.mmap | None = mmap.mmap(file.fileno(), size_bytes)
        self._bytes: Tensor | None = torch.frombuffer(self._map, dtype=torch.uint8)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def part(self, start_byte: int, like: Tensor) -> Tensor:
        """A view of the file from `start_byte` on, with shape, strides and dtype of `like`, without gaps.

        Views keep the file: none may be left when it is closed.
        """
        if self._bytes is None:
            raise ValueError("The scratch file is closed.")
        stop_byte = start_byte + like.numel() * like.itemsize
        return self._bytes[start_byte:stop_byte].view(like.dtype).as_strided(like.shape, like.stride())

    def forget(self) -> None:
        """Count no page of the file as this process's memory any longer. What was written stays."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Give the space back; a second time does nothing."""
        # Closing the map itself would pull the memory from under a view: letting go of both is enough.
        self._bytes = None
        self._map = None
