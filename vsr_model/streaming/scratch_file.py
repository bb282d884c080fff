"""Temporary files without a name, which need no removal."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from vsr_model import file_systems


class ScratchFile:
    """A file in `folder` without a name, of arrays that are written and read at offsets.

    However the process ends, the system takes its space back. `size_bytes` are claimed at once, so that a
    disk that cannot hold them refuses here, not half way. The file grows where more is written. Raises
    OSError that names the folder.
    """

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._folder = folder
        try:
            if shutil.disk_usage(folder).free < size_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by `close`
            try:
                file_systems.claim(self._file.fileno(), size_bytes)
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            reason = f"{error.strerror}; {size_bytes} bytes are needed for intermediate results"
            raise OSError(error.errno, reason, str(folder)) from None

    def write(self, offset: int, array: np.ndarray) -> None:
        """Write a contiguous array; raise OSError that names the folder where its disk is full."""
        data = array.reshape(-1).view(np.uint8).data
        try:
            while data:
                count = os.pwrite(self._file.fileno(), data, offset)
                data, offset = data[count:], offset + count
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._folder)) from None

    def read(self, offset: int, array: np.ndarray) -> None:
        """Fill a contiguous array with what was written there."""
        data = array.reshape(-1).view(np.uint8).data
        while data:
            count = os.preadv(self._file.fileno(), [data], offset)
            if count == 0:
                raise OSError(f"{self._folder}: intermediate results can no longer be read.")
            data, offset = data[count:], offset + count

    def close(self) -> None:
        """Release the space. Can be called twice."""
        self._file.close()
