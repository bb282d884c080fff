"""A whole call captured as a CUDA graph and replayed: one launch for all its kernels.

The steps are those of PyTorch's notes on CUDA graphs (https://docs.pytorch.org/docs/stable/notes/cuda.html).
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import torch
from torch import Tensor

WARMUP_CALLS: Final = 3
"""Before a capture: libraries load, cuDNN's autotuning picks its algorithms and torch.compile compiles, none
of which a capture may do."""

_Captured: TypeAlias = tuple[torch.cuda.CUDAGraph, Tensor, Tensor]


class GraphedCall:
    """Captures `forward` at the first input of a shape and type, and replays it at the later ones.

    A graph reads and writes fixed addresses, so that inputs are copied in and outputs are copied out. Weights
    may change in place; they may not be moved or cast. No gradients are recorded.
    """

    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        self._forward = forward
        self._captured: dict[tuple[torch.Size, torch.dtype, torch.device], _Captured] = {}

    @torch.inference_mode()
    def __call__(self, lrs: Tensor) -> Tensor:
        key = lrs.shape, lrs.dtype, lrs.device
        if key not in self._captured:
            self._captured[key] = self._capture(lrs)
        graph, own_input, own_output = self._captured[key]
        own_input.copy_(lrs)
        graph.replay()
        return own_output.clone()

    def _capture(self, lrs: Tensor) -> _Captured:
        own_input = lrs.clone()
        current = torch.cuda.current_stream(lrs.device)
        aside = torch.cuda.Stream(lrs.device)  # type: ignore[no-untyped-call]
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(WARMUP_CALLS):
                self._forward(own_input)
        current.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            own_output = self._forward(own_input)
        return graph, own_input, own_output
