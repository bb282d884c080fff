"""The paper's claims on repeated calls: what the first one costs, and how the later ones scatter. Pure."""

from collections.abc import Sequence
from functools import partial
from statistics import fmean, median
from typing import Final

from bench.paper.editions import Edition, Role, Timing
from bench.paper.needed import GPU, as_figure, cell, cells, measured
from bench.paper.trend import robust_line, variation
from bench.paper.verdict import (
    INTERVAL_NAMES,
    Claim,
    Figure,
    Judgement,
    NotKnownError,
    Quantity,
    Stated,
    all_hold,
    lies,
)
from bench.statistics.stats import Summary, ratio, summarise, weaker

SLIGHT: Final = 0.1
"""A gain below this share is a slight one."""

UNNOTICED: Final = 0.05
"""A gain below this share of the call does not show in the paper's figures."""

PUBLISHED_SAVING_S: Final = 0.03
SAVING_TOLERANCE_S: Final = 0.01
"""The paper prints "about 0.03 s", one digit: 0.02 to 0.04."""

SCATTERED: Final = 0.05
STEADY: Final = 0.02
"""Coefficients of variation above which times scatter, and below which they do not."""

MIN_LATER: Final = 6
"""Calls after the first that a scatter is judged from."""

OFF_THE_LINE: Final = 0.1
"""How far a cell may be from the line through all of them, as a share of the line."""

MIN_LENGTHS: Final = 6
"""Frame counts that a line is judged from."""


def later_calls(timing: Timing) -> list[tuple[float, ...]]:
    """The calls that count, by round, the process's first left out."""
    return [calls[1:] if timing.first_counts else calls for calls in timing.steady]


def first_summary(timing: Timing) -> Summary:
    """Of the processes' first calls."""
    firsts = [[calls[0]] for calls in timing.rounds if calls]
    if not firsts:
        raise NotKnownError(f"{timing.backend} has no call")
    return summarise(firsts)


def later_summary(timing: Timing) -> Summary:
    """Of the calls after the first."""
    later = [calls for calls in later_calls(timing) if calls]
    if not later:
        raise NotKnownError(f"{timing.backend} has no call after its first")
    return summarise(later)


def scatter(timing: Timing) -> Figure:
    """The coefficient of variation of the calls after the first."""
    found = variation(later_calls(timing))
    if found is None:
        raise NotKnownError(f"{timing.backend} has fewer than two calls after its first in a process")
    return Figure(
        name=f"coefficient of variation of {timing.backend} after its first call",
        value=found.value,
        quantity=Quantity.SHARE,
        low=found.low,
        high=found.high,
        n=found.n,
    )


def _times(summary: Summary, name: str) -> Figure:
    return Figure(
        name=name,
        value=summary.median,
        quantity=Quantity.SECONDS,
        low=summary.low,
        high=summary.high,
        n=summary.n,
        interval=INTERVAL_NAMES.get(summary.interval, ""),
    )


def _repeated(edition: Edition, role: Role) -> Timing:
    return cell(edition.repetitions, role, "repetitions")


def _over(above: Summary, below: Summary, name: str) -> Figure:
    kind = INTERVAL_NAMES.get(weaker(above.interval, below.interval), "")
    return as_figure(ratio(above, below), name, kind)


def _tuning_costs_more(edition: Edition, at_its_word: bool) -> Judgement:
    plain, tuned = (_repeated(edition, role) for role in GPU)
    firsts = first_summary(plain), first_summary(tuned)
    judged = lies(
        _over(firsts[1], firsts[0], f"first call of {tuned.backend} over that of {plain.backend}"),
        above=1.0,
        at_its_word=at_its_word,
    )
    return all_hold(
        [judged],
        _times(firsts[0], f"first call of {plain.backend}"),
        _times(firsts[1], f"first call of {tuned.backend}"),
    )


def _first_is_slow(role: Role, edition: Edition, at_its_word: bool) -> Judgement:
    timing = _repeated(edition, role)
    name = f"first call of {timing.backend} over its later ones"
    found = _over(first_summary(timing), later_summary(timing), name)
    return lies(found, above=1.0, at_its_word=at_its_word)


