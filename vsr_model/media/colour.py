"""The meaning of RGB values: ICC profiles, and the numbers of ITU-T H.273 that streams state."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

UNSTATED: Final = 2
BT709: Final = 1  # of primaries, transfer and matrix alike
BT2020: Final = 9  # of primaries and matrix
_HDR_TRANSFERS: Final = (16, 18)  # PQ (SMPTE ST 2084) and HLG (ARIB STD-B67)
_SRGB_TRANSFER: Final = 13

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of white, red, green and blue, in the order of PNG's cHRM."""

_D65: Final = (0.3127, 0.3290)
SRGB: Final[Chromaticities] = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
ADOBE_RGB: Final[Chromaticities] = (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
_PRIMARIES: Final[dict[int, Chromaticities]] = {
    BT709: SRGB,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),  # BT.470 M
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),  # BT.470 BG
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),  # SMPTE 170M
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),  # SMPTE 240M
    8: (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),  # film
    BT2020: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    10: (1 / 3, 1 / 3, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0),  # CIE XYZ
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # DCI-P3
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
}
_GAMMAS: Final = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
_LIKE_SRGB: Final = (BT709, 6, 7, 11, 12, _SRGB_TRANSFER, 14, 15)
"""Transfers of ordinary video, which is shown by the curve of sRGB where a picture is made of it."""

_LOGARITHMIC: Final = (9, 10)
_D50: Final = np.array([0.9642, 1.0, 0.8249])
_LEAST_TRIANGLE: Final = 1e-6
_BRADFORD: Final = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True, kw_only=True)
class Colour:
    """The meaning of RGB values as a file states it: an ICC profile of RGB, or numbers of ITU-T H.273.

    Where `primaries` and `transfer` are unstated, sRGB is meant in pictures and BT.709 in videos, which are
    taken as one.
    """

    profile: bytes | None = None
    primaries: int = UNSTATED
    transfer: int = UNSTATED

    @classmethod
    def of_numbers(cls, primaries: int, transfer: int) -> Self:
        """Return what the numbers state; those that H.273 leaves undefined state nothing."""
        defined = (*_HDR_TRANSFERS, *_GAMMAS, *_LIKE_SRGB, *_LOGARITHMIC)
        return cls(
            primaries=primaries if primaries in _PRIMARIES else UNSTATED,
            transfer=transfer if transfer in defined else UNSTATED,
        )

    @property
    def is_hdr(self) -> bool:
        """Tell whether the transfer curve is one for high dynamic range, PQ or HLG (ITU-R BT.2100)."""
        return self.transfer in _HDR_TRANSFERS

    @property
    def fits_pictures(self) -> bool:
        """Tell whether an ICC profile of a picture can state the meaning."""
        return self.transfer not in (*_HDR_TRANSFERS, *_LOGARITHMIC)

    def picture_profile(self) -> bytes | None:
        """Return the ICC profile that a picture needs; None where sRGB is meant."""
        if self.profile is not None or not self.fits_pictures:
            return self.profile
        return rgb_profile(_PRIMARIES.get(self.primaries, SRGB), _GAMMAS.get(self.transfer))


SRGB_COLOUR: Final = Colour()


def rgb_profile(chromaticities: Chromaticities, gamma: float | None = None) -> bytes | None:
    """Return an ICC profile (version 4) of primaries and a gamma, by default the curve of sRGB.

    None stands for sRGB itself, and for chromaticities that are no colours.
    """
    if gamma is None and np.allclose(chromaticities, SRGB, atol=1e-3):
        return None
    points = np.array(chromaticities).reshape(4, 2)
    white, *primaries = np.column_stack([points, 1 - points.sum(axis=1)])
    if white[1] < _LEAST_TRIANGLE or abs(np.linalg.det(primaries)) < _LEAST_TRIANGLE:
        return None
    white = white / white[1]
    weights = np.linalg.solve(np.transpose(primaries), white)
    to_d50 = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    adaptation = np.linalg.inv(_BRADFORD) @ to_d50 @ _BRADFORD
    curve = _curve(0, gamma) if gamma else _curve(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    tags = {
        b"desc": _text("RGB as the source states it"),
        b"cprt": _text("Free of copyright"),
        b"wtpt": b"XYZ \0\0\0\0" + _fixed(_D50),
        b"chad": b"sf32\0\0\0\0" + _fixed(adaptation.ravel()),
    }
    for name, primary, weight in zip(b"rgb", primaries, weights, strict=True):
        tags[b"%cXYZ" % name] = b"XYZ \0\0\0\0" + _fixed(adaptation @ (weight * primary))
        tags[b"%cTRC" % name] = curve
    return _profile_of(tags)


def _fixed(values: Iterable[float]) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _curve(kind: int, *parameters: float) -> bytes:
    return struct.pack(">4s4xHxx", b"para", kind) + _fixed(parameters)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return struct.pack(">4s4xII4sII", b"mluc", 1, 12, b"enUS", len(encoded), 28) + encoded


def _profile_of(tags: Mapping[bytes, bytes]) -> bytes:
    table, data = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += struct.pack(">4sII", name, start + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    date = struct.pack(">6H", 2020, 1, 1, 0, 0, 0)
    header = struct.pack(
        ">I4xI12s12s4s28x12s48x",
        start + len(data),
        0x0430_0000,
        b"mntrRGB XYZ ",
        date,
        b"acsp",
        _fixed(_D50),
    )
    return header + struct.pack(">I", len(tags)) + table + data
