"""Clips of any length through BasicVSR in bounded memory, frame by frame, with the network's own results."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from vsr_model.memory_plan import MemoryPlan, backward_requests, forward_requests, segment_end
from vsr_model.network import check_clip
from vsr_model.networks.basicvsr import BasicVSR, Direction, Step, propagate
from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING, StageProbe, no_probe
from vsr_model.streaming.stores import FeatureStore, open_store


class FrameSource(Protocol):
    """A clip that gives a few neighbouring frames at a time.

    All frames of a request are taken before the next one. The backward branch asks for all frames once, from
    last to first, before anything else is asked for.
    """

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(n, t, 3, h, w) of the whole clip."""
        ...

    def frames(self, start: int, stop: int) -> Iterable[Tensor]:
        """Return the frames from `start` to before `stop` in the order of time, each (n, 3, h, w).

        They may be on any device, and must be the same whenever they are asked for.
        """
        ...


def upscale_frames(
    network: BasicVSR, source: FrameSource, plan: MemoryPlan, probe: StageProbe = no_probe
) -> Iterator[Tensor]:
    """Yield the outputs (n, 3, 4h, 4w) of all frames of `source`, as `network` itself computes them.

    They are those of `network(lrs)` bit for bit in float32 where `plan.is_one_call`. In smaller calls the
    convolutions of flow estimation may add up in another order; docs/upscale.md says how far that goes. No
    output is kept, and nothing is recorded for autograd. The first output comes after the whole backward
    branch. An iterator that is dropped early lets go of all that it holds.

    Raises ValueError at once for a shape that `network` does not take, and later for frames that do not have
    it; OSError that names the folder where the plan's disk cannot hold its features, before the network runs.
    """
    check_clip(network.facts, source.shape)
    return _outputs(network, source, plan, probe)


@torch.no_grad()
def _outputs(network: BasicVSR, source: FrameSource, plan: MemoryPlan, probe: StageProbe) -> Iterator[Tensor]:
    inputs = _Inputs(network, source, plan, probe)
    with open_store(
        plan, frames=inputs.count, features_bytes=inputs.features_bytes, device=inputs.device
    ) as store:
        feats_backward = _BackwardFeatures(inputs, store)
        feats_backward.compute()
        steps = inputs.forward_steps()
        propagated = propagate(
            network.propagation.forward_trunk, network.alignment, steps, inputs.initial_features(), probe
        )
        for index in range(inputs.count):
            # Before the frame's step is asked for: where they are computed again, no more frames and flows
            # are held meanwhile than need be.
            feat_backward = feats_backward.take(index)
            _, frame, feat_forward = next(propagated)
            with probe(AGGREGATION):
                features = network.aggregation(feat_backward, feat_forward)
            del feat_backward, feat_forward
            with probe(UPSAMPLING):
                output = network.upsampling(features, frame)
            del features, frame
            yield output
            del output  # its receiver alone decides how long it lives


class _Inputs:
    """Frames on the network's device and the flow between them, as few at a time as the plan allows."""

    def __init__(self, network: BasicVSR, source: FrameSource, plan: MemoryPlan, probe: StageProbe) -> None:
        self.network, self.plan, self.probe = network, plan, probe
        self._source = source
        n, self.count, c, h, w = source.shape
        self._frame_shape = n, c, h, w
        weight = network.propagation.backward_trunk.conv_in.weight
        self.device = weight.device
        self._no_frames = weight.new_empty(n, 0, c, h, w)
        self.features_bytes = n * network.propagation.mid_channels * h * w * weight.itemsize

    def initial_features(self) -> Tensor:
        with self.probe(PROPAGATION):
            return self.network.propagation.initial_features(self._no_frames)

    def backward_steps(self, *, first: int, top: int, from_kept: bool) -> Iterator[Step]:
        """Yield from frame `top`, or from the one before if its features are there already, to `first`."""
        held: list[Tensor] = []
        for request in backward_requests(self.plan, self.count, first=first, top=top):
            held = [*self._frames(request), *held]
            if top in request and not from_kept:
                yield top, held[-1], None
            flows = self._flows(held, "backward")
            while flows:
                held.pop()
                yield request.start + len(flows) - 1, held[-1], flows.pop()

    def forward_steps(self) -> Iterator[Step]:
        """Yield from the first frame to the last."""
        held: deque[Tensor] = deque()
        for request in forward_requests(self.plan, self.count):
            held += self._frames(request)
            if request.start == 0:
                yield 0, held[0], None
            flows = deque(self._flows(held, "forward"))
            while flows:
                held.popleft()
                yield request.stop - len(flows), held[0], flows.popleft()

    def _frames(self, request: range) -> list[Tensor]:
        frames = [frame.to(self.device) for frame in self._source.frames(request.start, request.stop)]
        shapes = [tuple(frame.shape) for frame in frames]
        if shapes != [self._frame_shape] * len(request):
            raise ValueError(
                f"The source gave {shapes} for frames {request.start} to {request.stop - 1}, and each must be"
                f" {self._frame_shape}."
            )
        return frames

    def _flows(self, frames: Sequence[Tensor], direction: Direction) -> list[Tensor]:
        """Return the flow of each pair of neighbours, estimated in one call; none of a single frame."""
        if len(frames) == 1:
            return []
        with self.probe(ALIGNMENT):
            lrs = torch.stack(tuple(frames), 1)
            return list(self.network.alignment.compute_flow_one_way(lrs, direction).unbind(1))


class _BackwardFeatures:
    """Each frame's backward features for the forward branch, first to last: kept, or computed again."""

    def __init__(self, inputs: _Inputs, store: FeatureStore) -> None:
        self._inputs, self._store = inputs, store
        self._segment: dict[int, Tensor] = {}  # of the frames at hand, on the device

    def compute(self) -> None:
        """Run the backward branch over the whole clip, and keep the features that the plan names."""
        kept = self._inputs.plan.kept_frames(self._inputs.count)
        for index, features in self._propagate(0, self._inputs.count - 1, None):
            if index in kept:
                self._store.put(index, features)
            elif index < self._inputs.plan.interval:
                self._segment[index] = features

    def take(self, index: int) -> Tensor:
        """Return the features of a frame, which is asked for once."""
        if index not in self._segment:
            self._fill(index)
        return self._segment.pop(index)

    def _fill(self, first: int) -> None:
        """Fetch or compute the features from frame `first` to the end of its segment."""
        end = segment_end(self._inputs.plan, self._inputs.count, first)
        if end is None:
            self._segment.update(self._propagate(first, self._inputs.count - 1, None))
            return
        self._segment[end] = self._store.take(end)
        if first < end:
            self._segment.update(self._propagate(first, end, self._segment[end]))

    def _propagate(self, first: int, top: int, start: Tensor | None) -> Iterator[tuple[int, Tensor]]:
        inputs = self._inputs
        steps = inputs.backward_steps(first=first, top=top, from_kept=start is not None)
        propagated = propagate(
            inputs.network.propagation.backward_trunk,
            inputs.network.alignment,
            steps,
            inputs.initial_features() if start is None else start,
            inputs.probe,
        )
        return ((index, features) for index, _, features in propagated)
