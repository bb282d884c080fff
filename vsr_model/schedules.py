"""BasicVSR with the upsampling of a frame beside the propagation of the next ones: `schedule: pipelined`.

`BasicVSR.forward` is the schedule `sequential`, as published. Both give the same output.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vsr_model.network import check_clip
from vsr_model.networks.basicvsr import BasicVSR, Step, propagate
from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING, StageProbe, no_probe


class Pipelined:
    """Aggregates and upsamples frames on a second CUDA stream, while the next ones propagate.

    Stages overlap in time. Each frame's features wait for their turn, at most those of all frames. On a CPU,
    which has no streams, frames are done in turn.
    """

    def __init__(self, network: BasicVSR) -> None:
        self._network = network
        device = next(network.parameters()).device
        on_cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if on_cuda else None  # type: ignore[no-untyped-call]

    def __call__(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        """Enlarge a clip as `BasicVSR.forward` does."""
        network = self._network
        check_clip(network.facts, tuple(lrs.shape))
        with probe(ALIGNMENT):
            flows_forward, flows_backward = network.alignment.compute_flow(lrs)
        feats_backward = network.propagate_backward(lrs, flows_backward, probe)
        feats_backward.reverse()  # so that the first frame's is the next to be taken
        with probe(PROPAGATION):
            feat_prop = network.propagation.initial_features(lrs)
        steps: Iterator[Step] = (
            (i, frame, flows_forward[:, i - 1] if i > 0 else None) for i, frame in enumerate(lrs.unbind(1))
        )
        trunk = network.propagation.forward_trunk
        outputs: list[Tensor] = []
        waiting: list[tuple[Tensor, ...]] = []  # the host may be done before the device has used any
        for _, frame, feat_forward in propagate(trunk, network.alignment, steps, feat_prop, probe):
            feat_backward = feats_backward.pop()
            if lrs.is_meta:
                waiting.append((feat_backward, feat_forward))
            with _beside(self._stream, feat_backward, feat_forward, frame):
                with probe(AGGREGATION):
                    features = network.aggregation(feat_backward, feat_forward)
                with probe(UPSAMPLING):
                    outputs.append(network.upsampling(features, frame))
                del features
            del feat_backward, feat_forward, frame
        if self._stream is not None:
            current = torch.cuda.current_stream(self._stream.device)
            current.wait_stream(self._stream)
            for output in outputs:
                output.record_stream(current)
        with probe(UPSAMPLING):
            return torch.stack(outputs, 1)


@contextmanager
def _beside(stream: torch.cuda.Stream | None, *used: Tensor) -> Iterator[None]:
    """Queue the block's work on `stream`, behind what the current one has so far.

    `used` are tensors of the current stream that the work reads. Their memory would be used again there as
    soon as they are gone: `record_stream` has the allocator wait for this stream, too.
    """
    if stream is None:
        yield
        return
    stream.wait_stream(torch.cuda.current_stream(stream.device))
    with torch.cuda.stream(stream):
        for tensor in used:
            tensor.record_stream(stream)
        yield
