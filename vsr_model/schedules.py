"""The same network with its work in another order: each gives what `BasicVSR` does, but for rounding.

`BasicVSR.forward` is the schedule `sequential`, as published. What the others gain is fewer, larger calls, or
work that runs side by side; what they take is in `vsr_model.schedule_memory`.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Literal, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vsr_model.basicvsr import BasicVSR, Propagation, check_shape
from vsr_model.layers import ResidualTrunk, is_channels_last, joined, leaky_relu_
from vsr_model.queues import Queue, queue_of
from vsr_model.recurrence import Step, propagate
from vsr_model.schedule_memory import batch_sizes
from vsr_model.stages import Stage, StageProbe, no_probe

Schedule: TypeAlias = Literal["sequential", "batched", "bidirectional", "pipelined"]
Call: TypeAlias = Callable[[Tensor, StageProbe], Tensor]
"""As `BasicVSR.forward`: a clip (n, t, 3, h, w), RGB in [0, 1], and a probe, to (n, t, 3, 4h, 4w)."""


def scheduled(network: BasicVSR, schedule: Schedule, *, compiled: bool = False) -> Call:
    """The network as a call in that order, on the device that it is on.

    Weights are taken as they are now: whoever changes them asks for another call. `compiled` says that the
    network's stages are, and that what stands in for one is to be.
    """
    match schedule:
        case "sequential":
            return network
        case "batched":
            return Batched(network)
        case "bidirectional":
            return Bidirectional(network, pair_of(network.propagation, compiled=compiled))
        case "pipelined":
            return Pipelined(network, queue_of(_device_of(network)))


class Batched:
    """Flow of both directions is estimated in one call, and frames are aggregated and upsampled in batches.

    A batch is of `vsr_model.schedule_memory.FRAMES_AT_ONCE` frames at most, and batches are as equal as they
    can be; a batch's forward features wait until it is complete.
    """

    def __init__(self, network: BasicVSR) -> None:
        self._network = network

    def __call__(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        check_shape(tuple(lrs.shape))
        network, (n, t, *_) = self._network, lrs.shape
        with probe(Stage.ALIGNMENT):
            flows_forward, flows_backward = network.alignment.compute_flow_at_once(lrs)
        feats_backward = network.propagate_backward(lrs, flows_backward, probe)
        feats_backward.reverse()  # so that the first frame's is the next to be taken
        steps = _forward_features(network, lrs, flows_forward, probe)
        outputs = []
        for size in batch_sizes(t):
            batch = list(islice(steps, size))
            with probe(Stage.AGGREGATION):
                features = network.aggregation(
                    torch.cat([feats_backward.pop() for _ in batch]),
                    torch.cat([feat_forward for *_, feat_forward in batch]),
                )
            with probe(Stage.UPSAMPLING):
                frames = torch.cat([frame for _, frame, _ in batch])
                del batch
                outputs.append(network.upsampling(features, frames))
                del features, frames
        with probe(Stage.UPSAMPLING):
            # Of a batch, frames come before clips.
            return torch.cat([output.unflatten(0, (-1, n)).transpose(0, 1) for output in outputs], 1)


class Pair(Protocol):
    """The trunks of both branches, for a step of each."""

    def __call__(
        self, frames: tuple[Tensor, Tensor], feats_prop: tuple[Tensor, Tensor], /
    ) -> tuple[Tensor, Tensor]:
        """Frames (n, 3, h, w) and what was propagated to them (n, mid_channels, h, w), forward and backward,
        to the features of each."""


class Bidirectional:
    """Both branches step together, since neither needs the other: frame i of the forward one with frame
    t - 1 - i of the backward one.

    Their warps are one call, their trunks a `Pair`. From the middle of the clip on each step completes two
    frames, which are aggregated and upsampled one after the other. At most t + 2 frames' features are kept,
    as many as by the sequential order, half of them of either branch.
    """

    def __init__(self, network: BasicVSR, pair: Pair) -> None:
        self._network = network
        self._pair = pair

    def __call__(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        check_shape(tuple(lrs.shape))
        network, t = self._network, lrs.shape[1]
        with probe(Stage.ALIGNMENT):
            flows_forward, flows_backward = network.alignment.compute_flow(lrs)
        with probe(Stage.PROPAGATION):
            feats_prop = (network.propagation.initial_features(lrs),) * 2
        frames = lrs.unbind(1)
        feats_forward: dict[int, Tensor] = {}
        feats_backward: dict[int, Tensor] = {}
        outputs: dict[int, Tensor] = {}
        for first in range(t):
            last = t - 1 - first
            if first > 0:
                with probe(Stage.ALIGNMENT):
                    flows = torch.cat((flows_forward[:, first - 1], flows_backward[:, last]))
                    feats_prop = network.alignment(torch.cat(feats_prop), flows).chunk(2)
            with probe(Stage.PROPAGATION):
                feats_prop = self._pair((frames[first], frames[last]), feats_prop)
            feats_forward[first], feats_backward[last] = feats_prop
            for index in sorted({last, first}) if last <= first else ():
                with probe(Stage.AGGREGATION):
                    features = network.aggregation(feats_backward.pop(index), feats_forward.pop(index))
                with probe(Stage.UPSAMPLING):
                    outputs[index] = network.upsampling(features, frames[index])
                del features
        with probe(Stage.UPSAMPLING):
            return torch.stack([outputs[index] for index in range(t)], 1)


def pair_of(propagation: Propagation, *, compiled: bool = False) -> Pair:
    """On CUDA both trunks on two streams. On a CPU one network of grouped convolutions, where they are the
    library's, and otherwise one trunk after the other: what else computes convolutions knows no groups."""
    device = propagation.forward_trunk.conv_in.weight.device
    trunks = propagation.forward_trunk, propagation.backward_trunk
    if device.type != "cpu" or not all(map(_is_plain, trunks)):
        return TwoQueues(*trunks, queue_of(device))
    grouped = GroupedTrunks(*trunks)
    if compiled:
        grouped.compile()
    return grouped


