"""Any torch module as a network that can be measured: hooks on submodules mark its stages."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from vsr_model.errors import BadField, nearest
from vsr_model.network import Facts, Network
from vsr_model.stages import StageProbe, no_probe
from vsr_model.windows import Ends, around

InputKind = Literal["clip", "frame", "window"]

_GLOB: Final = frozenset("*?[")


class Adapted(Network):
    """A module under the contract of `vsr_model.network`.

    `takes` is what the module's forward is called with: a `clip` (n, t, c, h, w), a `frame` (n, c, h, w) at a
    time, or a `window` (n, window, c, h, w) around each frame, of which the middle one comes out; at the ends
    of the clip a window is filled by frames in `mirror` order or by a `repeat` of the last. `output` is the
    key or index of the enlarged frames where the module returns a mapping or a sequence.

    `stages` gives each stage's submodules, by name or pattern. Within a stage, calls of others count once; a
    submodule that two stages name counts for the one that is open, else for the first that names it. Hooks
    are there within `instrumented` alone, which a call with a probe enters where its caller has not.

    Raises BadField for stages that name no submodule, one inside another stage's, or one without hooks.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        title: str,
        stages: Mapping[str, Sequence[str]],
        scale: int,
        takes: InputKind = "clip",
        window: int = 5,
        ends: Ends = "mirror",
        output: str | int | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self.stage_of, self._matched = find_stages(module, stages)
        for name in self.stage_of:
            _check_hooks(name, module)
        self._takes, self._window, self._ends, self._key = takes, window, ends, output
        names = tuple(f"module.{name}" for name in _outermost(self.stage_of))
        self.facts = Facts(
            title=title,
            source=f"{type(module).__module__}:{type(module).__qualname__}",
            stages={
                stage: f"Calls of {', '.join(name for name, own in self.stage_of.items() if own == stage)}."
                for stage in stages
            },
            scale=scale,
            narrow=("module",),
            compiled=names,
        )
        self._called: set[str] = set()
        self._gate: _Gate | None = None  # there while instrumented

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        """Enlarge `lrs` (n, t, c, h, w) to (n, t, c, scale h, scale w), in the dtype of `lrs`.

        Raises BadField for a result of another shape or kind, and what the module raises.
        """
        weight = next(self.module.parameters(), lrs)
        inputs = lrs.to(weight.dtype) if weight.is_floating_point() else lrs
        if probe is no_probe:
            return self._checked(self._call(inputs), lrs)
        with self.instrumented(), self._opened(probe):
            return self._checked(self._call(inputs), lrs)

    def uncalled(self) -> list[str]:
        """Return the patterns of the stages none of whose submodules were called since a probe was there."""
        return [pattern for pattern, names in self._matched.items() if self._called.isdisjoint(names)]

    def _call(self, lrs: Tensor) -> Tensor:
        if self._takes == "clip":
            return self._picked(self.module(lrs))
        if self._takes == "frame":
            return torch.stack([self._picked(self.module(frame)) for frame in lrs.unbind(1)], 1)
        frames = lrs.shape[1]
        windows = (lrs[:, around(i, frames, self._window, self._ends)] for i in range(frames))
        return torch.stack([self._picked(self.module(item)) for item in windows], 1)

    def _picked(self, result: Any) -> Tensor:
        if self._key is not None:
            try:
                result = result[self._key]
            except (KeyError, IndexError, TypeError) as error:
                kind = type(result).__name__
                raise BadField("output", f"{self._key!r} is not in what comes out, a {kind}") from error
        if not isinstance(result, Tensor):
            keys = f" with {', '.join(map(repr, result))}" if isinstance(result, Mapping) else ""
            raise BadField(
                "output",
                f"a {type(result).__name__}{keys} comes out, and a tensor is needed; give the key or the "
                "index of the enlarged frames",
            )
        if self._takes == "window" and result.dim() == 5 and result.shape[1] == 1:
            return result[:, 0]
        return result

    def _checked(self, result: Tensor, lrs: Tensor) -> Tensor:
        *outer, height, width = lrs.shape
        wanted = (*outer, self.facts.scale * height, self.facts.scale * width)
        if tuple(result.shape) != wanted:
            raise BadField(
                "scale",
                f"{self.facts.scale} makes {wanted} of a clip {tuple(lrs.shape)}, and {tuple(result.shape)} "
                "comes out",
            )
        return result.to(lrs.dtype)

    @contextmanager
    def instrumented(self) -> Iterator[None]:
        """Give the stages' submodules their hooks for the block, unless they have them already."""
        if self._gate is not None:
            yield
            return
        gate = self._gate = _Gate(self._called)
        with ExitStack() as hooks:
            hooks.callback(setattr, self, "_gate", None)
            for name, stage in self.stage_of.items():
                submodule = self.module.get_submodule(name)

                def enter(_module: nn.Module, _args: Any, name: str = name, stage: str = stage) -> None:
                    gate.enter(name, stage)

                def leave(_module: nn.Module, _args: Any, _result: Any) -> None:
                    gate.leave()

                # First, for the work of other hooks, such as weight normalisation, to be the stage's.
                hooks.enter_context(submodule.register_forward_pre_hook(enter, prepend=True))
                hooks.enter_context(submodule.register_forward_hook(leave, always_call=True))
            yield

    @contextmanager
    def _opened(self, probe: StageProbe) -> Iterator[None]:
        assert self._gate is not None
        self._gate.probe = probe
        try:
            yield
        finally:
            self._gate.probe = no_probe


