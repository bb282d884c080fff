"""ci.json: what a `vsr-bench ci` was asked for, so that it can be gone on with."""

from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Given:
    """What may be given again where a comparison is gone on with, to be held against what it began with."""

    threshold: float | None = None  # as a share; None here and below: not given
    memory_threshold: float | None = None
    fail_on: tuple[Failing, ...] | None = None
    once: bool = False


NOTHING_GIVEN: Final = Given()


def check_given(folder: Path, begun: Request, given: Given) -> None:
    """Raises BadInput, naming the first, where something is given again and is not as it began."""
    texts = {
        "--threshold": (_percent(begun.limits.threshold), _percent(given.threshold)),
        "--memory-threshold": (_percent(begun.limits.memory_threshold), _percent(given.memory_threshold)),
        "--fail-on": (_kinds(begun.fail_on), _kinds(given.fail_on)),
    }
    for option, (was, now) in texts.items():
        if now not in ("", was):
            raise BadInput(
                f"{folder}: begun with {option} {was}, and {now} is given; a comparison goes on only as it "
                "began"
            )
    if given.once and begun.second_look:
        raise BadInput(f"{folder}: begun without --once; a comparison goes on only as it began")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.12g}%"


def _kinds(kinds: tuple[Failing, ...] | None) -> str:
    return "" if kinds is None else ",".join(kinds) or "never"


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
