"""request.json: what a `vsr-bench noise` was asked for, so that it can be gone on with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from bench import request_file
from bench.grid import plan
from bench.grid.config import Experiment
from bench.statistics.changes import MIN_ROUNDS
from vsr_model.errors import BadInput

REQUEST_NAME: Final = "request.json"

TIMES: Final = 4
"""Rounds that are measured, in those of the gate: what a gate draws from them is then seldom the same."""

LEAST: Final = 40
"""Rounds that are measured if nothing is said."""

MOST: Final = 1000
"""That an experiment may have."""


class Request(BaseModel):
    """What is measured, and what is asked of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filters: tuple[str, ...]
    rounds: Annotated[int, Field(ge=MIN_ROUNDS, le=MOST)]  # that are measured
    threshold: Annotated[float, Field(gt=0, le=1)] | None  # to judge, as a share; None: find one


def request(
    experiment: Experiment,
    *,
    filters: Sequence[str] = (),
    rounds: int | None = None,
    threshold: float | None = None,
) -> Request:
    """What is asked for. Raises BadInput where a gate cannot have the rounds, or so many not be measured."""
    of_gate = experiment.measure.rounds
    request_file.check_rounds(of_gate, len(plan.cells(experiment, filters)))
    if rounds is not None and not MIN_ROUNDS <= rounds <= MOST:
        raise BadInput(f"--rounds: should be from {MIN_ROUNDS} to {MOST:,}, not {rounds}")
    wanted = min(MOST, max(LEAST, TIMES * of_gate)) if rounds is None else rounds
    return Request(filters=tuple(filters), rounds=wanted, threshold=threshold)


def read_request(folder: Path) -> tuple[Request, Experiment]:
    """What a folder was begun with. Raises BadInput for one that holds no measurement of noise."""
    return request_file.read_request(folder, REQUEST_NAME, Request, "measurement of noise")
