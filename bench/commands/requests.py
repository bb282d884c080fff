"""Store what a command that makes several runs was asked for in its folder, so that it can be resumed.

A folder has the request as JSON, under the name of its command, and, of a gate or a search, config.yaml, the
experiment.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from bench.commands.console import say
from bench.grid import config
from bench.grid.config import Experiment
from bench.records import SCHEMA_VERSION
from bench.results.files import bad_field, create_whole, read_json
from bench.results.run_folder import CONFIG_NAME
from vsr_model import file_systems
from vsr_model.errors import BadInput

_Asked = TypeVar("_Asked", bound=BaseModel)


def write_request(folder: Path, name: str, request: BaseModel, experiment: Experiment | None = None) -> None:
    """Write the request, and the experiment if there is one, into a folder that is new or empty.

    Raises BadInput for a folder that cannot be written to, or where another process has just begun, and
    leaves nothing of its own there.
    """
    text = json.dumps({"schema_version": SCHEMA_VERSION, **request.model_dump(mode="json")}, indent=2) + "\n"
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if experiment is not None:
            create_whole(folder / CONFIG_NAME, config.dump(experiment, folder))  # of two at once one succeeds
        try:
            create_whole(folder / name, text)  # the last: with it there is something to go on with
        except BaseException:
            if experiment is not None:
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


def read_request(folder: Path, name: str, kind: type[_Asked], what: str) -> _Asked:
    """Return the request of a folder. Raises BadInput if there is none.

    `what` names the request in the message.
    """
    path = folder / name
    if not path.is_file():
        raise BadInput(f"{folder}: holds no {what} (there is no {name} in it)")
    data = read_json(path)
    version = data.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise BadInput(f"{path}: schema version {version}; this program reads {SCHEMA_VERSION}")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise bad_field(path, error) from None


def read_experiment(folder: Path) -> Experiment:
    """Return the experiment of a folder with a request."""
    return config.load(folder / CONFIG_NAME)[0]


@contextmanager
def alone(folder: Path, name: str) -> Iterator[None]:
    """Keep other processes from measuring in the folder during the block. Raises BadInput if one does."""
    with (folder / name).open("rb") as file:
        try:
            unlocked = file_systems.lock(file.fileno())
        except BlockingIOError:
            raise BadInput(f"{folder}: another process is measuring there") from None
        if unlocked is not None:
            say(f"{folder}: {unlocked}")
        yield
