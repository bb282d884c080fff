"""What a cell measures, facet by facet: two cells compare where none differs that is not meant to. Pure.

The code is no facet: it is what a comparison asks about. Nor is what only decides how well a figure is known,
such as rounds and repetitions.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bench.grid.backend_spec import Backend
from bench.grid.config import Experiment, Input
from bench.grid.config_model import Model
from bench.grid.plan import Cell
from bench.records import CellRecord
from bench.results.identity import cuda_devices
from vsr_model.errors import BadInput, nearest

FACETS: Final = ("network", "input", "precision", "backend", "method", "device", "torch")

WHAT_RUNS: Final = ("network", "input", "precision", "backend", "method")
"""What the YAML says; the others are the machine's."""

_METHOD: Final = ("isolation", "allocator")
"""Fields of `measure` that change what a sample is of."""

_PRECISION: Final = ("dtype", "fp32_precision")
_APART: Final = ("name", "device", "memory_plan", "min_psnr_db", *_PRECISION)
"""Fields of a backend that change nothing, or are compared in another way."""

Facets = Mapping[str, Mapping[str, Any]]
"""Fields by facet, in the order of FACETS."""


def across(text: str) -> frozenset[str]:
    """The facets that `--across` names, separated by commas. Raises BadInput for a word that is none."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in FACETS:
            raise BadInput(
                f"--across: {word!r} is none of {', '.join(FACETS)}{nearest(word, FACETS)}; several are "
                "separated by commas"
            )
    if not words:
        raise BadInput(f"--across: names nothing; allowed are {', '.join(FACETS)}, separated by commas")
    return frozenset(words)


def facets_of(
    cell: Cell,
    records: Sequence[CellRecord],
    *,
    experiment: Experiment,
    files: Mapping[str, str],
    environment: Mapping[str, Any],
) -> Facets:
    """A cell's facets; `files` are digests by input's name or "checkpoint", as run.json keeps them."""
    found = {
        "network": _network(cell.model, files),
        "input": _input(cell, files),
        "precision": {name: getattr(cell.backend, name) for name in _PRECISION},
        "backend": _backend(cell.backend),
        "method": {
            **{name: getattr(experiment.measure, name) for name in _METHOD},
            "method": environment.get("method", "ordinary"),
        },
        "device": _device(cell.backend, records, environment),
        "torch": _torch(cell.backend, environment),
    }
    return {name: found[name] for name in FACETS}


def key(facets: Facets, names: Iterable[str] = WHAT_RUNS) -> str:
    """The same text for cells that do not differ in these facets."""
    return json.dumps({name: facets[name] for name in names}, sort_keys=True, default=str)


def differing(base: Facets, new: Facets, allowed: Iterable[str] = ()) -> dict[str, str]:
    """In words, by facet, what is not the same and not allowed to differ.

    A field that a side has not got, as the threads of a round that failed, is not compared.
    """
    found = {}
    for name in FACETS:
        if name in allowed:
            continue
        fields = [
            f"{field} {_shown(base[name][field])}, {_shown(new[name][field])}"
            for field in base[name]
            if field in new[name] and base[name][field] != new[name][field]
        ]
        if fields:
            found[name] = "; ".join(fields)
    return found


def _network(model: Model, files: Mapping[str, str]) -> dict[str, Any]:
    weights = (
        {"checkpoint": files.get(f"checkpoint of {model.name}")}
        if model.checkpoint
        else {"seed": model.seed or 0}
    )
    own = {"import", "arguments", "scale", "input", "window", "ends", "output", "stages"}
    made = model.model_dump(include=own, by_alias=True) if model.import_ else model.parameters
    return {"name": model.name, **made, **weights}


def _input(cell: Cell, files: Mapping[str, str]) -> dict[str, Any]:
    source: Input = cell.input
    fields = source.model_dump(exclude={"name", "path", "grid"})
    content = {"content": files.get(source.name)} if source.kind != "random" else {}
    return {
        **fields, **content, "batch": cell.batch, "frames": cell.frames,
        "size": f"{cell.height}x{cell.width}",
    }  # fmt: skip


def _backend(backend: Backend) -> dict[str, Any]:
    kind = "cuda" if backend.is_cuda else "cpu"
    own = {name: value for name, value in vars(backend).items() if name not in _APART}
    return {"device": kind, **own, **_memory_plan(backend)}


def _memory_plan(backend: Backend) -> dict[str, Any]:
    """Not its folder: where a clip lies is no facet either."""
    plan = backend.memory_plan
    if plan is None:
        return {"memory_plan": "none"}
    return {
        "memory_plan": plan.place, "memory_plan.interval": plan.interval, "memory_plan.chunk": plan.chunk,
    }  # fmt: skip


def _device(
    backend: Backend, records: Sequence[CellRecord], environment: Mapping[str, Any]
) -> dict[str, Any]:
    if not backend.is_cuda:
        read_back = [record.threads for record in records if record.threads is not None]
        named = ("cpu", "cpu_physical_cores", "cpu_logical_cores")
        machine = {name: environment.get(name) for name in named}
        return {**machine, "threads": read_back[0]} if read_back else machine
    devices = cuda_devices(environment) or []
    index = int(backend.device.partition(":")[2] or 0)
    known = _mapping(devices[index]) if index < len(devices) else {}
    return {"gpu": known.get("name")}


def _torch(backend: Backend, environment: Mapping[str, Any]) -> dict[str, Any]:
    said = _mapping(environment.get("torch"))
    named = ("torch", "torch_cuda", "cudnn") if backend.is_cuda else ("torch", "cpu_capability")
    return {name: said.get(name) for name in named}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _shown(value: Any) -> str:
    if value is None:
        return "not known"
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."
