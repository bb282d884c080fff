"""ICC profiles, made of primaries and a curve, as LittleCMS understands them."""

import io

import pytest
from PIL import Image, ImageCms

from vsr_model.media.colour import SRGB, Colour, rgb_profile


def in_srgb(profile: bytes | None, rgb: tuple[int, int, int]) -> tuple[int, ...]:
    assert profile is not None
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    result = ImageCms.profileToProfile(Image.new("RGB", (1, 1), rgb), source, ImageCms.createProfile("sRGB"))
    assert result is not None
    return tuple(result.get_flattened_data()[0])


@pytest.mark.parametrize("primaries", [4, 5, 6, 8, 9, 10, 11, 12])
@pytest.mark.parametrize("transfer", [1, 4, 5, 8, 14, 17])
def test_white_stays_white(primaries: int, transfer: int):
    profile = Colour(primaries=primaries, transfer=transfer).picture_profile()
    assert in_srgb(profile, (255, 255, 255)) == pytest.approx((255, 255, 255), abs=1)


@pytest.mark.parametrize(
    ("profile", "rgb", "expected"),
    [
        (Colour(primaries=12).picture_profile(), (128, 100, 90), (133, 99, 88)),  # as by CSS Color 4
        (rgb_profile(SRGB, 1.0), (55, 55, 55), (128, 128, 128)),
        (rgb_profile(SRGB, 2.2), (128, 64, 200), (128, 62, 200)),
    ],
)
def test_values_are_shown_as_they_are_meant(profile: bytes, rgb: tuple[int, ...], expected: tuple[int, ...]):
    assert in_srgb(profile, (rgb[0], rgb[1], rgb[2])) == pytest.approx(expected, abs=2)


def test_what_needs_no_profile_and_what_can_have_none():
    assert Colour().picture_profile() is None
    assert Colour(primaries=1, transfer=14).picture_profile() is None
    assert Colour(profile=b"its own", primaries=9).picture_profile() == b"its own"
    assert rgb_profile((0.3, 0.3, 0.6, 0.3, 0.6, 0.3, 0.6, 0.3), 2.2) is None  # no triangle
    assert rgb_profile((0.3, 0.0, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)) is None
    assert not Colour(transfer=9).fits_pictures
    assert Colour.of_numbers(200, 3) == Colour()
