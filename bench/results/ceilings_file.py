"""A run's ceilings.jsonl: what the ceilings of the machine were found to be, one a line, as measured.

The source of ceilings.csv and of the roofline, as the journal is of the rest.
"""

import os
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from bench.grid.ceilings import Ceiling, CeilingSpec, Moment
from bench.results.whole_file import naming
from vsr_model.errors import BadInput

CEILINGS_NAME: Final = "ceilings.jsonl"


def read_ceilings(path: Path) -> list[Ceiling]:
    """Read the ceilings of a run's folder; none where the file is missing. The last try of each counts.

    A last line without its newline is what a kill left, and is passed over. Raises BadInput for any other
    line that holds no ceiling.
    """
    file = path / CEILINGS_NAME
    try:
        lines = file.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror})") from None
    found: dict[tuple[CeilingSpec, Moment], Ceiling] = {}
    for number, line in enumerate(lines, start=1):
        try:
            ceiling = Ceiling.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"])) or "the line"
            raise BadInput(f"{file}:{number}: not a ceiling ({field}: {first['msg']})") from None
        found[ceiling.spec, ceiling.moment] = ceiling
    return list(found.values())


def append_ceiling(path: Path, ceiling: Ceiling) -> None:
    """Append a ceiling, which is on disk on return. Raises OSError that names the file."""
    file = path / CEILINGS_NAME
    with naming(file), file.open("ab", buffering=0) as opened:
        os.truncate(file, file.read_bytes().rfind(b"\n") + 1)  # what a kill in the middle of a line left
        left = ceiling.model_dump_json(exclude_none=True, exclude_defaults=True).encode() + b"\n"
        while left:
            left = left[opened.write(left) :]
        os.fsync(opened)
