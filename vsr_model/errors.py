"""The one exception for what a user got wrong."""

from collections.abc import Iterable
from difflib import get_close_matches

from vsr_model.one_line import one_line


class BadInput(ValueError):  # noqa: N818 - it names what happened, as the user would
    """A request that cannot be met as given.

    The message is one sentence for the person who made the request: what was wrong, where, and what is
    allowed. Command lines print it and exit with status 2; nothing has been run or written by then. Whatever
    a name in it holds, it is one line, and a terminal shows it and does nothing else.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(one_line(sentence))


class BadField(BadInput):
    """A field that cannot be as given; `said` is the sentence without the field's name."""

    def __init__(self, field: str, said: str) -> None:
        super().__init__(f"{field}: {said}")
        self.field, self.said = field, said


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ' (did you mean ...?)' with the most similar allowed name, or nothing."""
    by_fold = {known.casefold(): known for known in allowed}
    found = get_close_matches(name.casefold(), by_fold, n=1)
    return f" (did you mean {by_fold[found[0]]!r}?)" if found else ""