class _Gate:
    """Opens a stage at the outermost of nested calls, and closes it after it."""

    def __init__(self, called: set[str]) -> None:
        self.probe: StageProbe = no_probe
        self._called = called
        self._depth = 0
        self._span: AbstractContextManager[None]

    def enter(self, name: str, stage: str) -> None:
        self._called.add(name)
        if self._depth == 0:
            self._span = self.probe(stage)
            self._span.__enter__()
        self._depth += 1

    def leave(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._span.__exit__(None, None, None)


def find_stages(
    module: nn.Module, stages: Mapping[str, Sequence[str]]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Match the patterns of stages with submodules: each submodule's stage, and each pattern's submodules.

    A ModuleList or ModuleDict, which is never called itself, stands for what is in it. Raises BadField
    for a pattern that matches none, with the nearest name, and for a submodule inside another stage's.
    """
    names = [name for name, _ in module.named_modules(remove_duplicate=False) if name]
    found: dict[str, str] = {}
    by_pattern: dict[str, list[str]] = {}
    of_object: dict[int, str] = {}
    for stage, patterns in stages.items():
        for pattern in patterns:
            matched = [name for name in names if name == pattern]
            if not matched and _GLOB.intersection(pattern):
                matched = [name for name in names if fnmatchcase(name, pattern)]
            if not matched:
                shown = ", ".join(name for name, _ in module.named_children())
                raise BadField(
                    "stages",
                    f"{stage}: {pattern!r} is no submodule of {type(module).__name__}"
                    f"{nearest(pattern, names)}; its own are {shown or 'none'}",
                )
            # The same object under another name has its hooks already.
            known = [
                of_object.setdefault(id(module.get_submodule(name)), name)
                for outer in matched
                for name in _contained(outer, module.get_submodule(outer))
            ]
            by_pattern.setdefault(pattern, []).extend(known)
            for name in known:
                found.setdefault(name, stage)
    for name, stage in found.items():
        for other, its in found.items():
            if its != stage and name.startswith(f"{other}."):
                raise BadField(
                    "stages",
                    f"{stage}: {name!r} lies inside {other!r}, which is of {its}; stages may not contain "
                    "each other",
                )
    return found, by_pattern


def _contained(name: str, module: nn.Module) -> Iterator[str]:
    """Yield the name of a module, or those in it where it is a container without a forward."""
    if not isinstance(module, nn.ModuleList | nn.ModuleDict):
        yield name
        return
    for child, its in module.named_children():
        yield from _contained(f"{name}.{child}", its)


def _check_hooks(name: str, network: nn.Module) -> None:
    """Raise BadField for a submodule whose calls no hook sees, by itself or for what it lies in."""
    parts = name.split(".")
    for depth in range(len(parts), -1, -1):
        outer = ".".join(parts[:depth])
        module = network.get_submodule(outer)
        if isinstance(module, torch.jit.ScriptModule):
            why = "was scripted or traced, and takes no hooks; leave it as it is written"
        elif _is_compiled(module):
            why = "was compiled, so that its hooks do not fire; leave that to `compile: true` of a backend"
        elif outer == name and type(module).__call__ is not nn.Module.__call__:
            why = f"overrides __call__ in {type(module).__name__}, so that its hooks never fire; use forward"
        else:
            continue
        where = "" if outer == name else f" lies in {repr(outer) if outer else 'the network'}, which"
        raise BadField("stages", f"{name!r}{where} {why}")


def _is_compiled(module: nn.Module) -> bool:
    return (
        module._compiled_call_impl is not None
        or hasattr(module, "_orig_mod")
        or hasattr(module.forward, "_torchdynamo_orig_callable")
    )


def _outermost(names: Mapping[str, str]) -> list[str]:
    return [name for name in names if not any(name.startswith(f"{other}.") for other in names)]
