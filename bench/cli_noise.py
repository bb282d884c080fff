"""The command `noise`: parses and prints, nothing else."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench import cli_sides, exits
from bench.cli_options import FilterOption, SetOption, VariantOption
from vsr_model.errors import BadInput
from vsr_model.one_line import one_line, visible

if TYPE_CHECKING:
    from bench.noise_run import Found
    from bench.reporting.markdown import Column

PRESET: Final = "ci"


def noise(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONFIG]",
            help="The gate's YAML file, or the name of a preset. [default: the preset ci]",
            show_default=False,
        ),
    ] = None,
    variants: VariantOption = None,
    assignments: SetOption = None,
    filters: FilterOption = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="How many pairs of rounds to measure: the more, the surer the answer. [default: four times "
            "the gate's, and at least 40]",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(metavar="PERCENT", help="Judge this one, and recommend none.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for both runs and the page; new or empty. "
            "[default: results/noise-NAME-TIME, in UTC]",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Go on with an interrupted one, as it was asked for. With --threshold, judge that one.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Measure the program against itself, and say which threshold a gate can have on this machine.

    A gate (`vsr-bench ci --threshold`) should call unchanged code slower in no more than 1 of 100 runs, and
    the same in at least 95. How small a threshold that allows depends on the machine, on what is measured and
    on the gate's `measure.rounds`. It is found by drawing gates from pairs of rounds that were measured in
    turn, as `vsr-bench ci` does.

    The folder gets noise.html and .md, noise.json, noise.png and .svg, and both runs. With
    `--variant cpu --threshold 3%` it judges the gate that `vsr-bench ci --variant cpu` is.

    Ctrl-C keeps what is done, and judges it if there are at least three pairs; `--resume DIR` does the rest.
    Exit status: 0 done, 2 the request was wrong or no cell can be judged, 3 some cells failed and the others
    are judged, 70 the disk filled or the like (what is done is kept), 130 interrupted.
    """
    with cli_sides.told_if_early("noise", resume):
        from bench import noise_run  # noqa: PLC0415 - matplotlib and pandas: only where they are needed
        from bench.comparison.shares import share  # noqa: PLC0415
        from bench.grid import config, presets  # noqa: PLC0415
        from bench.noise_request import request  # noqa: PLC0415

        given = None if threshold is None else share(threshold, "--threshold")
        if resume is not None:
            if any((source, variants, assignments, filters, output)) or rounds is not None:
                raise BadInput("--resume: all but --threshold is as it began; give none of it")
            found = noise_run.resume(resume, cli_sides.display, cli_sides.say, threshold=given)
        else:
            experiment = config.load(presets.find(source or PRESET), assignments or (), variants or ())[0]
            asked = request(experiment, filters=filters or (), rounds=rounds, threshold=given)
            found = noise_run.start(asked, experiment, cli_sides.display, cli_sides.say, output=output)
    _print(found)
    raise typer.Exit(_status(found))


def _print(found: "Found") -> None:
    from bench.noise_run import again  # noqa: PLC0415
    from bench.reporting import noise_page as page  # noqa: PLC0415

    if found.noise is not None:
        console = Console(soft_wrap=False)
        console.print()
        console.print(_table(page.cell_columns(found.noise.gate)))
        console.print()
        console.print(_table(page.rounds_columns(found.noise)))
        console.print()
        for text in _lines("left out: ", page.left_out(found.noise)):
            console.print(text)
        for text in _lines("caution: ", page.cautions(found.noise)):
            console.print(text)
        for text in _lines("not covered: ", page.not_covered(found.noise)):
            console.print(text)
        console.print(Text(one_line(page.recommendation(found.noise)), style="bold"))
        html, *others = found.pages
        typer.echo(f"page    {one_line(str(html))}, {', '.join(path.name for path in others)}")
    if found.interrupted:
        why = "" if found.noise is not None else " before anything was judged"
        typer.echo(f"interrupted{why}; the rest: {one_line(again(found.folder))}")


def _table(columns: "Sequence[Column]") -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column.title, justify="right" if column.numeric else "left", overflow="fold")
    for row in zip(*(column.cells for column in columns), strict=True):
        made.add_row(*(Text(visible(cell)) for cell in row))
    return made


def _lines(before: str, texts: Iterable[str]) -> Iterable[Text]:
    return (Text(f"{before}{one_line(text)}") for text in texts)


def _status(found: "Found") -> int:
    if found.interrupted:
        return exits.INTERRUPTED
    failed = found.noise is not None and any(cell.failed for cell in found.noise.left_out)
    return exits.SOME_FAILED if failed else exits.OK
