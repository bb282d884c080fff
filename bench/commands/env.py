"""`vsr-bench env`."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from bench.cautions.environment_check import Weight, findings, in_short, look
from bench.commands import exits
from bench.machine import environment, timer
from bench.measure import preflight
from bench.process.launcher import Launcher


def env(
    check: Annotated[
        bool,
        typer.Option("--check", help="Say what would spoil a measurement here, and how to mend it."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --check: as JSON. Without, the output is JSON anyway.")
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
    found = findings(described, now)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        for finding in found:
            typer.echo(f"{finding.weight}: {finding.seen}\n  {finding.remedy}")
        typer.echo(in_short(found, now))
    if any(finding.weight is Weight.SPOILS for finding in found):
        raise typer.Exit(exits.FOUND)


def here(*, with_host_name: bool = False) -> dict[str, Any]:
    """Return what environment.json of a run begun now would hold."""
    variables = environment.ALLOCATOR_VARIABLES["retain"]
    with Launcher(variables) as launcher:
        answer = preflight.ask(launcher, [])
    return environment.collect(answer.torch, variables, with_host_name=with_host_name) | {
        "timer": asdict(timer.measure())
    }
