"""A network's stages, each called alone on the inputs that it had within the network."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from vsr_model.network import Network


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of a submodule."""

    name: str
    module: nn.Module
    args: Any
    kwargs: Any

    def __call__(self) -> Any:
        return self.module(*self.args, **self.kwargs)


class StagesAlone:
    """The outermost calls of submodules in each stage of one forward pass.

    In a network stages may take turns, frame by frame. Alone each has what the others made at hand, for every
    frame. What a stage does outside of submodules, such as putting frames together, is no part of it.
    """

    def __init__(self, network: Network, lrs: Tensor) -> None:
        """Keep the inputs of all stages by one pass over `lrs` (n, t, 3, h, w)."""
        self._calls: dict[str, list[Call]] = {stage: [] for stage in network.facts.stages}
        self._stage: str | None = None
        self._depth = 0
        with torch.inference_mode(), ExitStack() as opened:
            for name, module in network.named_modules():
                if name:
                    self._watch(name, module, opened)
            network(lrs, self._probe)

    def calls(self, stage: str) -> dict[str, int]:
        """Return the stage's submodules and how often each is called."""
        return dict(Counter(call.name for call in self._calls[stage]))

    def call(self, stage: str) -> Any:
        """Make all of the stage's calls; return the last result."""
        result = None
        with torch.inference_mode():
            for call in self._calls[stage]:
                result = call()  # the one before is let go
        return result

    @contextmanager
    def _probe(self, stage: str, /) -> Iterator[None]:
        self._stage, self._depth = stage, 0
        yield
        self._stage = None

    def _watch(self, name: str, module: nn.Module, opened: ExitStack) -> None:
        def enter(_module: nn.Module, args: Any, kwargs: Any) -> None:
            if self._stage is not None and self._depth == 0:
                kept = tree_map(
                    lambda item: item.clone() if isinstance(item, Tensor) else item, (args, kwargs)
                )
                self._calls[self._stage].append(Call(name=name, module=module, args=kept[0], kwargs=kept[1]))
            self._depth += 1

        def leave(_module: nn.Module, _args: Any, _result: Any) -> None:
            self._depth -= 1

        for handle in (
            module.register_forward_pre_hook(enter, with_kwargs=True),
            module.register_forward_hook(leave, prepend=True, always_call=True),
        ):
            opened.callback(handle.remove)
