"""Text of unknown origin as one line that a terminal only shows."""

from typing import Final

MAX_CHARACTERS: Final = 1000
"""The longest sentence: room for two long paths. A longer one is cut in the middle."""

_MARK: Final = " [...] "


def visible(text: str) -> str:
    """Return the text in one line, with characters that are not printable as escapes such as `\\x1b`.

    Those are control characters, marks of writing direction, and surrogates. Printable text does not change.
    """
    line = " ".join(text.splitlines())
    if line.isprintable():
        return line
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in line
    )


def one_line(text: str) -> str:
    """Return the text, visible and of at most `MAX_CHARACTERS`."""
    line = visible(text)
    if len(line) <= MAX_CHARACTERS:
        return line
    half = (MAX_CHARACTERS - len(_MARK)) // 2
    return line[:half] + _MARK + line[-half:]
