"""The golden files and the weights they were computed with; tests/data/README.md has the recipe."""

import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).parent / "data"

# The two configurations of the golden files: (mid_channels, num_blocks).
SIZES = {"tiny": (8, 2), "full": (64, 30)}


def names() -> list[tuple[str, str, str | None]]:
    """Every tensor of the full network named by BasicSR, mmagic and the course project (None: not there)."""
    rows = [line.split("\t") for line in (DATA / "state_dict_keys.tsv").read_text().splitlines()]
    return [(basicsr, mmagic, None if course == "None" else course) for basicsr, mmagic, course in rows]


def shapes(mid_channels: int, num_blocks: int) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of the network, by BasicSR's name."""

    def kept(name: str) -> bool:
        block = re.search(r"_trunk\.main\.2\.(\d+)\.", name)
        return block is None or int(block[1]) < num_blocks

    return {name: _shape(name, mid_channels) for name, _, _ in names() if kept(name)}


def _shape(name: str, mid: int) -> tuple[int, ...]:
    if name in ("spynet.mean", "spynet.std"):
        return (1, 3, 1, 1)
    module, kind = name.rsplit(".", 1)
    if module.startswith("spynet."):
        layer = int(module.rsplit(".", 1)[1]) // 2
        channels = (8, 32, 64, 32, 16, 2)
        weight = (channels[layer + 1], channels[layer], 7, 7)
    elif "_trunk." in module:
        weight = (mid, mid + 3 if module.endswith("main.0") else mid, 3, 3)
    else:
        weight = {
            "fusion": (mid, 2 * mid, 1, 1),
            "upconv1": (4 * mid, mid, 3, 3),
            "upconv2": (256, mid, 3, 3),
            "conv_hr": (64, 64, 3, 3),
            "conv_last": (3, 64, 3, 3),
        }[module]
    return weight if kind == "weight" else weight[:1]


def weights(mid_channels: int, num_blocks: int) -> dict[str, Tensor]:
    """The recipe's weights as a state dict in BasicSR's naming."""
    return {name: torch.from_numpy(_values(name, s)) for name, s in shapes(mid_channels, num_blocks).items()}


def _values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name == "spynet.mean":
        return np.array([0.485, 0.456, 0.406], np.float32).reshape(shape)
    if name == "spynet.std":
        return np.array([0.229, 0.224, 0.225], np.float32).reshape(shape)
    if name.endswith(".bias"):
        gain = 0.01
    else:
        gain = 1 / np.sqrt(np.prod(shape[1:]))
        if re.search(r"_trunk\.main\.2\.\d+\.conv2\.weight$", name):
            gain *= 0.1
        if name.startswith("spynet."):
            gain *= 1.2
        if name.split(".", 1)[0] in ("fusion", "upconv1", "upconv2", "conv_hr", "conv_last"):
            gain *= 1.5
    z = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    return (z * gain).astype(np.float32)


def clip(t: int, height: int, width: int) -> Tensor:
    """The recipe's input (1, t, 3, height, width)."""
    return torch.from_numpy(np.random.RandomState(0).rand(1, t, 3, height, width).astype(np.float32))


def load(size: str) -> dict[str, Any]:
    """The golden arrays of one configuration, by key."""
    with np.load(DATA / f"{size}_t3_h72_w100.npz") as arrays:
        return {key: arrays[key] for key in arrays}
