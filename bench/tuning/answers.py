"""Turn a stage's records into its answers, and the confirmation into a verdict. Pure."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Final

from bench.grid.plan import Cell
from bench.grid.spans import FORWARD
from bench.records import CellRecord, Pass, Status, worst_status
from bench.results.samples import samples_of
from bench.stats.changes import least_rounds, of_pairs
from bench.stats.intervals import CONFIDENCE, Ratio
from bench.tuning.search import Answer, Done, Stage
from bench.tuning.space import PLAIN_NAME, Candidate
from bench.units import counted

NOT_MEASURED: Final = "not measured"


def done(stage: Stage, plain: Candidate, cells: Sequence[Cell], records: Iterable[CellRecord]) -> Done:
    """Collect the answers of a stage's candidates from the records of its run, whole or not."""
    by_cell: dict[str, list[CellRecord]] = defaultdict(list)
    for record in records:
        by_cell[record.cell].append(record)
    answers = {}
    for candidate in (plain, *stage.candidates):
        name = PLAIN_NAME if candidate == plain else candidate.name
        own = [cell for cell in cells if cell.backend.name == name]
        answers[candidate] = _answer(candidate, own, by_cell)
    return Done(stage=stage, answers=answers)


def _answer(
    candidate: Candidate, cells: Sequence[Cell], by_cell: Mapping[str, Sequence[CellRecord]]
) -> Answer:
    records = [record for cell in cells for record in by_cell.get(cell.id, ())]
    if not records:
        return Answer(candidate=candidate, status=NOT_MEASURED)
    status = worst_status(records)
    levels = {
        "/".join(cell.clip_id): {
            record.round: median(values)
            for record in by_cell.get(cell.id, ())
            if (values := samples_of(record, Pass.END_TO_END, FORWARD, "wall_s"))
        }
        for cell in cells
    }
    psnr = [record.output_psnr_db for record in records if record.output_psnr_db is not None]
    return Answer(
        candidate=candidate,
        levels=levels,
        status=str(status),
        reason=next((one.reason for one in records if one.status is status and one.reason), ""),
        psnr_db=min(psnr, default=None),
    )


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The ratio of two speeds, with the interval of the rounds that confirmed it."""

    ratio: float
    low: float | None
    high: float | None
    rounds: int
    by_clip: Mapping[str, float]
    assumed: bool = False  # whether the interval takes the rounds' logarithms for normal


def gain(found: Done, base: Candidate, new: Candidate) -> Gain | None:
    """Return the gain of `new` over `base` in the rounds that both have; over all clips, the mean of each
    round. None where no round of both has the right answer.
    """
    one, other = found.answers.get(base), found.answers.get(new)
    if one is None or other is None or not one.levels:
        return None
    if {one.status, other.status} != {Status.OK} or set(one.levels) != set(other.levels):
        return None
    rounds = set.intersection(*({*one.levels[clip]} & {*other.levels[clip]} for clip in one.levels))
    if not rounds:
        return None
    numbers = sorted(rounds)
    pairs = _over_clips(one, numbers), _over_clips(other, numbers)
    whole = of_pairs(*pairs, CONFIDENCE)
    by_clip = {
        clip: 1 / of_pairs(
            [one.levels[clip][number] for number in numbers],
            [other.levels[clip][number] for number in numbers],
            CONFIDENCE,
        ).ratio
        for clip in one.levels
    }  # fmt: skip
    return _inverse(whole, by_clip)


def _over_clips(answer: Answer, rounds: Sequence[int]) -> list[float]:
    """Return the geometric mean of the clips' seconds, round by round."""
    return [
        math.exp(fmean(math.log(levels[number]) for levels in answer.levels.values())) for number in rounds
    ]


def _inverse(found: Ratio, by_clip: Mapping[str, float]) -> Gain:
    """Invert a ratio of times into one of speeds."""
    return Gain(
        ratio=1 / found.ratio,
        low=None if found.high is None else 1 / found.high,
        high=None if found.low is None else 1 / found.low,
        rounds=found.rounds,
        by_clip=by_clip,
        assumed=found.assumed,
    )


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of the confirmation: the backend to use, and its gain over the plain one in it alone."""

    chosen: Candidate
    gain: Gain | None  # None of the plain network itself
    psnr_db: float | None
    over_runner_up: Gain | None
    notes: tuple[str, ...]


def verdict(found: Done | None, plain: Candidate, best: Candidate, runner_up: Candidate | None) -> Verdict:
    """Return the best of the search, unless the confirmation shows the runner-up to be faster.

    The plain network stays where neither is right and faster.
    """
    if found is None or best == plain:
        return _plain(plain, "nothing was found that is faster than the plain network")
    notes: list[str] = []
    of_best = gain(found, plain, best)
    of_other = None if runner_up is None else gain(found, plain, runner_up)
    over = None if runner_up is None else gain(found, runner_up, best)
    chosen, its = best, of_best
    if of_best is None:
        answer = found.answers[best]
        why = f"{answer.status}{f': {answer.reason}' if answer.reason else ''}"
        notes.append(f"{best.name}, the fastest of the search, did not stand its confirmation ({why})")
    if runner_up is not None and of_other is not None and (
        of_best is None or (over is not None and over.high is not None and over.high < 1)
    ):  # fmt: skip
        if of_best is not None:
            notes.append(
                f"{best.name} was the fastest of the search, and {runner_up.name} in the confirmation"
            )
        chosen, its, over = runner_up, of_other, None if of_best is None else gain(found, best, runner_up)
    if its is None:
        return _plain(plain, *notes, "so that the plain network stays")
    if its.low is not None and its.high is not None and its.high < 1:
        return _plain(plain, f"{chosen.name} was faster in the search, and slower in the confirmation")
    if doubt := _doubt(its):
        notes.append(doubt)
    return Verdict(
        chosen=chosen,
        gain=its,
        psnr_db=found.answers[chosen].psnr_db,
        over_runner_up=over,
        notes=tuple(notes),
    )


def _doubt(its: Gain) -> str:
    """Return why a gain is not sure; empty where it is."""
    rounds = counted(its.rounds, "round")
    if its.low is None or its.high is None:
        return f"{rounds} are too few for an interval: the gain is not sure; search for longer"
    unsure = "its interval holds 1: the gain is not sure; search for longer, or on a quieter machine"
    assumed = (
        f"its interval is Student's, of {rounds}, and takes their logarithms for normal; "
        f"{least_rounds(CONFIDENCE)} rounds have one without that assumption: search for longer"
    )
    if its.low <= 1:
        return f"{unsure} (the interval is Student's, of {rounds})" if its.assumed else unsure
    return assumed if its.assumed else ""


def _plain(plain: Candidate, *notes: str) -> Verdict:
    return Verdict(chosen=plain, gain=None, psnr_db=None, over_runner_up=None, notes=notes)
