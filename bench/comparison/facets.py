"""What a cell measures, facet by facet: two cells compare where none differs that is not meant to. Pure.

The code is no facet: it is what a comparison asks about. Nor is what only decides how well a figure is known,
such as rounds and repetitions.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bench.grid.backend import Backend
from bench.grid.config import Experiment
from bench.grid.config_model import Model
from bench.grid.plan import Cell
from bench.results.identity import cuda_devices
from bench.results.tables import Row

FACETS: Final = ("network", "input", "precision", "backend", "method", "device", "torch")

_WHAT_RUNS: Final = FACETS[:5]
"""What the YAML says; the others are the machine's."""

_METHOD: Final = ("isolation", "allocator")
"""Fields of `measure` that change what a sample is of."""

_PRECISION: Final = ("dtype", "fp32_precision")
_APART: Final = ("name", "device", "memory_plan", "min_psnr_db", *_PRECISION)
"""Fields of a backend that change nothing, or are compared in another way."""

_SHOWN: Final = 48
"""Characters of a value that a message repeats whole: of a longer one, as a digest, the first quarter."""

Facets = Mapping[str, Mapping[str, Any]]
"""Fields by facet, in the order of FACETS."""


def facets_of(
    cell: Cell,
    rounds: Sequence[Row],
    *,
    experiment: Experiment,
    files: Mapping[str, str],
    environment: Mapping[str, Any],
) -> Facets:
    """Return a cell's facets; `files` are digests by input's name or "checkpoint", as run.json keeps them."""
    return {
        "network": _network(cell.model, files),
        "input": _input(cell, files),
        "precision": {name: getattr(cell.backend, name) for name in _PRECISION},
        "backend": _backend(cell.backend),
        "method": {
            **{name: getattr(experiment.measure, name) for name in _METHOD},
            "method": environment.get("method", "ordinary"),
        },
        "device": _device(cell.backend, rounds, environment),
        "torch": _torch(cell.backend, environment),
    }


def key(facets: Facets) -> str:
    """Return a text that is the same for cells of which the YAML says the same."""
    return json.dumps({name: facets[name] for name in _WHAT_RUNS}, sort_keys=True, default=str)


def differing(base: Facets, new: Facets, allowed: Iterable[str] = ()) -> dict[str, str]:
    """Return, by facet, the fields that differ and are not allowed to, as text.

    A field that a side lacks, as the threads of a round that failed, is not compared.
    """
    found = {}
    for name in FACETS:
        fields = [
            f"{field} {_shown(base[name][field])}, {_shown(new[name][field])}"
            for field in base[name]
            if field in new[name] and base[name][field] != new[name][field]
        ]
        if fields and name not in allowed:
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
    return {"name": model.registered, **made, **weights}


def _input(cell: Cell, files: Mapping[str, str]) -> dict[str, Any]:
    source = cell.input
    fields = source.model_dump(exclude={"name", "path", "grid"})
    content = {"content": files.get(source.name)} if source.kind != "random" else {}
    return {
        **fields, **content, "batch": cell.batch, "frames": cell.frames,
        "size": cell.size,
    }  # fmt: skip


def _backend(backend: Backend) -> dict[str, Any]:
    own = {name: value for name, value in backend.settings.items() if name not in _APART}
    plan = backend.memory_plan  # but for its folder: where a clip lies changes nothing
    memory_plan = (
        {"memory_plan": "none"}
        if plan is None
        else {"memory_plan": plan.place, "memory_plan.interval": plan.interval,
              "memory_plan.chunk": plan.chunk}
    )  # fmt: skip
    return {"device": "cuda" if backend.is_cuda else "cpu", **own, **memory_plan}


def _device(backend: Backend, rounds: Sequence[Row], environment: Mapping[str, Any]) -> dict[str, Any]:
    if backend.is_cuda:
        devices = cuda_devices(environment) or []
        index = int(backend.device.partition(":")[2] or 0)
        return {"gpu": _mapping(devices[index]).get("name") if index < len(devices) else None}
    named = ("cpu", "cpu_physical_cores", "cpu_logical_cores")
    machine = {name: environment.get(name) for name in named}
    # Not known of runs that earlier versions made.
    apart = {name: environment.get(name) for name in ("cpu_model", "cpu_instruction_set")}
    apart |= {f"cpu_{level}": size for level, size in _mapping(environment.get("cpu_caches")).items()}
    machine |= {name: value for name, value in apart.items() if value}
    read_back = [one["threads"] for one in rounds if one["threads"] is not None]
    return {**machine, "threads": read_back[0]} if read_back else machine


def _torch(backend: Backend, environment: Mapping[str, Any]) -> dict[str, Any]:
    known = _mapping(environment.get("torch"))
    named = ("torch", "torch_cuda", "cudnn") if backend.is_cuda else ("torch", "cpu_capability")
    return {name: known.get(name) for name in named}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _shown(value: Any) -> str:
    text = "not known" if value is None else str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 4]}..."
