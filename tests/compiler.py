"""A marker for tests of what is compiled where they run: torch.compile, and the Winograd kernel."""

import pytest

from vsr_model.convolutions.winograd import build


def _why_not() -> str | None:
    try:
        build.find_compiler()
    except build.Unavailable as reason:
        return str(reason)
    return None


needs_compiler = pytest.mark.skipif(_why_not() is not None, reason=str(_why_not()))
