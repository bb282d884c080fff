"""Trace what cells cost, on the meta device, before anything is measured. Runs in a worker."""

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor

from bench.grid.backend import BUILT_IN, Backend
from bench.grid.costs import Costs
from bench.grid.plan import Cell
from bench.measure import clips, workload
from bench.measure.backends import CpuDevice
from bench.measure.draft import error_line
from bench.measure.tracing import TooSlowError, Tracer
from vsr_model.adapted import Adapted
from vsr_model.errors import BadField
from vsr_model.memory_plan import MemoryPlan
from vsr_model.network import Network
from vsr_model.networks.basicvsr import BasicVSR
from vsr_model.stages import StageProbe
from vsr_model.streaming import upscale_frames

MAX_CPU_PIXELS: Final = 2**16
"""Of a clip that is traced by a real call, where a network does not run on the meta device."""

LIMITS_S: Final = {"meta": 120.0, "cpu": 30.0}
"""For one call; a network that takes longer is not tried again."""

_LEAST_SIDE: Final = 16
_TRIED_FRAMES: Final = 5
"""Of a clip that may call what a shorter one does not."""

_KEEPING: Final = ("fft", "winograd")
"""Convolutions that keep memory from call to call: spectra of weights, or scratch images."""


class Untraceable(Exception):  # noqa: N818 - no error: a cell runs without its costs
    """Raised for a network whose costs cannot be traced; the message is a sentence that says why."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A network as a backend prepares it, with the tracer that counts its calls."""

    network: Network
    tracer: Tracer

    @classmethod
    def of(cls, network: Network, backend: Backend, device: torch.device) -> "Prepared":
        """Prepare a copy of `network`, which is on the CPU, on the meta device or the CPU.

        Memory that the backend's convolutions keep beside the parameters counts as alive. Raises
        `workload.Unsupported` for a backend that the network cannot have.
        """
        copied = copy.deepcopy(network).to(device)
        tracer = Tracer(copied)
        with device, tracer.preparing():
            prepared = workload.prepare(copied, backend, device, on_cpu=not backend.is_cuda)
        return cls(network=prepared, tracer=tracer)


class _FramesElsewhere:
    """A clip in memory that is not counted; each of its frames is a new tensor on the meta device."""

    def __init__(self, shape: tuple[int, int, int, int, int]) -> None:
        self.shape = shape

    def frames(self, start: int, stop: int) -> Iterator[Tensor]:
        """Yield frames as `FrameSource.frames` does."""
        n, _, *frame = self.shape
        return (torch.empty(n, *frame, device="meta") for _ in range(start, stop))


def streamed(network: Network, plan: MemoryPlan, *, holds_clip: bool) -> Callable[[Tensor, StageProbe], None]:
    """Return the network in bounded memory as a call that makes every output and keeps none.

    Without `holds_clip` only the clip's shape is used; its frames come from memory that is not counted.
    """

    def forward(lrs: Tensor, probe: StageProbe) -> None:
        assert isinstance(network, BasicVSR)  # of all networks, the one that can be streamed
        n, t, c, h, w = lrs.shape
        source = workload.ClipFrames(lrs) if holds_clip else _FramesElsewhere((n, t, c, h, w))
        for output in upscale_frames(network, source, plan, probe):
            del output

    return forward


