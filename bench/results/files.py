"""The files of a run: written whole or not at all, JSON that is checked, and tables as CSV."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pandas as pd
from pydantic import ValidationError

from vsr_model import file_systems
from vsr_model.errors import BadInput
from vsr_model.one_line import visible

MAX_JSON_BYTES: Final = 2**27
"""Most bytes of run.json and of environment.json: far above the largest configuration written out."""

_FORMULA: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""First characters of cells that a spreadsheet computes instead of showing, full-width forms included.
Source: OWASP, CSV Injection. The tab and the carriage return of that list are escapes by then."""


def write_whole(path: Path, text: str) -> None:
    """Write the text as UTF-8. Readers see the old file or the new one, also after a kill.

    Raises OSError that names the file.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        _fill(partial, text)
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        if not partial.is_dir():
            partial.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in an OSError of the block that names none, as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def create_whole(path: Path, text: str) -> None:
    """Write as `write_whole` does, where no such file may exist. Of several that try at once one succeeds.

    Raises FileExistsError for the others.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        _fill(partial, text)
        file_systems.name_first(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _fill(partial: Path, text: str) -> None:
    partial.unlink(missing_ok=True)  # a pipe or a link of that name is not to be written to
    partial.write_text(text, encoding="utf-8")


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


def bad_field(path: Path, error: ValidationError, *above: str) -> BadInput:
    """Describe the first of the errors in a sentence; `above` precedes the field's name."""
    first = error.errors(include_url=False)[0]
    field = ".".join((*above, *map(str, first["loc"]))) or "the file"
    return BadInput(f"{path}: {field}: {first['msg']}")


def to_csv(table: pd.DataFrame) -> str:
    """Format the table as CSV: floats in full, missing values empty, texts inert."""
    shown = table.copy(deep=False)
    for name in (name for name in shown if not pd.api.types.is_numeric_dtype(shown[name])):
        texts = {cell: inert(cell) for cell in set(shown[name]) if isinstance(cell, str)}
        if any(text != cell for cell, text in texts.items()):
            shown[name] = [texts.get(cell, cell) for cell in shown[name]]
    text: str = shown.to_csv(index=False, lineterminator="\n")
    return text


def inert(text: str) -> str:
    """Return the text as a cell's content, with an apostrophe before what would be a formula.

    Spreadsheets take the apostrophe for the mark of a text; to other readers it is a character more.
    """
    shown = visible(text)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown
