"""A tuned backend where it is used: a note on another machine, and what does not go frame by frame. Pure."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

from bench.grid.backend import CPU, Backend, TunedOn

WHOLE_CLIPS: Final = ("compile", "schedule", "cuda_graph", "transfer")
"""Settings of calls on whole clips, which `upscale`, going frame by frame, does not support."""


def tuned_on(environment: Mapping[str, Any], device: str) -> TunedOn:
    """Return the facts of an environment.json that decide which backend is the fastest."""
    torch_side = environment.get("torch") or {}
    gpu = None
    if device != "cpu":
        place = int(device.partition(":")[2] or 0)
        devices = torch_side.get("devices") or []
        gpu = str(devices[place].get("name")) if place < len(devices) else None
    return TunedOn(
        processor=str(environment.get("cpu") or "unknown"),
        cores=environment.get("cpu_affinity"),
        gpu=gpu,
        torch=str(torch_side.get("torch") or "unknown"),
    )


def note(backend: Backend, environment: Mapping[str, Any]) -> str | None:
    """Return a sentence if the backend was tuned on another machine or with another torch, or else None."""
    was = backend.tuned_on
    if was is None:
        return None
    here = tuned_on(environment, backend.device)
    differing = []
    if not backend.is_cuda:
        if was.processor != here.processor:
            differing.append(f"on {was.processor}, and this is {here.processor}")
        if was.cores != here.cores:
            differing.append(f"on {was.cores} cores, and here are {here.cores}")
    elif was.gpu != here.gpu:
        differing.append(f"on {was.gpu}, and this is {here.gpu or 'without it'}")
    if was.torch != here.torch:
        differing.append(f"with torch {was.torch}, and this is {here.torch}")
    if not differing:
        return None
    return (
        f"backend {backend.name}: tuned {'; '.join(differing)}: another may be the fastest here, and its "
        "answer is not checked here; vsr-bench tune finds it"
    )


def notes(backends: Iterable[Backend], environment: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the notes on all of a run's backends."""
    found = (note(backend, environment) for backend in backends)
    return tuple(text for text in found if text is not None)


def frame_by_frame(backend: Backend) -> tuple[Backend, str | None]:
    """Return the backend without what needs whole clips, and a sentence on what was left out, if anything."""
    plain = {name: getattr(CPU, name) for name in WHOLE_CLIPS}
    left = {name: value for name, value in plain.items() if getattr(backend, name) != value}
    if not left:
        return backend, None
    settings = ", ".join(f"{name}: {yaml_value(getattr(backend, name))}" for name in left)
    return backend.replace(**left), (
        f"backend {backend.name}: without {settings}, which is for whole clips in memory; frames come one by "
        "one here"
    )


def yaml_value(value: Any) -> str:
    """Format a value in a line of YAML."""
    text = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=math.inf)
    return text.strip().removeprefix("[").removesuffix("]")