def _gain(edition: Edition) -> tuple[Figure, Figure, Figure]:
    plain, tuned = (_repeated(edition, role) for role in GPU)
    later = later_summary(plain), later_summary(tuned)
    return (
        _over(later[0], later[1], f"later calls of {plain.backend} over those of {tuned.backend}"),
        _times(later[0], f"later calls of {plain.backend}"),
        _times(later[1], f"later calls of {tuned.backend}"),
    )


def _slightly_faster(edition: Edition, at_its_word: bool) -> Judgement:
    gain, *times = _gain(edition)
    return all_hold([lies(gain, above=1.0, below=1 + SLIGHT, at_its_word=at_its_word)], *times)


def _saves_printed_seconds(edition: Edition) -> Judgement:
    plain, tuned = (_repeated(edition, role) for role in GPU)

    def saved(calls: Sequence[Sequence[Sequence[float]]]) -> float:
        before, after = (fmean(value for of_round in rounds for value in of_round) for rounds in calls)
        return before - after

    later_summary(plain), later_summary(tuned)  # both have some
    later = Figure(
        name="mean time saved after the first call",
        value=saved([later_calls(plain), later_calls(tuned)]),
        quantity=Quantity.SECONDS,
    )
    with_first = Figure(
        name="mean time saved, first call included",
        value=saved([plain.rounds, tuned.rounds]),
        quantity=Quantity.SECONDS,
    )
    low, high = PUBLISHED_SAVING_S - SAVING_TOLERANCE_S, PUBLISHED_SAVING_S + SAVING_TOLERANCE_S
    return all_hold([lies(later, above=low, below=high, at_its_word=True)], with_first)


def _unnoticed(edition: Edition) -> Judgement:
    gain, *times = _gain(edition)
    return all_hold([lies(gain, above=1 - UNNOTICED, below=1 + UNNOTICED)], *times)


def _scatters(role: Role, edition: Edition, above: float, below: float) -> Judgement:
    figure = scatter(_repeated(edition, role))
    if (figure.n or 0) < MIN_LATER:
        raise NotKnownError(f"too few samples: {figure.n} calls after the first, of {MIN_LATER} needed")
    return lies(figure, above=above, below=below)


def _scatters_at_its_word(role: Role, edition: Edition, above: float, below: float) -> Judgement:
    figure = scatter(_repeated(edition, role))
    return lies(
        Figure(name=figure.name, value=figure.value, quantity=figure.quantity, n=figure.n),
        above=above,
        below=below,
        at_its_word=True,
    )


def _on_the_line(role: Role, edition: Edition) -> Judgement:
    timings = [timing for timing in cells(edition.frames, role, "frames") if timing.frames > 1]
    if len(timings) < MIN_LENGTHS:
        raise NotKnownError(f"too few frame counts: {len(timings)} beside t = 1, of {MIN_LENGTHS} needed")
    frames = [timing.frames for timing in timings]
    seconds = [measured(timing.median_s, timing.backend) for timing in timings]
    fixed, slope = robust_line(frames, seconds)
    off = [abs(y / (fixed + slope * x) - 1) for x, y in zip(frames, seconds, strict=True)]
    worst = max(range(len(off)), key=off.__getitem__)
    farthest = Figure(
        name=f"{timings[0].backend}'s cell farthest from the line through all, t = {frames[worst]}",
        value=off[worst],
        quantity=Quantity.SHARE,
    )
    typical = Figure(
        name="median distance from the line", value=median(off), quantity=Quantity.SHARE, n=len(off)
    )
    # The distance is the scatter itself, not an estimate of one: it is taken at its word in both forms.
    return all_hold([lies(farthest, below=OFF_THE_LINE, at_its_word=True)], typical)


