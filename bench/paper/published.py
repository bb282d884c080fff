"""The paper's own measurements, as a run: beside the package in a clone, inside it in a wheel."""

from pathlib import Path
from typing import Final

from bench.places import PACKAGE, ROOT
from bench.records import JOURNAL_NAME

NAME: Final = "paper-tesla-k80"

_FOLDERS: Final = (PACKAGE / "paper" / NAME, ROOT / "results" / NAME)


def folder() -> Path:
    """The run's folder, for bench.results.run_folder. Raises FileNotFoundError for a broken installation."""
    for candidate in _FOLDERS:
        if (candidate / JOURNAL_NAME).is_file():
            return candidate
    raise FileNotFoundError(f"no measurements of the paper at {' or '.join(map(str, _FOLDERS))}")
