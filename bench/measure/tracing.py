"""Trace what a call of a network costs: FLOPs, bytes moved and live memory, stage by stage.

The call runs on the meta device, or on a CPU, under a dispatch mode that sees every operator. docs/costs.md
says what is counted by which rule:

* FLOPs of convolutions and matrix products, by the formulas of `torch.utils.flop_counter`: a
  multiply-accumulate is two. Operators without a formula count none.
* Live bytes: each storage from the operator that made it until it is freed. A stage's peak is the most that
  was alive while it was open.
* Bytes moved, by the rules of `bench.measure.traffic`.
"""

import functools
import math
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.flop_counter import flop_registry

from bench.grid.costs import StageCost
from bench.grid.spans import OTHER
from bench.measure.traffic import Piece, Traffic, tensors_of
from vsr_model.stages import StageProbe

# A device context is a torch-function mode, which every look at a tensor's shape would go through.
DisableTorchFunction: Final = torch._C.DisableTorchFunction

_COMPOSITE: Final = torch._C.DispatchKey.CompositeImplicitAutograd


class TooSlowError(Exception):
    """Raised for a call that takes longer than its limit."""


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]  # its base has no types
    """Counts the calls of one module, whose parameters and buffers are always alive.

    On the meta device calls of submodules that repeat are not run again (`_Memo`), also from one `trace` to
    the next: a thousand frames take hardly longer than ten.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._alive: dict[int, int] = {}
        self.live_bytes = 0
        self.stage = OTHER
        self.intervals = 0
        self.traffic = Traffic()
        self._memo = _Memo(self)
        self._limit_s = self._deadline_s = math.inf
        self._begin()
        for tensor in (*module.parameters(), *module.buffers()):
            self._hold(tensor)

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Count what the block allocates and keeps as alive, but none of its work."""
        with self:
            yield
        self.traffic = Traffic()

    def trace(
        self,
        forward: Callable[[Tensor, StageProbe], object],
        clip: Tensor,
        *,
        holds_clip: bool = True,
        limit_s: float = math.inf,
    ) -> dict[str, StageCost]:
        """Call `forward` with a clip (n, t, c, h, w) and a probe; return each stage's cost, `other` included.

        Without `holds_clip` the clip lies in memory that is not counted. Raises TooSlowError if the call
        takes longer than `limit_s`.
        """
        self._begin()
        self._limit_s, self._deadline_s = limit_s, monotonic() + limit_s
        if holds_clip:
            self._hold(clip)
        self._reach(self.live_bytes)
        with self._memo.active() if clip.is_meta else nullcontext(), self:
            result = forward(clip, self._probe)
        self.traffic.finish(tensors_of(result))
        return {
            stage: StageCost(
                flops=self.flops[stage],
                bytes=self.traffic.moved[stage],
                fused_bytes=self.traffic.fused[stage],
                peak_bytes=peak,
                dtype=self._dtype(stage),
            )
            for stage, peak in self.peaks.items()
        }

    def _dtype(self, stage: str) -> str:
        found = self.dtypes[stage].most_common(1)
        return str(found[0][0] if found else torch.float32).removeprefix("torch.")

    def _begin(self) -> None:
        self.flops: defaultdict[str, int] = defaultdict(int)
        self.dtypes: defaultdict[str, Counter[torch.dtype]] = defaultdict(Counter)
        self.peaks: dict[str, int] = {}
        self.traffic.restart()

    @contextmanager
    def _probe(self, stage: str, /) -> Iterator[None]:
        outer, self.stage = self.stage, stage
        self.intervals += 1
        self.traffic.begin(stage)
        self._reach(self.live_bytes)
        try:
            yield
        finally:
            self.stage = outer
            self.traffic.begin(outer)

    def _hold(self, tensor: Tensor) -> None:
        """Count a tensor's storage for as long as it is alive."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._alive:
            self._alive[key] = size
            self.live_bytes += size
            self._reach(self.live_bytes)
            weakref.finalize(storage, self._release, key)

    def _release(self, key: int) -> None:
        self.live_bytes -= self._alive.pop(key)
        self.traffic.forget(key)

    def _reach(self, live_bytes: int) -> None:
        self.peaks[self.stage] = max(self.peaks.get(self.stage, 0), live_bytes)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if monotonic() > self._deadline_s:
            raise TooSlowError(f"over {self._limit_s:.0f} s")
        with DisableTorchFunction():
            return self._seen(func, args, kwargs or {})

    def _seen(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        formula = flop_registry.get(func._overloadpacket)
        if formula is None and _is_composite(func):
            # Not `func.decompose`, which also has replacements that eager calls never run.
            with self:
                return func._op_dk(_COMPOSITE, *args, **kwargs)
        shape = _SHAPES.get(func._overloadpacket)
        result = shape(*args) if shape is not None and args[0].is_meta else func(*args, **kwargs)
        if formula is not None:
            flops = formula(*args, **kwargs, out_val=result)
            self.flops[self.stage] += flops
            self.dtypes[self.stage][args[0].dtype] += flops
        outputs = tensors_of(result)
        for output in outputs:
            self._hold(output)
        self.traffic.see(func, args, kwargs, outputs)
        return result


@functools.cache
def _is_composite(func: Any) -> bool:
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), _COMPOSITE.name))


def _sampled(image: Tensor, grid: Tensor, *_options: Any) -> Tensor:
    return image.new_empty(*image.shape[:2], *grid.shape[1:-1])


def _resized(image: Tensor, size: Sequence[int], *_options: Any) -> Tensor:
    made = image.new_empty(*image.shape[:2], *size)
    if image.is_contiguous() or not image.is_contiguous(memory_format=torch.channels_last):
        return made
    return made.to(memory_format=torch.channels_last)


_SHAPES: Final[Mapping[Any, Callable[..., Tensor]]] = {
    torch.ops.aten.grid_sampler_2d: _sampled,
    torch.ops.aten.upsample_bilinear2d: _resized,
    torch.ops.aten.upsample_bicubic2d: _resized,
}
"""Operators whose own computation of shapes on the meta device takes many times a convolution's."""


