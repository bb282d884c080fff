"""Claims that runs of experiments on faults tell, on made-up runs without the fault and with it."""

import pytest

from bench.paper.claims import findings
from bench.paper.claims_faults import Runs
from bench.paper.editions import CORRECTED, FAITHFUL, PAPER, Edition
from bench.paper.reading import RunOfPaper
from bench.paper.verdict import Finding, Form, Verdict
from bench.records import CellRecord, Pass, Phase
from tests.bench.paper.test_faults import calls, record, run, skipped


def copying(there: float, back: float, forward: float = 0.9, frames: int = 40) -> Runs:
    """Pageable memory takes 10 ms there and 90 ms back, the forward 0.9 s; from pinned memory these."""

    def copied(of: float, to: float, from_: float, frames: int) -> RunOfPaper:
        samples = [*calls("forward", of), *calls("host_to_device", to), *calls("device_to_host", from_)]
        return run(record("cudnn", samples, frames=frames))

    return copied(0.9, 0.01, 0.09, 40), copied(forward, there, back, frames)


def point(role: str, seconds: float, frames: int) -> CellRecord:
    return record(role, [(Pass.END_TO_END, Phase.STEADY, "forward", seconds)], frames=frames)


def points(autotuned: float) -> RunOfPaper:
    return run(
        *(
            point(role, seconds if frames == 1 else 0.4, frames)
            for role, seconds in (("cudnn", 2.0), ("cudnn_autotune", autotuned))
            for frames in (1, 4)
        )
    )


def ordered(apart: float, shared: float) -> Runs:
    """cudnn_autotune's first point in its own process, and in one that cudnn has started; cudnn's is 2 s."""
    return points(apart), points(shared)


def editions(*names: str) -> list[Edition]:
    return [Edition(name=name, machine="m") for name in names]


def judged(claim: str, edition: str = CORRECTED, **faults: Runs) -> Finding:
    (found,) = (
        finding
        for finding in findings(editions(PAPER, FAITHFUL, CORRECTED), faults)
        if (finding.claim, finding.edition, finding.form) == (claim, edition, Form.GENERAL)
    )
    return found


@pytest.mark.parametrize(
    ("pinned", "verdict", "missing"),
    [
        ((0.005, 0.045), "supported", ""),  # half of a tenth of the whole
        ((0.01, 0.089), "refuted", ""),  # a thousandth
        ((0.01, 0.080), "cannot tell", "interval too wide"),
        ((0.02, 0.09), "cannot tell", "transfers that are cheaper"),
    ],
)
def test_cheaper_transfers(pinned: tuple[float, float], verdict: str, missing: str) -> None:
    found = judged("10c", transfers=copying(*pinned))
    assert str(found.verdict) == verdict
    assert missing in found.missing
    assert str(found.evidence[-1]) == "what copies that cost nothing would save: 10.0 %"


def test_a_forward_that_varies_between_the_runs_is_no_gain_of_transfers() -> None:
    faster = judged("10c", transfers=copying(0.01, 0.089, forward=0.5))
    assert faster.verdict is Verdict.REFUTED


@pytest.mark.parametrize(("shared", "verdict"), [(0.03, "supported"), (2.9, "refuted")])
def test_a_first_point_is_short_after_another_backend(shared: float, verdict: str) -> None:
    found = judged("13", order=ordered(3.0, shared))
    assert str(found.verdict) == verdict
    said = [str(figure) for figure in found.evidence]
    assert said[1] == "its first point over cudnn's, a process each: 1.50×"
    assert said[2].startswith("its first point over cudnn's, one for both: ")


def test_it_is_told_of_the_corrected_edition_and_of_the_faithful_one_alone() -> None:
    faults = {"order": ordered(3.0, 0.03)}
    assert judged("13", FAITHFUL, **faults).verdict is Verdict.CANNOT_TELL
    assert judged("13", PAPER, **faults).verdict is Verdict.CANNOT_TELL
    (alone,) = (f for f in findings(editions(FAITHFUL), faults) if f.claim == "13")
    assert (alone.edition, alone.verdict) == (FAITHFUL, Verdict.SUPPORTED)


@pytest.mark.parametrize(("claim", "experiment"), [("10c", "transfers"), ("13", "order")])
def test_what_is_missing_is_named(claim: str, experiment: str) -> None:
    assert f"the runs of `{experiment}`" in judged(claim).missing
    off = skipped("cudnn", "cudnn_autotune")
    none = judged(claim, **{experiment: (off, off)})
    assert none.verdict is Verdict.CANNOT_TELL
    assert none.missing.startswith("no GPU (cudnn: no CUDA device")


def test_what_did_not_end_well_in_both_is_named() -> None:
    alone = judged("13", order=(points(3.0), run(point("cudnn", 2.0, 1))))
    assert alone.missing.startswith("a cell of cudnn_autotune that ended well both in its own process")
    other = judged("10c", transfers=copying(0.1, 0.1, frames=10))
    assert other.missing == "a length that ended well both with pageable memory and with pinned"
