"""Describe what explains a number later, without user name, home path, or host name unless asked for."""

import getpass
import os
import platform
import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import psutil

from bench import __version__
from bench.machine import gpu, host, variables
from bench.places import ROOT
from bench.units import counted

PACKAGES: Final = (
    "torch", "numpy", "pandas", "matplotlib", "memory-profiler", "psutil", "av", "pydantic", "nvidia-ml-py",
)  # fmt: skip

ALLOCATOR_VARIABLES: Final = {
    "retain": {
        # Everything from the heap, and the heap never shrinks: pages are faulted in once per process.
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**63 - 1),
        "MALLOC_TOP_PAD_": str(64 * 2**20),
    },
    "system": {},
}
"""Environment of the workers by `measure.allocator` (mallopt(3)); the same for every backend of a run."""

_CAPABILITIES: Final = {"AVX512": "AVX-512", "AVX2": "AVX2"}
"""The instruction set by torch's word for it, where /proc/cpuinfo's flags were not recorded."""


def collect(
    torch_side: Mapping[str, Any], workers_environment: Mapping[str, str], *, with_host_name: bool = False
) -> dict[str, Any]:
    """Return environment.json: this machine, its software and the settings that workers start with.

    `torch_side` is what a worker said of torch and its devices (bench.measure.backends.describe_devices).
    """
    described: dict[str, Any] = {
        "vsr_bench": __version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "os": _os_name(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "machine": platform.machine(),
        "cpu_physical_cores": psutil.cpu_count(logical=False),
        "cpu_logical_cores": psutil.cpu_count(),
        "cpu_affinity": len(host.allowed_cores()),
        "memory_bytes": psutil.virtual_memory().total,
        "swap_bytes": psutil.swap_memory().total,
        **host.describe(),
        "packages": {name: _version(name) for name in PACKAGES},
        "torch": dict(torch_side),
        **gpu.describe(),
        "workers_environment": dict(workers_environment),
        "inherited_environment": _inherited(dropped=False),
        "dropped_environment": _inherited(dropped=True),
    }
    if with_host_name:
        described["host_name"] = platform.node()
    return described


def cpu_in_short(environment: Mapping[str, Any]) -> str:
    """Return the processor by name, instruction set and cores, as far as an environment.json knows them.

    Such as `AMD EPYC, AVX-512, 2 cores`: one name stands for processors that differ severalfold.
    """
    torch_side = environment.get("torch")
    capability = torch_side.get("cpu_capability") if isinstance(torch_side, Mapping) else None
    found = environment.get("cpu_instruction_set") or _CAPABILITIES.get(str(capability))
    cores = environment.get("cpu_physical_cores")
    parts = (environment.get("cpu"), found, counted(cores, "core") if cores else None)
    return ", ".join(str(part) for part in parts if part)


def in_short(environment: Mapping[str, Any]) -> str:
    """Return the machine in a line, from an environment.json: processor, GPUs, torch, as far as known."""
    torch_side = environment.get("torch")
    torch_side = torch_side if isinstance(torch_side, Mapping) else {}
    parts = []
    if environment.get("cpu"):
        parts.append(cpu_in_short(environment))
        if torch_side.get("threads"):
            parts.append(counted(torch_side["threads"], "thread"))
    gpus = Counter(
        str(device.get("name")) for device in torch_side.get("devices", ()) if isinstance(device, Mapping)
    )
    parts += [name if count == 1 else f"{count} × {name}" for name, count in gpus.items()]
    for name, key in (("torch", "torch"), ("CUDA", "torch_cuda"), ("cuDNN", "cudnn")):
        if torch_side.get(key):
            parts.append(f"{name} {torch_side[key]}")
    return ", ".join(parts)


def _inherited(*, dropped: bool) -> dict[str, str]:
    """Return the variables of bench.machine.variables that workers do not get, or those that they get."""
    found = variables.of_families(os.environ, dropped=dropped)
    return {name: _without_names(value) for name, value in found}


def _git_commit() -> str | None:
    """Return the commit of the clone that this runs from, `-dirty` where files differ; None outside one."""
    if not (ROOT / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            cwd=ROOT, capture_output=True, text=True, timeout=10, check=True,
            env=variables.for_git(os.environ),
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip()


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _without_names(value: str) -> str:
    """Return the value with neither the home folder nor the user's name in its paths."""
    with suppress(RuntimeError):  # a user without a home
        if (home := str(Path.home())) != "/":
            value = re.sub(rf"{re.escape(home)}(?=$|[/:;, ])", "~", value)
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a process whose user has no name
        return value
    return re.sub(rf"(?<=/){re.escape(user)}(?=$|[/:;, ])", "<user>", value)
