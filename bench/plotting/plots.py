"""The figures of a run: which there are, what each shows, how it looks, and their files."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from bench.grid.baseline import Baseline
from bench.plotting.plot_data import PLOT_KINDS, PlotGroup, data
from bench.plotting.plot_figures import figure
from bench.plotting.plot_style import DPI, style
from bench.results.files import naming
from bench.results.tables import Tables

__all__ = [
    "PLOT_KINDS", "EmptyPlot", "PlotGroup", "PlotsWritten", "data", "figure", "place_names", "save",
    "write_plots",
]  # fmt: skip

FORMATS: Final = ("png", "svg")

NOTEBOOK_DPI: Final = 100
"""Of pictures that are kept inside a notebook, and make it large."""


@dataclass(frozen=True, kw_only=True)
class EmptyPlot:
    """A figure that was asked for and has nothing to show."""

    name: str  # of the file that there would have been, without its ending
    reason: str


@dataclass(frozen=True, kw_only=True)
class PlotsWritten:
    """What `write_plots` did: its files in the order of the kinds, and what it had nothing to draw for."""

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
    """Write a .png (150 dpi) and a .svg per kind and (input, batch, height, width) into `folder`.

    A figure of which `drawn` has both files is not drawn again: those files are named in what is returned.

    The same tables give the same .svg, byte for byte. Files of an earlier call are replaced; those of
    figures that are empty now are removed, so that nothing stale stands beside the new ones.
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
            before = [drawn / path.name for path in paths] if drawn is not None else []
            if not group.empty and before and all(path.is_file() for path in before):
                files += before
            elif not group.empty:
                save(figure(group, baseline=str(baseline)), paths)
                files += paths
            else:
                empty.append(EmptyPlot(name=name, reason=group.empty))
                for path in paths:
                    path.unlink(missing_ok=True)
    return PlotsWritten(files=tuple(files), empty=tuple(empty))


def place_names(kind: str, groups: Sequence[PlotGroup]) -> list[str]:
    """Return a file name per group: the kind alone where there is one, else with its place."""
    if len(groups) == 1:
        return [kind]
    names: list[str] = []
    for group in groups:
        at = group.labels
        place = re.sub(r"[^A-Za-z0-9._-]+", "_", at.subject).strip("._-") or "input" * bool(at.subject)
        name = "-".join(filter(None, (kind, place, f"b{at.batch}", f"{at.height}x{at.width}")))
        same = sum(other == name or other.startswith(f"{name}-") for other in names)
        # Inputs that differ only in characters a file name cannot hold.
        names.append(f"{name}-{same + 1}" if same else name)
    return names


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
