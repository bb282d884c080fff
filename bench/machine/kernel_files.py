"""Read files of /proc and /sys. One that is absent or may not be read is empty."""

from pathlib import Path


def text(path: Path) -> str:
    """Return what the file holds, without white space around it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def numbers(path: Path) -> dict[str, int]:
    """Return the lines `name number [unit]` of the file."""
    words = [line.split() for line in text(path).splitlines()]
    return {line[0].rstrip(":"): int(line[1]) for line in words if len(line) > 1 and line[1].isdecimal()}


def whole(path: Path) -> int | None:
    """Return the file's one number; None where it is no number."""
    found = text(path)
    return int(found) if found.isdecimal() else None
