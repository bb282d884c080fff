"""The eight ways a stored frame can be turned or mirrored to stand upright, as EXIF and videos state them."""

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
        """The orientation of a display matrix, whatever its scale; None where it is oblique or singular."""
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

    @property
    def degrees(self) -> int:
        """How far it turns clockwise (0, 90, 180 or 270), after the mirroring if it mirrors."""
        mirrored = self.a * self.d - self.b * self.c < 0
        cosine, sine = (-self.a, -self.b) if mirrored else (self.a, self.b)
        return {(1, 0): 0, (0, 1): 90, (-1, 0): 180, (0, -1): 270}[cosine, sine]

    def apply(self, image: Tensor) -> Tensor:
        """`image` (..., h, w) upright; (..., w, h) where it turns by a quarter."""
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
"""By the value of EXIF's tag 0x0112."""
