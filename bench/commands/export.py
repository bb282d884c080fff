"""The command `export`: reads a run's folder, and prints or writes it in another tool's format."""

from pathlib import Path
from typing import Annotated

import typer

from bench.commands import console
from bench.export.formats import Format, export_text
from bench.export.selection import export_of
from bench.records import JOURNAL_NAME
from bench.results.files import write_whole
from bench.results.run_folder import RunFolder
from vsr_model.errors import BadInput
from vsr_model.one_line import one_line


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)],
    wanted: Annotated[
        Format,
        typer.Option("--format", help="Which tool's file to make.", show_default=False),
    ],
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where it goes. [default: standard output]", show_default=False),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the file that --output names.")
    ] = False,
    stages: Annotated[
        list[str] | None,
        typer.Option(
            "--stage",
            metavar="STAGE",
            help="Only this stage, such as `forward`. May be given again. [default: every stage]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a run's results as another tool reads them; nothing is measured.

    Only cells that ended `ok` are in it; what is left out is told on standard error. docs/compare.md says
    what each format carries and how its tool takes it.
    """
    if output is None and overwrite:
        raise BadInput("--overwrite: --output names no file to be replaced")
    if output is not None:
        _check_output(output, overwrite=overwrite)
    elif console.is_closed():
        raise BadInput("standard output is closed: name a file for the export by --output")
    folder = RunFolder.open(run)
    made = export_of(folder, folder.tables(), stages or ())
    text = export_text(made, wanted)
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_whole(output, text)
    for note in made.notes:
        typer.echo(one_line(note), err=True)


def _check_output(output: Path, *, overwrite: bool) -> None:
    """Raise BadInput where no file may be written: writing replaces an existing one."""
    if not output.parent.is_dir():
        raise BadInput(f"--output {output}: cannot be written, the folder {output.parent} does not exist")
    if output.is_symlink() or (output.exists() and not output.is_file()):
        raise BadInput(f"--output {output}: is no regular file, which it would replace")
    if not output.exists():
        return
    if not overwrite:
        raise BadInput(f"--output {output}: is there already; name another file, or give --overwrite")
    if (output.parent / JOURNAL_NAME).exists():
        raise BadInput(f"--output {output}: lies in a run's folder, where --overwrite replaces nothing")
