"""Weights from files: in BasicSR's, mmagic's, the course project's or this project's own naming."""

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vsr_model.errors import BadInput

# What training code wraps a network in, as a nested dict or as a prefix of every name. Averaged weights are
# what the papers evaluate, so they are preferred to the raw ones beside them.
_AVERAGED: Final = frozenset({"params_ema", "generator_ema"})
_NETWORK: Final = frozenset({"params", "generator"})
_WRAPPERS: Final = _AVERAGED | _NETWORK | {"state_dict", "module", "_orig_mod"}
_MAX_DEPTH: Final = len(_WRAPPERS)  # a file may nest a dict in itself

# What training leaves beside the weights under the same wrapper: counters, and other parts of its objective.
_NOT_NETWORK: Final = re.compile(
    r"(?:step_counter|steps|n_averaged)$|(?:discriminator|\w+_loss|data_preprocessor)\."
)

# How torch says that a file names a class or a function that is neither a tensor's nor a plain container's.
_REFUSED: Final = re.compile(r"(?i)unsupported (?:global|class)|arbitrary class|unrecognized function")

_SHOWN: Final = 5  # names of each kind in an error message, before "and n more"
_MAX_NAME: Final = 90  # characters of a name and its shape in an error message


def _rule(pattern: str, name: str | Callable[[re.Match[str]], str]) -> Callable[[str], str]:
    compiled = re.compile(pattern)
    return lambda text: compiled.sub(name, text)


# Others' names to this project's, all applied in this order; a name of this project passes unchanged.
_RULES: Final = (
    _rule(r"^(?:spynet\.)?(?=(?:mean|std)$|(?:levels|basic_module)\.)", "alignment.spynet."),
    # mmagic keeps convolution and activation in one module, so it counts layers where others count both.
    _rule(
        r"(?<=^alignment\.spynet\.)basic_module\.(\d)\.basic_module\.(\d)\.conv\.",
        lambda match: f"levels.{match[1]}.{2 * int(match[2])}.",
    ),
    _rule(r"(?<=^alignment\.spynet\.)basic_module\.(\d)\.basic_module\.", r"levels.\1."),
    _rule(
        r"^(backward|forward)_(?:trunk|resblocks)\.(?:main|conv_resblock)\.", r"propagation.\1_trunk.main."
    ),
    _rule(r"(?<=_trunk\.)main\.0\.", "conv_in."),
    _rule(r"(?<=_trunk\.)main\.2\.", "blocks."),
    _rule(r"^(?:fusion|concate)\.", "aggregation.fusion."),
    _rule(r"^(?:upsample|up)([12])\.(?:upsample|up)_conv\.", r"upconv\1."),
    _rule(r"^(?=(?:upconv[12]|conv_hr|conv_last)\.)", "upsampling."),
)

_SPYNET: Final = "alignment.spynet."
_OPTIONAL: Final = frozenset({_SPYNET + "mean", _SPYNET + "std"})  # constants that not every project stores


def load_checkpoint(model: nn.Module, source: str | os.PathLike[str] | Mapping[str, Any]) -> None:
    """Load weights into a `BasicVSR`, in place, keeping its dtype and device.

    `source` is a state dict or a file: `.safetensors`, or what `torch.save` wrote, of which nothing but
    tensors and plain containers is ever unpickled. Names may be those of BasicSR, mmagic, the course project
    or this project, inside `params_ema`, `params`, `state_dict`, `generator_ema`, `generator` or `module`,
    nested in any order, as dicts or as prefixes; averaged weights are taken where there are both. A file
    that holds only SPyNet, as the published flow weights do, replaces only SPyNet.

    Raises BadInput, with the model untouched, if the file cannot be read, its tensors are not the model's, or
    not all of their values are finite in the model's own type.
    """
    if isinstance(source, Mapping):
        label, content = "The state dict", source
    else:
        label, content = os.fspath(source), _read(Path(source))
    targets = model.state_dict(keep_vars=True)
    tensors, unexpected = _select(content, targets)
    _check_fit(label, targets, tensors, unexpected)
    with torch.no_grad():
        for name, tensor in tensors.items():
            targets[name].copy_(tensor)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        _check_file(path)
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            # Of an archive of code and of another protocol torch warns first, and then refuses or reads it.
            warnings.simplefilter("ignore")
            content = torch.load(path, weights_only=True, map_location="cpu")
    except BadInput:
        raise
    except FileNotFoundError:
        raise BadInput(f"The checkpoint {path} does not exist.") from None
    except OSError as error:
        raise BadInput(f"The checkpoint {path} cannot be read: {error.strerror or error}.") from error
    except pickle.UnpicklingError as error:
        if _REFUSED.search(str(error)):
            raise BadInput(
                f"{path} was not loaded because it holds more than tensors, which could run code; "
                f"save only its state dict."
            ) from error
        raise BadInput(f"{path} is not a checkpoint, or it is damaged.") from error
    except Exception as error:  # bytes of any origin fail in any way, from struct.error to RuntimeError
        raise BadInput(f"{path} is not a checkpoint, or it is damaged.") from error
    if not isinstance(content, Mapping):
        raise BadInput(f"{path} holds a {type(content).__name__}, not a state dict.")
    return content


