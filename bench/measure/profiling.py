"""Runs one call under torch's profiler, and keeps its trace. Runs after everything that is timed."""

import gzip
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from bench.measure.backends import Device
from bench.measure.trace_reading import CALL_LABEL, STAGE_LABEL
from vsr_model.stages import StageProbe, no_probe

_KEPT: Final = ("schemaVersion", "deviceProperties", "displayTimeUnit", "baseTimeNanoseconds")
"""Fields of a trace that are kept beside its events; others name files and processes of this machine."""


def label_probe(stage: str, /) -> AbstractContextManager[None]:
    """Return a range of the profiler for a stage: a probe for the network."""
    return record_function(f"{STAGE_LABEL}{stage}")


def trace_of(forward: Callable[[StageProbe], object], device: Device, scratch: Path) -> dict[str, Any]:
    """Return the trace of one call, for `trace_reading.read`; `scratch` is a file to use.

    A call before it, under a profiler that is thrown away, loads what a profiler needs at its first use.
    """
    activities = [ProfilerActivity.CPU]
    if device.torch_device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities):
        forward(no_probe)
        device.synchronize()
    with profile(activities=activities) as profiler:
        # The profiler may miss the first work of a session: this belongs to no call.
        torch.zeros(1, device=device.torch_device)
        device.synchronize()
        with record_function(CALL_LABEL):
            result = forward(label_probe)
            device.synchronize()
        del result  # freeing it is no part of the call
    scratch.parent.mkdir(parents=True, exist_ok=True)
    try:
        profiler.export_chrome_trace(str(scratch))
        with scratch.open(encoding="utf-8", errors="replace") as file:
            exported = json.load(file, strict=False)
    finally:
        scratch.unlink(missing_ok=True)
    return tidied(exported)


def tidied(exported: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trace without the paths of this machine."""
    events = [dict(event) for event in exported["traceEvents"]]
    for event in events:
        if isinstance(args := event.get("args"), Mapping):
            event["args"] = {
                name: value
                for name, value in args.items()
                if not (isinstance(value, str) and value.startswith(("/", "~")))
            }
    return {**{name: exported[name] for name in _KEPT if name in exported}, "traceEvents": events}


def keep(trace: Mapping[str, Any], path: Path, scratch: Path) -> None:
    """Keep a trace, compressed, whole or not at all; `scratch` is a file to use on the same file system."""
    scratch.parent.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with gzip.open(scratch, "wt", encoding="utf-8") as file:
            json.dump(trace, file, separators=(",", ":"))
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
