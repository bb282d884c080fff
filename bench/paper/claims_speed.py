"""The paper's claims on speedups: abstract, sections 4.4.1 and 4.4.2. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from bench.paper.editions import Edition, Role, Timing
from bench.paper.needed import GPU, as_figure, cell, cells, measured, summary_of
from bench.paper.speedups import (
    LONG_FRAMES,
    MIN_LENGTHS,
    MIN_SPAN,
    level,
    longer_part,
    longest_third,
    middle,
    per_doubling,
    speedup_figure,
    sweep,
)
from bench.paper.verdict import (
    Claim,
    Figure,
    Judgement,
    NotKnownError,
    Quantity,
    Stated,
    all_hold,
    lies,
)
from bench.statistics.stats import ratio

PUBLISHED_SPEEDUP: Final = 3.5
NEAR: Final = 0.1
"""How far from 3.5 is still near it, as a share: the paper's own points between 3.15 and 3.85 look so."""

PUBLISHED_SAVING: Final = 2 / 3
NEARLY: Final = 0.05
"""How far from 2/3 of the time is still nearly 2/3: 0.62 to 0.72."""

SETTLED: Final = 0.15
"""By how much the speedup may still change where the clip's length doubles. One that grows with the length to
the power of 0.3 changes by 23 %."""

ROUNDING: Final = 0.0005
"""Half of the last digit that the paper prints of its headline speedups."""

FASTER: Final = 1.01
"""From here on a gain is called one: 1 %."""

PUBLISHED_HEADLINE: Final = {Role.CUDNN: 2.071, Role.CUDNN_AUTOTUNE: 1.964}


def _near(role: Role, edition: Edition) -> Judgement:
    points = sweep(edition, role)
    figure = level(points, f"speedup of {points[0].backend} over the CPU")
    low, high = PUBLISHED_SPEEDUP * (1 - NEAR), PUBLISHED_SPEEDUP * (1 + NEAR)
    return lies(figure, above=low, below=high, at_its_word=True)


def _settles(role: Role, edition: Edition) -> Judgement:
    part = longer_part(sweep(edition, role))
    name = f"speedup of {part[0].backend} over the CPU"
    change = per_doubling(part, f"change of the {name}")
    return all_hold([lies(change, above=1 / (1 + SETTLED), below=1 + SETTLED)], level(part, name))


def _saved(figure: Figure) -> Figure:
    """The share of the CPU's time that a speedup saves."""
    low, high = (None if bound is None else 1 - 1 / bound for bound in (figure.low, figure.high))
    return Figure(
        name=f"time saved ({figure.name})",
        value=1 - 1 / figure.value,
        quantity=Quantity.SHARE,
        low=low,
        high=high,
        n=figure.n,
        interval=figure.interval,
    )


def _saves_two_thirds(role: Role, edition: Edition) -> Judgement:
    longest = longest_third(sweep(edition, role))
    # At its word: the interval over six single points says how they scatter, not what they say.
    figure = replace(_saved(level(longest, longest[0].backend)), low=None, high=None, interval="")
    low, high = PUBLISHED_SAVING - NEARLY, PUBLISHED_SAVING + NEARLY
    return lies(figure, above=low, below=high, at_its_word=True)


def _saves_half(role: Role, edition: Edition) -> Judgement:
    longest = longest_third(sweep(edition, role))
    return lies(_saved(level(longest, longest[0].backend)), above=0.5)


def _slower_at_one(role: Role, edition: Edition, at_its_word: bool) -> Judgement:
    cells(edition.frames, Role.CPU, "frames")
    single = [timing for timing in cells(edition.frames, role, "frames") if timing.frames == 1]
    if not single:
        raise NotKnownError("no clip of one frame was measured")
    name = f"speedup of {single[0].backend} over the CPU at t = 1"
    return lies(speedup_figure(single[0], name), below=1.0, at_its_word=at_its_word)


def _headline_speedup(edition: Edition, role: Role) -> Figure:
    cell(edition.headline, Role.CPU, "headline")
    timing = cell(edition.headline, role, "headline")
    return speedup_figure(timing, f"speedup of {timing.backend} over the CPU, t = {timing.frames}")


def _headline_ratio(role: Role, edition: Edition) -> Judgement:
    printed = PUBLISHED_HEADLINE[role]
    figure = _headline_speedup(edition, role)
    off = Figure(
        name=f"{figure.value:.4f} beyond the printed {printed}",
        value=figure.value / printed - 1,
        quantity=Quantity.SHARE,
    )
    judged = lies(figure, above=printed - ROUNDING, below=printed + ROUNDING, at_its_word=True)
    return all_hold([judged], off)


def _headline_faster(role: Role, edition: Edition) -> Judgement:
    return lies(_headline_speedup(edition, role), above=1.0)


def _tuned_over_plain(timings: Sequence[Timing]) -> Figure:
    by_role = {role: cell(timings, role, "headline") for role in GPU}
    plain, tuned = (
        summary_of(measured(timing.median_s, timing.backend), timing.low_s, timing.high_s)
        for timing in by_role.values()
    )
    names = [timing.backend for timing in by_role.values()]
    return as_figure(ratio(tuned, plain), f"{names[1]}'s time over {names[0]}'s")


def _headline_tuned_slower(edition: Edition, at_its_word: bool) -> Judgement:
    return lies(_tuned_over_plain(edition.headline), above=1.0, at_its_word=at_its_word)


