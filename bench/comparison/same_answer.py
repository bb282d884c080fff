"""Whether a change of the network's speed came with a change of its answer. Pure."""

from collections.abc import Sequence
from typing import Final

from bench.results.outputs import OutputDifference

SAME_ANSWER_DB: Final = 80.0
"""As much as a backend of full float32 must have against the CPU: less is no rounding."""


def outputs_caution(outputs: Sequence[OutputDifference]) -> str:
    """A sentence where the two networks no longer give the same output; empty where they do.

    Each side is held against its own CPU float32 result, so that one which computes something else, and is
    faster for it, would pass.
    """
    return " ".join(filter(None, (_values(outputs), _types(outputs))))


def _types(outputs: Sequence[OutputDifference]) -> str:
    """A network that computes in another type is another one, however near its values are."""
    retyped = [(item.dtypes, item.clip) for item in outputs if item.dtypes is not None]
    if not retyped:
        return ""
    (base, head), clip = retyped[0]
    return f"The outputs of the two sides are of different types: {base} and {head} ({clip})."


def _values(outputs: Sequence[OutputDifference]) -> str:
    reshaped = [item for item in outputs if item.psnr_db is None]
    if reshaped:
        return f"The outputs of the two sides have not even the same shape ({reshaped[0].clip})."
    changed = [
        (item.psnr_db, item)
        for item in outputs
        if item.psnr_db is not None and not item.psnr_db >= SAME_ANSWER_DB
    ]
    if not changed:
        return ""
    worst_db, worst = min(changed, key=lambda pair: pair[0])
    return (
        f"The two sides do not give the same output: {worst_db:.1f} dB apart on {worst.clip}, where rounding "
        f"leaves {SAME_ANSWER_DB:g} dB or more. What is faster or slower here is another network."
    )
