"""A cell's output against the CPU float32 result of the same weights and clip.

The result is made once per weights and clip, after timing, and kept for the other backends of the run.
"""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class OutputError:
    """How far an output is from the reference, values in [0, 1] as they left the network, unclipped."""

    max_abs_error: float
    psnr_db: float  # peak 1.0; infinite for an equal output, NaN where either is not finite


def compare(output: Tensor, reference: Tensor) -> OutputError:
    """Error of `output` against `reference`, both (n, t, 3, 4h, 4w) float32 on the host.

    Frame by frame, so that no third clip is in memory; squares are summed in float64.
    """
    if output.shape != reference.shape:
        raise ValueError(
            f"an output of {tuple(output.shape)} against a reference of {tuple(reference.shape)}"
        )
    pairs = zip(output.flatten(0, 1), reference.flatten(0, 1), strict=True)
    return _error(pairs, reference.numel())


def compare_frames(outputs: Iterable[Tensor], reference: Tensor) -> OutputError:
    """As `compare`, with an output that is there one frame (n, 3, 4h, 4w) at a time, from first to last.

    Raises ValueError for frames of another shape, and for more or fewer than the reference has.
    """
    return _error(_pairs(outputs, reference), reference.numel())


def _pairs(outputs: Iterable[Tensor], reference: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Each clip's frame with that of the reference."""
    for ours, theirs in zip(outputs, reference.unbind(1), strict=True):
        if ours.shape != theirs.shape:
            raise ValueError(f"a frame of {tuple(ours.shape)} against one of {tuple(theirs.shape)}")
        yield from zip(ours, theirs, strict=True)
        del ours  # not two at once


def _error(pairs: Iterable[tuple[Tensor, Tensor]], count: int) -> OutputError:
    """Of the frames of pairs that have so many values in all."""
    squares, largest = 0.0, 0.0
    for ours, theirs in pairs:
        difference = (ours - theirs).double()
        squares += float(difference.square().sum())
        frame_largest = float(difference.abs().max())
        largest = frame_largest if math.isnan(frame_largest) else max(largest, frame_largest)
        if math.isnan(frame_largest):
            return OutputError(max_abs_error=math.nan, psnr_db=math.nan)
    mean = squares / count
    if math.isinf(mean):
        return OutputError(max_abs_error=largest, psnr_db=-math.inf)
    return OutputError(max_abs_error=largest, psnr_db=-10 * math.log10(mean) if mean else math.inf)


def keep(reference: Tensor, path: Path) -> None:
    """Keep a reference output for the other backends; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.save(file, reference.numpy())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def kept(path: Path) -> Tensor | None:
    """The kept reference output, mapped from its file; None if there is none."""
    try:
        # Copy-on-write: torch wants an array that could be written to.
        return torch.from_numpy(np.load(path, mmap_mode="c"))
    except FileNotFoundError:
        return None
