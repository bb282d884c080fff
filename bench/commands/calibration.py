"""Time a small clip on each network and backend of a grid, so that a forecast starts from this machine."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.grid.config import Experiment
from bench.grid.config_measure import Measure
from bench.grid.plan import Cell, Job
from bench.measure import preflight
from bench.messages import Progress
from bench.process.admission import Admission, rooms
from bench.process.forecast import Forecast
from bench.process.launcher import Launcher
from bench.process.runner import Run, execute
from bench.records import CellRecord

MAX_FRAMES: Final = 2
MAX_SIDE: Final = 64
"""The clip is the grid's smallest, cut down to this."""

_MEASURE: Final = Measure.model_validate(
    {"warmup": 0, "repetitions": 2, "stages": "off", "memory": "off", "timeout_s": 60}
)


def small_cells(cells: Sequence[Cell]) -> list[Cell]:
    """Return the least cell of each network and backend, cut down where it is large.

    Backends that are compiled are left out: that takes longer than what is to be forecast.
    """
    least: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        if not cell.backend.compile:
            pair = (cell.model.name, cell.backend.name)
            least[pair] = min(least.get(pair, cell), cell, key=_pixels)
    return [
        replace(
            cell,
            batch=min(cell.batch, cell.backend.processes or 1),
            frames=min(cell.frames, MAX_FRAMES),
            height=min(cell.height, MAX_SIDE),
            width=min(cell.width, MAX_SIDE),
        )
        for cell in least.values()
    ]


def calibrate(forecast: Forecast, experiment: Experiment, small: Sequence[Cell], answer: preflight.Answer,
              launcher: Launcher) -> None:  # fmt: skip
    """Time two calls of each small cell that this machine can run, and teach them to the forecast.

    A cell that fails teaches nothing: the run itself will say why.
    """
    if not small:
        return
    with TemporaryDirectory(prefix="vsr-bench-") as folder:
        run = Run(
            experiment=experiment.model_copy(update={"measure": _MEASURE}),
            references=Path(folder),
            skip_reason=lambda cell: preflight.skip_reason(cell, answer),
            costs_of=answer.costs_of,
            admission=Admission(_MEASURE, rooms(answer.free_device_bytes), answer.costs_of),
            forecast=Forecast(_MEASURE, answer.costs_of),
            keep=lambda _record: None,
        )
        learner = _Learner(forecast)
        execute([Job(cell=cell, round=0) for cell in small], run, launcher, learner)


class _Learner:
    """Observer of the runner that teaches a forecast."""

    def __init__(self, forecast: Forecast) -> None:
        self._forecast = forecast

    def job_started(self, job: Job) -> None:
        pass

    def job_progressed(self, job: Job, progress: Progress) -> None:
        pass

    def job_ended(self, job: Job, record: CellRecord) -> None:
        self._forecast.learn(job.cell, record, _MEASURE)


def _pixels(cell: Cell) -> int:
    return cell.batch * cell.frames * cell.height * cell.width
