"""ci.json: what a `vsr-bench ci` was asked for, so that it can be gone on with."""

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from bench import request_file
from bench.comparison.comparison import Limits
from bench.comparison.policy import Failing
from bench.grid.config import Experiment
from bench.records import JOURNAL_NAME
from bench.results.run_folder import check_free
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


def check_place(folder: Path) -> None:
    """Raises BadInput where a new comparison must not go."""
    if (folder / CI_NAME).is_file():
        raise BadInput(
            f"{folder}: holds a comparison of revisions already; name another folder, or go on with it by "
            f"--resume {folder}"
        )
    if (folder / JOURNAL_NAME).exists():
        raise BadInput(f"{folder}: holds a run, which is no comparison of revisions; name another folder")
    check_free(folder)


def read_request(folder: Path) -> tuple[Request, Experiment]:
    """What a folder was begun with. Raises BadInput for one that holds no comparison of revisions."""
    return request_file.read_request(folder, CI_NAME, Request, "comparison of revisions")
