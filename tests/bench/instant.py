"""Stands in for the workers of sides that are measured in turn: each round ends as soon as it begins."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from bench.commands import in_turn
from bench.grid.plan import Cell, Job
from bench.grid.spans import FORWARD
from bench.measure import preflight
from bench.messages import blank_record
from bench.process.runner import Observer, Run
from bench.records import Pass, Phase, Sample, Status
from tests.networks import STAGES

BASICVSR = preflight.NetworkInfo(title="BasicVSR", min_size=16, min_frames=1, arguments={})


class InstantRounds:
    """What the rounds of each side give; a side has the name of its launcher or of its network's folder.

    `log` has them in order, as side, frames and round.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = defaultdict[str, float](lambda: 0.005)  # of each call
        self.outputs = defaultdict[str, float](float)  # every value of the output
        self.ends = defaultdict[str, Status](lambda: Status.OK)
        self.log: list[str] = []
        self._left = 0
        monkeypatch.setattr(in_turn.preflight, "ask", self._ask)
        monkeypatch.setattr(in_turn, "execute", self._execute)

    def stop(self, after: int) -> None:
        """Have the user press Ctrl-C after so many answers and rounds; -1: not at all."""
        self._left = after + 1

    def _begin(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt

    def _ask(self, _launcher: object, cells: Sequence[Cell], **_: object) -> preflight.Answer:
        self._begin()
        devices = {cell.backend.name: "no CUDA here" for cell in cells if cell.backend.is_cuda}
        return preflight.Answer(networks={"basicvsr": BASICVSR}, unavailable=devices, torch={"threads": 1})

    def _execute(self, jobs: Sequence[Job], run: Run, place: Any, observer: Observer) -> None:
        for job in jobs:
            self._begin()
            begun = datetime.fromtimestamp(1e9 + 10 * len(self.log), UTC).isoformat()
            self.log.append(f"{place.name}{job.cell.frames}/{job.round}")
            end = self.ends[place.name]
            record = blank_record(job, end, "" if end is Status.OK else "by its own fault")
            if end is Status.OK:
                sample = Sample(
                    pass_=Pass.END_TO_END, phase=Phase.STEADY, repetition=0, stage=FORWARD, start_s=0.0,
                    wall_s=self.seconds[place.name],
                )  # fmt: skip
                known = {"samples": (sample,), "measured_s": 1.0, "stages": STAGES}
                record = record.model_copy(update=known)
            record = record.model_copy(update={"started_at": begun})
            run.references.mkdir(exist_ok=True)
            output = np.full((1, 1, 3, 4, 4), self.outputs[place.name], dtype=np.float32)
            np.save(run.references / ("-".join(job.cell.clip_id) + ".npy"), output)
            run.keep(record)
            observer.job_ended(job, record)
