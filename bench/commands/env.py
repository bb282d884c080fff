"""`vsr-bench env`."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from bench.cautions.caution import Machine
from bench.cautions.cautions import check as check_machine
from bench.commands import exits
from bench.machine import environment, timer
from bench.machine.now import look
from bench.measure import preflight
from bench.process.launcher import Launcher


def env(
    check: Annotated[
        bool,
        typer.Option("--check", help="Name what would spoil a measurement here, and its remedy."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what --check finds as JSON; all else is JSON anyway.")
    ] = False,
) -> None:
    """Print what environment.json of a run here would hold; with --check, what is wrong with this machine.

    Exit status of --check: 0 if nothing found would spoil a measurement, 1 if something would.
    """
    described = here()
    if not check:
        typer.echo(json.dumps(described, indent=2))
        return
    now = look()
    found = check_machine(Machine(environment=described, now=now))
    spoiling = sum(notice.spoils for notice in found)
    rows = [
        {
            "code": notice.code,
            "weight": "spoils" if notice.spoils else "note",
            "seen": notice.seen,
            "remedy": notice.remedy,
        }
        for notice in found
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        for row in rows:
            typer.echo("{weight}: {seen}\n  {remedy}".format_map(row))
        typer.echo(
            f"{spoiling or 'nothing'} found that would spoil a measurement, {len(found) - spoiling} to note; "
            f"asking the timer costs {1e9 * now.timer.cost_s:.0f} ns"
        )
    if spoiling:
        raise typer.Exit(exits.FOUND)


def here() -> dict[str, Any]:
    """Return what environment.json of a run begun now would hold."""
    variables = environment.ALLOCATOR_VARIABLES["retain"]
    with Launcher(variables) as launcher:
        answer = preflight.ask(launcher, [])
    return environment.collect(answer.torch, variables) | {"timer": asdict(timer.measure())}
