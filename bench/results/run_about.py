"""run.json: what a run is known by, and what it began with."""

import json
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from bench.records import SCHEMA_VERSION
from bench.results.identity import CodeVersion
from vsr_model.errors import BadInput

MAX_JSON_BYTES: Final = 2**27
"""Most bytes of run.json and of environment.json: far above the largest configuration written out."""


class About(BaseModel):
    """The content of run.json.

    Fields that were added later are optional, so that older runs can be rebuilt.
    """

    schema_version: int
    started_at: str
    filters: tuple[str, ...]
    files: dict[str, str]
    config_sha256: str | None = None
    code_version: CodeVersion | None = None
    environment_sha256: str | None = None
    config: dict[str, Any] | None = None  # as config.yaml began


def read_about(path: Path) -> About:
    """Read run.json. Raises BadInput for one that is not of this version."""
    data = read_json(path)
    if data.get("schema_version") != SCHEMA_VERSION:
        version = data.get("schema_version")
        raise BadInput(f"{path}: schema version {version}; this program reads {SCHEMA_VERSION}")
    try:
        return About.model_validate(data)
    except ValidationError as error:
        raise bad_field(path, error) from None


def bad_field(path: Path, error: ValidationError, *above: str) -> BadInput:
    """Describe the first of the errors in a sentence; `above` precedes the field's name."""
    first = error.errors(include_url=False)[0]
    field = ".".join((*above, *map(str, first["loc"])))
    return BadInput(f"{path}: {field}: {first['msg']}")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a run. Raises BadInput for anything else."""
    if path.exists() and not path.is_file():  # opening a pipe would wait for someone to write
        raise BadInput(f"{path}: not a file")
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise BadInput(f"{path}: over {MAX_JSON_BYTES:,} bytes, more than a run writes there")
        data = json.loads(path.read_text(encoding="utf-8"))
    except BadInput:
        raise
    except RecursionError:
        raise BadInput(f"{path}: not valid JSON (nested too deeply)") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise BadInput(f"{path}: not valid JSON ({error})") from None
    if not isinstance(data, dict):
        raise BadInput(f"{path}: a {type(data).__name__}, where an object is expected")
    return data
