"""Holds a round's output against the CPU float32 result of the same weights and clip.

The first round that needs the result makes it, after its own timing, and keeps it for the others.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from time import perf_counter

from torch import Tensor

from bench.machine import host_memory
from bench.measure import backends, networks, output_check, workload
from bench.measure.draft import Draft, in_words
from bench.measure.output_check import OutputError
from bench.messages import Measured, Message
from bench.process.admission import NEEDED_SHARE
from bench.records import OutputCheck, Status
from bench.units import BYTES, with_unit
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
        expected = self._expected(clip)
        if expected is not None:
            self._judge(output_check.compare(output.float(), expected))

    def frame_by_frame(self, clip: Tensor, outputs: Callable[[], Iterable[Tensor]]) -> None:
        """The check of a round whose calls leave no output: `outputs` makes one more, on the host, under the
        backend's settings.

        Everything that was measured is behind it. What it takes counts as the reference does: it has as long
        again, and where it fails what was measured stands.
        """
        expected = self._expected(clip)
        if expected is None:
            return
        self._say("output check")
        self._draft.values["output_check"] = OutputCheck.NOT_DONE
        self._report(Measured(record=self._draft.record(Status.OK, "")))
        begin = perf_counter()
        try:
            with backends.applied(self._task.job.cell.backend):
                error = output_check.compare_frames(outputs(), expected)
        except Exception as failure:
            self._draft.warn(f"output not checked: {in_words(failure)}")
            return
        finally:
            took_s = perf_counter() - begin
            self._draft.values["reference_s"] = self._draft.values.get("reference_s", 0.0) + took_s
        self._judge(error)

    def _expected(self, clip: Tensor) -> Tensor | None:
        """The reference: kept, or made now."""
        path = self._task.reference
        kept = output_check.kept(path)
        return self._made(clip, path) if kept is None else kept

    def _made(self, clip: Tensor, path: Path) -> Tensor | None:
        """The reference, made now; None where that fails, as where the process dies over it: what was
        measured stands."""
        self._say("CPU float32 reference")
        self._draft.values["output_check"] = OutputCheck.NOT_DONE
        self._report(Measured(record=self._draft.record(Status.OK, "")))
        begin = perf_counter()
        try:
            self._check_room()
            with backends.applied(backends.CPU_REFERENCE):
                network = networks.build(self._task.job.cell.model)
                expected = workload.forward_of(network)(clip, no_probe)
            self._keep(expected, path)
        except Exception as failure:
            self._draft.warn(f"output not checked: {in_words(failure)}")
            return None
        finally:
            self._draft.values["reference_s"] = perf_counter() - begin
        return expected

    def _check_room(self) -> None:
        """Raises MemoryError for a cell whose plan bounds its memory, where the plain network's is more than
        the machine has: trying would end the process, or the machine's peace."""
        cell = self._task.job.cell
        if cell.backend.memory_plan is None or self._task.measure.memory_check == "force":
            return
        need, free = self._task.plain_peak_bytes, host_memory.available_bytes()
        if need is not None and need * NEEDED_SHARE > free:
            raise MemoryError(
                f"the plain network's tensors take about {with_unit(need, BYTES)}, and "
                f"{with_unit(free, BYTES)} of host memory is free (measure.memory_check: force would try)"
            )

    def _judge(self, error: OutputError) -> None:
        backend = self._task.job.cell.backend
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
