"""Options that several commands have: a variant of a grid, its fields, its cells, and where results go."""

from pathlib import Path
from typing import Annotated

import typer

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