def _check_file(path: Path) -> None:
    """Refuse what opening would wait for, and an archive that unpacks to more than it holds."""
    if path.is_dir():
        raise BadInput(f"The checkpoint {path} is a folder, and a file is expected.")
    if path.exists() and not path.is_file():
        raise BadInput(f"The checkpoint {path} is a device or a pipe, and a file is expected.")
    size = path.stat().st_size
    if size == 0:
        raise BadInput(f"{path} is not a checkpoint, or it is damaged: it is empty.")
    if path.suffix.lower() != ".safetensors" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            # torch.save packs nothing: what unpacks to more is no work of its own, and could fill the memory.
            if sum(entry.file_size for entry in archive.infolist()) > size:
                raise BadInput(f"{path} was not loaded because it unpacks to more than its {size} bytes.")


def _select(
    content: Mapping[str, Any], targets: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The network's tensors by this project's names, and those under the same wrapper that are not in it."""
    groups: dict[tuple[str, ...], dict[str, Tensor]] = {}
    for path, tensor in _flatten(content, (), set()):
        depth = 0
        while path[depth] in _WRAPPERS and depth < len(path) - 1:
            depth += 1
        groups.setdefault(path[:depth], {})[".".join(path[depth:])] = tensor

    def preference(wrappers: tuple[str, ...]) -> tuple[bool, bool, bool, int]:
        known = sum(own_name(name) in targets for name in groups[wrappers])
        return known > 0, not _AVERAGED.isdisjoint(wrappers), not _NETWORK.isdisjoint(wrappers), known

    best = max(groups, key=preference, default=())
    tensors: dict[str, Tensor] = {}
    unexpected: dict[str, Tensor] = {}
    for name, tensor in groups.get(best, {}).items():
        known_as = own_name(name)
        # Twice, in two namings: the second is one too many.
        if known_as in targets and known_as not in tensors:
            tensors[known_as] = tensor
        elif not _NOT_NETWORK.match(name):
            unexpected[name] = tensor
    return tensors, unexpected


def _flatten(
    content: Mapping[str, Any], wrappers: tuple[str, ...], seen: set[int]
) -> Iterable[tuple[tuple[str, ...], Tensor]]:
    """Every tensor of a state dict with its path through whatever wraps it; the rest is ignored.

    A dict that stands in several places, perhaps in itself, counts where it is met first (`seen`: its id).
    """
    if id(content) in seen:
        return
    seen.add(id(content))
    for name, value in content.items():
        if not isinstance(name, str):
            continue
        if isinstance(value, Tensor):
            yield (*wrappers, *name.split(".")), value
        elif isinstance(value, Mapping) and name in _WRAPPERS and len(wrappers) < _MAX_DEPTH:
            yield from _flatten(value, (*wrappers, name), seen)


def own_name(name: str) -> str:
    """What this project calls a tensor of the network that another one calls `name`."""
    for rule in _RULES:
        name = rule(name)
    return name


def _check_fit(
    label: str, targets: Mapping[str, Tensor], tensors: Mapping[str, Tensor], unexpected: Mapping[str, Tensor]
) -> None:
    if not tensors and not unexpected:
        raise BadInput(f"{label} holds no weights.")
    only_spynet = bool(tensors) and not unexpected and all(name.startswith(_SPYNET) for name in tensors)
    missing = {
        name: tensor
        for name, tensor in targets.items()
        if name not in tensors and name not in _OPTIONAL and (name.startswith(_SPYNET) or not only_spynet)
    }
    misshapen = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(targets[name].shape)}"
        for name, tensor in tensors.items()
        if tensor.shape != targets[name].shape
    ]
    unusable = [name for name, tensor in tensors.items() if not _is_plain(tensor)]
    wild = [
        name
        for name, tensor in tensors.items()
        # Of another shape it may be of any size: a few values, repeated without end.
        if tensor.shape == targets[name].shape
        and name not in unusable
        and not _is_finite(tensor, targets[name].dtype)
    ]
    complaints = [
        f"{what}: {_listed(names)}"
        for what, names in (
            ("missing", [f"{name} {tuple(tensor.shape)}" for name, tensor in missing.items()]),
            ("unexpected", [f"{name} {tuple(tensor.shape)}" for name, tensor in unexpected.items()]),
            ("wrongly shaped", misshapen),
            ("not dense floating point numbers", unusable),
            ("with values that are not finite", wild),
        )
        if names
    ]
    if complaints:
        raise BadInput(f"{label} does not fit the model; {'; '.join(complaints)}.")


def _is_plain(tensor: Tensor) -> bool:
    """Whether copying from the tensor can neither fail nor lose a part of it."""
    return (
        tensor.layout is torch.strided
        and not tensor.is_meta
        and not tensor.is_quantized
        and tensor.is_floating_point()
    )


def _is_finite(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether every value is finite as the model would hold it."""
    return bool(tensor.to(dtype).isfinite().all())


def _listed(names: list[str]) -> str:
    shown = ", ".join(
        name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 23]}...{name[-20:]}"
        for name in names[:_SHOWN]
    )
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
