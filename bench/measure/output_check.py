"""Checks a round's output against the CPU float32 result of the same weights and clip, the reference.

The first round that needs the reference makes it, after its own timing, and keeps it for the others. Before
any output is judged by it, it is computed a second time by another number of threads.
"""

import math
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.grid.backend import Backend
from bench.machine import host_memory
from bench.measure import backends, networks, read_back, workload
from bench.measure.draft import Draft, error_line
from bench.messages import Measured, Message
from bench.process.admission import NEEDED_SHARE
from bench.records import OutputCheck, Status
from bench.units import BYTES, with_unit
from vsr_model.stages import StageProbe, no_probe

T = TypeVar("T")
Forward = Callable[[Tensor, StageProbe], Tensor]


@dataclass(frozen=True, kw_only=True)
class OutputError:
    """The error of an output against the reference, values in [0, 1] as they left the network, unclipped."""

    max_abs_error: float
    psnr_db: float  # peak 1.0; infinite for an equal output, NaN where either is not finite


def compare(frames: Iterable[Tensor], reference: Tensor) -> OutputError:
    """Return the error of an output's frames (n, 3, 4h, 4w), first to last, against (n, t, 3, 4h, 4w).

    Frame by frame, so that no third clip is in memory; squares are summed in float64. Raises ValueError for
    frames of another shape, and for more or fewer than the reference has.
    """
    squares, largest = 0.0, 0.0
    for frame, expected in zip(frames, reference.unbind(1), strict=True):
        if frame.shape != expected.shape:
            raise ValueError(f"a frame of {tuple(frame.shape)} against one of {tuple(expected.shape)}")
        difference = (frame - expected).double()
        del frame  # not two at once
        squares += float(difference.square().sum())
        largest = max(largest, float(difference.abs().max()))
        if math.isnan(squares):
            return OutputError(max_abs_error=math.nan, psnr_db=math.nan)
    mean = squares / reference.numel()
    if math.isinf(mean):
        return OutputError(max_abs_error=largest, psnr_db=-math.inf)
    return OutputError(max_abs_error=largest, psnr_db=-10 * math.log10(mean) if mean else math.inf)


def is_finite(clip: Tensor) -> bool:
    """Return whether all values of (n, t, ...) are finite, frame by frame."""
    return all(bool(frame.isfinite().all()) for frame in clip.unbind(1))


