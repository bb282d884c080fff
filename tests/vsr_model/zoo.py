"""Golden values of networks, and the recipe that rebuilds their weights."""

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


@dataclass(frozen=True)
class Case:
    """A configuration of a network: what the public implementation made of it."""

    network: str
    name: str
    output: str
    arguments: Mapping[str, Any]
    meta: Mapping[str, Any]
    values: Mapping[str, np.ndarray]

    def clip(self) -> Tensor:
        return torch.from_numpy(np.random.RandomState(0).rand(*self.meta["inputs"]["x"]).astype(np.float32))

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """The recipe's tensors, by the names of the model's own state dict."""
        return {
            name: torch.from_numpy(self._tensor(name, tuple(tensor.shape)))
            for name, tensor in model.state_dict().items()
        }

    def _tensor(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        z = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
        if len(shape) == 1:
            return (0.01 * z).astype(np.float32)
        gain = next((gain for pattern, gain in self.meta["gains"] if re.search(pattern, name)), 1.0)
        return (z / np.sqrt(np.prod(shape[1:])) * gain).astype(np.float32)


ARGUMENTS = {
    ("egvsr", "tiny", "output"): {"num_blocks": 2},
    ("egvsr", "full", "output"): {},
    ("egvsr", "full_bi", "output"): {"degradation": "BI"},
    ("frvsr", "tiny", "output"): {"mid_channels": 8, "num_blocks": 2},
    ("frvsr", "tiny_bi", "output"): {"mid_channels": 8, "num_blocks": 2, "degradation": "BI"},
    ("frvsr", "frvsr_10_128", "output"): {},
    ("frvsr", "tecogan", "output"): {"mid_channels": 64},
    ("rlsp", "tiny", "output"): {"mid_channels": 8, "num_layers": 4},
    ("rlsp", "7_64", "output"): {"mid_channels": 64},
    ("rlsp", "7_128", "output"): {},
    ("rsdn", "full", "output"): {},
    ("rrn", "tiny", "output"): {"mid_channels": 8, "num_blocks": 2},
    ("rrn", "tiny", "output_selffirst"): {"mid_channels": 8, "num_blocks": 2, "before_first": "first"},
    ("rrn", "5", "output"): {"num_blocks": 5},
    ("rrn", "5", "output_selffirst"): {"num_blocks": 5, "before_first": "first"},
    ("rrn", "10", "output"): {},
    ("rrn", "10", "output_selffirst"): {"before_first": "first"},
}
"""Arguments of this project's classes, for each network, case and output of the golden files."""


@cache
def cases() -> tuple[Case, ...]:
    return tuple(_cases())


def _cases() -> Iterator[Case]:
    for (network, name, output), arguments in ARGUMENTS.items():
        with np.load(GOLDEN / f"{network}.npz") as file:
            meta = json.loads(str(file["meta"]))["cases"][name]
            values = {
                key.removeprefix(f"{name}."): file[key] for key in file.files if key.startswith(f"{name}.")
            }
        yield Case(network, name, output, arguments, meta, values)
