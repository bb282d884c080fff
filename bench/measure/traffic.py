"""Count the bytes that a call has to move, operator by operator, for a roofline.

Two bounds of compulsory traffic (Williams, Waterman and Patterson, CACM 2009), below which no implementation
that is built in the same way can come:

* `moved`: nothing stays in a cache between layers. A layer is an operator such as a convolution, a warp, a
  pooling or a resizing, with what is done to its output element by element. It reads its inputs and its
  weights once, and writes its output once; the second operand of an elementwise operator, such as a shortcut,
  is read for it. An elementwise operator that follows no layer is computed where its result is read; one
  whose result is read twice is a layer of its own. Joining, shuffling, converting and copying cost nothing:
  who reads the result reads its parts.
* `fused`: nothing that lives within one interval of a stage leaves the cache. The interval reads what others
  made and its weights, and writes what others read.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from bench.grid.spans import OTHER

_MOVEMENTS: Final = frozenset({
    "cat", "stack", "clone", "copy_", "_to_copy", "contiguous", "pixel_shuffle", "pixel_unshuffle",
    "channel_shuffle", "constant_pad_nd", "index", "index_select", "gather", "repeat", "flip", "roll",
    "slice_scatter", "select_scatter",
})  # fmt: skip
_FACTORIES: Final = frozenset({
    "new_empty", "new_empty_strided", "new_zeros", "new_ones", "new_full", "empty_like", "zeros_like",
    "ones_like", "full_like", "fill_", "zero_",
})  # fmt: skip


@dataclass(eq=False)
class _Value:
    """The content of a storage."""

    stage: str  # that made it
    interval: int  # of that stage; before the first for inputs and weights
    storage_bytes: int
    number: int = 0  # later ones are larger
    is_open: bool = False  # the output of a layer that no other has read
    sources: tuple["Piece", ...] = ()  # of an elementwise result that is computed where it is read
    parts: tuple["Piece", ...] = ()  # that it was put together from
    reads: int = 0
    written_bytes: int = 0  # for readers in other intervals


@dataclass(frozen=True)
class Piece:
    """The elements of a storage that a tensor views."""

    value: _Value
    offset: int
    size: int  # bytes; repeated elements count once


class Traffic:
    """Counts bytes by stage: `moved` and `fused`."""

    def __init__(self) -> None:
        self.restart()
        self._values: dict[int, _Value] = {}
        self._stage, self._interval, self._number = OTHER, 1, 0
        self._pieces: set[tuple[int, int, int]] = set()  # that the interval has read,
        self._fetched: defaultdict[int, int] = defaultdict(int)  # and how many bytes of each value
        self._reads: list[tuple[int, list[Piece]]] = []  # with the number of the first value made meanwhile

    def restart(self) -> None:
        """Reset all counts to zero."""
        self.moved: defaultdict[str, int] = defaultdict(int)
        self.fused: defaultdict[str, int] = defaultdict(int)

    def begin(self, stage: str) -> None:
        """Begin an interval of a stage."""
        self._stage = stage
        self._interval += 1
        self._pieces.clear()
        self._fetched.clear()

    def forget(self, key: int) -> None:
        """Forget a freed storage, given the address of its implementation."""
        self._values.pop(key, None)

    def finish(self, outputs: Sequence[Tensor]) -> None:
        """Count the outputs of the call as written."""
        self.begin(OTHER)
        before = self.fused[OTHER]
        for output in outputs:
            self._fetch(self.piece(output))
        self.fused[OTHER] = before

    @contextmanager
    def noting_reads(self) -> Iterator[list[Piece]]:
        """Collect the pieces that the block reads and did not make, without parts of collected ones."""
        found: list[Piece] = []
        self._reads.append((self._number + 1, found))
        try:
            yield found
        finally:
            self._reads.pop()

    def repeat(self, moved: int, reads: Sequence[Piece], outputs: Sequence[Tensor]) -> None:
        """Count a repeated call by the bytes that it moved, the pieces that it read and its outputs."""
        for piece in reads:
            self._note(piece)
        self.moved[self._stage] += moved
        for output in outputs:
            self._make(output).is_open = True

    def state(self, tensor: Tensor) -> tuple[int, ...]:
        """Return what decides how reading a tensor is counted, to tell whether two calls are alike."""
        value = self.piece(tensor).value
        return (
            value.is_open,
            len(value.sources),
            len(value.parts),
            min(value.reads, 2) if value.sources else 0,
        )

    def see(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], outputs: Sequence[Tensor]) -> None:
        """Count one operator."""
        if func.is_view or not outputs:
            return
        inputs = [tensor for tensor in tensors_of(*args, *kwargs.values()) if tensor.dim() > 0]
        name = func._overloadpacket.__name__
        if not inputs or name in _FACTORIES:
            for output in outputs:
                self._make(output)
        elif name == "copy_":
            target, source = map(self.piece, inputs[:2])
            target.value.parts = (*target.value.parts, source)
        elif name in _MOVEMENTS:
            self._move(inputs, outputs)
        elif torch.Tag.pointwise in func.tags:
            self._compute(inputs, outputs)
        else:
            self._run_layer(inputs, outputs)

    def _run_layer(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        for tensor in inputs:
            self._read(self.piece(tensor))
        for output in outputs:
            self._make(output).is_open = True
            self.moved[self._stage] += _bytes(output)

    def _move(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        parts = tuple(map(self.piece, inputs))
        for output in outputs:
            value = self._make(output)
            value.parts = parts
            if len(parts) == 1 and parts[0].value.is_open:
                value.is_open, value.number = True, parts[0].value.number

    def _compute(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        operands = list({id(piece.value): piece for piece in map(self.piece, inputs)}.values())
        joined = max(
            (piece for piece in operands if piece.value.is_open),
            key=lambda piece: piece.value.number,
            default=None,
        )
        others = [piece for piece in operands if piece is not joined]
        overwritten = self._values.get(_key(outputs[0]))
        if joined is not None:  # a part of the layer that has just been run
            for piece in others:
                self._read(piece)
            if overwritten is not joined.value:
                self._note(joined, consume=False)
                for output in outputs:
                    self._make(output).is_open = True
        elif overwritten is not None:  # in place
            self._read(self.piece(outputs[0]))
            for piece in others:
                if piece.value is not overwritten:
                    self._read(piece)
            self.moved[self._stage] += _bytes(outputs[0])
        else:
            for output in outputs:
                self._make(output).sources = tuple(others)

    def _read(self, piece: Piece) -> None:
        self.moved[self._stage] += self._cost(piece)
        self._note(piece)

    def _note(self, piece: Piece, *, consume: bool = True) -> None:
        self._fetch(piece)
        if consume:
            self._consume(piece.value)

    def _consume(self, value: _Value) -> None:
        value.is_open = False
        for part in value.parts:
            self._consume(part.value)

    def _cost(self, piece: Piece) -> int:
        """Return the bytes that a layer reads for a piece."""
        value = piece.value
        value.reads += 1
        if value.sources:
            if value.reads == 1:
                return sum(map(self._cost, value.sources))
            value.sources = ()
            return 3 * piece.size  # written, read by the layer before, and by this one
        if value.parts:
            return sum(map(self._cost, value.parts)) * piece.size // max(value.storage_bytes, 1)
        return piece.size

    def _fetch(self, piece: Piece, whole: float = math.inf) -> None:
        """Count a piece of another interval as fetched; `whole` is the number of the value it belongs to."""
        value = piece.value
        for first, found in self._reads:
            if value.number < first <= whole:
                found.append(piece)
        if value.interval == self._interval:
            for inner in (*value.parts, *value.sources):
                self._fetch(inner, min(whole, value.number))
            return
        key = (id(value), piece.offset, piece.size)
        if key in self._pieces:
            return
        self._pieces.add(key)
        size = min(piece.size, value.storage_bytes - self._fetched[id(value)])
        self._fetched[id(value)] += size
        self.fused[self._stage] += size
        if value.interval:
            unwritten = min(size, value.storage_bytes - value.written_bytes)
            value.written_bytes += unwritten
            self.fused[value.stage] += unwritten

    def _make(self, tensor: Tensor) -> _Value:
        self._number += 1
        value = _Value(self._stage, self._interval, tensor.untyped_storage().nbytes(), self._number)
        self._values[_key(tensor)] = value
        return value

    def piece(self, tensor: Tensor) -> Piece:
        """Return the elements of its storage that a tensor views."""
        key = _key(tensor)
        if key not in self._values:  # an input or a weight
            self._values[key] = _Value(OTHER, 0, tensor.untyped_storage().nbytes())
        return Piece(self._values[key], int(tensor.storage_offset()), _bytes(tensor))


def tensors_of(*values: Any) -> list[Tensor]:
    """Return the tensors in an operator's arguments or results, nested ones included."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_of(*value)
        elif isinstance(value, Mapping):
            found += tensors_of(*value.values())
    return found


def _key(tensor: Tensor) -> int:
    key: int = tensor.untyped_storage()._cdata
    return key


def _bytes(tensor: Tensor) -> int:
    """Return the bytes of a tensor's elements; repeated ones count once."""
    count: int = tensor.element_size()
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride else 1
    return count
