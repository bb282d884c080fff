"""What an export says of machine and time, and how it becomes JSON."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bench.results.identity import cuda_devices
from vsr_model.one_line import one_line


def to_json(data: object, *, compact: bool = False) -> str:
    """JSON in ASCII with a newline at its end: whatever a name holds, a terminal shows it and no more.

    Raises ValueError for a number that JSON lacks, which no export holds.
    """
    layout: dict[str, Any] = {"separators": (",", ":")} if compact else {"indent": 2}
    return json.dumps(data, allow_nan=False, **layout) + "\n"


def without_wild_numbers(data: object) -> object:
    """What came from JSON, null where a number is infinite or none, which JSON proper lacks."""
    return json.loads(json.dumps(data), parse_constant=lambda _: None)


def moment(text: str) -> datetime | None:
    """A time in ISO 8601, in UTC where it names no zone; None for a text that is none."""
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # at the ends of the calendar a zone leads out of it
        return None


def text_at(environment: Mapping[str, Any], *path: str) -> str | None:
    """A text of environment.json as one line; None where it is missing, empty or none."""
    found = _at(environment, path)
    return (one_line(found).strip() or None) if isinstance(found, str) else None


def count_at(environment: Mapping[str, Any], *path: str) -> int | None:
    """A whole number of environment.json; None where it is missing or none."""
    found = _at(environment, path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _at(environment: Mapping[str, Any], path: tuple[str, ...]) -> object:
    found: object = environment
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def gpu_names(environment: Mapping[str, Any]) -> str | None:
    """The GPUs that torch saw, in one line; None where there are none."""
    devices = cuda_devices(environment) or []
    names = [text_at(one, "name") for one in devices if isinstance(one, Mapping)]
    return ", ".join(name for name in names if name) or None
