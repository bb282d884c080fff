"""What the figures say, computed from the editions, for any machine."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from bench.grid import config
from bench.paper.editions import CORRECTED, FAITHFUL, PAPER, Edition, Role
from bench.paper.experiments import EXPERIMENTS
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


def asked(
    backends: Sequence[Mapping[str, Any]], model: Mapping[str, Any] | None = None, **measure: Any
) -> dict[str, Mapping[str, Any]]:
    """Every experiment's configuration, as plain data."""
    return {
        name: config.plain(
            config.of_plain(
                {
                    "name": name,
                    "model": model or {},
                    "input": [{"name": name, "kind": "random"}],
                    "grid": {"frames": [10], "size": [[64, 64]]},
                    "backends": list(backends),
                    "measure": measure,
                    "plots": ["time"],
                }
            )
        )
        for name in EXPERIMENTS
    }


CORRECTLY_ASKED = asked([{"name": role} for role in (CPU, CUDNN)], repetitions=9)
FAITHFULLY_ASKED = asked(
    [{"name": str(CPU)}, {"name": str(CUDNN), "fp32_precision": "tf32"}],
    {"base_upsample": "nearest"},
    repetitions=9,
    warmup=0,
    first_call="counted",
    synchronise=False,
    stages="launch",
    gradients=True,
    allocator="system",
)
ON_BOTH = (
    "`model.base_upsample: nearest` against `bilinear`, `measure.warmup: 0` against `auto`, "
    "`measure.first_call: counted` against `apart`, "
)
REST = "`measure.gradients: true` against `false`, `measure.allocator: system` against `retain`"
EVERYTHING = (
    f"{ON_BOTH}`measure.gradients: true` against `false`, `measure.stages: launch` against `both`, "
    "`measure.allocator: system` against `retain`"
)
ON_THE_GPU = "`backend.fp32_precision: tf32` against `ieee`"
KNOWN = (
    replace(GPU, configurations=CORRECTLY_ASKED),
    replace(FAITHFUL_GPU, configurations=FAITHFULLY_ASKED),
)


def reasoned(figure: str, *editions: Edition) -> list[str]:
    """What is said of no edition alone."""
    leads = ("Its method here: ", "Corrected: ", "A median over frame counts")
    return [text for text in said(figure, *editions) if not text.startswith(leads)]


def test_a_first_call_is_held_against_later_ones_of_the_same_edition() -> None:
    """The faithful GPU's takes 4 s, and its later ones 0.505 s; the corrected one's, kept apart, 3 s."""
    found = reasoned("14", *KNOWN)
    assert found[1] == (
        "The faithful method counts the process's first call (`first_call: counted`), which takes 7.92× the "
        "median of its own later ones on cudnn: the median is 510 ms with it and 505 ms without. The "
        "corrected one keeps it apart, and cudnn's takes 6.00×."
    )
    assert not any("corrected median" in text for text in found)


def test_of_one_sample_nothing_is_said_of_the_first_calls_part() -> None:
    found = reasoned("headline", *KNOWN)
    assert found[0] == (
        "The one sample by the faithful method on cpu, cudnn is the process's first call: what being the "
        "first adds to it these runs do not tell."
    )
    assert found[1:3] == [
        "At t = 60 cpu by the faithful method takes 1.08× the corrected cpu.",
        "At t = 60 cudnn by the faithful method takes 2.00× the corrected cudnn.",
    ]
    assert not any("Why: " in text and "first" in text for text in found)


def test_everything_that_differs_is_listed_and_none_of_it_called_the_cause() -> None:
    """The CPU has no clock that waits, and no TF32."""
    for figure in ("headline", "14"):
        listed = next(text for text in reasoned(figure, *KNOWN) if text.startswith("What differs: "))
        assert listed == (
            f"What differs: {EVERYTHING}; on cudnn {ON_THE_GPU}, `measure.synchronise: false` against "
            "`true`. Which of it matters these runs do not tell."
        )
    ratio, listed, clock = reasoned("15", *KNOWN)
    assert ratio == "At t = 10 cudnn by the faithful method takes 0.200× the corrected cudnn."
    assert {ON_THE_GPU, *EVERYTHING.split(", ")} < set(
        listed.removeprefix("What differs: ").removesuffix(". Which of it matters these runs do not tell.")
        .split(", ")
    )  # fmt: skip
    assert "`synchronise: false`" in clock


def test_what_differs_is_unknown_without_configurations_and_nothing_where_they_agree() -> None:
    assert "What differs: not known, as the runs' configurations are not." in reasoned(
        "15", GPU, FAITHFUL_GPU
    )
    same = replace(FAITHFUL_GPU, configurations=CORRECTLY_ASKED)
    assert "What differs: no option." in reasoned("15", KNOWN[0], same)


def test_memory_kept_by_gradients() -> None:
    (reason,) = reasoned("17", *KNOWN)
    assert "65.0 KiB per frame and input pixel on cpu, against 0.500 KiB without" in reason
    assert reason.endswith("The experiment “Gradients recorded” changes gradients alone.")
    assert reasoned("18", *KNOWN) == [reason]


def test_launched_stages_are_said_to_differ_in_more_than_the_waiting() -> None:
    assert reasoned("19", *KNOWN) == [
        "With `stages: launch` nothing waits for the GPU at a stage's end: cudnn's stages seem to take "
        "450 ms, where they run for 4.50 s on cudnn.",
        "What else differs: `model.base_upsample: nearest` against `bilinear`, "
        "`backend.fp32_precision: tf32` against `ieee`, `measure.warmup: 0` against `auto`, "
        f"`measure.first_call: counted` against `apart`, {REST}. The experiment “Nothing waits for the GPU” "
        "changes the waiting alone.",
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