CLAIMS: Final = (
    Claim(
        id="3a",
        title="The first cuDNN call costs more than the first CUDA call",
        source="section 4.4.1, figure 14",
        paper=Stated(
            statement="cuDNN's first call takes longer than CUDA's.",
            judge=partial(_tuning_costs_more, at_its_word=True),
        ),
        general=Stated(
            statement=(
                "A process's first call takes longer with cudnn_autotune than with cudnn; three processes of "
                "each are needed for an interval."
            ),
            judge=partial(_tuning_costs_more, at_its_word=False),
        ),
    ),
    *(
        Claim(
            id=f"3{letter}",
            title=f"{name}'s first call costs more than its later ones",
            source="section 4.4.1, figure 14",
            paper=Stated(
                statement=f"{name}'s first call takes longer than the median of its later ones.",
                judge=partial(_first_is_slow, role, at_its_word=True),
            ),
            general=Stated(
                statement=f"A process's first call on {role} takes longer than its later ones.",
                judge=partial(_first_is_slow, role, at_its_word=False),
            ),
        )
        for letter, role, name in zip("bc", GPU, ("CUDA", "cuDNN"), strict=True)
    ),
    Claim(
        id="3d",
        title="After the first call cuDNN is slightly faster than CUDA",
        source="section 4.4.1, figure 14",
        paper=Stated(
            statement=f"The median of cuDNN's later calls is below CUDA's, by less than {SLIGHT:.0%}.",
            judge=partial(_slightly_faster, at_its_word=True),
        ),
        general=Stated(
            statement=f"Later calls on cudnn_autotune are faster than on cudnn, by less than {SLIGHT:.0%}.",
            judge=partial(_slightly_faster, at_its_word=False),
        ),
    ),
    Claim(
        id="3e",
        title="cuDNN saves 0.03 s a call on average",
        source="section 4.4.1, figure 14",
        paper=Stated(
            statement=(
                f"After the first call, the mean time saved is {PUBLISHED_SAVING_S:g} s, "
                f"give or take {SAVING_TOLERANCE_S:g} s."
            ),
            judge=_saves_printed_seconds,
        ),
        general=Stated(
            statement=(
                f"What autotuning changes of a later call's time is less than {UNNOTICED:.0%} of it, "
                "too little to show."
            ),
            judge=_unnoticed,
            title="What cuDNN changes of a later call's time is too little to show",
        ),
    ),
    Claim(
        id="4a",
        title="The CPU's times scatter from call to call",
        source="section 4.4.1, figure 14",
        paper=Stated(
            statement=f"The CPU's coefficient of variation after the first call is above {SCATTERED:.0%}.",
            judge=partial(_scatters_at_its_word, Role.CPU, above=SCATTERED, below=float("inf")),
        ),
        general=Stated(
            statement=(
                f"The CPU's coefficient of variation after the first call is above {SCATTERED:.0%}; "
                f"{MIN_LATER} calls are needed."
            ),
            judge=partial(_scatters, Role.CPU, above=SCATTERED, below=float("inf")),
        ),
    ),
    *(
        Claim(
            id=f"4{letter}",
            title=f"{name}'s times do not scatter from call to call",
            source="section 4.4.1, figure 14",
            paper=Stated(
                statement=f"{name}'s coefficient of variation after the first call is below {STEADY:.0%}.",
                judge=partial(_scatters_at_its_word, role, above=-1.0, below=STEADY),
            ),
            general=Stated(
                statement=(
                    f"The coefficient of variation of {role} after the first call is below {STEADY:.0%}; "
                    f"{MIN_LATER} calls are needed."
                ),
                judge=partial(_scatters, role, above=-1.0, below=STEADY),
            ),
        )
        for letter, role, name in zip("bc", GPU, ("CUDA", "cuDNN"), strict=True)
    ),
    *(
        Claim(
            id=f"4{letter}",
            title=f"{name}'s times do not scatter from length to length",
            source="section 4.4.1, against figure 15",
            paper=Stated(
                statement=(
                    f"Without t = 1, no point of {name} in figure 15 is {OFF_THE_LINE:.0%} or more off the "
                    "line through them (Theil and Sen)."
                ),
                judge=partial(_on_the_line, role),
            ),
            general=Stated(
                statement=(
                    f"Without t = 1, no cell of {role} is {OFF_THE_LINE:.0%} or more off the line through "
                    f"them (Theil and Sen); {MIN_LENGTHS} frame counts are needed."
                ),
                judge=partial(_on_the_line, role),
            ),
        )
        for letter, role, name in zip("de", GPU, ("CUDA", "cuDNN"), strict=True)
    ),
)
