"""request.json: what a `vsr-bench noise` was asked for, so that it can be gone on with."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.grid import config
from bench.grid.config import Experiment
from bench.records import SCHEMA_VERSION
from bench.results.run_about import bad_field, read_json
from bench.results.run_folder import CONFIG_NAME
from bench.results.whole_file import create_whole, write_whole
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
    if of_gate < MIN_ROUNDS:
        raise BadInput(
            f"measure.rounds: is {of_gate}; a gate has an interval, and so a threshold, from {MIN_ROUNDS} "
            "rounds on: give more, as in --set measure.rounds=20"
        )
    if rounds is not None and not MIN_ROUNDS <= rounds <= MOST:
        raise BadInput(f"--rounds: should be from {MIN_ROUNDS} to {MOST:,}, not {rounds}")
    wanted = min(MOST, max(LEAST, TIMES * of_gate)) if rounds is None else rounds
    return Request(filters=tuple(filters), rounds=wanted, threshold=threshold)


def write_request(folder: Path, asked: Request, experiment: Experiment) -> None:
    """Begin in a folder that is new or empty. Raises BadInput for one that cannot be written to."""
    text = json.dumps({"schema_version": SCHEMA_VERSION, **asked.model_dump(mode="json")}, indent=2) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / CONFIG_NAME, config.dump(experiment, folder))
        create_whole(folder / REQUEST_NAME, text)  # the last: with it there is something to go on with
    except FileExistsError:
        raise BadInput(f"{folder}: another process has just begun there") from None
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written to ({error.strerror})") from None


def read_request(folder: Path) -> tuple[Request, Experiment]:
    """What a folder was begun with. Raises BadInput for one that holds no measurement of noise."""
    path = folder / REQUEST_NAME
    if not path.is_file():
        raise BadInput(f"{folder}: holds no measurement of noise (there is no {REQUEST_NAME} in it)")
    data = read_json(path)
    version = data.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise BadInput(f"{path}: schema version {version}; this program reads {SCHEMA_VERSION}")
    try:
        asked = Request.model_validate(data)
    except ValidationError as error:
        raise bad_field(path, error) from None
    return asked, config.load(folder / CONFIG_NAME)[0]
