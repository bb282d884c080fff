"""A network's stages captured as CUDA graphs: each launches its kernels as one, however many they are.

A graph is of one stage and one set of input shapes. It reads and writes memory at fixed addresses, so that
each call copies its inputs in; the network between the stages stays Python, and a probe sees all four.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import torch
from torch import Tensor, nn

WARMUP_CALLS: Final = 3
"""Before a capture: libraries load, cuDNN's autotuning picks its algorithm and torch.compile compiles, none
of which a capture may do."""

PARTS: Final = (
    "alignment.spynet",
    "alignment",
    "propagation.backward_trunk",
    "propagation.forward_trunk",
    "aggregation",
    "upsampling",
)
"""The modules that are captured, by their names in the network."""

HANDED_ON: Final = frozenset({"alignment", "propagation.forward_trunk", "aggregation"})
"""Those whose output the published order has read, by the parts that come next and copy it in, before it
calls the same part again. The others' outputs wait: flows, backward features and frames of the whole clip."""

Key: TypeAlias = tuple[Hashable, ...]


class Capturer(Protocol):
    """What captures work: CUDA, or what stands for it in a test."""

    def lane(self) -> Hashable:
        """Where the caller's work is queued now. What shares a lane runs one after another."""

    def capture(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """What does the work again, and the tensor that each time writes its result to.

        The tensor holds a result only once that was called. `work` is called several times meanwhile.
        """


class CudaCapturer:
    """Captures on one CUDA device. Graphs of a lane share their working memory, which is right as long as no
    two of them run at once; those of another lane have their own."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pools: dict[Hashable, Any] = {}

    def lane(self) -> Hashable:
        stream: Hashable = torch.cuda.current_stream(self._device).cuda_stream
        return stream

    def capture(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        current = torch.cuda.current_stream(self._device)
        # Not on the current stream, which may be the default one: work there is ordered with that of others.
        aside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(WARMUP_CALLS):
                work()
        current.wait_stream(aside)
        lane = self.lane()
        if lane not in self._pools:
            self._pools[lane] = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pools[lane]):
            output = work()
        return graph.replay, output


@dataclass(frozen=True, kw_only=True)
class _Graph:
    """A capture with what it reads and writes."""

    inputs: tuple[Tensor, ...]
    replay: Callable[[], None]
    output: Tensor


class GraphedStage(nn.Module):
    """A stage that is captured at the first call with inputs of a kind, and replayed at the later ones.

    Everything else that the stage has, such as other methods, is found here, too. Weights may be changed in
    place, and not be moved or cast: a graph knows their addresses.
    """

    stage: nn.Module

    def __init__(self, stage: nn.Module, capturer: Capturer, *, keeps: bool) -> None:
        """`keeps`: whether outputs are the caller's for good. If not, the next call writes over them."""
        super().__init__()
        self.stage = stage
        self._capturer = capturer
        self._keeps = keeps
        self._graphs: dict[Key, _Graph] = {}

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("stage"), name)

    def forward(self, *inputs: Tensor) -> Tensor:
        """As the stage's own. Raises RuntimeError where autograd would record it, which a replay cannot."""
        if torch.is_grad_enabled():
            raise RuntimeError("a CUDA graph records no gradients; call it under torch.inference_mode()")
        key = (self._capturer.lane(), *map(_kind, inputs))
        graph = self._graphs.get(key)
        if graph is None:
            graph = self._graphs[key] = self._captured(inputs)
        # A caller's inputs are elsewhere each time. The copies are queued behind whatever wrote those, and
        # before the replay; what this graph's last result was copied from is therefore read before it goes.
        for own, given in zip(graph.inputs, inputs, strict=True):
            own.copy_(given)
        graph.replay()
        return graph.output.clone() if self._keeps else graph.output

    def _captured(self, inputs: tuple[Tensor, ...]) -> _Graph:
        # Made outside inference mode: tensors of that mode may not be written to outside it.
        with torch.inference_mode(mode=False):
            own = tuple(torch.empty_like(given) for given in inputs)
        for mine, given in zip(own, inputs, strict=True):
            mine.copy_(given)  # warm-up's results are dropped, but numbers like the later ones take as long
        replay, output = self._capturer.capture(lambda: self.stage(*own))
        return _Graph(inputs=own, replay=replay, output=output)


def graph_stages(network: nn.Module, capturer: Capturer, *, keep_all: bool = False) -> None:
    """Have every part of a BasicVSR captured and replayed, in place.

    `keep_all`: copy every output out of its graph, for a caller with another order than the published one.
    """
    for name in PARTS:
        owner, _, attribute = name.rpartition(".")
        keeps = keep_all or name not in HANDED_ON
        stage = GraphedStage(network.get_submodule(name), capturer, keeps=keeps)
        setattr(network.get_submodule(owner), attribute, stage)


def _kind(given: Tensor) -> tuple[Hashable, ...]:
    """What two inputs must share for one graph to take both."""
    channels_last = given.dim() == 4 and given.is_contiguous(memory_format=torch.channels_last)
    return (given.shape, given.dtype, given.device, channels_last and not given.is_contiguous())
