"""Differences between two runs' CPU float32 results of a clip, which show whether the network is the same."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from bench.results.files import bad_field


class OutputDifference(BaseModel):
    """The difference between two runs' outputs of one clip."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    clip: str
    psnr_db: float | None  # peak 1.0; infinite for equal outputs; None where their shapes differ
    max_abs: float | None
    dtypes: tuple[str, str] | None = None  # of base and the other, such as float32; None where they are one


_LIST: Final = TypeAdapter(list[OutputDifference])


def output_differences(base: Path, other: Path) -> Iterator[OutputDifference]:
    """Compare the outputs that both folders kept (bench.measure.output_check.keep), by clip name."""
    for path in sorted(base.glob("*.npy")):
        twin = other / path.name
        if twin.is_file():
            yield _difference(path.stem, path, twin)


def _difference(clip: str, path: Path, twin: Path) -> OutputDifference:
    ours, theirs = (np.load(file, mmap_mode="r") for file in (path, twin))
    dtypes = None if ours.dtype == theirs.dtype else (str(ours.dtype), str(theirs.dtype))
    if ours.shape != theirs.shape:
        return OutputDifference(clip=clip, psnr_db=None, max_abs=None, dtypes=dtypes)
    squares, largest = 0.0, 0.0
    for one, another in zip(
        ours.reshape(-1, *ours.shape[2:]), theirs.reshape(-1, *ours.shape[2:]), strict=True
    ):
        difference = one.astype(np.float64) - another  # frame by frame, so that no third clip is in memory
        squares += float(np.square(difference).sum())
        largest = max(largest, float(np.abs(difference).max()))
    mean = squares / ours.size
    if not math.isfinite(mean):
        return OutputDifference(clip=clip, psnr_db=-math.inf, max_abs=math.inf, dtypes=dtypes)
    psnr_db = -10 * math.log10(mean) if mean else math.inf
    return OutputDifference(clip=clip, psnr_db=psnr_db, max_abs=largest, dtypes=dtypes)


def to_json(found: Sequence[OutputDifference]) -> str:
    """Serialise the differences as JSON; numbers that JSON lacks become texts."""
    return _LIST.dump_json([*found], indent=2).decode() + "\n"


def of_json(path: Path) -> list[OutputDifference]:
    """Parse the output of `to_json`. Raises BadInput for a file that holds something else."""
    try:
        return _LIST.validate_json(path.read_bytes())
    except ValidationError as error:
        raise bad_field(path, error) from None
