"""Options that several commands have: which variant of a grid, with which fields, and which of its cells."""

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
        help="Keep only some cells: `backend=cpu,cuda`, `frames=1`, `size=64x64`, or a pattern on the id as "
        "in `'noise/*/cpu'`. Given again, every filter must hold.",
        show_default=False,
    ),
]
