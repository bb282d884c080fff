"""`vsr-bench schema`."""

import json

import typer

from bench.grid import config
from vsr_model.registry import NETWORKS, arguments_of, network_class


def schema() -> None:
    """Print the JSON Schema of the YAML, for editors.

    With the YAML extension of an editor: `vsr-bench schema > vsr-bench.schema.json`, and
    `# yaml-language-server: $schema=vsr-bench.schema.json` as the YAML's first line.
    """
    networks = {name: arguments_of(network_class(name)) for name in NETWORKS}
    typer.echo(json.dumps(config.json_schema(networks), indent=2))
