"""The paper's claims that no edition tells, but two runs of an experiment on faults. Pure."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from bench.grid.spans import DEVICE_TO_HOST, FORWARD, HOST_TO_DEVICE
from bench.paper.claims_stages import contrast
from bench.paper.editions import Edition, Role
from bench.paper.fault_cells import by_role, median_of
from bench.paper.needed import GPU, measured
from bench.paper.reading import Cell, RunOfPaper, timing_of
from bench.paper.verdict import (
    Claim,
    Figure,
    Judgement,
    NotKnownError,
    Quantity,
    Stated,
    all_hold,
    cannot_tell,
    lies,
)

WORTH: Final = 0.01
"""The share of copies and forward together from which what cheaper copies save raises the speedup."""

SHORT: Final = 0.5
"""A first point is short where it takes less than this share of what it takes in a process of its own.

So wide that one sample of each tells: what the paper saw is a factor of a hundred.
"""

COPIES: Final = (HOST_TO_DEVICE, DEVICE_TO_HOST)

Runs = tuple[RunOfPaper, RunOfPaper]
"""An experiment without its fault, and with it."""


def _transfers(off: RunOfPaper, on: RunOfPaper) -> Judgement:
    """`on` has pinned memory. The forward is the same in both, and so is taken from `off` alone."""
    pageable, pinned = by_role(off), by_role(on)
    key = next((key for key in reversed(pageable) if key in pinned), None)
    if key is None:
        raise NotKnownError("a length that ended well both with pageable memory and with pinned")
    before, after = (
        [median_of(run, cells[key], (stage,)) for stage in COPIES]
        for run, cells in ((off, pageable), (on, pinned))
    )
    forward = median_of(off, pageable[key], (FORWARD,)).median
    copies = math.fsum(copy.median for copy in before)
    saved = contrast(
        [*((1.0, copy) for copy in before), *((-1.0, copy) for copy in after)],
        f"what pinned memory saves of copies and forward on {pageable[key].backend}, t = {key[1]}",
        Quantity.SHARE,
        per=copies + forward,
    )
    most = Figure(
        name="what copies that cost nothing would save",
        value=copies / (copies + forward),
        quantity=Quantity.SHARE,
    )
    if saved.value <= 0 and copies / (copies + forward) > WORTH:
        return cannot_tell("transfers that are cheaper: from pinned memory they are not here", saved, most)
    return all_hold([lies(saved, above=WORTH)], most)


def _order(off: RunOfPaper, on: RunOfPaper) -> Judgement:
    """`on` has both backends in one process, cudnn's cells first."""
    apart, shared = by_role(off), by_role(on)
    points = {}
    for role in GPU:
        key = next((key for key in apart if key[0] is role and key in shared), None)
        if key is None:
            raise NotKnownError(
                f"a cell of {role} that ended well both in its own process and in a shared one"
            )
        points[role] = _point(off, apart[key]), _point(on, shared[key])
    plain, tuned = points[Role.CUDNN], points[Role.CUDNN_AUTOTUNE]
    short = Figure(
        name="cudnn_autotune's first point in a process that cudnn has started, over that in its own",
        value=tuned[1] / tuned[0],
        quantity=Quantity.RATIO,
    )
    over = [
        Figure(name=f"its first point over cudnn's, {where}", value=above / below, quantity=Quantity.RATIO)
        for where, above, below in zip(("a process each", "one for both"), tuned, plain, strict=True)
    ]
    return all_hold([lies(short, below=SHORT, at_its_word=True)], *over)


def _point(run: RunOfPaper, cell: Cell) -> float:
    seconds = measured(timing_of(run.tables, cell).median_s, cell.backend)
    if seconds <= 0:
        raise NotKnownError(f"a first point of {cell.backend} that the clock could tell")
    return seconds


@dataclass(frozen=True, kw_only=True)
class _ByRuns:
    """What judges a claim, and where from."""

    experiment: str  # of bench.paper.faults
    judge: Callable[[RunOfPaper, RunOfPaper], Judgement]


_BY_RUNS: Final = {
    "10c": _ByRuns(experiment="transfers", judge=_transfers),
    "13": _ByRuns(experiment="order", judge=_order),
}


def _needs(experiment: str) -> Callable[[Edition], Judgement]:
    def judge(_: Edition) -> Judgement:
        return cannot_tell(
            f"the runs of `{experiment}` (`--figures faults`), which tell it of the corrected edition"
        )

    return judge


CLAIMS: Final = (
    Claim(
        id="10c",
        title="Cheaper transfers would raise the speedup",
        source="section 4.5",
        paper=Stated(statement="Cheaper transfers would raise the speedup.", judge=_needs("transfers")),
        general=Stated(
            statement=(
                "Copies to the device and back that are cheaper, being from pinned memory, save more than "
                f"{WORTH:.0%} of copies and forward together."
            ),
            judge=_needs("transfers"),
        ),
    ),
    Claim(
        id="13",
        title="cuDNN's first point is short because CUDA's was run before it",
        source="section 4.4.2",
        paper=Stated(
            statement="cuDNN's first point is short because CUDA's was run before it.", judge=_needs("order")
        ),
        general=Stated(
            statement=(
                "In a process that cudnn has started, cudnn_autotune's first point takes less than "
                f"{SHORT:.0%} of what it takes in a process of its own; a sample of each is enough."
            ),
            judge=_needs("order"),
        ),
    ),
)
"""13 is a reason that the paper gives for what claim 2b says."""


def by_runs(claim: Claim, faults: Mapping[str, Runs]) -> Claim:
    """The claim with its general form judged by the runs of its experiment, where they are there."""
    found = _BY_RUNS.get(claim.id)
    if found is None or claim.general is None or found.experiment not in faults:
        return claim
    runs, judge = faults[found.experiment], found.judge

    def of_runs(_: Edition) -> Judgement:
        return judge(*runs)

    return replace(claim, general=replace(claim.general, judge=of_runs))
