"""Frames in files of their own: which they are, in which order, and what is said of the rest."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsr_model.errors import BadInput
from vsr_model.frame_files import FrameFiles, FramePattern, frame_files


def made(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"a picture")
    return folder


def names_in(files: FrameFiles | None) -> list[str]:
    assert files is not None
    return [path.name for path in files.paths]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["im1.png", "im2.png", "im10.png"], (1, 2, 10)),
        (["00000000.png", "00000001.png"], (0, 1)),
        (["Frame 001.png", "Frame 002.png"], (1, 2)),
        (["002_x4.png", "010_x4.png", "100_x4.PNG"], (2, 10, 100)),
        (["a.png", "a1.png", "a1b.png"], None),
        (["a1b2.png", "a1b10.png", "a2b1.png"], None),
        (["9.png", "09.png", "10.png"], None),
        (["alone.png"], None),
    ],
)
def test_a_folder_is_its_pictures_in_natural_order(
    tmp_path: Path, names: list[str], numbers: tuple[int, ...] | None
):
    files = frame_files(made(tmp_path, sorted(names)))
    assert sorted(names_in(files)) == sorted(names)
    assert files is not None
    assert files.numbers == numbers
    if numbers is not None:
        assert names_in(files) == names


def test_hidden_files_are_left_out_and_others_named(tmp_path: Path):
    hidden = [".DS_Store", "._im1.png", "Thumbs.db", "desktop.ini"]
    others = ["masks/1.png", "readme.txt", "a.mp4", "b.mp4"]
    made(tmp_path, ["im1.png", "im2.png", *hidden])
    files = frame_files(tmp_path)
    assert (names_in(files), files and files.notes) == (["im1.png", "im2.png"], ())
    files = frame_files(made(tmp_path, others))
    assert names_in(files) == ["im1.png", "im2.png"]
    assert files is not None
    assert files.notes == ("In the input's folder, a.mp4, b.mp4, masks, ... were left out.",)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("%d.png", ["7.png", "8.png", "10.png"]),
        ("%02d.png", ["07.png", "08.png", "10.png", "100.png"]),
        ("im%03d.png", ["im007.png"]),
        ("50%%_%d.jpg", ["50%_1.jpg"]),
        ("%d", ["5"]),
    ],
)
def test_a_pattern_is_the_files_that_printf_would_have_written(
    tmp_path: Path, pattern: str, names: list[str]
):
    made(tmp_path, ["7.png", "07.png", "8.png", "08.png", "10.png", "100.png", "im007.png", "im07.png"])
    made(
        tmp_path, ["-1.png", "x.png", "50%_1.jpg", "50%%_1.jpg", "5", "im0007.png", "٣.png", "11.png/in.png"]
    )
    (tmp_path / "100.png").rename(tmp_path / ("100.png" if "02" in pattern else "hundred.png"))
    assert names_in(frame_files(tmp_path / pattern)) == names


@given(st.text("%d0a", max_size=6), st.integers(0, 99), st.text("%d1b", max_size=6), st.integers(0, 10**9))
def test_numbers_come_back_from_names(before: str, digits: int, after: str, number: int):
    pattern = FramePattern(before=before, digits=digits, after=after)
    text = f"{before.replace('%', '%%')}%0{digits}d{after.replace('%', '%%')}"
    parsed = FramePattern.of(text)
    assert parsed is not None
    assert pattern.number(pattern.name(number)) == number
    assert parsed.name(number) == pattern.name(number)


def test_a_file_of_the_patterns_very_name_is_that_file(tmp_path: Path):
    made(tmp_path, ["1.png", "%d.png", "50%.png"])
    for name in ("%d.png", "50%.png", "1.png", "none.png", "60%.png"):
        assert frame_files(tmp_path / name) is None


@pytest.mark.parametrize("path", ["", "%d.png"])
def test_missing_numbers_are_noted(tmp_path: Path, path: str):
    files = frame_files(made(tmp_path, ["3.png", "4.png", "6.png", "9.png"]) / path)
    assert files is not None
    assert files.notes == ("Numbers are missing among the frames, first after 4.png: 6.png is next.",)


@pytest.mark.parametrize(
    ("names", "path", "message"),
    [
        ([".DS_Store", "readme.txt"], "", "holds no pictures of a kind that is read."),
        (["000/1.png", "001/1.png"], "", ", but folders such as 000; name one of those."),
        (
            ["1.png", "1.jpg"],
            "",
            "holds pictures of several kinds (.jpg, .png), and frames are of one; name those of one kind by a"
            " pattern such as %08d.png.",
        ),
        (["001.png"], "%d.png", "%d.png matches no file; one there is 001.png."),
        ([], "no/%d.png", "/no."),
        (["1_1.png"], "%d_%d.png", "%d_%d.png has 2 numbers, and one such as %08d is allowed."),
    ],
)
def test_what_is_no_clip_is_refused_in_a_sentence(tmp_path: Path, names: list[str], path: str, message: str):
    with pytest.raises(BadInput) as caught:
        frame_files(made(tmp_path, names) / path)
    assert str(caught.value).endswith(message)
