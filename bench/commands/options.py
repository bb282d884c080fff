"""Arguments and options that several commands have, and the experiment that they describe."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bench.grid import config, presets
from bench.grid.config import Experiment
from bench.grid.yaml_source import Source
from vsr_model.errors import BadInput, nearest

ConfigArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="CONFIG",
        help="A YAML file, or the name of a preset such as `quickstart`. Without one, presets are listed.",
        show_default=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Override a field; the value is YAML: `--set grid.size=[[180,320]]`. May be given again.",
        show_default=False,
    ),
]
VariantOption = Annotated[
    list[str] | None,
    typer.Option(
        "--variant",
        metavar="NAME",
        help="One of the variants that the YAML names under `variants`. Given again, later ones win.",
        show_default=False,
    ),
]
FilterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--filter",
        metavar="FILTER",
        help="Keep only some cells: `model=egvsr`, `backend=cpu,cuda`, `frames=1`, or a pattern on the id as "
        "in `'basicvsr/*/cpu'`. Given again, every filter must hold.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder for the results; new or empty. [default: results/NAME-TIME, in UTC]",
        show_default=False,
    ),
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Go on with an interrupted run, in its own configuration; a CONFIG is compared with it.",
        show_default=False,
    ),
]
ResumeAsBegunOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Go on with what was interrupted in this folder, as it was asked for.",
        show_default=False,
    ),
]
Threshold = Annotated[
    str,
    typer.Option(
        metavar="PERCENT", help="A change of time below it does not count; docs/ci.md says how to choose one."
    ),
]
MemoryThreshold = Annotated[
    str, typer.Option("--memory-threshold", metavar="PERCENT", help="The same for peaks of memory.")
]
FailOn = Annotated[
    str,
    typer.Option(
        "--fail-on",
        metavar="WHAT",
        help="What ends with exit status 1: `slower` (with worse, memory, accuracy), `any`, `never`, or with "
        "commas, some of slower, worse, memory, accuracy, unclear, missing, incomparable, stage, failed.",
    ),
]


def optional_config(preset: str) -> Any:
    """Return the argument of a command that takes a preset of its own where no CONFIG is given."""
    return typer.Argument(
        metavar="CONFIG",
        help=f"A YAML file, or the name of a preset. [default: the preset {preset}]",
        show_default=False,
    )


def experiment_of(
    source: str | None, variants: Sequence[str] | None, assignments: Sequence[str] | None
) -> tuple[Experiment, Source]:
    """Return the experiment of a CONFIG with its variants and fields set on top, and its source.

    Raises BadInput.
    """
    if source is None:
        raise BadInput(
            f"CONFIG: is missing; give a YAML file or a preset, one of {', '.join(presets.names())}"
        )
    return config.load(presets.find(source), assignments or (), variants or ())


def given_options(context: typer.Context) -> set[str]:
    """Return the parameters that the command line gives, even with their default."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def words(text: str, option: str, allowed: Sequence[str]) -> list[str]:
    """Split words at their commas. Raises BadInput for one that is not allowed."""
    found = [word.strip() for word in text.split(",")]
    for word in found:
        if word not in allowed:
            raise BadInput(
                f"{option}: {word!r} is none of {', '.join(allowed)}{nearest(word, allowed)}; several are "
                "separated by commas"
            )
    return found


_SHARE: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(%?)", re.ASCII)


def share(text: str, option: str, *, may_be_zero: bool = False) -> float:
    """Parse `3%` or `0.03` as 0.03. Raises BadInput for what is no share of 100 % at most.

    A bare number above 1 is refused rather than taken for a percentage that somebody may not have meant.
    """
    found = _SHARE.fullmatch(text.strip())
    value = None if found is None else float(found[1]) / (100 if found[2] else 1)
    if value is None or value > 1 or (value == 0 and not may_be_zero):
        least = "from 0" if may_be_zero else "above 0"
        raise BadInput(
            f"{option}: should be a percentage such as 3% (or 0.03), {least} and at most 100%, not {text!r}"
        )
    return value
