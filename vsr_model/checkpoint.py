"""Weights from files, in this project's naming or in those that a network's facts know."""

import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from vsr_model.errors import BadInput
from vsr_model.network import Facts

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

# In torch's messages on a class or a function that is neither a tensor's nor a plain container's.
_REFUSED: Final = re.compile(r"(?i)unsupported (?:global|class)|arbitrary class|unrecognized function")

_NO_FACTS: Final = Facts(title="", source="", stages={})  # of a module that is no network: names are its own

_SHOWN: Final = 5  # names of each kind in an error message, before "and n more"
_MAX_NAME: Final = 90  # characters of a name and its shape in an error message


def load_checkpoint(model: nn.Module, source: str | os.PathLike[str] | Mapping[str, Any]) -> None:
    """Load weights into a network, in place, keeping its dtype and device.

    `source` is a state dict or a file: `.safetensors`, or what `torch.save` wrote, of which nothing but
    tensors and plain containers is ever unpickled. Names may be the network's own or those of other
    implementations that its facts know, inside `params_ema`, `params`, `state_dict`, `generator_ema`,
    `generator` or `module`, nested in any order, as dicts or as prefixes; averaged weights are taken where
    there are both. A file that holds only one of `facts.parts`, as published flow weights do, replaces only
    that.

    Raises BadInput, with the model untouched, if the file cannot be read, its tensors are not the model's, or
    not all of their values are finite in the model's own type.
    """
    if isinstance(source, Mapping):
        label, content = "The state dict", source
    else:
        label, content = os.fspath(source), _read(Path(source))
    facts = getattr(model, "facts", None)
    if not isinstance(facts, Facts):
        facts = _NO_FACTS
    targets = model.state_dict(keep_vars=True)
    tensors, unexpected = _select(content, targets, facts)
    _check_fit(label, targets, tensors, unexpected, facts)
    with torch.no_grad():
        for name, tensor in tensors.items():
            targets[name].copy_(tensor)


def _own_name(name: str, facts: Facts) -> str:
    """Return the network's name for a tensor that another project calls `name`; its own names stay."""
    for pattern, replacement in facts.names:
        name = re.sub(pattern, replacement, name)
    return name


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
    content: Mapping[str, Any], targets: Mapping[str, Tensor], facts: Facts
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the network's tensors by its own names, and those under the same wrapper that are not in it."""
    groups: dict[tuple[str, ...], dict[str, Tensor]] = {}
    for path, tensor in _flatten(content, (), set()):
        last = 0
        while path[last] in _WRAPPERS and last < len(path) - 1:
            last += 1
        # A network may have a submodule of a wrapper's name.
        depths = (depth for depth in range(last) if _own_name(".".join(path[depth:]), facts) in targets)
        depth = next(depths, last)
        groups.setdefault(path[:depth], {})[".".join(path[depth:])] = tensor

    def preference(wrappers: tuple[str, ...]) -> tuple[bool, bool, bool, int]:
        known = sum(_own_name(name, facts) in targets for name in groups[wrappers])
        return known > 0, not _AVERAGED.isdisjoint(wrappers), not _NETWORK.isdisjoint(wrappers), known

    best = max(groups, key=preference, default=())
    tensors: dict[str, Tensor] = {}
    unexpected: dict[str, Tensor] = {}
    for name, tensor in groups.get(best, {}).items():
        known_as = _own_name(name, facts)
        # Twice, in two namings: the second is one too many.
        if known_as in targets and known_as not in tensors:
            tensors[known_as] = tensor
        elif not _NOT_NETWORK.match(name) and not (facts.ignored and re.search(facts.ignored, name)):
            unexpected[name] = tensor
    return tensors, unexpected


def _flatten(
    content: Mapping[str, Any], wrappers: tuple[str, ...], seen: set[int]
) -> Iterable[tuple[tuple[str, ...], Tensor]]:
    """Yield every tensor of a state dict with its path through the wrappers; the rest is ignored.

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


def _check_fit(
    label: str,
    targets: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    unexpected: Mapping[str, Tensor],
    facts: Facts,
) -> None:
    if not tensors and not unexpected:
        raise BadInput(f"{label} holds no weights.")
    only = next(
        (part for part in facts.parts if not unexpected and all(name.startswith(part) for name in tensors)),
        "",
    )
    problems: dict[str, list[str]] = {
        "missing": [
            f"{name} {tuple(tensor.shape)}"
            for name, tensor in targets.items()
            if name not in tensors
            and name.startswith(only)
            and not (facts.optional and re.search(facts.optional, name))
            and not name.endswith("num_batches_tracked")  # which normalisation counts, and never reads here
        ],
        "unexpected": [f"{name} {tuple(tensor.shape)}" for name, tensor in unexpected.items()],
        "wrongly shaped": [],
        "not dense numbers of the model's kind": [],
        "with values that are not finite": [],
    }
    for name, tensor in tensors.items():
        target = targets[name]
        if tensor.shape != target.shape:  # of any size, perhaps: a few values, repeated without end
            shapes = f"{name} {tuple(tensor.shape)} instead of {tuple(target.shape)}"
            problems["wrongly shaped"].append(shapes)
        elif not _is_plain(tensor, target.dtype):
            problems["not dense numbers of the model's kind"].append(name)
        elif not tensor.to(target.dtype).isfinite().all():
            problems["with values that are not finite"].append(name)
    complaints = [f"{kind}: {_listed(names)}" for kind, names in problems.items() if names]
    if complaints:
        raise BadInput(f"{label} does not fit the model; {'; '.join(complaints)}.")


def _is_plain(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Tell whether the tensor can be copied whole to one of the type."""
    return (
        tensor.layout is torch.strided
        and not tensor.is_meta
        and not tensor.is_quantized
        and (tensor.is_floating_point() if dtype.is_floating_point else tensor.dtype == dtype)
    )


def _listed(names: list[str]) -> str:
    shown = ", ".join(
        name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 23]}...{name[-20:]}"
        for name in names[:_SHOWN]
    )
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
