"""Turn the confirmation of a search into its result: the backend to use, and its gain. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from bench.grid.backend import Backend
from bench.records import Status
from bench.stats.changes import NO_DIFFERENCE, Effect, effect, least_rounds
from bench.stats.intervals import CONFIDENCE, Ratio
from bench.tuning.search import Answer, Stage, by_clip, paired
from bench.units import counted


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of a search: the backend to use, and its speed over the plain one in the confirmation."""

    chosen: Backend
    gain: Ratio | None = None  # None of the plain network itself
    by_clip: Mapping[str, float] = field(default_factory=dict)
    psnr_db: float | None = None
    note: str = ""  # why the plain network stays, or why the gain is not sure


def verdict(confirmed: Stage | None, plain: Backend) -> Verdict:
    """Return the confirmed candidate, unless its output is wrong or it is surely slower than plain."""
    if confirmed is None:
        return Verdict(chosen=plain, note="nothing was found that is faster than the plain network")
    (best,) = confirmed.candidates
    base, new = confirmed.answers[plain], confirmed.answers[best]
    fastest = f"{best.name}, the fastest of the search,"
    gain = paired(_over_clips(base), _over_clips(new)) if new.status == Status.OK else None
    if gain is None:
        why = f"{fastest} did not stand its confirmation ({new.in_short}), so that the plain network stays"
        return Verdict(chosen=plain, note=why)
    if effect(gain.low, gain.high) is Effect.LESS:
        return Verdict(chosen=plain, note=f"{fastest} was slower than the plain network in its confirmation")
    return Verdict(chosen=best, gain=gain, by_clip=by_clip(base, new), psnr_db=new.psnr_db, note=_doubt(gain))


def _over_clips(answer: Answer) -> dict[int, float]:
    """Return the geometric mean of the clips' seconds in each round that has all of them."""
    clips = list(answer.levels.values())
    rounds = set.intersection(*map(set, clips)) if clips else set()
    return {number: math.exp(fmean(math.log(levels[number]) for levels in clips)) for number in rounds}


def _doubt(gain: Ratio) -> str:
    """Return why a gain is not sure; empty where it is."""
    rounds = counted(gain.rounds, "round")
    if gain.low is None:
        return f"{rounds} are too few for an interval: the gain is not sure; search for longer"
    if effect(gain.low, gain.high) is Effect.NONE:
        return f"its whole interval is within {100 * NO_DIFFERENCE:g} % of 1: it makes no difference"
    if gain.low <= 1:
        unsure = "its interval holds 1: the gain is not sure; search for longer, or on a quieter machine"
        return f"{unsure} (the interval is Student's, of {rounds})" if gain.assumed else unsure
    if not gain.assumed:
        return ""
    return (
        f"its interval is Student's, of {rounds}, and takes their logarithms for normal; "
        f"{least_rounds(CONFIDENCE)} rounds have one without that assumption: search for longer"
    )