class TwoQueues:
    """The backward trunk on a queue of its own beside the forward one, and both waited for."""

    def __init__(self, forward_trunk: nn.Module, backward_trunk: nn.Module, queue: Queue) -> None:
        self._forward_trunk = forward_trunk
        self._backward_trunk = backward_trunk
        self._queue = queue

    def __call__(
        self, frames: tuple[Tensor, Tensor], feats_prop: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        with self._queue.beside(frames[1], feats_prop[1]):
            feat_backward: Tensor = self._backward_trunk(frames[1], feats_prop[1])
        feat_forward: Tensor = self._forward_trunk(frames[0], feats_prop[0])
        self._queue.join(feat_backward)
        return feat_forward, feat_backward


class GroupedTrunks(nn.Module):
    """Two trunks as one, whose convolutions have two groups: the channels of the one and of the other.

    Its weights are copies, made once.
    """

    def __init__(self, forward_trunk: ResidualTrunk, backward_trunk: ResidualTrunk) -> None:
        super().__init__()
        trunks = forward_trunk, backward_trunk
        self.conv_in = _grouped(*(trunk.conv_in for trunk in trunks))
        blocks = zip(*(_convolutions(trunk.blocks) for trunk in trunks), strict=True)
        self.blocks = nn.ModuleList(_grouped(*pair) for pair in blocks)

    def forward(
        self, frames: tuple[Tensor, Tensor], feats_prop: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """See `Pair`. Both results lie in one tensor, channels side by side."""
        weight = self.conv_in.weight
        halves = [joined(*inputs, weight) for inputs in zip(frames, feats_prop, strict=True)]
        features: Tensor = leaky_relu_(self.conv_in(torch.cat(halves, 1)))
        convolutions = iter(self.blocks)
        for conv1, conv2 in zip(convolutions, convolutions, strict=True):
            features = features + conv2(F.relu(conv1(features), inplace=True))
        feat_forward, feat_backward = features.chunk(2, 1)
        return feat_forward, feat_backward


class Pipelined:
    """Frames are aggregated and upsampled on a queue of their own, while the next ones propagate.

    Stages then overlap in time. Each frame's features wait there for their turn, at most those of all frames.
    """

    def __init__(self, network: BasicVSR, queue: Queue) -> None:
        self._network = network
        self._queue = queue

    def __call__(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        check_shape(tuple(lrs.shape))
        network = self._network
        with probe(Stage.ALIGNMENT):
            flows_forward, flows_backward = network.alignment.compute_flow(lrs)
        feats_backward = network.propagate_backward(lrs, flows_backward, probe)
        feats_backward.reverse()
        outputs: list[Tensor] = []
        for _, frame, feat_forward in _forward_features(network, lrs, flows_forward, probe):
            feat_backward = feats_backward.pop()
            with self._queue.beside(feat_backward, feat_forward, frame):
                with probe(Stage.AGGREGATION):
                    features = network.aggregation(feat_backward, feat_forward)
                with probe(Stage.UPSAMPLING):
                    outputs.append(network.upsampling(features, frame))
                del features
            del feat_backward, feat_forward, frame
        self._queue.join(*outputs)
        with probe(Stage.UPSAMPLING):
            return torch.stack(outputs, 1)


def _forward_features(
    network: BasicVSR, lrs: Tensor, flows_forward: Tensor, probe: StageProbe
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Index, frame and features of each frame, first to last, each propagated when it is asked for."""
    with probe(Stage.PROPAGATION):
        feat_prop = network.propagation.initial_features(lrs)
    steps: Iterator[Step] = (
        (i, frame, flows_forward[:, i - 1] if i > 0 else None) for i, frame in enumerate(lrs.unbind(1))
    )
    yield from propagate(network.propagation.forward_trunk, network.alignment, steps, feat_prop, probe)


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [item for item in module.modules() if isinstance(item, nn.Conv2d)]


def _is_plain(trunk: nn.Module) -> bool:
    return type(trunk) is ResidualTrunk and all(type(item) is nn.Conv2d for item in _convolutions(trunk))


def _grouped(one: nn.Conv2d, other: nn.Conv2d) -> nn.Conv2d:
    """Two convolutions of 3x3 as one of two groups, with copies of their weights."""
    made = nn.Conv2d(
        2 * one.in_channels, 2 * one.out_channels, kernel_size=3, padding=1, groups=2, device="meta"
    )
    assert one.bias is not None and other.bias is not None  # noqa: PT018 - for the type checker
    layout = torch.channels_last if is_channels_last(one.weight) else torch.contiguous_format
    weight = torch.cat((one.weight.detach(), other.weight.detach())).contiguous(memory_format=layout)
    made.weight = nn.Parameter(weight)
    made.bias = nn.Parameter(torch.cat((one.bias.detach(), other.bias.detach())))
    return made


def _device_of(network: BasicVSR) -> torch.device:
    return network.propagation.forward_trunk.conv_in.weight.device
