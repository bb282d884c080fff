"""The exception for bad input."""

from collections.abc import Iterable
from difflib import get_close_matches

from vsr_model.one_line import one_line


class BadInput(ValueError):  # noqa: N818 - it names the cause
    """A request that cannot be met as given.

    The message is one sentence for the user: what is wrong, where, and what is allowed. Command lines print
    it and exit with status 2, before anything has been run or written. It is one printable line, also where
    it quotes a name with control characters.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(one_line(sentence))


class BadField(BadInput):
    """A field whose value is not allowed; `reason` is the sentence without the field's name."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ' (did you mean ...?)' with the most similar allowed name, or nothing."""
    by_fold = {known.casefold(): known for known in allowed}
    found = get_close_matches(name.casefold(), by_fold, n=1)
    return f" (did you mean {by_fold[found[0]]!r}?)" if found else ""
