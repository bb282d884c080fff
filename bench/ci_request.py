"""ci.json: what a `vsr-bench ci` was asked for, so that it can be gone on with."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.comparison.comparison import Limits
from bench.comparison.policy import Failing
from bench.grid import config
from bench.grid.config import Experiment
from bench.records import SCHEMA_VERSION
from bench.results.run_about import bad_field, read_json
from bench.results.run_folder import CONFIG_NAME, check_free
from bench.results.whole_file import create_whole
from bench.revisions import Revision
from vsr_model.errors import BadInput

CI_NAME: Final = "ci.json"


class Request(BaseModel):
    """Which revisions are compared, in which cells, and what fails."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: Revision
    head: Revision
    filters: tuple[str, ...]
    limits: Limits
    fail_on: tuple[Failing, ...]
    second_look: bool


def write_request(folder: Path, request: Request, experiment: Experiment) -> None:
    """Begin in a folder that is new or empty. Raises BadInput for one that cannot be written to, and leaves
    nothing there."""
    text = json.dumps({"schema_version": SCHEMA_VERSION, **request.model_dump(mode="json")}, indent=2) + "\n"
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        create_whole(folder / CONFIG_NAME, config.dump(experiment, folder))  # of two at once one succeeds
        try:
            create_whole(folder / CI_NAME, text)  # the last: with it there is something to go on with
        except BaseException:
            (folder / CONFIG_NAME).unlink()
            raise
    except BaseException as error:
        for place in new:
            with suppress(OSError):
                place.rmdir()
        if isinstance(error, FileExistsError):
            raise BadInput(f"{folder}: another process has just begun there") from None
        if isinstance(error, OSError):
            raise BadInput(f"{folder}: cannot be written to ({error.strerror})") from None
        raise


def check_place(folder: Path) -> None:
    """Raises BadInput where a new comparison must not go."""
    if (folder / CI_NAME).is_file():
        raise BadInput(
            f"{folder}: holds a comparison of revisions already; name another folder, or go on with it by "
            f"--resume {folder}"
        )
    check_free(folder)


def read_request(folder: Path) -> tuple[Request, Experiment]:
    """What a folder was begun with. Raises BadInput for one that holds no comparison of revisions."""
    path = folder / CI_NAME
    if not path.is_file():
        raise BadInput(f"{folder}: holds no comparison of revisions (there is no {CI_NAME} in it)")
    data = read_json(path)
    version = data.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise BadInput(f"{path}: schema version {version}; this program reads {SCHEMA_VERSION}")
    try:
        request = Request.model_validate(data)
    except ValidationError as error:
        raise bad_field(path, error) from None
    return request, config.load(folder / CONFIG_NAME)[0]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While the block goes on no other process measures there. Raises BadInput where one does already."""
    with (folder / CI_NAME).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"{folder}: another process is measuring there") from None
        yield
