"""request.json: the arguments of a `vsr-bench tune`, so that it can be continued."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from bench.grid.backend import BACKEND_NAMES
from bench.grid.backend_file import SUFFIXES, find, read_backends, user_folder
from bench.grid.strict import DEVICE_PATTERN, NAME_PATTERN
from bench.tuning.space import axes, fields_tried
from vsr_model.errors import BadInput, nearest

REQUEST_NAME: Final = "request.json"

_DURATION: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|sec|min|m|h)?\s*", re.IGNORECASE | re.ASCII)
_UNIT_S: Final = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

MIN_WITHIN_S: Final = 1.0
MAX_WITHIN_S: Final = 86_400.0
MAX_PSNR_DB: Final = 300.0
MAX_NAME: Final = 64

CLIP_AXES: Final = ("model", "input", "batch", "frames", "size")
"""Axes that may filter a search's cells: its backends are its own."""


class Request(BaseModel):
    """The subject of a search, its limits, and the file for its result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filters: tuple[str, ...]
    device: Annotated[str, Field(pattern=DEVICE_PATTERN)]
    within_s: Annotated[float, Field(gt=0, le=MAX_WITHIN_S)]
    min_psnr_db: Annotated[float, Field(gt=0, le=MAX_PSNR_DB)]
    without: tuple[str, ...]
    cores: Annotated[int, Field(ge=1)]
    name: Annotated[str, Field(pattern=NAME_PATTERN, max_length=MAX_NAME)]
    output: str | None  # the file that the backend is written to; None: the user's own of that name

    @property
    def file(self) -> Path:
        return user_folder() / f"{self.name}.yaml" if self.output is None else Path(self.output)

    @property
    def used_as(self) -> str:
        """What a command line names the backend by: its name where that leads to the file."""
        by_name = self.output is None and find(self.name) in (None, self.file)
        return self.name if by_name else str(self.file)


def request(
    device: str,
    *,
    cores: int,
    within: str = "5min",
    min_psnr_db: float = 80.0,
    without: Sequence[str] = (),
    name: str = "tuned",
    output: Path | None = None,
    filters: Sequence[str] = (),
) -> Request:
    """Check the arguments and make the request.

    Raises BadInput for what is not allowed, and for a file that must not be overwritten.
    """
    if not re.match(DEVICE_PATTERN, device):
        raise BadInput(f"--device: should be cpu, cuda or a GPU by its number as in cuda:1, not {device!r}")
    if not re.match(NAME_PATTERN, name) or len(name) > MAX_NAME:
        raise BadInput(
            f"--name: should consist of at most {MAX_NAME} letters, digits, '.', '_' and '-', not {name!r}"
        )
    if name in BACKEND_NAMES:
        raise BadInput(f"--name: {name!r} is a backend that needs no file; give it another name")
    if not 0 < min_psnr_db <= MAX_PSNR_DB:
        raise BadInput(f"--min-psnr-db: should be above 0 and at most {MAX_PSNR_DB:g}, not {min_psnr_db:g}")
    for text in filters:
        axis, equals, _ = text.partition("=")
        if not equals or axis in ("backend", "cell"):
            raise BadInput(
                f"--filter {text}: would leave out some of the search's own backends; here a filter is by "
                f"{', '.join(CLIP_AXES)}, and --without leaves a field of a backend alone"
            )
    known = fields_tried(device)
    for field in without:
        if field not in known:
            raise BadInput(
                f"--without: {field!r} is not among what is tried on {device}{nearest(field, known)}; "
                f"that is {', '.join(known)}"
            )
    if not axes(device, cores=cores, min_psnr_db=min_psnr_db, without=without):
        raise BadInput(f"--without: {', '.join(without)}: leaves nothing that could be tried on {device}")
    asked = Request(
        filters=tuple(filters),
        device=device,
        within_s=_seconds_of(within),
        min_psnr_db=min_psnr_db,
        without=tuple(without),
        cores=cores,
        name=name,
        output=None if output is None else str(output),
    )
    check_file(asked.file)
    return asked


def check_file(path: Path) -> None:
    """Check that the backend can be written to the path, which leaves nothing behind.

    Raises BadInput where it cannot, or where the path holds anything but a file of backends.
    """
    if path.suffix not in SUFFIXES:
        raise BadInput(f"--output: {path}: should end in .yaml, so that it can be used as a backend's file")
    if path.is_dir():
        raise BadInput(f"--output: {path}: is a folder; a file is written")
    if path.exists():
        try:
            read_backends(path)
        except BadInput:
            raise BadInput(
                f"--output: {path}: is there, and is no file of backends; it is not written over"
            ) from None
    folder = next(place for place in path.absolute().parents if place.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(
            f"--output: {path}: cannot be written ({folder}: {error.strerror}); name another file"
        ) from None


def _seconds_of(text: str) -> float:
    """Parse `5min`, `90s`, `1h` or a plain number into seconds. Raises BadInput for anything else."""
    read = _DURATION.fullmatch(text)
    seconds = 0.0 if read is None else float(read[1]) * _UNIT_S[(read[2] or "s").lower()]
    if not MIN_WITHIN_S <= seconds <= MAX_WITHIN_S:
        raise BadInput(
            f"--within: should be a time such as 5min, 90s or 1h, a second at least and a day at most, not "
            f"{text!r}"
        )
    return seconds
