"""Builds networks as a grid names them: of the registry, or classes of the user's own. Runs in a worker."""

import os
import random
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from inspect import signature
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from bench.grid.config_model import Model
from bench.grid.plan import Cell
from bench.measure.draft import error_line
from vsr_model.adapted import Adapted
from vsr_model.checkpoint import load_checkpoint
from vsr_model.errors import BadField, BadInput, nearest
from vsr_model.network import Network
from vsr_model.registry import build_network

DEFAULT_SEED: Final = 0


def build(model: Model) -> Network:
    """Return a network on the CPU in float32 with its weights, in eval mode.

    Raises BadField for arguments, a class, stages or a checkpoint that cannot be used.
    """
    seed = model.seed or DEFAULT_SEED
    if model.import_ is None:
        network = build_network(model.registered, seed=seed, **model.parameters)
        weights: nn.Module = network
    else:
        network = _adapted(model, seed)
        weights = network.module
    if model.checkpoint is not None:
        try:
            load_checkpoint(weights, model.checkpoint)
        except BadInput as error:
            raise BadField("checkpoint", str(error)) from None
    return network.eval()


def described(network: Network, cell: Cell) -> dict[str, Any]:
    """Return what a record says of a cell's network, by field."""
    frames_out = network.frames_out(cell.frames)
    return {
        "frames_out": None if frames_out == cell.frames else frames_out,
        "stages": tuple(network.facts.stages),
        "scale": network.facts.scale,
        "parameters": sum(item.numel() for item in network.parameters()),
    }


def _adapted(model: Model, seed: int) -> Adapted:
    """Build a network of the user's own."""
    assert model.import_ is not None
    kind = imported(model)
    given = {name: _plain(value) for name, value in model.arguments.items()}
    field = "arguments" if given else "import"
    # Without gradients: what a constructor computes, as weight normalisation does, can be copied then.
    with (
        torch.random.fork_rng(devices=[]),
        torch.no_grad(),
        _refusing(model, field, f"{kind.__name__} cannot be made"),
    ):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            module = kind(**given)
        except TypeError as error:
            raise TypeError(f"{error}; it takes {_signature(kind)}").with_traceback(
                error.__traceback__
            ) from None
    if lazy := [name for name, item in module.named_parameters() if is_lazy(item)]:
        raise BadField(
            "import", f"{kind.__name__} gives {lazy[0]} a size at its first call; give it one before"
        )
    return Adapted(
        module,
        title=model.name,
        stages=model.stages,
        scale=model.scale,
        takes=model.input,
        window=model.window,
        ends=model.ends,
        output=model.output,
    )


def imported(model: Model) -> type[nn.Module]:
    """Return the class that a network names, imported from its folder or from Python's path.

    Raises BadField for a module that is missing or fails, a name that it lacks, and what is no network.
    """
    module_name, _, attribute = str(model.import_).partition(":")
    folder = Path(model.folder or ".").resolve()
    _put_on_path(folder)
    first = module_name.partition(".")[0]
    _check_free(first, folder)
    with _refusing(model, "import", f"{module_name} cannot be imported"):
        found: Any = import_module(module_name)
    for name in attribute.split("."):
        if not hasattr(found, name):
            classes = [key for key in dir(found) if isinstance(getattr(found, key, None), type)]
            raise BadField("import", f"{module_name} has no {attribute!r}{nearest(attribute, classes)}")
        found = getattr(found, name)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise BadField("import", f"{model.import_} is no class of torch.nn.Module")
    return found


def _signature(kind: type[nn.Module]) -> str:
    """Return the names of a constructor's parameters."""
    names = [
        str(parameter).partition(":")[0].partition("=")[0]
        for parameter in signature(kind).parameters.values()
    ]
    return ", ".join(names) or "nothing"


def _put_on_path(folder: Path) -> None:
    """Put the folder first on Python's path, as Python does for a script."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        invalidate_caches()


def _check_free(name: str, folder: Path) -> None:
    """Raise BadField where the folder has a module whose name another one has already, such as `types`."""
    own = next((path for path in (folder / name, folder / f"{name}.py") if path.exists()), None)
    loaded = sys.modules.get(name)
    if own is None or loaded is None:
        return
    places = [getattr(loaded, "__file__", None), *getattr(loaded, "__path__", ())]
    files = [Path(place) for place in places if place]
    if not any(folder in (file, *file.parents) for file in files):
        origin = files[0] if files else "a part of Python"
        raise BadField(
            "import", f"the name {name!r} is taken by {origin}, which hides {own}; give it another name"
        )


@contextmanager
def _refusing(model: Model, field: str, failed: str) -> Iterator[None]:
    """Raise BadField for an error of the user's code, with the line that raised it.

    A copy of this process that it forks ends here: it would answer beside this one.
    """
    process = os.getpid()
    module, _, _ = str(model.import_).partition(":")
    try:
        yield
    except ModuleNotFoundError as error:
        if field == "import" and f"{module}.".startswith(f"{error.name}."):
            folder = Path(model.folder or ".").resolve()
            message = f"there is no module {error.name!r}, neither in {folder} nor on Python's path"
        else:
            message = f"{module} needs the module {error.name!r}, which is not installed{_line(error, model)}"
        raise BadField("import", message) from None
    except (Exception, SystemExit) as error:
        raise BadField(field, f"{failed} ({error_line(error)}{_line(error, model)})") from None
    finally:
        if os.getpid() != process:
            os._exit(0)


def _line(error: BaseException, model: Model) -> str:
    """Return where in the user's files an error was raised, after a comma; "" if nowhere."""
    folder = Path(model.folder or ".").resolve()
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if folder in Path(frame.filename).parents]
    if isinstance(error, SyntaxError) or not own:  # the message of the first says where
        return ""
    return f", {Path(own[-1].filename).name}:{own[-1].lineno}"


def _plain(value: Any) -> Any:
    """Return a value with YAML's lists, which are tuples by now, as lists."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
