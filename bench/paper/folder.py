"""The folder of a reproduction: what was asked for, and the runs that are in it.

paper.json                          what was asked for
corrected/<experiment>/  faithful/<experiment>/  faults/<fault>/off|on/      runs like any other
report.html report.md claims.csv figures/                                    derived (bench.paper.page)
"""

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from bench.paper.experiments import Request, request
from bench.results.files import bad_field, create_whole, read_json
from bench.results.run_folder import RunFolder, free_path, is_begun
from vsr_model.errors import BadInput

PAPER_NAME: Final = "paper.json"


def begin(folder: Path | None, wanted: Request) -> Path:
    """Return the folder of the experiments, made, or found with the same experiments in it.

    Raises BadInput for a folder that holds something else.
    """
    folder = folder or free_path("paper")
    if (folder / PAPER_NAME).exists():
        if (known := read_request(folder)) != wanted:
            raise BadInput(
                f"{folder}: holds the paper's experiments as asked for otherwise (method "
                f"{' and '.join(known.methods)}, figures {', '.join(known.figures)}, {known.version}); name "
                f"another folder, or go on with it by --resume {folder}"
            )
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: is no empty folder; the paper's experiments need one that is new or empty")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        create_whole(folder / PAPER_NAME, wanted.model_dump_json(indent=2) + "\n")
    except FileExistsError:  # another process was first
        return begin(folder, wanted)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written to ({error.strerror})") from None
    return folder


def read_request(folder: Path) -> Request:
    """Return what a folder was begun with. Raises BadInput for one that holds no such experiments."""
    path = folder / PAPER_NAME
    if not path.is_file():
        raise BadInput(f"{folder}: holds none of the paper's experiments (there is no {PAPER_NAME} in it)")
    try:
        read = Request.model_validate(read_json(path))
    except ValidationError as error:
        raise bad_field(path, error) from None
    return request(read.methods, read.figures, read.version)


def runs_of(folder: Path, wanted: Request) -> dict[str, RunFolder]:
    """Return the runs that have begun, by their folders below."""
    return {
        step.folder: RunFolder.open(folder / step.folder)
        for step in wanted.steps
        if is_begun(folder / step.folder)
    }


def is_done(run: RunFolder | None) -> bool:
    """Whether a run's every round has its record."""
    return run is not None and len(run.records()) == len(run.cells()) * run.experiment.measure.rounds
