"""Text of unknown origin as one line that a terminal only shows."""

from typing import Final

MAX_CHARACTERS: Final = 1000
"""Of a sentence: two long paths and what is said of them. A longer one is cut in the middle, where neither
the place nor what is allowed stands."""

_MARK: Final = " [...] "


def visible(text: str) -> str:
    """The text in one line, with what a terminal would obey, or not show, as an escape such as `\\x1b`.

    Those are control characters, marks that change the direction of writing, and halves of characters. What
    is visible already stays as it is, so that a second time changes nothing.
    """
    line = " ".join(text.splitlines())
    if line.isprintable():
        return line
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in line
    )


def one_line(text: str) -> str:
    """The text, visible and of at most `MAX_CHARACTERS`."""
    line = visible(text)
    if len(line) <= MAX_CHARACTERS:
        return line
    half = (MAX_CHARACTERS - len(_MARK)) // 2
    return line[:half] + _MARK + line[-half:]
