"""What the figures say, computed from the editions, for any machine."""

from dataclasses import replace

import pytest

from bench.paper.editions import CORRECTED, FAITHFUL, PAPER, Edition, Role
from bench.paper.lessons import LESSONS
from tests.bench.paper import facts
from tests.bench.paper.made import corrected, memory, repeated, skipped, staged, timing

CPU, CUDNN, TUNED = Role.CPU, Role.CUDNN, Role.CUDNN_AUTOTUNE
MIB = 2**20
LENGTHS = (1, 4, 7, 10)


def said(figure: str, *editions: Edition) -> list[str]:
    return list(LESSONS[figure]({edition.name: edition for edition in editions}))


def curve(role: Role, per_frame_mib: int, gradients: bool, frames: int = 10) -> object:
    host = [(400 + per_frame_mib * i * frames // 40) * MIB for i in range(41)]
    source = "    feat_prop = self.propagation.forward_trunk(frame, feat_prop)"
    lines = [(source, 30 * MIB), ("    x = 1", 10 * MIB)]
    return memory(role, host, frames=frames, gradients=gradients, lines=lines)


GPU = corrected(
    headline=[timing(role, 60, repeated(s), first_s=3.0) for role, s in ((CPU, 12.0), (CUDNN, 1.0))],
    repetitions=[timing(role, 30, repeated(s), first_s=3.0) for role, s in ((CPU, 6.0), (CUDNN, 0.5))],
    frames=[
        timing(role, t, repeated(0.5 + s * t)) for t in LENGTHS for role, s in ((CPU, 2.0), (CUDNN, 0.1))
    ],
    memory=[curve(CPU, 2, gradients=False)],
    stages=[staged(CPU, 10, 20, 5, 5), staged(CUDNN, 1, 2, 0.5, 1)],
)

FAITHFUL_GPU = replace(
    GPU,
    name=FAITHFUL,
    headline=tuple(timing(role, 60, [s], synchronised=False) for role, s in ((CPU, 13.0), (CUDNN, 2.0))),
    repetitions=tuple(
        timing(role, 30, [s, 0.5, 0.51], synchronised=False) for role, s in ((CPU, 7.0), (CUDNN, 4.0))
    ),
    frames=tuple(timing(CUDNN, t, [0.2 + 0.01 * t], synchronised=False) for t in LENGTHS),
    memory=(curve(CPU, 260, gradients=True),),  # type: ignore[arg-type]
    stages=(
        replace(staged(CPU, 10, 20, 5, 5), pass_="stage_launch"),
        replace(staged(CUDNN, 0.1, 0.2, 0.05, 0.1), pass_="stage_launch"),
    ),
)

CPU_ONLY = corrected(
    **{
        name: [timing(CPU, t, repeated(float(t), calls=7)) for t in (4, 10)]
        + [skipped(CUDNN), skipped(TUNED)]
        for name in ("headline", "repetitions", "frames")
    },
)


@pytest.mark.parametrize("figure", LESSONS)
def test_every_edition_says_something_in_sentences(figure: str) -> None:
    found = said(figure, GPU, FAITHFUL_GPU, facts.edition())
    assert all(sentence.endswith(".") for sentence in found)
    leads = [sentence.split(":")[0] for sentence in found]
    assert list(dict.fromkeys(leads))[:3] == ["The paper", "Its method here", "Corrected"]


@pytest.mark.parametrize("figure", LESSONS)
def test_what_was_not_run_is_said_to_be_unknown(figure: str) -> None:
    (sentence,) = said(figure, corrected())
    assert sentence.startswith("Corrected: not known, the experiment `")
    assert said(figure) == []


def test_without_a_gpu_the_cpus_figures_stand_and_the_rest_is_said_to_be_unknown() -> None:
    found = said("15", CPU_ONLY)
    assert found == [
        "Corrected: cpu takes 1.00 s per frame and 0 s whatever the length, from two lengths, which leave "
        "nothing to judge the line by.",
        "Corrected: not known, no GPU (cudnn, cudnn_autotune: no CUDA device: torch finds no driver or "
        "no GPU).",
    ]
    (unknown,) = said("16", CPU_ONLY)
    assert unknown.startswith("Corrected: not known, no GPU")


def test_the_papers_own_figures() -> None:
    paper = facts.edition()
    assert (
        "median over t = 4 to 61, is 3.45× (3.28× to 3.65×, over frame counts, n = 20)"
        in said("16", paper)[0]
    )
    assert "at t = 1 it is 0.137×" in said("16", paper)[0]
    assert (
        "its interval says how lengths differ, and not how well one of them repeats" in said("16", paper)[-1]
    )
    assert "CUDA (cudnn)'s first call takes 3.53 s, 1.66 s more" in said("14", paper)[1]
    assert "66.4 ms (66.0 ms to 66.8 ms) per frame and 57.9 ms (42.0 ms to 73.7 ms)" in said("15", paper)[2]
    assert "propagation 51.2 %" in said("19", paper)[0]
    assert "speedups over CPU: alignment 2.95×, propagation 2.27×, aggregation 1.36×" in said("19", paper)[1]
    assert "grows by 10.2 GiB, 261 MiB per frame of 40 frames; it rises at 1.16 GiB/s" in said("17", paper)[0]


def test_speedups_are_the_medians_of_the_cells_with_their_own_intervals() -> None:
    (first,) = [text for text in said("16", GPU) if "median over" in text]
    assert "from each cell's own interval, n = 3" in first


def test_differences_are_told_by_the_option_that_makes_them() -> None:
    reasons = {
        figure: [text for text in said(figure, GPU, FAITHFUL_GPU) if text.startswith("Why: ")]
        for figure in LESSONS
    }
    # The corrected median is 0.5 s, and the faithful first call 4 s.
    assert "takes 8.00× the corrected median of 500 ms" in reasons["14"][1]
    assert "`first_call: counted`" in reasons["14"][1]
    assert "`synchronise: false`" in reasons["14"][-1]
    assert reasons["15"] == [
        "Why: at t = 10 cudnn by the faithful method takes 0.200× the corrected cudnn; what differs is "
        "`gradients: true`, one sample, `timed: call`, which counts the clip's way to the device and "
        "`synchronise: false`."
    ]
    assert "65.0 KiB per frame and input pixel on cpu, against 512 KiB" not in reasons["17"][0]
    assert "65.0 KiB per frame and input pixel on cpu, against 0.500 KiB without" in reasons["17"][0]
    assert reasons["18"] == reasons["17"]
    assert reasons["19"] == [
        "Why: with `stages: launch` nothing waits for the GPU at a stage's end: cudnn's stages seem to take "
        "450 ms, where they run for 4.50 s on cudnn."
    ]


def test_a_gpu_without_the_cpu_beside_it_has_no_speedup() -> None:
    assert said("16", replace(GPU, frames=FAITHFUL_GPU.frames))[0] == (
        "Corrected: cudnn has no speedup: no CPU's time of the same clips stands beside it."
    )


def test_lines_of_the_forward_are_weighed() -> None:
    (sentence,) = said("18", GPU)
    assert "75.0 % of what the forward's lines add on cpu is added where convolutions run" in sentence
    assert "`feat_prop = self.propagation.forward_trunk(frame, feat_prop)`, with 30.0 MiB" in sentence


def test_a_quick_version_says_so() -> None:
    assert said("14", replace(GPU, version="quick"))[0].startswith("Corrected (quick version): ")
    assert said("14", replace(GPU, version="brief"))[0].startswith("Corrected (brief version): ")


def test_names_of_editions_are_the_keys() -> None:
    assert {PAPER, FAITHFUL, CORRECTED} == {facts.edition().name, FAITHFUL_GPU.name, GPU.name}
