"""Golden values of networks, and the recipe that rebuilds their weights."""

import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vsr_model import Network
from vsr_model.channels import luma_of
from vsr_model.stages import no_probe

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

    def run(self, model: Network) -> Tensor:
        """The model's output of the input."""
        run = RUNS.get(self.network)
        return model(self.clip()) if run is None else run(model, self)

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """The recipe's tensors, by the names of the model's own state dict."""
        own = {public(name, self.network): tensor for name, tensor in model.state_dict().items()}
        slopes = {
            public(f"{name}.weight", self.network)
            for name, module in model.named_modules()
            if isinstance(module, nn.PReLU)
        }
        normalisations = {name.rpartition(".")[0] for name in own if name.endswith(".running_mean")}
        return {
            name: tensor
            if self._is_fixed(name) or not tensor.is_floating_point()
            else torch.full_like(tensor, 0.25)
            if name in slopes
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


_TENSORFLOW = (
    (r"^motion\.", "easyflow/"),
    (r"^sr\.", "srmodel/"),
    (r"prelu\.weight$", "prelu/prelu"),
    (r"\.weight$", "/weights"),
    (r"\.bias$", "/biases"),
    (r"\.", "/"),
)

PUBLIC = {
    "zooming_slowmo": (
        (r"conv_(l[23])_(\d)", lambda match: f"fea_{match[1].upper()}_conv{match[2]}"),
        (
            r"([12])\.(offset_conv\d|dcn_pack|feat_conv)\.(l\d)",
            lambda match: (
                f"{match[3].upper()}_{match[2].replace('_pack', 'pack').replace('feat', 'fea')}_{match[1]}"
            ),
        ),
        (r"conv_offset\.", "conv_offset_mask."),
        (r"^conv_hr\.", "HRconv."),
    ),
    "spmc": _TENSORFLOW,
    "vespcn": _TENSORFLOW,
    "pfnl": (
        (r"^nlblock\.([gw])\.", r"nlvsr/nlblock_0/\1/\1/"),
        (r"^(conv\d+)\.(\d+)\.", r"nlvsr/\1_\2/"),
        (r"^(conv\w+)\.", r"nlvsr/\1/"),
        (r"weight$", "kernel"),
    ),
}
"""From names of weights here to the public ones, of networks whose layers have other names there."""


def public(name: str, network: str) -> str:
    """Return the public name of a weight, by which its value is drawn."""
    spynet = (r"^spynet\.levels\.(\d)\.", r"spynet.basic_module.\1.basic_module.")
    for pattern, replacement in PUBLIC.get(network, (spynet,)):
        name = re.sub(pattern, replacement, name)
    return name


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
    ("espcn", "x4", "output_subconv"): {},
    ("espcn", "x4", "output_reconv"): {"head": "reconv"},
    ("espcn", "x4", "output_deconv"): {"head": "deconv"},
    ("espcn", "x2", "output_subconv"): {"scale": 2},
    ("espcn", "x2", "output_reconv"): {"scale": 2, "head": "reconv"},
    ("espcn", "x2", "output_deconv"): {"scale": 2, "head": "deconv"},
    ("frvsr", "tiny", "output"): {"mid_channels": 8, "num_blocks": 2},
    ("frvsr", "tiny_bi", "output"): {"mid_channels": 8, "num_blocks": 2, "degradation": "BI"},
    ("frvsr", "frvsr_10_128", "output"): {},
    ("tdan", "full", "output"): {},
    ("tecogan", "tecogan", "output"): {},
    ("tecogan", "tecogan_nb16", "output"): {"num_blocks": 16},
    ("sofvsr", "tip_x4", "output"): {},
    ("sofvsr", "tip_x4", "output_align_corners_false"): {"align_corners": False},
    ("sofvsr", "tip_x2", "output"): {"scale": 2},
    ("sofvsr", "tip_x2", "output_align_corners_false"): {"scale": 2, "align_corners": False},
    ("sofvsr", "tip_x4_5f", "output"): {"window": 5},
    ("sofvsr", "tip_x4_5f", "output_align_corners_false"): {"window": 5, "align_corners": False},
    ("sofvsr_accv", "accv_x4", "output"): {},
    ("sofvsr_accv", "accv_x4", "output_align_corners_false"): {"align_corners": False},
    ("spmc", "full", "outputs"): {},
    ("tga", "full", "output"): {},
    ("toflow", "full_from_lr", "output"): {},
    ("iconvsr", "tiny", "output"): {"mid_channels": 8, "num_blocks": 2},
    ("iconvsr", "tiny_pad3", "output"): {"mid_channels": 8, "num_blocks": 2, "reach": 3},
    ("iconvsr", "full", "output"): {},
    ("pfnl", "full", "output"): {},
    ("rbpn", "tiny", "output"): {
        "mid_channels": 16,
        "high_channels": 8,
        "num_blocks": 2,
        "neighbours": 3,
    },
    ("rbpn", "full", "output"): {},
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
    ("vespcn", "rebuild", "outputs"): {"form": "rebuild"},
    ("zooming_slowmo", "tiny", "output"): {
        "mid_channels": 16,
        "num_blocks": 2,
        "extract_blocks": 1,
        "groups": 4,
    },
    ("zooming_slowmo", "full", "output"): {},
}
"""Arguments of this project's classes, for each network, case and output of the golden files."""


FILES = {"carn_m": "carn", "sofvsr_accv": "sofvsr", "tecogan": "frvsr"}
"""Files of golden values of networks that share one with another."""


def drawn(shape: Sequence[int], seed: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).rand(*shape).astype(np.float32))


def _tga(model: Any, case: Case) -> Tensor:
    """Of nine frames in their groups, and the enlarged one."""
    shapes = case.meta["inputs"]
    residual: Tensor = model.residual(drawn(shapes["x"], 0), no_probe)
    return (drawn(shapes["hr"], 1000) + residual)[:, None]


def _rbpn(model: Network, case: Case) -> Tensor:
    """Of a window whose middle frame has the flow to each of the others."""
    others = len(case.meta["inputs"]["neighbours"])
    n, _, height, width = case.meta["inputs"]["x"]
    clip = drawn((n, others + 1, 3, height, width), 0)
    flows = 2 * np.random.RandomState(1000).standard_normal((others, n, 2, height, width)).astype(np.float32)
    given = torch.from_numpy(flows).transpose(0, 1).flatten(1, 2)[:, None].expand(-1, others + 1, -1, -1, -1)
    return model(torch.cat((clip, given), 2))


def _luma(model: Any, case: Case) -> Tensor:
    """Of RGB, whose luma the public implementation computes inside; it gives the middle frame."""
    return model(luma_of(drawn(case.meta["inputs"]["x"], 0)))[:, 1:2]


def _spmc(model: Any, case: Case) -> Tensor:
    """Of RGB, the outputs after each frame."""
    frames = luma_of(drawn(case.meta["inputs"]["x"], 0)).unbind(1)
    return torch.stack(model.outputs(list(frames), no_probe), 1)


def _accv(model: Any, case: Case) -> Tensor:
    """Of frames that stand where colours do elsewhere."""
    return model(drawn(case.meta["inputs"]["x"], 0)[:, :, None])


RUNS: Mapping[str, Callable[[Any, Case], Tensor]] = {
    "rbpn": _rbpn,
    "sofvsr_accv": _accv,
    "spmc": _spmc,
    "tga": _tga,
    "vespcn": _luma,
}
"""Calls of networks whose golden values are of more, or of less, than a clip."""


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
