"""Networks as a grid names them: of the registry, or classes of the user's own. Runs in a worker."""

import sys
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from bench.grid.config_model import Model
from bench.measure.draft import in_words
from vsr_model.adapted import Adapted
from vsr_model.checkpoint import load_checkpoint
from vsr_model.errors import BadInput
from vsr_model.network import Network
from vsr_model.registry import build_network, nearest

DEFAULT_SEED: Final = 0


def build(model: Model) -> Network:
    """Build a network on the CPU in float32 with its weights, in eval mode.

    Raises BadInput for arguments, a class, stages or a checkpoint that cannot be.
    """
    seed = model.seed or DEFAULT_SEED
    if model.import_ is None:
        network = build_network(model.name, seed=seed, **model.parameters)
        weights: nn.Module = network
    else:
        network = _adapted(model, seed)
        weights = network.module
    if model.checkpoint is not None:
        load_checkpoint(weights, model.checkpoint)
    return network.eval()


def _adapted(model: Model, seed: int) -> Adapted:
    assert model.import_ is not None
    kind = imported(model.import_, Path(model.folder or "."))
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = kind(**{name: _plain(value) for name, value in model.arguments.items()})
    except Exception as error:
        given = ", ".join(f"{name}={value!r}" for name, value in model.arguments.items())
        raise BadInput(
            f"import: {model.import_}({given}) cannot be made ({in_words(error)}); allowed is what its "
            "__init__ takes"
        ) from None
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


def imported(path: str, folder: Path) -> type[nn.Module]:
    """Import the class that package.module:Class names, looked for in the folder first.

    Raises BadInput for a module that is missing or fails, a name that it lacks, and what is no network.
    """
    module_name, _, attribute = path.partition(":")
    _put_on_path(folder)
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name + ".").startswith(error.name + "."):
            raise BadInput(
                f"import: there is no module {error.name!r}, neither in {folder.resolve()} nor on "
                "Python's path"
            ) from None
        raise BadInput(
            f"import: {module_name} needs the module {error.name!r}, which is not installed"
        ) from None
    except Exception as error:
        raise BadInput(f"import: {module_name} cannot be imported ({in_words(error)})") from None
    for name in attribute.split("."):
        if not hasattr(found, name):
            classes = [key for key, value in vars(found).items() if isinstance(value, type)]
            raise BadInput(f"import: {module_name} has no {attribute!r}{nearest(attribute, classes)}")
        found = getattr(found, name)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise BadInput(f"import: {path} is no class of torch.nn.Module")
    return found


def _put_on_path(folder: Path) -> None:
    """Have modules looked for in the folder first, as Python does for a script."""
    resolved = str(folder.resolve())
    if resolved not in sys.path:
        sys.path.insert(0, resolved)
        invalidate_caches()


def _plain(value: Any) -> Any:
    """YAML's lists, which are tuples by now, as lists: what a class expects of a list."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