@dataclass(frozen=True)
class _Form:
    """A tensor's layout in its storage."""

    shape: torch.Size
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    storage_bytes: int

    @classmethod
    def of(cls, tensor: Tensor) -> "_Form":
        storage_bytes = tensor.untyped_storage().nbytes()
        return cls(tensor.shape, tensor.stride(), int(tensor.storage_offset()), tensor.dtype, storage_bytes)

    def made(self) -> Tensor:
        base = torch.empty(self.storage_bytes // self.dtype.itemsize, dtype=self.dtype, device="meta")
        return base.as_strided(self.shape, self.stride, self.offset)


@dataclass(frozen=True)
class _Effect:
    """The effect of one call of a module."""

    flops: int
    dtype: torch.dtype
    moved: int
    rise_bytes: int  # of live bytes above those at its beginning, at the most
    kept_bytes: int  # alive after it, beside the outputs
    reads: tuple[Any, ...]  # pieces; of tensors that it was given, by their number
    outputs: tuple[_Form, ...]
    structure: Any


class _Memo:
    """Remembers effects of calls: once two alike had the same effect, later ones are counted and not run.

    Modules that open stages, keep memory, or return outputs that share memory are always run.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._effects: dict[Any, _Effect] = {}
        self._repeats: set[Any] = set()
        self._never: set[Any] = set()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Intercept all calls of modules in the block."""
        original = nn.Module.__call__

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return self._call(original, module, args, kwargs)

        nn.Module.__call__ = call  # type: ignore[method-assign]
        try:
            yield
        finally:
            nn.Module.__call__ = original  # type: ignore[method-assign]

    def _call(self, original: Callable[..., Any], module: nn.Module, args: Any, kwargs: Any) -> Any:
        with DisableTorchFunction():
            leaves, structure = tree_flatten((args, kwargs))
            key = (module, self._tracer.stage, structure, tuple(map(self._kind, leaves)))
            tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
            try:
                if key in self._repeats:
                    return self._repeat(self._effects[key], tensors)
                is_new = key not in self._never
            except TypeError:  # an argument without a hash
                is_new = False
        if not is_new:
            return original(module, *args, **kwargs)
        result, effect = self._watched(tensors, lambda: original(module, *args, **kwargs))
        if effect is None:
            self._never.add(key)
        else:
            if effect.kept_bytes == 0 and self._effects.get(key) == effect:
                self._repeats.add(key)
            self._effects[key] = effect
        return result

    def _watched(self, tensors: Sequence[Tensor], call: Callable[[], Any]) -> tuple[Any, _Effect | None]:
        tracer, stage = self._tracer, self._tracer.stage
        flops, moved = tracer.flops[stage], tracer.traffic.moved[stage]
        dtypes = tracer.dtypes[stage].copy()
        begin, intervals, peak = tracer.live_bytes, tracer.intervals, tracer.peaks.get(stage, 0)
        given = [tracer.traffic.piece(tensor) for tensor in tensors]
        tracer.peaks[stage] = begin
        try:
            with tracer.traffic.noting_reads() as reads:
                result = call()
        finally:
            rise_bytes = tracer.peaks[stage] - begin
            tracer.peaks[stage] = max(peak, tracer.peaks[stage])
        outputs, structure = tree_flatten(result)
        if intervals != tracer.intervals or not _own_storages(outputs, tensors):
            return result, None
        forms = tuple(map(_Form.of, outputs))
        return result, _Effect(
            flops=tracer.flops[stage] - flops,
            dtype=max(
                tracer.dtypes[stage] - dtypes, key=tracer.dtypes[stage].__getitem__, default=torch.float32
            ),
            moved=tracer.traffic.moved[stage] - moved,
            rise_bytes=rise_bytes,
            kept_bytes=tracer.live_bytes - begin - sum(form.storage_bytes for form in forms),
            reads=tuple(_numbered(piece, given) for piece in reads),
            outputs=forms,
            structure=structure,
        )

    def _repeat(self, effect: _Effect, tensors: Sequence[Tensor]) -> Any:
        tracer = self._tracer
        tracer._reach(tracer.live_bytes + effect.rise_bytes)
        given = [tracer.traffic.piece(tensor) for tensor in tensors]
        with torch._C._DisableTorchDispatch():
            outputs = [form.made() for form in effect.outputs]
        for output in outputs:
            tracer._hold(output)
        tracer.flops[tracer.stage] += effect.flops
        tracer.dtypes[tracer.stage][effect.dtype] += effect.flops
        reads = [
            replace(piece, value=given[piece.value].value, offset=given[piece.value].offset + piece.offset)
            if isinstance(piece.value, int)
            else piece
            for piece in effect.reads
        ]
        tracer.traffic.repeat(effect.moved, reads, outputs)
        return tree_unflatten(outputs, effect.structure)

    def _kind(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return leaf.shape, leaf.stride(), leaf.dtype, *self._tracer.traffic.state(leaf)


def _own_storages(outputs: Sequence[Any], inputs: Sequence[Tensor]) -> bool:
    """Return whether all outputs are tensors, each with a storage of its own."""
    if not all(isinstance(output, Tensor) for output in outputs):
        return False
    storages = [output.untyped_storage()._cdata for output in outputs]
    given = {tensor.untyped_storage()._cdata for tensor in inputs}
    return len(set(storages)) == len(storages) and given.isdisjoint(storages)


def _numbered(piece: Piece, given: Sequence[Piece]) -> Any:
    """Return a piece of one of the given tensors, relative to that tensor and with its number as value."""
    for number, whole in enumerate(given):
        if piece.value is whole.value:
            return replace(piece, value=number, offset=piece.offset - whole.offset)  # type: ignore[arg-type]
    return piece
