"""How a frame that is too large for the device is cut into tiles. Free of torch."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from vsr_model.errors import BadInput

LEAST_SIZE: Final = 16  # of height and width, as the network takes them


@dataclass(frozen=True, kw_only=True)
class Window:
    """A rectangle of a frame, in pixels of the input."""

    rows: range
    columns: range


@dataclass(frozen=True, kw_only=True)
class Tile:
    """The `window` of the frame that the network is given, and the part of it whose output is `kept`.

    Both are in pixels of the input, counted in the frame.
    """

    window: Window
    kept: Window


@dataclass(frozen=True, kw_only=True)
class TileLayout:
    """A frame of `height` x `width`, cut into tiles of at most `tile_height` x `tile_width`; in input pixels.

    Along an axis that is no longer than a tile may be, nothing is cut. Along any other:

    * Each tile reaches at least `overlap` pixels beyond the part of it that is kept, wherever it has a
      neighbour. So neighbours share at least twice as many, and the seam lies in the middle of what they
      share, half a pixel before it where that is odd.
    * There are as few tiles as that allows. All have one size (`window_height` or `window_width`), the least
      with which so few reach, and lie as evenly as whole pixels allow: convolutions see a single shape.

    The parts that are kept are a partition of the frame. Raises BadInput for what is no whole number or too
    small, and for an overlap that leaves nothing of a tile.
    """

    height: int
    width: int
    tile_height: int
    tile_width: int
    overlap: int

    def __post_init__(self) -> None:
        for name in ("height", "width", "tile_height", "tile_width", "overlap"):
            value, allowed = getattr(self, name), 0 if name == "overlap" else LEAST_SIZE
            if isinstance(value, bool) or not isinstance(value, int) or value < allowed:
                raise BadInput(f"{name} is {value!r}, and a whole number of at least {allowed} is allowed.")
        for name, length, most in (
            ("tile_height", self.height, self.tile_height),
            ("tile_width", self.width, self.tile_width),
        ):
            if length > most <= 2 * self.overlap:
                raise BadInput(
                    f"overlap is {self.overlap} and {name} {most}, which leaves nothing of a tile between its"
                    f" neighbours; an overlap of at most {(most - 1) // 2} is allowed."
                )

    @property
    def down(self) -> int:
        """How many tiles are above each other."""
        return _count(self.height, self.tile_height, self.overlap)

    @property
    def across(self) -> int:
        """How many tiles are side by side."""
        return _count(self.width, self.tile_width, self.overlap)

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return self.down * self.across

    @property
    def window_height(self) -> int:
        """Of every tile."""
        return _length(self.height, self.down, self.overlap)

    @property
    def window_width(self) -> int:
        """Of every tile."""
        return _length(self.width, self.across, self.overlap)

    def tiles(self) -> Iterator[Tile]:
        """All tiles, row by row."""
        for rows, kept_rows in _spans(self.height, self.window_height, self.down):
            for columns, kept_columns in _spans(self.width, self.window_width, self.across):
                yield Tile(
                    window=Window(rows=rows, columns=columns),
                    kept=Window(rows=kept_rows, columns=kept_columns),
                )


def _count(length: int, most: int, overlap: int) -> int:
    """Tiles along an axis: each but the first adds `most` less what it shares with the one before."""
    if length <= most:
        return 1
    return -(-(length - 2 * overlap) // (most - 2 * overlap))


def _length(length: int, count: int, overlap: int) -> int:
    """The least length with which so many tiles reach from end to end."""
    if count == 1:
        return length
    return max(LEAST_SIZE, -(-(length + (count - 1) * 2 * overlap) // count))


def _spans(length: int, window: int, count: int) -> Iterator[tuple[range, range]]:
    """The pixels of each tile along an axis, and those that are kept."""
    starts = [number * (length - window) // max(count - 1, 1) for number in range(count)]
    # In the middle of what two share: from where the later begins to where the earlier ends.
    seams = [(later + earlier + window) // 2 for earlier, later in pairwise(starts)]
    kept = pairwise([0, *seams, length])
    for start, (first, stop) in zip(starts, kept, strict=True):
        yield range(start, start + window), range(first, stop)
