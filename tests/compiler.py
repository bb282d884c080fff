"""A marker for tests of what is compiled where they run: torch.compile, and the Winograd kernel."""

import pytest

from vsr_model.convolutions.winograd import build


def why_no_compiler() -> str | None:
    try:
        build.find_compiler()
    except build.Unavailable as reason:
        return str(reason)
    return None


needs_compiler = pytest.mark.skipif(why_no_compiler() is not None, reason=str(why_no_compiler()))
