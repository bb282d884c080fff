"""The eight orientations of stored frames, as EXIF and videos state them."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor

_OBLIQUE = 1 / 16  # of the larger entry; below it an entry is a zero that was rounded


@dataclass(frozen=True)
class Orientation:
    """A stored pixel (x, y), y downwards, is shown at (a x + c y, b x + d y); each entry is -1, 0 or 1."""

    a: int
    b: int
    c: int
    d: int

    @classmethod
    def of_matrix(cls, a: float, b: float, c: float, d: float) -> Self | None:
        """Return the orientation of a display matrix of any scale; None where it is oblique or singular."""
        straight, crossed = max(abs(a), abs(d)), max(abs(b), abs(c))
        if min(straight, crossed) > _OBLIQUE * max(straight, crossed):
            return None
        if crossed > straight:
            a = d = 0
        else:
            b = c = 0
        if a * d - b * c == 0:
            return None
        return cls(*((value > 0) - (value < 0) for value in (a, b, c, d)))

    def apply(self, image: Tensor) -> Tensor:
        """Return `image` (..., h, w) upright; (..., w, h) where it turns by a quarter."""
        if self.a == 0:
            image = image.transpose(-1, -2)
        flipped = [axis for axis, sign in ((-1, self.a + self.c), (-2, self.b + self.d)) if sign < 0]
        return image.flip(flipped) if flipped else image


UPRIGHT = Orientation(1, 0, 0, 1)
EXIF_ORIENTATIONS = {
    1: UPRIGHT,
    2: Orientation(-1, 0, 0, 1),
    3: Orientation(-1, 0, 0, -1),
    4: Orientation(1, 0, 0, -1),
    5: Orientation(0, 1, 1, 0),
    6: Orientation(0, 1, -1, 0),
    7: Orientation(0, -1, -1, 0),
    8: Orientation(0, -1, 1, 0),
}
"""Orientations by the value of EXIF's tag 0x0112."""
