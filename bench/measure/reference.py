"""Holds a round's output against the CPU float32 result of the same weights and clip.

The first round that needs the result makes it, after its own timing, and keeps it for the others.
"""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from torch import Tensor

from bench.measure import backends, output_check, workload
from bench.measure.draft import Draft, in_words
from bench.messages import Measured, Message
from bench.records import OutputCheck, Status
from vsr_model.stages import no_probe


class ReferenceCheck:
    """The check of one round's output; what it finds goes into the draft."""

    def __init__(self, draft: Draft, report: Callable[[Message], None], say: Callable[[str], None]) -> None:
        self._draft = draft
        self._task = draft.task
        self._report = report
        self._say = say

    def __call__(self, clip: Tensor, output: Tensor) -> None:
        backend, path = self._task.job.cell.backend, self._task.reference
        if backend.is_reference:
            self._draft.values["output_check"] = OutputCheck.REFERENCE
            if not path.exists():
                self._keep(output, path)
            return
        expected = output_check.kept(path)
        if expected is None:
            expected = self._made(clip, path)
        if expected is not None:
            self._compare(output, expected)

    def _made(self, clip: Tensor, path: Path) -> Tensor | None:
        """The reference, made now; None where that fails, as where the process dies over it: what was
        measured stands."""
        self._say("CPU float32 reference")
        self._draft.values["output_check"] = OutputCheck.NOT_DONE
        self._report(Measured(record=self._draft.record(Status.OK, "")))
        begin = perf_counter()
        try:
            with backends.applied(backends.CPU_REFERENCE):
                network = workload.build_model(self._task.model)
                expected = workload.forward_of(network)(clip, no_probe)
            self._keep(expected, path)
        except Exception as failure:
            self._draft.warn(f"output not checked: {in_words(failure)}")
            return None
        finally:
            self._draft.values["reference_s"] = perf_counter() - begin
        return expected

    def _compare(self, output: Tensor, expected: Tensor) -> None:
        backend = self._task.job.cell.backend
        error = output_check.compare(output.float(), expected)
        self._draft.values["output_check"] = OutputCheck.COMPARED
        self._draft.values["output_max_abs_error"] = error.max_abs_error
        self._draft.values["output_psnr_db"] = error.psnr_db
        if not error.psnr_db >= backend.min_psnr_db:  # NaN too
            self._draft.status = Status.INACCURATE
            self._draft.reason = (
                f"{error.psnr_db:.1f} dB against the CPU float32 result; "
                f"{backend.name} needs {backend.min_psnr_db:g} dB"
            )

    def _keep(self, output: Tensor, path: Path) -> None:
        try:
            output_check.keep(output, path)
        except OSError as error:  # others make it anew
            self._draft.warn(f"the CPU float32 result was not kept: {in_words(error)}")
