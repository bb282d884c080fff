"""Which device a backend ran on, as an environment.json has it: text of any origin, never relied on."""

from collections.abc import Mapping
from typing import Any, Final

UNKNOWN: Final = "unknown"

NO_GPU: Final = "no CUDA device"
"""What stands for the GPU of a machine that has none; behind it the index of one that it does not have."""


def cuda_devices(environment: Mapping[str, Any]) -> list[Any] | None:
    """Return torch's description of each GPU, in torch's order; None where it is not recorded."""
    torch_side = environment.get("torch")
    found = torch_side.get("devices") if isinstance(torch_side, Mapping) else None
    return found if isinstance(found, list) else None


def device_name(environment: Mapping[str, Any], device: str) -> str:
    """Return environment.json's name for a backend's device: `cpu`, `cuda` or `cuda:<index>`."""
    if not device.startswith("cuda"):
        return str(environment.get("cpu") or f"CPU, {UNKNOWN}")
    known = cuda_devices(environment)
    if known is None:
        return f"GPU, {UNKNOWN}"
    index = int(device.partition(":")[2] or 0)
    if index >= len(known):
        return f"{NO_GPU} {index}" if index else NO_GPU
    found = known[index]
    name = str((found.get("name") if isinstance(found, Mapping) else None) or f"GPU, {UNKNOWN}")
    return name if index == 0 else f"{name} ({device})"
