"""Each claim's general form on editions made to support it, to refute it and to leave it open."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from bench.paper.claims import CLAIMS, findings
from bench.paper.editions import Edition, Memory, Role, Timing
from bench.paper.verdict import Finding, Form
from bench.records import Status
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
        ("    with probe(Stage.UPSAMPLING):", others),
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
    # a speedup of 10 throughout; one that doubles; one of wide intervals
    "1a": (
        frames(lambda t: t / 10),
        frames(lambda t: t / 10 if t < 16 else t / 20),
        frames(lambda t: t / 10, spread=0.3),
    ),
    "1b": (
        frames(lambda t: t / 10, TUNED),
        frames(lambda t: t / 10 if t < 16 else t / 20, TUNED),
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
        ("1a", corrected(frames=[*sweep(CPU, float), timing(CUDNN, 4, [1.0])]), "too few frame counts"),
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
            corrected(stages=[replace(staged(CUDNN, 1, 3, 1, 1), pass_="stage_launch")]),
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


def test_memory_that_is_all_taken_at_the_start_does_not_grow_steadily() -> None:
    assert judged("8a", corrected(memory=[curve(260, bend=0.1)])).verdict == "refuted"


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
