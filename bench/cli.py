"""The program `vsr-bench`: a module of `bench.commands` for each command, imported when it is called."""

import io
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from bench import __version__
from bench.commands import exits
from bench.machine import variables
from bench.process import interrupts
from vsr_model.errors import BadInput

COMMANDS: Final[Mapping[str, str]] = {
    "run": "Measure every cell of a grid, each in a process of its own, into tables, plots and a report.",
    "plan": "List the cells of a grid with their FLOPs, memory and forecast seconds; measure none of them.",
    "report": "Make the report of a run, or of several runs side by side; nothing is measured.",
    "compare": "Compare runs cell by cell: slower than a base, faster, the same, or unclear.",
    "ci": "Compare the networks of two git revisions, measured in turn on this machine.",
    "ladder": "Add one optimisation at a time to the plain network, and show what each gains.",
    "tune": "Search for the fastest backend whose output is right, and write it to a file.",
    "upscale": "Upscale an image or a video four times in height and width; frame rate and sound stay.",
    "env": "Print what a run here would record of the machine; with --check, what is wrong with it.",
    "export": "Write a run's results in another tool's format; nothing is measured.",
    "rebuild": "Derive a run's tables, plots and report from its journal again.",
    "schema": "Print the JSON Schema of the YAML, for editors.",
    "paper": "Reproduce the course paper here, with a verdict on each of its claims.",
}
"""Each command's name, which is that of its module and its function, and its help in a line."""

COMPUTES_ITSELF: Final = "upscale"
"""The command that imports torch into this process, and not into workers."""

RETIRED: Final[Mapping[str, str]] = {
    "history": "keep series of results with Bencher or github-action-benchmark, which `vsr-bench export` "
    "writes for",
    "noise": "`vsr-bench ci --base HEAD --head HEAD` measures a revision against itself, and says how "
    "small a slowdown it could have told",
}
"""Commands that earlier versions had, each with what replaces it."""


class Commands(TyperGroup):
    """The commands, whose modules are imported when they are called; the list of all needs none."""

    _lists = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - click gives it
        return list(COMMANDS)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._lists = True
        super().format_help(ctx, formatter)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - click gives it
        if cmd_name in RETIRED:
            raise BadInput(f"{cmd_name}: this command is no longer there; {RETIRED[cmd_name]}")
        if cmd_name not in COMMANDS:
            return None
        alone = typer.Typer(add_completion=False, rich_markup_mode="markdown")
        if self._lists:
            alone.command(cmd_name, help=COMMANDS[cmd_name])(_listed)
        else:
            if cmd_name == COMPUTES_ITSELF:
                variables.leave_out(os.environ)
            module = import_module(f"bench.commands.{cmd_name}")
            alone.command(cmd_name)(getattr(module, cmd_name))
            interrupts.listen()  # before, nothing is begun: an interrupt ends the program at once
        return typer.main.get_command(alone)


def _listed() -> None:
    """Stand for a command in the list of all."""


app = typer.Typer(
    cls=Commands,
    name="vsr-bench",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Benchmark video super-resolution networks on CPU, CUDA and cuDNN, stage by stage.\n\n"
    "A first run: `vsr-bench run quickstart`. What a command does: `vsr-bench COMMAND --help`.",
)


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        typer.echo(f"vsr-bench {__version__}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    _stand_in_for_closed_streams()
    _show_what_cannot_be_encoded()
    try:
        status = app(args=arguments, prog_name="vsr-bench", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return exits.INTERRUPTED
    except (BrokenPipeError, SystemExit):
        # Whoever read the output has enough (typer turns it into SystemExit, and into nothing else).
        return exits.without_output()
    except Exception as error:
        try:
            return exits.explain(error)
        except OSError:
            return exits.without_output()
    return status if isinstance(status, int) else exits.OK


def _stand_in_for_closed_streams() -> None:
    """Open the null device for a stream that was closed before Python began, where it has None."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for good


def _show_what_cannot_be_encoded() -> None:
    """Write an escape where the output's encoding lacks a character of a name or a table."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
