"""BasicVSR's stages, each called alone on inputs that the stages before it made beforehand."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

import torch
from torch import Tensor

from vsr_model.networks.basicvsr import BasicVSR
from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING

CALLS: Final = {
    ALIGNMENT: "flow between all neighbouring frames, then each warp of both directions, t - 1 each",
    PROPAGATION: "each trunk of both directions, t each, on features that were warped beforehand",
    AGGREGATION: "the fusion of both directions, frame by frame",
    UPSAMPLING: "each frame's features to the output's size, then the clip put together",
}
"""What a stage alone calls: all that the network calls within this stage, in the same order."""


class StagesAlone:
    """The calls of each stage of one forward pass.

    In the network warp and trunk take turns, since a frame's features are warped to the next one before its
    trunk is called. Alone each of the two has what the other made at hand, for every frame. A stage is an
    iterator over its results: whoever goes through it lets go of a result as early as the network does,
    and what the network keeps until later, the iterator keeps too.
    """

    def __init__(self, network: BasicVSR, lrs: Tensor) -> None:
        """Make the inputs of all stages from `lrs` (n, t, 3, h, w), by one pass over them."""
        self._network = network
        self._lrs = lrs
        self._frames = lrs.unbind(1)
        self._stages: dict[str, Callable[[], Iterator[Tensor]]] = {
            ALIGNMENT: self._alignment,
            PROPAGATION: self._propagation,
            AGGREGATION: self._aggregation,
            UPSAMPLING: self._upsampling,
        }
        with torch.inference_mode():
            flows_forward, flows_backward = network.alignment.compute_flow(lrs)
            last_first = tuple(reversed(self._frames))
            self._backward = _Direction(
                network, network.propagation.backward_trunk, last_first, flows_backward.unbind(1)[::-1]
            )
            self._forward = _Direction(
                network, network.propagation.forward_trunk, self._frames, flows_forward.unbind(1)
            )
            self._fused = list(self._aggregation())

    def results(self, stage: str) -> Iterator[Tensor]:
        """The stage's calls, one by one."""
        return self._stages[stage]()

    def is_finite(self, stage: str) -> bool:
        """Whether all values of all the stage's results are."""
        with torch.inference_mode():
            return all(bool(result.isfinite().all()) for result in self.results(stage))

    def call(self, stage: str) -> Tensor:
        """All of the stage's calls; the last result."""
        with torch.inference_mode():
            for result in self.results(stage):
                last = result
        return last

    def _alignment(self) -> Iterator[Tensor]:
        flows_forward, flows_backward = self._network.alignment.compute_flow(self._lrs)
        for features, flow in zip(self._backward.features, flows_backward.unbind(1)[::-1], strict=False):
            yield self._network.alignment(features, flow)
        for features, flow in zip(self._forward.features, flows_forward.unbind(1), strict=False):
            yield self._network.alignment(features, flow)

    def _propagation(self) -> Iterator[Tensor]:
        kept = []  # the network needs the backward features until the end
        for features in self._backward.propagate():
            kept.append(features)
            yield features
        yield from self._forward.propagate()

    def _aggregation(self) -> Iterator[Tensor]:
        for feat_backward, feat_prop in zip(
            reversed(self._backward.features), self._forward.features, strict=True
        ):
            yield self._network.aggregation(feat_backward, feat_prop)

    def _upsampling(self) -> Iterator[Tensor]:
        outputs = [
            self._network.upsampling(features, frame)
            for features, frame in zip(self._fused, self._frames, strict=True)
        ]
        yield torch.stack(outputs, 1)


class _Direction:
    """What one direction's trunk is given and gives, frame by frame in the order of propagation."""

    def __init__(
        self,
        network: BasicVSR,
        trunk: Callable[[Tensor, Tensor], Tensor],
        frames: tuple[Tensor, ...],
        flows: tuple[Tensor, ...],
    ) -> None:
        self._network = network
        self._trunk = trunk
        self._frames = frames
        self._aligned: list[Tensor] = []  # none for the first frame, which has nothing before it
        self.features = [trunk(frames[0], self._initial())]
        for frame, flow in zip(frames[1:], flows, strict=True):
            self._aligned.append(network.alignment(self.features[-1], flow))
            self.features.append(trunk(frame, self._aligned[-1]))

    def propagate(self) -> Iterator[Tensor]:
        """The trunk's calls."""
        for frame, feat_prop in zip(self._frames, chain([self._initial()], self._aligned), strict=True):
            yield self._trunk(frame, feat_prop)

    def _initial(self) -> Tensor:
        return self._network.propagation.initial_features(self._frames[0].unsqueeze(1))