def keep(reference: Tensor, path: Path) -> None:
    """Keep a reference for the other backends; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            np.save(file, reference.numpy())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def kept(path: Path) -> Tensor | None:
    """Return the kept reference, mapped from its file; None if there is none."""
    try:
        # Copy-on-write: torch wants an array that could be written to.
        return torch.from_numpy(np.load(path, mmap_mode="c"))
    except FileNotFoundError:
        return None


def other_threads(threads: int) -> int:
    """Return another number of threads that takes at most about twice as long."""
    return threads // 2 if threads > 1 else 2


def _contradicts_itself(error: OutputError) -> str:
    threads = torch.get_num_threads()
    return (
        f"the CPU float32 result of {threads} threads is {error.psnr_db:.1f} dB from that of "
        f"{other_threads(threads)}: this machine computes wrongly, and no output can be judged by it"
    )


class ReferenceCheck:
    """Checks one round's output, and writes what it finds into the draft.

    `report` sends a message to the parent; `progress` says what is being done.
    """

    def __init__(
        self, draft: Draft, report: Callable[[Message], None], progress: Callable[[str], None]
    ) -> None:
        self._draft = draft
        self._task = draft.task
        self._report = report
        self._progress = progress

    def __call__(self, clip: Tensor, output: Tensor) -> None:
        """Check an output (n, t, 3, 4h, 4w) on the host, or keep it if it is the reference."""
        if self._task.job.cell.backend.is_reference:
            self._be_reference(clip, output)
            return
        expected = self._expected(clip)
        if expected is not None:
            self._judge(compare(output.float().unbind(1), expected), expected)

    def frame_by_frame(self, clip: Tensor, outputs: Callable[[], Iterable[Tensor]]) -> None:
        """Check a round whose calls leave no output: `outputs` makes one more, each frame on the host.

        This counts as making the reference does: it has as long again, and if it fails, what was measured
        stands.
        """
        expected = self._expected(clip)
        if expected is not None:
            backend = self._task.job.cell.backend
            error = self._try("output check", lambda: compare(outputs(), expected), backend)
            if error is not None:
                self._judge(error, expected)

    def _be_reference(self, clip: Tensor, output: Tensor) -> None:
        """Keep an output that is the reference itself, where there is none yet."""
        if not is_finite(output):
            self._fail("the output has values that are not finite")
        elif not self._task.reference.exists():

            def confirm() -> OutputError:
                return self._confirmed(
                    output, workload.forward_of(networks.build(self._task.job.cell.model)), clip
                )

            error = self._try("CPU float32 reference", confirm, backends.CPU_REFERENCE)
            if error is not None and error.psnr_db < backends.CPU_REFERENCE.min_psnr_db:
                self._fail(_contradicts_itself(error))
            elif error is not None:
                self._keep(output, self._task.reference)
        self._draft.values["output_check"] = OutputCheck.REFERENCE

    def _confirmed(self, made: Tensor, forward: Forward, clip: Tensor) -> OutputError:
        """Return the error of a second CPU float32 result, by another number of threads, against the first.

        Work that threads divide wrongly comes out otherwise where others divide it.
        """
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(other_threads(threads))
            return compare(forward(clip, no_probe).unbind(1), made)
        finally:
            torch.set_num_threads(threads)

    def _expected(self, clip: Tensor) -> Tensor | None:
        """Return the reference, kept or made now; None where making it fails."""
        reference = kept(self._task.reference)
        if reference is not None:
            return reference

        def make() -> Tensor:
            self._check_room()
            forward = workload.forward_of(networks.build(self._task.job.cell.model))
            made = forward(clip, no_probe)
            read_back.check(backends.CPU_REFERENCE)
            # From its file, so that no third clip is in memory beside the second result and the output.
            unconfirmed = self._task.reference.with_suffix(".unconfirmed.npy")
            self._keep(made, unconfirmed)
            try:
                made = made if (mapped := kept(unconfirmed)) is None else mapped
                error = self._confirmed(made, forward, clip)
                if error.psnr_db < backends.CPU_REFERENCE.min_psnr_db:
                    raise RuntimeError(_contradicts_itself(error))
                with suppress(FileNotFoundError):
                    unconfirmed.replace(self._task.reference)
            finally:
                unconfirmed.unlink(missing_ok=True)
            return made

        return self._try("CPU float32 reference", make, backends.CPU_REFERENCE)

    def _try(self, doing: str, action: Callable[[], T], backend: Backend) -> T | None:
        """Return the action's result under a backend; None where it fails.

        The parent has the record before, so that what was measured stands even if the process dies.
        """
        self._progress(doing)
        self._draft.values["output_check"] = OutputCheck.NOT_DONE
        self._report(Measured(record=self._draft.record(Status.OK, "")))
        begin = perf_counter()
        try:
            with backends.applied(backend):
                return action()
        except Exception as error:
            self._draft.warn(f"output not checked: {error_line(error)}")
            return None
        finally:
            took_s = perf_counter() - begin
            self._draft.values["reference_s"] = self._draft.values.get("reference_s", 0.0) + took_s

    def _check_room(self) -> None:
        """Raise MemoryError where a memory plan bounds the cell and the plain network would not fit.

        Trying would end the process, or slow the machine to a halt.
        """
        if self._task.job.cell.backend.memory_plan is None or self._task.measure.memory_check == "force":
            return
        need, free = self._task.plain_peak_bytes, host_memory.available_bytes()
        if need is not None and need * NEEDED_SHARE > free:
            raise MemoryError(
                f"the plain network's tensors take about {with_unit(need, BYTES)}, and "
                f"{with_unit(free, BYTES)} of host memory is free (measure.memory_check: force would try)"
            )

    def _judge(self, error: OutputError, expected: Tensor) -> None:
        backend = self._task.job.cell.backend
        self._draft.values["output_check"] = OutputCheck.COMPARED
        self._draft.values["output_max_abs_error"] = error.max_abs_error
        self._draft.values["output_psnr_db"] = error.psnr_db
        if error.psnr_db >= backend.min_psnr_db:
            return
        if not is_finite(expected):
            self._fail("the CPU float32 result has values that are not finite: no output can be judged by it")
        elif math.isnan(error.psnr_db) or math.isinf(error.psnr_db):
            self._fail("the output has values that are not finite")
        else:
            self._fail(
                f"{error.psnr_db:.1f} dB against the CPU float32 result; "
                f"{backend.name} needs {backend.min_psnr_db:g} dB"
            )

    def _fail(self, reason: str) -> None:
        self._draft.status = Status.INACCURATE
        self._draft.reason = reason

    def _keep(self, output: Tensor, path: Path) -> None:
        try:
            keep(output, path)
        except OSError as error:  # other rounds make it again
            self._draft.warn(f"the CPU float32 result was not kept: {error_line(error)}")
