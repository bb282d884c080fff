"""Memory for what lives within one call only, kept from call to call: fresh pages take time to come."""

import threading
from math import prod
from typing import Final

import torch
from torch import Tensor

_OF_THREAD: Final = threading.local()


def scratch_image(role: str, n: int, channels: int, height: int, width: int) -> Tensor:
    """Return a channels_last image whose values are not set, on torch's default device.

    It is the same memory for the same role in the same thread: the one before is overwritten.
    """
    values = claim(role, 4 * prod((n, channels, height, width))).view(torch.float32)
    return values.view(n, height, width, channels).permute(0, 3, 1, 2)


def claim(role: str, size: int) -> Tensor:
    """Return so many bytes for a role, kept for the calling thread."""
    kept: dict[str, Tensor] = _OF_THREAD.__dict__.setdefault("kept", {})
    device = torch.get_default_device()
    if role not in kept or len(kept[role]) < size or kept[role].device != device:
        kept.pop(role, None)  # not two at once
        # What inference mode makes could not be written to outside of it.
        with torch.inference_mode(False):
            kept[role] = torch.empty(size, dtype=torch.uint8)
    return kept[role][:size]


def release_scratch() -> None:
    """Let go of what is kept for the calling thread."""
    _OF_THREAD.__dict__.pop("kept", None)
