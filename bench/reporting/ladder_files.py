"""What a run whose backends are a ladder has beside its other results: ladder.csv, its figures, a section."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.plotting.ladder import ladder_figure
from bench.plotting.plots import FORMATS, save
from bench.reporting.ladder_section import LadderPart, ladder_section
from bench.results.files import to_csv, write_whole
from bench.results.run_folder import RunFolder
from bench.tuning.ladder import Ladder, ladders
from bench.tuning.ladder_table import ladder_table

TABLE_NAME: Final = "ladder.csv"


@dataclass(frozen=True, kw_only=True)
class LadderFiles:
    """What a report needs of it; nothing where the run is no ladder."""

    section: tuple[LadderPart, ...] = ()
    images: tuple[Path, ...] = ()  # the .png files


def ladders_of(folder: RunFolder) -> list[Ladder]:
    """Return the ladders of a run, one per clip; none of a run whose backends are no rungs."""
    return ladders(folder.cells(), folder.records()) if folder.experiment.ladder else []


def write_ladder(folder: RunFolder) -> LadderFiles:
    """Write ladder.csv and plots/ladder*.png and .svg, where the run is one. Raises OSError."""
    found = ladders_of(folder)
    if not found:
        (folder.path / TABLE_NAME).unlink(missing_ok=True)
        return LadderFiles()
    table = ladder_table(found)
    write_whole(folder.path / TABLE_NAME, to_csv(table))
    images = []
    networks = len({ladder.clip_id[0] for ladder in found})
    for ladder in found:
        clip = ladder.clip_id if networks > 1 else ladder.clip_id[1:]
        name = "ladder" if len(found) == 1 else f"ladder-{'-'.join(clip)}"
        paths = [folder.path / "plots" / f"{name}.{ending}" for ending in FORMATS]
        own = table["cell"].isin([step.cell.id for step in ladder.steps])
        save(ladder_figure(table[own]), paths)
        images.append(paths[0])
    return LadderFiles(section=ladder_section(found), images=tuple(images))


def read_ladder(folder: RunFolder) -> LadderFiles:
    """Return the section of a run that is a ladder, and its figures that are there; write nothing."""
    images = sorted((folder.path / "plots").glob("ladder*.png")) if folder.experiment.ladder else []
    return LadderFiles(section=ladder_section(ladders_of(folder)), images=tuple(images))
