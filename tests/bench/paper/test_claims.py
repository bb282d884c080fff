"""Each claim's general form on editions made to support it, to refute it and to leave it open."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from bench.paper.claims import CLAIMS, findings
from bench.paper.editions import CORRECTED, FAITHFUL, Edition, Memory, Role, Timing
from bench.paper.method import PAPER
from bench.paper.verdict import Finding, Form
from bench.records import Status
from tests.bench.paper import facts
from tests.bench.paper.made import NO_GPU, corrected, memory, repeated, skipped, staged, timing

CPU, CUDNN, TUNED = Role.CPU, Role.CUDNN, Role.CUDNN_AUTOTUNE
LENGTHS = (1, 4, 7, 10, 13, 16, 19)
MIB = 2**20


def judged(claim: str, edition: Edition) -> Finding:
    (found,) = (f for f in findings([edition]) if f.claim == claim and f.form is Form.GENERAL)
    return found


def sweep(role: Role, seconds: Callable[[int], float], spread: float = 0.005) -> list[Timing]:
    return [timing(role, t, repeated(seconds(t), spread)) for t in LENGTHS]


def frames(seconds: Callable[[int], float], role: Role = CUDNN, spread: float = 0.005) -> Edition:
    """A CPU that takes 1 s a frame, and another backend."""
    return corrected(frames=[*sweep(CPU, float), *sweep(role, seconds, spread)])


def repetitions(*cells: Timing) -> Edition:
    return corrected(repetitions=cells)


def firsts(role: Role, seconds: float, later: float = 1.0, processes: int = 3) -> Timing:
    """First calls of several processes, a little apart, and later ones."""
    rounds = [[seconds * (1 + 0.01 * i), *repeated(later)] for i in range(processes)]
    return timing(role, 30, *rounds)


def curve(per_frame_mib: float, bend: float = 1.0, points: int = 41) -> Memory:
    """A rise to the power of `bend` over 10 frames, of so many MiB each."""
    total = per_frame_mib * 10
    host = [int((400 + total * (i / (points - 1)) ** bend) * MIB) for i in range(points)]
    return memory(CPU, host, frames=10, before=host[0], peak=host[-1])


def on_gpu(peak_mib: int | None) -> Edition:
    peak = None if peak_mib is None else peak_mib * MIB
    return corrected(memory=[memory(CUDNN, [MIB, MIB], frames=100, peak_device_bytes=peak)])


def lines(convolutions: int, others: int) -> Edition:
    sources = [
        ("    feat_prop = self.propagation.forward_trunk(frame, feat_prop)", convolutions // 2),
        ("    outputs.append(self.upsampling(features, frame))", convolutions - convolutions // 2),
        ("    with probe(UPSAMPLING):", others),
        ("    return torch.stack(outputs, 1)", -5),
    ]
    return corrected(memory=[memory(CPU, [1, 2], lines=sources)])


def staging(role: Role, *medians: float, spread: float = 0.005, base: Sequence[float] = ()) -> Edition:
    return corrected(stages=[*([staged(CPU, *base)] if base else []), staged(role, *medians, spread=spread)])


def tuned(*medians: float, spread: float = 0.005) -> Edition:
    """Stages on cudnn of 1, 3.3, 0.5 and 1.3 s, and on cudnn_autotune of these."""
    return corrected(stages=[staged(CUDNN, 1.0, 3.3, 0.5, 1.3), staged(TUNED, *medians, spread=spread)])


NO_FRAMES = corrected(frames=[*sweep(CPU, float), skipped(CUDNN), skipped(TUNED)])
NO_REPETITIONS = repetitions(timing(CPU, 30, repeated(1.0)), skipped(CUDNN), skipped(TUNED))
NO_STAGES = corrected(
    stages=[
        staged(CPU, 1, 2, 0.5, 1),
        *(replace(staged(role, 1, 1, 1, 1), status=Status.SKIPPED, reason=NO_GPU) for role in (CUDNN, TUNED)),
    ]
)


def headline(cudnn: float, autotuned: float, spread: float = 0.005) -> Edition:
    return corrected(
        headline=[
            timing(CPU, 60, repeated(10.0)),
            timing(CUDNN, 60, repeated(cudnn, spread)),
            timing(TUNED, 60, repeated(autotuned, spread)),
        ]
    )


def half(plain: Callable[[int], float], autotuned: Callable[[int], float], spread: float = 0.001) -> Edition:
    return corrected(
        frames=[*sweep(CPU, float), *sweep(CUDNN, plain, spread), *sweep(TUNED, autotuned, spread)]
    )


CASES: dict[str, tuple[Edition, Edition, Edition]] = {
    # a speedup of 10 throughout; one that grows with the length; one of wide intervals
    "1a": (frames(lambda t: t / 10), frames(lambda t: 0.5), frames(lambda t: t / 10, spread=0.3)),
    "1b": (
        frames(lambda t: t / 10, TUNED),
        frames(lambda t: 0.5, TUNED),
        frames(lambda t: t / 10, TUNED, spread=0.3),
    ),
    "1c": (frames(lambda t: t / 3), frames(lambda t: t / 1.5), frames(lambda t: t / 2, spread=0.1)),
    "1d": (
        frames(lambda t: t / 3, TUNED),
        frames(lambda t: t / 1.5, TUNED),
        frames(lambda t: t / 2, TUNED, spread=0.1),
    ),
    "2a": (frames(lambda t: 2 + t), frames(lambda t: t / 2), frames(float, spread=0.1)),
    "2b": (frames(lambda t: 2 + t, TUNED), frames(lambda t: t / 2, TUNED), frames(float, TUNED, spread=0.1)),
    "3a": (
        repetitions(firsts(CUDNN, 2.0), firsts(TUNED, 4.0)),
        repetitions(firsts(CUDNN, 4.0), firsts(TUNED, 2.0)),
        repetitions(firsts(CUDNN, 2.0, processes=1), firsts(TUNED, 4.0, processes=1)),
    ),
    "3b": (
        repetitions(firsts(CUDNN, 2.0)),
        repetitions(firsts(CUDNN, 0.5)),
        repetitions(firsts(CUDNN, 2.0, processes=1)),
    ),
    "3c": (
        repetitions(firsts(TUNED, 2.0)),
        repetitions(firsts(TUNED, 0.5)),
        repetitions(firsts(TUNED, 2.0, processes=1)),
    ),
    "3d": (
        repetitions(firsts(CUDNN, 2.0, 1.05), firsts(TUNED, 2.0, 1.0)),
        repetitions(firsts(CUDNN, 2.0, 1.0), firsts(TUNED, 2.0, 1.2)),
        repetitions(timing(CUDNN, 30, [2, 1.05, 1.06]), timing(TUNED, 30, [2, 1.0, 1.01])),
    ),
    "3e": (
        repetitions(firsts(CUDNN, 2.0, 1.01), firsts(TUNED, 2.0, 1.0)),
        repetitions(firsts(CUDNN, 2.0, 1.5), firsts(TUNED, 2.0, 1.0)),
        repetitions(timing(CUDNN, 30, [2, 1.0, 1.2]), timing(TUNED, 30, [2, 1.0, 1.2])),
    ),
    "4a": (
        repetitions(timing(CPU, 30, [1.0, *repeated(1.0, 0.5)])),
        repetitions(timing(CPU, 30, [1.0, *repeated(1.0, 0.01)])),
        repetitions(timing(CPU, 30, [1.0, 0.8, 1.0, 1.2])),
    ),
    "4b": (
        repetitions(timing(CUDNN, 30, [1.0, *repeated(1.0, 0.005)])),
        repetitions(timing(CUDNN, 30, [1.0, *repeated(1.0, 0.5)])),
        repetitions(timing(CUDNN, 30, [1.0, *repeated(1.0, 0.03)])),
    ),
    "4c": (
        repetitions(timing(TUNED, 30, [1.0, *repeated(1.0, 0.005)])),
        repetitions(timing(TUNED, 30, [1.0, *repeated(1.0, 0.5)])),
        NO_REPETITIONS,
    ),
    "4d": (
        frames(lambda t: 1 + t / 10),
        frames(lambda t: t / 10 * (1.4 if t == 13 else 1)),
        NO_FRAMES,
    ),
    "4e": (
        frames(lambda t: 1 + t / 10, TUNED),
        frames(lambda t: t / 10 * (1.4 if t == 13 else 1), TUNED),
        corrected(frames=[timing(TUNED, t, [float(t)]) for t in (1, 4, 7)]),
    ),
    "5a": (staging(CPU, 1, 3, 0.5, 1), staging(CPU, 3, 1, 0.5, 1), staging(CPU, 3, 3.01, 0.5, 1, spread=0.1)),
    "5b": (staging(CUDNN, 1, 3, 0.5, 1), staging(CUDNN, 3, 1, 0.5, 1), NO_STAGES),
    "5c": (staging(TUNED, 1, 3, 0.5, 1), staging(TUNED, 3, 1, 0.5, 1), NO_STAGES),
    "6": (
        staging(CUDNN, 1.0, 3.0, 0.5, 1.1, base=(10, 30, 5, 10)),
        staging(CUDNN, 1.0, 3.0, 2.5, 1.0, base=(10, 30, 5, 10)),
        staging(CUDNN, 1.0, 3.0, 0.7, 1.0, base=(10, 30, 5, 10), spread=0.3),
    ),
    "7a": (tuned(1.0, 2.2, 0.5, 1.3), tuned(0.2, 3.2, 0.5, 1.3), tuned(1.0, 3.2, 0.5, 1.3, spread=0.3)),
    "7b": (tuned(1.0, 2.2, 0.5, 1.3), tuned(0.2, 2.2, 0.5, 1.3), tuned(0.88, 2.2, 0.5, 1.3, spread=0.1)),
    "8a": (
        corrected(memory=[curve(260)]),
        corrected(memory=[curve(2)]),  # what a forward keeps without gradients
        corrected(memory=[curve(260, points=5)]),
    ),
    "8b": (lines(80, 20), lines(20, 80), corrected(memory=[curve(260)])),
    "9": (on_gpu(100), on_gpu(10_000), on_gpu(None)),  # the clip and its output are 80 MiB
    "11a": (headline(5, 5), headline(20, 5), headline(10, 5, spread=0.1)),
    "11b": (headline(5, 5), headline(5, 20), headline(5, 10, spread=0.1)),
    "11c": (headline(5, 6), headline(6, 5), headline(5, 5.01, spread=0.1)),
    "12": (
        half(lambda t: t / 3, lambda t: t / 4),
        half(lambda t: t / 3, lambda t: t / 3),
        half(lambda t: t / 3, lambda t: t / 3.1, spread=0.2),
    ),
}  # fmt: skip

UNMEASURED = {"10a", "10b", "10c", "10d", "10e", "13"}
"""By no edition; 10c and 13 by runs of experiments on faults."""


def test_every_claim_with_a_general_form_has_its_three_cases() -> None:
    general = {claim.id for claim in CLAIMS if claim.general is not None}
    assert CASES.keys() | UNMEASURED == general


@pytest.mark.parametrize("claim", CASES)
def test_supported_refuted_and_left_open(claim: str) -> None:
    verdicts = [judged(claim, edition) for edition in CASES[claim]]
    assert [str(found.verdict) for found in verdicts] == ["supported", "refuted", "cannot tell"]
    assert all(found.evidence for found in verdicts[:2])
    assert verdicts[2].missing


def test_a_claim_never_measured_is_open_whatever_was_run() -> None:
    for claim in UNMEASURED:
        found = judged(claim, headline(5, 6))
        assert found.verdict == "cannot tell"
        assert found.missing


@pytest.mark.parametrize(
    ("claim", "edition", "missing"),
    [
        ("1a", NO_FRAMES, "no GPU (cudnn: no CUDA device"),
        ("3a", NO_REPETITIONS, "no GPU (cudnn: "),
        (
            "4b",
            repetitions(skipped(CUDNN, reason="no CUDA: this torch is built without it")),
            "no GPU (cudnn: no CUDA: this torch is built without it)",
        ),
        ("6", NO_STAGES, "no GPU (cudnn: "),
        ("2a", frames(float, TUNED), "has no backend cudnn (the paper's CUDA)"),
        ("2a", corrected(), "the experiment `frames` was not run"),
        ("2a", corrected(frames=[timing(CPU, 4, [1.0]), timing(CUDNN, 4, [1.0])]), "no clip of one frame"),
        (
            "1a",
            corrected(frames=[*sweep(CPU, float), timing(CUDNN, 13, [1.0])]),
            "too few frame counts: t = 13",
        ),
        ("1c", corrected(frames=[*sweep(CPU, float), timing(CUDNN, 13, [1.0])]), "too few frame counts"),
        (
            "1a",
            corrected(frames=[timing(role, t, [1.0 * t]) for role in (CPU, CUDNN) for t in (1, 2, 3)]),
            "no clip of 10 frames or more",
        ),
        ("3b", repetitions(timing(CUDNN, 30, [1.0])), "cudnn has no call after its first"),
        ("4b", repetitions(timing(CUDNN, 30, [1.0, 1.0, 1.1])), "too few samples: 2 calls after the first"),
        (
            "4b",
            repetitions(timing(CUDNN, 30, repeated(1.0), synchronised=False)),
            "without waiting for the GPU",
        ),
        (
            "5b",
            corrected(stages=[replace(staged(CUDNN, 1, 3, 1, 1), method=PAPER)]),
            "without waiting",
        ),
        (
            "5a",
            corrected(stages=[replace(staged(CPU, 1, 3, 1, 1), seconds={})]),
            "cpu has no times of alignment",
        ),
        ("8a", corrected(memory=[replace(curve(260), status=Status.OOM, reason="killed")]), "oom (killed)"),
        ("8a", corrected(memory=[replace(curve(260), frames=1)]), "one frame tells no growth"),
        ("9", corrected(memory=[curve(260)]), "has no backend cudnn"),
    ],
)
def test_what_is_missing_is_named(claim: str, edition: Edition, missing: str) -> None:
    found = judged(claim, edition)
    assert found.verdict == "cannot tell"
    assert missing in found.missing


def test_single_points_can_settle_by_how_they_scatter_over_lengths() -> None:
    lengths = range(1, 62, 3)
    single = corrected(
        frames=[timing(CPU, t, [float(t)]) for t in lengths]
        + [timing(CUDNN, t, [t / 10 * (1 + 0.01 * (t % 2))]) for t in lengths]
    )
    found = judged("1a", single)
    assert found.verdict == "supported"
    assert any("over frame counts" in str(figure) for figure in found.evidence)


def grown(power: float, noise: float = 0.0, lengths: Sequence[int] = range(1, 62, 3)) -> Edition:
    """A speedup of 3 times t to a power, up and down by `noise` from length to length."""
    return corrected(
        frames=[timing(CPU, t, repeated(float(t))) for t in lengths]
        + [
            timing(CUDNN, t, repeated(t / (3 * t**power) * (1 + noise * (-1) ** i)))
            for i, t in enumerate(lengths)
        ]
    )


@pytest.mark.parametrize("power", [0.25, 0.3, 0.5, -0.3])
def test_a_speedup_that_goes_on_growing_does_not_settle(power: float) -> None:
    assert judged("1a", grown(power)).verdict == "refuted"
    assert judged("1a", grown(power, noise=0.02)).verdict != "supported"


@pytest.mark.parametrize("lengths", [range(1, 62, 3), (1, 4, 7, 10, 13, 16)])
def test_a_constant_speedup_settles_however_it_scatters(lengths: Sequence[int]) -> None:
    found = judged("1a", grown(0.0, noise=0.01, lengths=lengths))
    assert found.verdict == "supported"
    assert "where the clip's length doubles: " in str(found.evidence[0])


@pytest.mark.parametrize("lengths", [(55, 58), (10, 11, 12, 13), (4, 7, 10, 30)])
def test_lengths_that_are_few_or_neighbours_do_not_tell_whether_it_settles(lengths: Sequence[int]) -> None:
    found = judged("1a", grown(0.0, lengths=lengths))
    assert (found.verdict, found.missing[:20]) == ("cannot tell", "too few frame counts")


@pytest.mark.parametrize("bend", [0.1, 0.5, 2.0, 3.0])
def test_memory_that_grows_along_a_bend_does_not_grow_steadily(bend: float) -> None:
    assert judged("8a", corrected(memory=[curve(260, bend=bend)])).verdict == "refuted"


def disturbed(curve_: Memory) -> Memory:
    """The same with a pause of a quarter of its points in the middle of the rise."""
    middle = len(curve_.host_bytes) // 2
    pause = [curve_.host_bytes[middle]] * (middle // 2)
    host = (*curve_.host_bytes[:middle], *pause, *curve_.host_bytes[middle:])
    return replace(curve_, host_bytes=host, elapsed_s=tuple(0.1 * i for i in range(len(host))))


def test_a_machine_that_does_something_else_meanwhile_tells_nothing_of_steadiness() -> None:
    found = judged("8a", corrected(memory=[disturbed(curve(260))]))
    assert found.verdict == "cannot tell"
    assert "a machine that does nothing else" in found.missing


def test_only_the_corrected_edition_is_meant_to_refute_that_memory_grows() -> None:
    edition = corrected(memory=[curve(2)])
    negated = [
        (finding.claim, finding.edition)
        for finding in findings([edition, replace(edition, name=FAITHFUL)])
        if finding.negated_by_correction
    ]
    assert negated == [("8a", CORRECTED)]


def test_the_largest_speedup_over_the_smallest_is_bounded_by_those_of_all_stages() -> None:
    # By its median propagation is no extreme; by its interval it may be either.
    cpu, gpu = staged(CPU, 2.0, 1.9, 1.85, 1.8), staged(CUDNN, 1.0, 1.0, 1.0, 1.0)
    wide = replace(
        cpu, low_s={**cpu.low_s, "propagation": 1.9 / 5}, high_s={**cpu.high_s, "propagation": 1.9 * 4}
    )
    assert judged("6", corrected(stages=[cpu, gpu])).verdict == "supported"
    found = judged("6", corrected(stages=[wide, gpu]))
    assert found.verdict == "cannot tell"
    spread = found.evidence[0]
    assert spread.low is not None
    assert spread.high is not None
    assert 1.0 <= spread.low < spread.value < 1.12
    assert spread.high == pytest.approx(4 * 5, rel=0.02)


@pytest.mark.parametrize("claim", ["5b", "6", "7a", "7b"])
def test_a_stage_too_short_for_the_clock_is_named(claim: str) -> None:
    none = staged(CUDNN, 0.0, 1.0, 0.5, 1.0)
    found = judged(claim, corrected(stages=[staged(CPU, 1, 3, 0.5, 1), none, staged(TUNED, 1, 3, 0.5, 1)]))
    assert found.verdict == "cannot tell"
    assert found.missing == "alignment on cudnn took no time that the clock could tell"


def test_a_whole_forward_too_short_for_the_clock_is_no_error() -> None:
    assert "no time that the clock could tell" in judged("5a", staging(CPU, 0.0, 0.0, 0.0, 0.0)).missing


def test_memory_without_time_tells_no_rate() -> None:
    still = replace(curve(260), elapsed_s=(0.0,) * 41)
    assert "took no time that the clock could tell" in judged("8a", corrected(memory=[still])).missing


def test_times_that_nothing_waited_for_are_not_said_to_be_launches() -> None:
    found = judged("4b", repetitions(timing(CUDNN, 30, repeated(1.0), synchronised=False)))
    assert found.missing.endswith("so that its times may be those of launching the work")


def test_a_general_form_stands_under_words_that_it_tests() -> None:
    fast = headline(0.05, 0.05)
    titles = {(found.claim, found.form): found.title for found in findings([fast, facts.edition()])}
    assert titles["11a", Form.PAPER] == "The headline speedup of CUDA is 2.071"
    assert titles["11a", Form.GENERAL] == "CUDA speeds the headline's clip up"
    numbers = {
        claim: title
        for (claim, form), title in titles.items()
        if form is Form.GENERAL and re.search(r"\d", title.replace("t = 1", ""))
    }
    assert not numbers


def test_a_cpu_without_a_gpu_is_still_judged_on_its_own_claims() -> None:
    edition = corrected(
        repetitions=[timing(CPU, 30, [1.0, *repeated(1.0, 0.5)]), skipped(CUDNN)],
        stages=[staged(CPU, 1, 3, 0.5, 1)],
        memory=[curve(2)],
    )
    assert {claim: str(judged(claim, edition).verdict) for claim in ("4a", "5a", "8a")} == {
        "4a": "supported",
        "5a": "supported",
        "8a": "refuted",
    }
