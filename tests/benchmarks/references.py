"""Outputs against the CPU float32 result of the same weights and clip, as in a run of the harness."""

from pathlib import Path

import pytest
from torch import Tensor

from bench.grid.plan import Cell
from bench.measure import backends, networks, output_check, workload
from vsr_model.stages import no_probe


class References:
    """The results by clip, each made once and kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self, cell: Cell, output: Tensor, scale: int) -> float | None:
        """Fail the test if the output is wrong; return its PSNR in dB against the reference, None for the
        reference itself and for an output equal to it."""
        output = output.to("cpu").float()
        wanted = (cell.batch, cell.frames, 3, scale * cell.height, scale * cell.width)
        if tuple(output.shape) != wanted:
            pytest.fail(f"{cell.id}: an output of {tuple(output.shape)}, not {wanted}", pytrace=False)
        if not output.isfinite().all():
            pytest.fail(f"{cell.id}: the output is not finite", pytrace=False)
        if cell.backend.is_reference:
            return None
        psnr_db = output_check.compare(output.unbind(1), self._reference(cell)).psnr_db
        if psnr_db < cell.backend.min_psnr_db:
            pytest.fail(
                f"{cell.id}: {psnr_db:.1f} dB against the CPU float32 result; {cell.backend.name} needs "
                f"{cell.backend.min_psnr_db:g} dB",
                pytrace=False,
            )
        return None if psnr_db == float("inf") else psnr_db  # JSON has no infinity

    def _reference(self, cell: Cell) -> Tensor:
        path = self._folder / ("-".join(cell.clip_id) + ".npy")
        kept = output_check.kept(path)
        if kept is None:
            with backends.applied(backends.CPU_REFERENCE):
                network = networks.build(cell.model)
                kept = workload.forward_of(network)(workload.make_clip(cell), no_probe)
            output_check.keep(kept, path)
        return kept