class CostTracer:
    """Traces cells, and those that differ in nothing that costs depend on once."""

    def __init__(self, networks: Mapping[str, Network]) -> None:
        """Take networks by name, on the CPU. They are not modified."""
        self._networks = networks
        self._prepared: dict[Any, Prepared] = {}
        self._found: dict[Any, Costs | Untraceable] = {}
        self._whole: dict[str, list[Adapted]] = defaultdict(list)  # those with a whole call, by name
        self._slow: dict[str, Untraceable] = {}

    def uncalled(self, cell: Cell) -> str | None:
        """Return a stage's pattern of a user's network that no traced call reached, or None.

        A clip longer than the cell's is tried first.
        """
        if self._left(cell.model.name) and cell.frames < _TRIED_FRAMES:
            with suppress(Untraceable, workload.Unsupported):
                self.costs(replace(cell, frames=_TRIED_FRAMES))
        return next(iter(self._left(cell.model.name)), None)

    def _left(self, name: str) -> list[str]:
        """Return the patterns that no traced call of a network reached; none if it was never called."""
        whole = self._whole[name]
        return [
            pattern
            for pattern in (whole[0].uncalled() if whole else ())
            if all(pattern in network.uncalled() for network in whole)
        ]

    def costs(self, cell: Cell) -> Costs:
        """Return each stage's cost in one forward of the cell, on the backend's device.

        FLOPs and bytes moved are those of the network's own convolutions, also where a replacement computes
        them; memory is the replacement's. Where processes divide a clip, the work is that of all of them, and
        the memory on a GPU that of one. Raises Untraceable; `workload.Unsupported` for a backend that the
        network cannot have; BadField if the output of a user's network is not as the grid says.
        """
        workload.check_support(self._networks[cell.model.name].facts, cell.backend)
        own = self._traced(cell)
        if cell.backend.convolution == "library":
            return own
        dtype = cell.backend.dtype if cell.backend.has_narrow_features else "float32"
        plain = self._traced(replace(cell, backend=cell.backend.replace(convolution="library", dtype=dtype)))
        return _with_memory_of(own, plain)

    def _traced(self, cell: Cell) -> Costs:
        if cell.backend.is_divided and cell.backend.is_cuda:
            share = replace(cell, batch=max(1, cell.batch // cell.backend.processes))
            return _with_memory_of(self._of_shape(share), self._of_shape(cell))
        return self._of_shape(cell)

    def _of_shape(self, cell: Cell) -> Costs:
        variant = _variant(cell.backend)
        plan = cell.memory_plan()
        key = (cell.model.name, variant, plan, cell.batch, cell.frames, cell.height, cell.width)
        if key not in self._found:
            try:
                self._found[key] = self._trace(cell, variant)
            except Untraceable as reason:
                self._found[key] = reason
        found = self._found[key]
        if isinstance(found, Untraceable):
            raise found
        if not cell.backend.cuda_graph:
            return found
        # The graph's own input, and the copy of its output that a call gives (vsr_model.cuda_graphs).
        network = self._networks[cell.model.name]
        clip = clips.clip_shape(cell, network.facts)
        held_bytes = 4 * (math.prod(clip) + math.prod(network.output_shape(clip)))
        return {
            stage: cost.model_copy(update={"peak_bytes": cost.peak_bytes + held_bytes})
            for stage, cost in found.items()
        }

    def _trace(self, cell: Cell, variant: Backend) -> Costs:
        name = cell.model.name
        if name in self._slow:
            raise self._slow[name]
        try:
            return self._on(torch.device("meta"), cell, variant)
        except (workload.Unsupported, BadField):
            raise
        except TooSlowError as error:
            self._slow[name] = Untraceable(f"a trace on the meta device took {error}")
            raise self._slow[name] from None
        except Exception as error:
            reason = f"the network does not run on the meta device ({error_line(error)})"
        tried = _small(cell)
        if tried == cell or not self._whole[name]:  # the smaller one is to show what comes out
            try:
                costs = self._on(torch.device("cpu"), tried, variant)
            except BadField:
                raise
            except TooSlowError as error:
                self._slow[name] = Untraceable(f"{reason}, and a trial on the CPU took {error}")
                raise self._slow[name] from None
            except Exception as error:
                raise Untraceable(f"{reason}, nor in a trial on the CPU ({error_line(error)})") from None
            if tried == cell:
                return costs
        raise Untraceable(f"{reason}, and a clip of this size is not tried on the CPU for it")

    def _on(self, device: torch.device, cell: Cell, variant: Backend) -> Costs:
        prepared = self._prepare(cell.model.name, variant, device)
        clip = torch.zeros(clips.clip_shape(cell, prepared.network.facts), device=device)
        plan = cell.memory_plan()
        holds_clip = plan is None or not variant.is_cuda
        if plan is None:
            forward: Callable[[Tensor, StageProbe], object] = workload.forward_of(prepared.network, variant)
        else:
            if plan.place == "host" and not variant.is_cuda:
                plan = replace(plan, place="device")  # the same memory
            forward = streamed(prepared.network, plan, holds_clip=holds_clip)

        def traced() -> Costs:
            limit_s = LIMITS_S[device.type]
            return prepared.tracer.trace(forward, clip, holds_clip=holds_clip, limit_s=limit_s)

        before = torch.get_num_threads()
        torch.set_num_threads(variant.threads or before)
        CpuDevice().release_cached_memory()
        try:
            with device:
                costs = traced()
                # What the first call made and kept is there from the beginning of the second.
                later = traced() if variant.convolution in _KEEPING else costs
        finally:
            torch.set_num_threads(before)
        if isinstance(prepared.network, Adapted):
            if clip._version:
                source = prepared.network.facts.source
                raise BadField("import", f"{source} writes into its input, which all calls are given")
            self._whole[cell.model.name].append(prepared.network)
        return {
            stage: cost.model_copy(update={"peak_bytes": max(cost.peak_bytes, later[stage].peak_bytes)})
            for stage, cost in costs.items()
        }

    def _prepare(self, name: str, variant: Backend, device: torch.device) -> Prepared:
        if variant.convolution in _KEEPING:  # a new network has nothing of another size
            return Prepared.of(self._networks[name], variant, device)
        key = (name, variant, device)
        if key not in self._prepared:
            self._prepared[key] = Prepared.of(self._networks[name], variant, device)
        return self._prepared[key]


def _with_memory_of(other: Costs, costs: Costs) -> Costs:
    """Return the costs with the memory of the other ones."""
    return {
        stage: cost.model_copy(update={"peak_bytes": other[stage].peak_bytes})
        for stage, cost in costs.items()
    }


def _small(cell: Cell) -> Cell:
    """Return the cell, or one small enough for a quick call on the CPU."""
    if cell.batch * cell.frames * cell.height * cell.width <= MAX_CPU_PIXELS:
        return cell
    frames = min(cell.frames, MAX_CPU_PIXELS // _LEAST_SIDE**2)
    side = math.isqrt(MAX_CPU_PIXELS // frames) // _LEAST_SIDE * _LEAST_SIDE
    return replace(cell, batch=1, frames=frames, height=min(cell.height, side), width=min(cell.width, side))


def _variant(backend: Backend) -> Backend:
    """Return the backend with only the fields that its costs depend on."""
    depends_on_device = (
        backend.convolution in ("im2col", "fft")
        or backend.memory_plan is not None
        or backend.schedule != "sequential"
    )
    return BUILT_IN["cuda" if backend.is_cuda and depends_on_device else "cpu"].replace(
        name="",
        dtype=backend.dtype,
        memory_format=backend.memory_format,
        convolution=backend.convolution,
        schedule=backend.schedule,
        threads=backend.threads if backend.convolution == "winograd" else None,
    )
