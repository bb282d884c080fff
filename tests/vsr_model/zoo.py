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
        """The input, with an axis of frames where it is an image."""
        clip = np.random.RandomState(0).rand(*self.meta["inputs"]["x"]).astype(np.float32)
        return torch.from_numpy(clip if clip.ndim == 5 else clip[:, None])

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """The recipe's tensors, by the names of the model's own state dict."""
        own = {public(name): tensor for name, tensor in model.state_dict().items()}
        normalisations = {name.rpartition(".")[0] for name in own if name.endswith(".running_mean")}
        return {
            name: tensor
            if self._is_fixed(name)
            else torch.from_numpy(
                self._tensor(name, tuple(tensor.shape), normalises=name.rpartition(".")[0] in normalisations)
            )
            for name, tensor in own.items()
        }

    def _is_fixed(self, name: str) -> bool:
        return any(re.search(pattern, name) for pattern in self.meta["fixed"])

    def _tensor(self, name: str, shape: tuple[int, ...], *, normalises: bool) -> np.ndarray:
        z = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
        if normalises:
            around_one = {"weight": 1 + 0.1 * z, "running_var": 1 + 0.1 * abs(z)}
            return np.asarray(around_one.get(name.rpartition(".")[2], 0.1 * z), np.float32)
        if len(shape) == 1:
            return (0.01 * z).astype(np.float32)
        gain = next((gain for pattern, gain in self.meta["gains"] if re.search(pattern, name)), 1.0)
        return (z / np.sqrt(np.prod(shape[1:])) * gain).astype(np.float32)


def public(name: str) -> str:
    """Return the public name of a weight, by which its value is drawn."""
    return re.sub(r"^spynet\.levels\.(\d)\.", r"spynet.basic_module.\1.basic_module.", name)


ARGUMENTS = {
    ("basicvsrpp", "tiny", "output"): {"mid_channels": 8, "num_blocks": 2},
    ("basicvsrpp", "full", "output"): {},
    ("carn", "carn_x4", "output_x4"): {},
    ("carn", "carn_multi", "output_x4"): {"multi_scale": True},
    ("carn_m", "carn_m_x4", "output_x4"): {},
    ("carn_m", "carn_m_multi", "output_x4"): {"multi_scale": True},
    ("duf", "16", "output"): {"num_layers": 16},
    ("duf", "16_eps1e-3", "output"): {"num_layers": 16, "official_weights": True},
    ("duf", "28", "output"): {"num_layers": 28},
    ("duf", "52", "output"): {},
    ("edvr", "tiny", "output"): {"mid_channels": 8, "num_blocks": 3, "extract_blocks": 2},
    ("edvr", "tiny_notsa", "output"): {
        "mid_channels": 8,
        "num_blocks": 3,
        "extract_blocks": 2,
        "with_tsa": False,
    },
    ("edvr", "m", "output"): {},
    ("edvr", "l", "output"): {"mid_channels": 128, "num_blocks": 40},
    ("egvsr", "tiny", "output"): {"num_blocks": 2},
    ("egvsr", "full", "output"): {},
    ("egvsr", "full_bi", "output"): {"degradation": "BI"},
    ("frvsr", "tiny", "output"): {"mid_channels": 8, "num_blocks": 2},
    ("frvsr", "tiny_bi", "output"): {"mid_channels": 8, "num_blocks": 2, "degradation": "BI"},
    ("frvsr", "frvsr_10_128", "output"): {},
    ("tdan", "full", "output"): {},
    ("tecogan", "tecogan", "output"): {},
    ("tecogan", "tecogan_nb16", "output"): {"num_blocks": 16},
    ("toflow", "full_from_lr", "output"): {},
    ("iconvsr", "tiny", "output"): {"mid_channels": 8, "num_blocks": 2},
    ("iconvsr", "tiny_pad3", "output"): {"mid_channels": 8, "num_blocks": 2, "reach": 3},
    ("iconvsr", "full", "output"): {},
    ("rfdn", "tiny", "output"): {"mid_channels": 16},
    ("rfdn", "full", "output"): {},
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


FILES = {"carn_m": "carn", "tecogan": "frvsr"}
"""Files of golden values of networks that share one with another."""


@cache
def cases() -> tuple[Case, ...]:
    return tuple(_cases())


def _cases() -> Iterator[Case]:
    for (network, name, output), arguments in ARGUMENTS.items():
        with np.load(GOLDEN / f"{FILES.get(network, network)}.npz") as file:
            meta = json.loads(str(file["meta"]))["cases"][name]
            values = {
                key.removeprefix(f"{name}."): file[key] for key in file.files if key.startswith(f"{name}.")
            }
        yield Case(network, name, output, arguments, meta, values)
