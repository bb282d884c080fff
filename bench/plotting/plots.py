"""Figures to files: a run's `plots/`, in the two formats of each figure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from bench.figures import FIGURES
from bench.grid.baseline import Baseline
from bench.plotting.groups import data, figure, place_names
from bench.plotting.style import DPI, style
from bench.results.files import naming
from bench.results.tables import Tables

FORMATS: Final = ("png", "svg")

_KINDS: Final = (*FIGURES, "relative", "long_clips")
"""First parts of the names of figures, with those of several runs and of earlier versions."""

NOTEBOOK_DPI: Final = 100
"""Resolution of pictures that are kept inside a notebook, and make it large."""


@dataclass(frozen=True, kw_only=True)
class EmptyPlot:
    """A figure that was asked for and has nothing to show."""

    name: str  # of the file that there would have been, without its ending
    reason: str


@dataclass(frozen=True, kw_only=True)
class PlotsWritten:
    """Result of `write_plots`: files in the order of the kinds, and the figures that had nothing to show."""

    files: tuple[Path, ...]
    empty: tuple[EmptyPlot, ...]

    @property
    def images(self) -> tuple[Path, ...]:
        """The .png files alone, which a report shows."""
        return tuple(path for path in self.files if path.suffix == ".png")


def write_plots(
    tables: Tables,
    *,
    baseline: Baseline,
    kinds: Iterable[str],
    folder: Path,
    drawn: Path | None = None,
) -> PlotsWritten:
    """Write a .png (150 dpi) and a .svg per kind, network and input into `folder`.

    A figure of which `drawn` has both files is not drawn again: those files are named in what is returned.

    The same tables give the same .svg, byte for byte. Files of an earlier call are replaced or removed, so
    that nothing stale stands beside the new ones.
    Raises BadInput for an unknown kind before anything is written, and OSError where the folder cannot be
    written.
    """
    wanted = [(kind, data(kind, tables)) for kind in dict.fromkeys(kinds)]
    if drawn is None:
        folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    empty: list[EmptyPlot] = []
    for kind, groups in wanted:
        if not groups:
            empty.append(EmptyPlot(name=kind, reason="there is no cell"))
        for name, group in zip(place_names(kind, groups), groups, strict=True):
            paths = [folder / f"{name}.{ending}" for ending in FORMATS]
            if group.empty:
                empty.append(EmptyPlot(name=name, reason=group.empty))
                continue
            before = [drawn / path.name for path in paths] if drawn is not None else []
            if before and all(path.is_file() for path in before):
                paths = before
            else:
                save(figure(group, baseline=str(baseline)), paths)
            files += paths
    remove_stale(folder, files)
    return PlotsWritten(files=tuple(files), empty=tuple(empty))


def remove_stale(folder: Path, written: Iterable[Path]) -> None:
    """Remove figures of an earlier call, whatever it called them: files of any kind but those written now."""
    kept = {path.name for path in written if path.parent == folder}
    for path in folder.iterdir() if folder.is_dir() else ():
        kind = path.stem.partition("-")[0]
        if kind in _KINDS and path.suffix.removeprefix(".") in FORMATS and path.name not in kept:
            path.unlink()


def png(drawn: Figure) -> bytes:
    """Return the figure as a picture, for a notebook."""
    picture = BytesIO()
    with style():
        drawn.savefig(picture, format="png", dpi=NOTEBOOK_DPI)
    return picture.getvalue()


def save(drawn: Figure, paths: Sequence[Path]) -> None:
    """Write a figure to each of the paths, whole or not at all, in the format that its ending names.

    Makes their folders; raises OSError where they cannot be written.
    """
    with style():
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.part")
            ending = path.suffix.removeprefix(".")
            # The date would make two files of one figure differ.
            metadata = {"Date": None} if ending == "svg" else None
            try:
                with naming(path):
                    drawn.savefig(partial, format=ending, dpi=DPI, metadata=metadata)
                    partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