def _tuned_faster_when_long(edition: Edition, at_its_word: bool) -> Judgement:
    plain, tuned = ({t.frames: t for t in sweep(edition, role)} for role in GPU)
    shared = sorted(plain.keys() & tuned.keys())
    if len(shared) < 2:
        raise NotKnownError("too few frame counts: two beside t = 1 are needed on both")
    longest = shared[len(shared) // 2 :]
    if longest[-1] < LONG_FRAMES:
        raise NotKnownError(f"no clip of {LONG_FRAMES} frames or more")
    ratios = [
        ratio(*(summary_of(measured(t.median_s, t.backend), t.low_s, t.high_s) for t in pair))
        for pair in ((plain[frames], tuned[frames]) for frames in longest)
    ]
    names = tuned[longest[0]].backend, plain[longest[0]].backend
    figure = middle(
        ratios, f"{names[0]}'s speed over {names[1]}'s, median over t = {longest[0]} to {longest[-1]}"
    )
    if at_its_word:
        figure = replace(figure, low=None, high=None, interval="")
    faster = Figure(
        name=f"lengths at which {names[0]} is faster, of {len(ratios)}",
        value=sum(found.ratio > 1 for found in ratios),
        quantity=Quantity.COUNT,
    )
    return all_hold([lies(figure, above=FASTER, at_its_word=at_its_word)], faster)


def _parts(letters: str) -> list[tuple[str, Role, str]]:
    return list(zip(letters, GPU, ("CUDA", "cuDNN"), strict=True))


CLAIMS: Final = (
    *(
        Claim(
            id=f"1{letter}",
            title=f"{name}'s speedup settles near 3.5",
            source="abstract, section 4.4.2, figure 16",
            paper=Stated(
                statement=(
                    f"Without t = 1 the median speedup of {name} is within {NEAR:.0%} of {PUBLISHED_SPEEDUP}."
                ),
                judge=partial(_near, role),
            ),
            general=Stated(
                statement=(
                    f"From a third of the longest clip's length on, {role}'s speedup over the CPU changes by "
                    f"a factor below {1 + SETTLED:g} either way where the length doubles: it settles, "
                    f"whatever to. {MIN_LENGTHS} lengths are needed there, the longest {MIN_SPAN} times "
                    "the shortest."
                ),
                judge=partial(_settles, role),
                title=f"{name}'s speedup settles to a constant",
            ),
        )
        for letter, role, name in _parts("ab")
    ),
    *(
        Claim(
            id=f"1{letter}",
            title=f"{name} saves nearly 2/3 of the time on long clips",
            source="section 4.4.2, figure 15",
            paper=Stated(
                statement=(
                    f"On the longest third of the clips, the median time that {name} saves is within "
                    f"{NEARLY * 100:.0f} percentage points of 2/3."
                ),
                judge=partial(_saves_two_thirds, role),
            ),
            general=Stated(
                statement=f"On the longest third of the clips {role} saves more than half of the CPU's time.",
                judge=partial(_saves_half, role),
                title=f"{name} saves most of the time on long clips",
            ),
        )
        for letter, role, name in _parts("cd")
    ),
    *(
        Claim(
            id=f"2{letter}",
            title=f"At t = 1 {name} is slower than the CPU",
            source="section 4.4.2, figure 15",
            paper=Stated(
                statement=f"{name}'s one point at t = 1 is above the CPU's.",
                judge=partial(_slower_at_one, role, at_its_word=True),
            ),
            general=Stated(
                statement=f"At t = 1 the speedup of {role} over the CPU is below 1.",
                judge=partial(_slower_at_one, role, at_its_word=False),
            ),
        )
        for letter, role, name in _parts("ab")
    ),
    *(
        Claim(
            id=f"11{letter}",
            title=f"The headline speedup of {name} is {PUBLISHED_HEADLINE[role]}",
            source="section 4.4.1",
            paper=Stated(
                statement=(
                    f"The printed times give the printed speedup, {PUBLISHED_HEADLINE[role]}, to its three "
                    "decimals."
                ),
                judge=partial(_headline_ratio, role),
            ),
            general=Stated(
                statement=f"{role} is faster than the CPU on the headline's clip: a speedup above 1.",
                judge=partial(_headline_faster, role),
                title=f"{name} speeds the headline's clip up",
            ),
        )
        for letter, role, name in _parts("ab")
    ),
    Claim(
        id="11c",
        title="cuDNN is slower than CUDA on the headline's clip",
        source="section 4.4.1",
        paper=Stated(
            statement="cuDNN's one time is above CUDA's.",
            judge=partial(_headline_tuned_slower, at_its_word=True),
        ),
        general=Stated(
            statement="cudnn_autotune takes longer than cudnn on the headline's clip.",
            judge=partial(_headline_tuned_slower, at_its_word=False),
        ),
    ),
    Claim(
        id="12",
        title="On long clips cuDNN raises the speedup further",
        source="section 4.4.2, figure 16",
        paper=Stated(
            statement=(
                "Over the longer half of the clips cuDNN is faster than CUDA, by more than "
                f"{FASTER - 1:.0%} in the median."
            ),
            judge=partial(_tuned_faster_when_long, at_its_word=True),
        ),
        general=Stated(
            statement=(
                "Over the longer half of the clips cudnn_autotune is faster than cudnn, by more than "
                f"{FASTER - 1:.0%} in the median."
            ),
            judge=partial(_tuned_faster_when_long, at_its_word=False),
        ),
    ),
)
