"""Frames in files of their own: a folder of pictures, or a printf pattern of their names. Free of torch."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress, pairwise
from pathlib import Path
from typing import Final, Self

from vsr_model.errors import BadInput

FRAME_SUFFIXES: Final = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".avif"}
)
"""Suffixes, in lower case, of the files of a folder that are taken for frames."""

_LEFT_BY_SYSTEMS = ("thumbs.db", "desktop.ini")  # hidden on Windows
_NUMBER = re.compile("([0-9]+)")
_CONVERSION = re.compile("(%%|%0?[0-9]{0,2}d)")


@dataclass(frozen=True, kw_only=True)
class FramePattern:
    """A printf pattern of file names: a number of at least `digits` digits between two texts."""

    before: str
    digits: int
    after: str

    @classmethod
    def of(cls, name: str) -> Self | None:
        """Return the pattern that a file's name is, such as `im%03d.png`; None where it has no number.

        `%%` stands for a percent sign. Raises BadInput for a name with several numbers.
        """
        parts = _CONVERSION.split(name)
        numbers = [index for index, part in enumerate(parts) if index % 2 and part != "%%"]
        if not numbers:
            return None
        if len(numbers) > 1:
            raise BadInput(f"{name} has {len(numbers)} numbers, and one such as %08d is allowed.")
        literal = ["%" if index % 2 else part for index, part in enumerate(parts)]
        [at] = numbers
        return cls(
            before="".join(literal[:at]), digits=int(parts[at][1:-1] or 1), after="".join(literal[at + 1 :])
        )

    def name(self, number: int) -> str:
        """Return the name of the file with a number."""
        return f"{self.before}{number:0{self.digits}d}{self.after}"

    def number(self, name: str) -> int | None:
        """Return the number in a file's name, None where printf would not have written it."""
        text = name.removeprefix(self.before).removesuffix(self.after)
        number = int(text) if text.isascii() and text.isdigit() else 0
        return number if self.name(number) == name else None


@dataclass(frozen=True, kw_only=True)
class FrameFiles:
    """The files of frames, in order.

    `numbers` are those in their names, which grow; None where names differ in more than one number. `notes`
    are on files that were left out and on numbers that are missing.
    """

    paths: tuple[Path, ...]
    numbers: tuple[int, ...] | None
    notes: tuple[str, ...] = ()


def frame_files(path: Path) -> FrameFiles | None:
    """Return the frames of a folder or of a pattern such as `frames/%08d.png`; None where `path` is neither.

    A folder's frames are its pictures in natural order (`im2` before `im10`), without hidden files and
    sub-folders. A file that has a pattern's very name is that file. Raises BadInput where no frame is found,
    and for a folder that holds pictures of several kinds.
    """
    try:
        if path.is_dir():
            return _of_folder(path)
        if path.exists() or (pattern := FramePattern.of(path.name)) is None:
            return None
        return _of_pattern(path, pattern)
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}).") from error


def _of_folder(folder: Path) -> FrameFiles:
    entries = _visible(folder)
    is_frame = [entry.suffix.lower() in FRAME_SUFFIXES and entry.is_file() for entry in entries]
    paths = tuple(compress(entries, is_frame))
    others = [entry for entry, taken in zip(entries, is_frame, strict=True) if not taken]
    if not paths:
        folders = [entry.name for entry in others if entry.is_dir()]
        inside = f", but folders such as {folders[0]}; name one of those" if folders else ""
        raise BadInput(f"{folder} is a folder that holds no pictures of a kind that is read{inside}.")
    suffixes = sorted({path.suffix.lower() for path in paths})
    if len(suffixes) > 1:
        raise BadInput(
            f"{folder} holds pictures of several kinds ({', '.join(suffixes)}), and frames are of one; name"
            " those of one kind by a pattern such as %08d.png."
        )
    notes = []
    if others:
        named = ", ".join(entry.name for entry in others[:3]) + (", ..." if len(others) > 3 else "")
        notes.append(f"In the input's folder, {named} {'was' if len(others) == 1 else 'were'} left out.")
    numbers = _numbers(paths)
    return FrameFiles(paths=paths, numbers=numbers, notes=(*notes, *_gap(paths, numbers)))


def _of_pattern(path: Path, pattern: FramePattern) -> FrameFiles:
    folder = path.parent
    if not folder.is_dir():
        raise BadInput(f"{path} matches no file: there is no folder {folder}.")
    numbered = ((pattern.number(entry.name), entry) for entry in folder.iterdir() if entry.is_file())
    found = sorted((number, entry) for number, entry in numbered if number is not None)
    if not found:
        there = [f"; one there is {entry.name}" for entry in _visible(folder)[:1]]
        raise BadInput(f"{path} matches no file{''.join(there)}.")
    numbers, paths = zip(*found, strict=True)
    return FrameFiles(paths=paths, numbers=numbers, notes=tuple(_gap(paths, numbers)))


def _visible(folder: Path) -> list[Path]:
    """Return the entries of a folder in natural order, without hidden ones."""
    entries = (entry for entry in folder.iterdir() if not entry.name.startswith("."))
    return sorted(
        (entry for entry in entries if entry.name.lower() not in _LEFT_BY_SYSTEMS),
        key=lambda entry: (_natural(entry.stem), entry.name),
    )


def _natural(text: str) -> tuple[str | int, ...]:
    """Return a text's parts, every second of which is a number."""
    return tuple(int(part) if index % 2 else part for index, part in enumerate(_NUMBER.split(text)))


def _numbers(paths: Iterable[Path]) -> tuple[int, ...] | None:
    """Return the number in each stem, if they grow and the rest of all stems is the same."""
    stems = [_natural(path.stem) for path in paths]
    if len({len(stem) for stem in stems}) > 1:
        return None
    differing = [index for index, part in enumerate(zip(*stems, strict=True)) if len({*part}) > 1]
    if len(differing) != 1 or differing[0] % 2 == 0:
        return None
    numbers = tuple(int(stem[differing[0]]) for stem in stems)
    return numbers if len({*numbers}) == len(numbers) else None


def _gap(paths: tuple[Path, ...], numbers: tuple[int, ...] | None) -> list[str]:
    """Return a sentence on the first number that is missing, if any is."""
    for (before, first), (after, second) in pairwise(zip(numbers or (), paths, strict=False)):
        if after > before + 1:
            return [f"Numbers are missing among the frames, first after {first.name}: {second.name} is next."]
    return []
