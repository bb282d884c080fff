"""Memory for what lives within one call only, kept from call to call: fresh pages take time to come."""

import threading
from math import prod
from typing import Final

import torch
from torch import Tensor

_OF_THREAD: Final = threading.local()


def scratch_image(role: str, n: int, channels: int, height: int, width: int) -> Tensor:
    """A channels_last image whose values are not set. The same memory for the same role in the same thread:
    the one before is overwritten."""
    kept: dict[str, Tensor] = _OF_THREAD.__dict__.setdefault("kept", {})
    size = prod((n, channels, height, width))
    if role not in kept or len(kept[role]) < size:
        kept.pop(role, None)  # not two at once
        # What inference mode makes could not be written to outside of it.
        with torch.inference_mode(False):
            kept[role] = torch.empty(size)
    return kept[role][:size].view(n, height, width, channels).permute(0, 3, 1, 2)


def release_scratch() -> None:
    """Let go of what is kept for the calling thread."""
    _OF_THREAD.__dict__.pop("kept", None)
