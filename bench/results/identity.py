"""The identity of a run: hashes of its configuration, code and machine, and in which facts runs differ.

Each hash is the SHA-256 of a canonical text, the same in every process: two runs of the same YAML, code and
machine have the same three. An environment.json is text of any origin, of which any part may be missing.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from bench import __version__
from bench.machine.environment import cpu_in_short
from bench.places import ROOT

MAY_DIFFER: Final = (
    "host_name", "memory_bytes", "swap_bytes", "vsr_bench", "git_commit", "harness_commit", "timer",
    "dropped_environment",
)  # fmt: skip
"""Fields that may differ in the same environment: names, what changes at each start, what the code's hash
covers, and variables that do not reach what is measured."""

SHOWN: Final = 60
"""Characters of a value that a message repeats."""

HARNESS: Final = "bench"
NETWORK: Final = "vsr_model"
"""The two packages: what measures, and what is measured."""

CACHES: Final = ("__pycache__", "*.pyc")
"""Files and folders in them that Python makes by itself."""


Facts = Mapping[str, str]
"""Texts by name: `outer.inner` of what was nested."""

UNKNOWN: Final = "unknown"

NO_GPU: Final = "no CUDA device"
"""What stands for the GPU of a machine that has none; behind it the index of one that it does not have."""


class CodeVersion(BaseModel):
    """The version of the code that measured."""

    model_config = ConfigDict(frozen=True)

    version: str  # of the package
    git_commit: str | None  # of the clone that it ran from; None outside one
    dirty: bool | None  # whether files differed from that commit
    source_sha256: str  # of its files: equal where the code is, whatever is committed

    @property
    def in_short(self) -> str:
        commit = (
            f", commit {self.git_commit[:12]}{' and changes' if self.dirty else ''}"
            if self.git_commit
            else ""
        )
        return f"version {self.version}{commit}, source {self.source_sha256[:12]}"


def package_files(folder: Path, package: str) -> Iterator[Path]:
    """Yield the files of a package in the folder, in order, without caches and what links to folders hold."""
    for path in sorted((folder / package).rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(fnmatch(part, cache) for part in parts for cache in CACHES):
            yield path


def code_version(described_commit: str | None, network: Path | None = None) -> CodeVersion:
    """Return the version of this program.

    `described_commit` is the environment's git_commit, with or without `-dirty`.

    `network`: the folder that `vsr_model` is measured from, where that is not this program's own.
    """
    commit, _, dirty = (described_commit or "").partition("-")
    return CodeVersion(
        version=__version__,
        git_commit=commit or None,
        dirty=bool(dirty) if commit else None,
        source_sha256=_source_sha256(network),
    )


def config_sha256(config: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """Hash a configuration with every field written out.

    The content of media and checkpoints counts (`files`, their SHA-256 by name). Their paths, and that of a
    memory plan's file, do not.
    """
    without_paths = {
        **config,
        "model": [_without(item, "checkpoint", "folder") for item in config["model"]],
        "input": [_without(item, "path") for item in config["input"]],
        "backends": [_without_folder(item) for item in config["backends"]],
    }
    return _sha256({"config": without_paths, "files": files})


def environment_sha256(environment: Mapping[str, Any]) -> str:
    """Hash an environment.json without the fields that change while the machine stays the same."""
    return _sha256(lasting(environment))


def lasting(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an environment that stays while the machine and its installation stay the same."""
    return _without(json.loads(json.dumps(environment)), *MAY_DIFFER)


def _without_folder(backend: Mapping[str, Any]) -> Mapping[str, Any]:
    plan = backend.get("memory_plan")
    return backend if plan is None else {**backend, "memory_plan": _without(plan, "folder")}


def _without(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _sha256(data: object) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _source_sha256(network: Path | None) -> str:
    found = hashlib.sha256()
    for package, folder in ((HARNESS, ROOT), (NETWORK, network or ROOT)):
        for path in package_files(folder, package):
            found.update(f"{path.relative_to(folder).as_posix()}\0".encode())
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def flat(value: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Flatten a nested value into texts by name.

    Mappings give `outer.inner`, a list of plain values one text, and other lists names by position. None is
    left out.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, (list, tuple)) and any(isinstance(item, (Mapping, list, tuple)) for item in value):
        for place, item in enumerate(value):
            yield from flat(item, f"{prefix}.{place}")
    elif isinstance(value, (list, tuple)):
        yield prefix, ", ".join(map(str, value))
    elif value is not None:
        yield prefix, str(value)


def facts(values: Mapping[str, object], but: Iterable[str] = ()) -> Facts:
    """Return the values as texts by name, without the top-level names in `but`."""
    return dict(flat(_without(values, *but)))


def differing_facts(sides: Sequence[Facts]) -> dict[str, tuple[str | None, ...]]:
    """Return the facts that differ between the sides, in the order of first appearance.

    None: that side lacks the fact.
    """
    texts = {name: tuple(side.get(name) for side in sides) for name in dict.fromkeys(chain(*sides))}
    return {name: values for name, values in texts.items() if len(set(values)) > 1}


def shown(text: str | None) -> str:
    """Shorten a fact for a message."""
    if text is None:
        return "nothing"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def cuda_devices(environment: Mapping[str, Any]) -> list[Any] | None:
    """Return torch's description of each GPU, in torch's order; None where it is not recorded."""
    torch_side = environment.get("torch")
    found = torch_side.get("devices") if isinstance(torch_side, Mapping) else None
    return found if isinstance(found, list) else None


def device_name(environment: Mapping[str, Any], device: str) -> str:
    """Return environment.json's name for a backend's device: `cpu`, `cuda` or `cuda:<index>`."""
    if not device.startswith("cuda"):
        return cpu_in_short(environment) if environment.get("cpu") else f"CPU, {UNKNOWN}"
    known = cuda_devices(environment)
    if known is None:
        return f"GPU, {UNKNOWN}"
    index = int(device.partition(":")[2] or 0)
    if index >= len(known):
        return f"{NO_GPU} {index}" if index else NO_GPU
    found = known[index]
    name = str((found.get("name") if isinstance(found, Mapping) else None) or f"GPU, {UNKNOWN}")
    return name if index == 0 else f"{name} ({device})"
