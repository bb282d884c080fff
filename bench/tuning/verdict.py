"""Turn the confirmation of a search into its result: the backend to use, and its gain. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from bench.records import Status
from bench.stats.changes import least_rounds
from bench.stats.intervals import CONFIDENCE, Ratio
from bench.tuning.search import Answer, Stage, by_clip, paired
from bench.tuning.space import Candidate
from bench.units import counted


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of the confirmation: the backend to use, and its speed over the plain one in it alone."""

    chosen: Candidate
    gain: Ratio | None = None  # None of the plain network itself
    by_clip: Mapping[str, float] = field(default_factory=dict)
    psnr_db: float | None = None
    over_runner_up: Ratio | None = None
    notes: tuple[str, ...] = ()


def gain(stage: Stage, base: Candidate, new: Candidate) -> Ratio | None:
    """Return the ratio of speeds, new over base, in the rounds that both have, of the clips' mean.

    None where no round of both has the right answer.
    """
    levels = []
    for candidate in (base, new):
        answer = stage.answers.get(candidate)
        if answer is None or answer.status != Status.OK:
            return None
        levels.append(_over_clips(answer))
    return paired(*levels)


def _over_clips(answer: Answer) -> dict[int, float]:
    """Return the geometric mean of the clips' seconds in each round that has all of them."""
    clips = list(answer.levels.values())
    rounds = set.intersection(*map(set, clips)) if clips else set()
    return {number: math.exp(fmean(math.log(levels[number]) for levels in clips)) for number in rounds}


def verdict(confirmed: Stage | None, plain: Candidate, best: Candidate, other: Candidate | None) -> Verdict:
    """Return the best of the search, unless the confirmation shows the `other`, the runner-up, to be faster.

    The plain network stays where neither is right and faster.
    """
    if confirmed is None or best == plain:
        return Verdict(chosen=plain, notes=("nothing was found that is faster than the plain network",))
    notes = []
    chosen, found = best, gain(confirmed, plain, best)
    if found is None:
        why = confirmed.answers[best].in_short
        notes.append(f"{best.name}, the fastest of the search, did not stand its confirmation ({why})")
    if other is not None and (of_other := gain(confirmed, plain, other)) is not None:
        over = gain(confirmed, best, other)
        is_faster = over is not None and over.low is not None and over.low > 1
        if is_faster:
            notes.append(f"{best.name} was the fastest of the search, and {other.name} in the confirmation")
        if found is None or is_faster:
            chosen, other, found = other, best, of_other
    if found is None:
        return Verdict(chosen=plain, notes=(*notes, "so that the plain network stays"))
    if found.high is not None and found.high < 1:
        slower = f"{chosen.name} was faster in the search, and slower in the confirmation"
        return Verdict(chosen=plain, notes=(slower,))
    if doubt := _doubt(found):
        notes.append(doubt)
    return Verdict(
        chosen=chosen,
        gain=found,
        by_clip=by_clip(confirmed.answers[plain], confirmed.answers[chosen]),
        psnr_db=confirmed.answers[chosen].psnr_db,
        over_runner_up=None if other is None else gain(confirmed, other, chosen),
        notes=tuple(notes),
    )


def _doubt(found: Ratio) -> str:
    """Return why a gain is not sure; empty where it is."""
    rounds = counted(found.rounds, "round")
    if found.low is None:
        return f"{rounds} are too few for an interval: the gain is not sure; search for longer"
    if found.low <= 1:
        unsure = "its interval holds 1: the gain is not sure; search for longer, or on a quieter machine"
        return f"{unsure} (the interval is Student's, of {rounds})" if found.assumed else unsure
    if not found.assumed:
        return ""
    return (
        f"its interval is Student's, of {rounds}, and takes their logarithms for normal; "
        f"{least_rounds(CONFIDENCE)} rounds have one without that assumption: search for longer"
    )
