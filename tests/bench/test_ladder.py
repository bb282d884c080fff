"""The ladder: steps by made-up rounds, exactly; its files and command on a real, tiny network."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.commands import exits
from bench.commands import lifecycle as runs
from bench.grid import config, plan, presets
from bench.grid.backend import BUILT_IN, Backend
from bench.grid.baseline import Baseline
from bench.grid.config import Experiment
from bench.plotting.ladder import ladder_figure
from bench.records import CellRecord, Status, read_journal
from bench.reporting.ladder import doubts, in_a_sentence, ladder_images, step_columns, write_ladder
from bench.results.run_folder import RunFolder
from bench.results.tables import tables_of
from bench.tuning.ladder import LADDER_COLUMNS, Steps, added, ladder_table, ladders, stage_columns
from tests.bench.interrupting import Stops
from tests.bench.pages import documented_columns, render_markdown
from tests.bench.sides import SHARES, experiment, record
from tests.bench.synthetic import BASELINE
from vsr_model.errors import BadInput

RUNGS: list[dict[str, Any]] = [
    {"name": "plain", "from": "cpu"},
    {"name": "last", "from": "cpu", "memory_format": "channels_last"},
    {"name": "wino", "from": "cpu", "memory_format": "channels_last", "convolution": "winograd"},
    {"name": "narrow", "from": "cpu", "memory_format": "channels_last", "dtype": "bfloat16"},
]
TINY: dict[str, Any] = {
    "name": "tiny",
    "ladder": True,
    "model": {"mid_channels": 4, "num_blocks": 1},
    "input": [{"name": "noise", "kind": "random"}],
    "grid": {"frames": [1], "size": [[16, 16]]},
    "backends": [
        *RUNGS[:2],
        {"name": "bf", "from": "cpu", "dtype": "bfloat16", "min_psnr_db": 200.0},
        "cuda",
    ],
    "measure": {"warmup": 0, "repetitions": 2, "rounds": 3, "stages": "sync", "memory": "off"},
    "plots": [],
}
WINOGRAD = BUILT_IN["cpu"].replace(name="x", convolution="winograd", memory_format="channels_last")
COMPILED = BUILT_IN["cpu"].replace(name="x", compile=True, threads=2)


def tabled(wanted: Experiment, records: Sequence[CellRecord]) -> pd.DataFrame:
    return ladder_table(plan.cells(wanted), tables_of(records, Baseline.of("plain")))


def made(
    seconds: Mapping[str, Sequence[float]],
    ends: Mapping[str, Mapping[str, Any]] | None = None,
    **changes: Any,
) -> pd.DataFrame:
    """Return the table of RUNGS whose rounds took so long; those that are not named have none."""
    wanted = experiment(backends=RUNGS, **changes)
    records: list[CellRecord] = []
    for cell in plan.cells(wanted):
        name = cell.backend.name
        how = dict((ends or {}).get(name, {}))
        if how.get("status") is Status.SKIPPED:
            records.append(record(cell, 0, None, **how))
        records += [record(cell, number, value, **how) for number, value in enumerate(seconds.get(name, ()))]
    return tabled(wanted, records)


def steps_of(table: pd.DataFrame) -> Steps:
    (steps,) = ladders(table).values()
    return steps


def rounds(level: float) -> list[float]:
    """Six rounds within 1 % of the level, their median."""
    return [level * factor for factor in (0.995, 1.005, 0.998, 1.002, 0.999, 1.001)]


def test_each_step_is_compared_with_the_first_and_with_the_one_before() -> None:
    table = made({"plain": rounds(4), "last": rounds(2), "wino": rounds(1), "narrow": rounds(1)})
    assert [*table["verdict"]] == ["start", "pays", "pays", "makes no difference"]
    assert [*table["adds"]] == [
        "", "channels_last", "convolution: winograd", "bfloat16; convolution: library",
    ]  # fmt: skip
    assert [*table["speedup"]] == pytest.approx([1, 2, 4, 4])
    assert [*table["gain"]][1:] == pytest.approx([2, 2, 1])
    assert (table["speedup_low"][0], table["speedup_high"][0]) == (1.0, 1.0)
    assert table["gain_low"][1] > 1.95
    assert [*table["compared_with"]][1:] == ["plain", "last", "wino"]
    assert table["stage_alignment_s"][2] == pytest.approx(0.4)
    assert table["probed_s"][2] == pytest.approx(1)
    sentence = in_a_sentence(steps_of(table))
    assert sentence.startswith(
        "From 4.00 s (plain) to 1.00 s (narrow, the last step with the right answer): 4.00× ("
    )
    assert "What paid in its place: channels_last; convolution: winograd." in sentence


def test_a_step_that_was_skipped_or_wrong_is_passed_over_and_its_settings_count_with_the_next() -> None:
    _, last, wino, narrow = steps_of(made(
        {"plain": rounds(4), "wino": rounds(1), "narrow": rounds(2)},
        {
            "last": {"status": Status.SKIPPED, "reason": "no such memory"},
            "wino": {"status": Status.INACCURATE, "reason": "20 dB", "output_psnr_db": 20.0},
        },
    ))  # fmt: skip
    assert (last["verdict"], last["reason"], last["median_s"]) == ("skipped", "no such memory", None)
    assert (wino["verdict"], wino["compared_with"], wino["speedup"]) == ("inaccurate", "plain", None)
    assert wino["gain"] == pytest.approx(4)
    assert (narrow["compared_with"], narrow["adds"]) == ("plain", "bfloat16; channels_last")
    assert narrow["gain"] == pytest.approx(2)


def test_a_step_that_costs_and_one_that_is_unclear() -> None:
    steps = steps_of(made({"plain": rounds(1), "last": rounds(2), "wino": [2.0]}))
    assert [step["verdict"] for step in steps] == ["start", "costs", "unclear", "not measured"]
    assert steps[2]["reason"] == "too few values for an interval"
    assert in_a_sentence(steps).startswith("From 1.00 s (plain) to 2.00 s (wino, the last step ")
    assert "Fastest of these rounds: plain, 1.00 s. No single step is sure to pay." in in_a_sentence(steps)
    steps = steps_of(made({"plain": rounds(1)}))
    assert in_a_sentence(steps) == "No step after the first, plain, was measured with the right answer."


def test_no_difference_takes_an_interval_that_is_narrow_enough() -> None:
    wide = [0.8, 1.27, 0.97, 0.97, 1.1, 0.9]
    step = steps_of(made({"plain": rounds(1), "last": wide}))[1]
    assert step["verdict"] == "unclear"
    assert re.fullmatch(
        r"its interval holds 1, and differences of more than 3 %; about \d+ rounds would tell", step["reason"]
    )


def test_within_one_process_no_step_pays_or_costs_and_a_doubt_says_so() -> None:
    wanted = experiment(backends=RUNGS)
    records = []
    for cell, level in zip(plan.cells(wanted), (4.0, 2.0, 3.0), strict=False):
        one = record(cell, 0, level)  # a round of 24 calls, which are quite alike
        calls = [
            sample.model_copy(update={"repetition": sample.repetition + 3 * more})
            for more in range(8) for sample in one.samples
        ]  # fmt: skip
        records.append(one.model_copy(update={"samples": tuple(calls)}))
    steps = steps_of(tabled(wanted, records))
    assert steps[1]["gain_low"] > 1
    why = "its interval is within one process each; three rounds or more would tell"
    assert [(step["verdict"], step["reason"]) for step in steps[1:3]] == [("unclear", why)] * 2
    assert step_columns(steps)[-1].cells[1] == f"unclear: {why}"
    (doubt,) = doubts(steps)
    assert doubt.startswith("Intervals are within single processes")


def test_stages_overlap_by_single_calls() -> None:
    wanted = experiment(backends=RUNGS)
    first = plan.cells(wanted)[0]
    steps = steps_of(tabled(wanted, [record(first, 0, 1.0, shares={"upsampling": 0.6})]))
    assert steps[0]["stages_overlap"]
    (doubt,) = [text for text in doubts(steps) if "overlap" in text]
    assert doubt.startswith("Stages of plain overlap")
    restless = [record(first, number, seconds) for number, seconds in enumerate((1.0, 9.0, 1.0))]
    assert steps_of(tabled(wanted, restless))[0]["stages_overlap"] is False


def test_a_ladder_per_clip() -> None:
    table = made({"plain": rounds(4), "last": rounds(2)}, grid={"frames": [1, 2]})
    found = ladders(table)
    assert [*found] == ["basicvsr/noise/b1/t1/64x64", "basicvsr/noise/b1/t2/64x64"]
    assert [*table["step"]] == [0, 1, 2, 3] * 2
    page = render_markdown(tables_of([], BASELINE), ladders=found)
    assert page.count("### basicvsr noise b1 t") == 2


def test_figures_of_several_clips_are_named_by_their_place_and_in_the_order_of_the_run(
    tmp_path: Path,
) -> None:
    wanted = experiment(backends=RUNGS, ladder=True, grid={"frames": [4, 1], "size": [[64, 64]]})
    folder = RunFolder.create(tmp_path / "run", wanted, {}, [])
    assert ladder_images(folder) == []
    write_ladder(folder, tables_of([], folder.baseline))
    assert [path.name for path in ladder_images(folder)] == [
        "ladder-noise-b1-t4-64x64.png", "ladder-noise-b1-t1-64x64.png",
    ]  # fmt: skip


def test_networks_have_ladders_of_their_own_stages() -> None:
    own = {"name": "mine", "import": "here:Mine", "stages": {"body": ["body"]}}
    wanted = experiment(backends=RUNGS, model=["basicvsr", own])
    records = []
    for cell in plan.cells(wanted):
        one = record(cell, 0, 1.0)
        if cell.model.name == "mine":
            samples = [
                sample.model_copy(update={"stage": sample.stage.replace("propagation", "body")})
                for sample in one.samples
                if sample.stage in ("propagation", "forward")
            ]
            one = one.model_copy(update={"stages": ("body",), "samples": tuple(samples)})
        records.append(one)
    table = tabled(wanted, records)
    assert [*stage_columns(table)] == [*SHARES, "body"]
    first, second = ladders(table).values()
    assert ([*first[0]["stages"]], [*second[0]["stages"]]) == ([*SHARES], ["body"])


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (BUILT_IN["cuda"], BUILT_IN["cudnn"], ("cuDNN",)),
        (BUILT_IN["cudnn"], BUILT_IN["cudnn_autotune"], ("cuDNN autotuning",)),
        (BUILT_IN["cpu"], BUILT_IN["cuda"], ("device: cuda",)),
        (BUILT_IN["cpu"], COMPILED, ("compile", "threads: 2")),
        (COMPILED, BUILT_IN["cpu"], ("without compile", "threads: default")),
        (BUILT_IN["cpu"], BUILT_IN["cpu"].replace(name="x", min_psnr_db=1.0), ()),
        (BUILT_IN["cpu"], WINOGRAD, ("convolution: winograd",)),  # which has but one memory format
        (WINOGRAD, BUILT_IN["cpu"], ("contiguous", "convolution: library")),
    ],
)  # fmt: skip
def test_settings_that_a_step_adds(before: Backend, after: Backend, said: tuple[str, ...]) -> None:
    assert added(before, after) == said


def drawn_texts(figure: Figure) -> list[str]:
    (axes,) = figure.axes
    return [text.get_text() for text in (*axes.texts, *axes.get_yticklabels())]


def test_the_figure_has_a_bar_per_step_and_says_what_was_skipped() -> None:
    table = made(
        {"plain": rounds(4), "wino": rounds(1)},
        {"last": {"status": Status.SKIPPED, "reason": "no $such^ memory"},
         "wino": {"output_psnr_db": 123.4}},
    )  # fmt: skip
    figure = ladder_figure(table)
    texts = drawn_texts(figure)
    assert "skipped: no $such^ memory" in texts
    assert "not measured" in texts
    assert [text for text in texts if text.startswith("4.00× (")] == ["4.00× (3.97–4.03)"]
    assert "123 dB" in texts
    assert "+ convolution: winograd" in texts
    (axes,) = figure.axes
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    widths = [round(bar.get_width(), 3) for bar in bars if bar.get_width()]
    assert widths == [1.6, 1.6, 0.4, 0.4, 0.4, 0.4, 0.1, 0.1, 3.0]  # stages of both, and what was saved


def test_nothing_measured_can_be_drawn_and_shown() -> None:
    table = made({})
    assert drawn_texts(ladder_figure(table)).count("not measured") == 4
    assert in_a_sentence(steps_of(table)) == "No step was measured with the right answer."


def test_the_document_has_the_columns() -> None:
    assert documented_columns("ladder") == [*LADDER_COLUMNS]


@pytest.mark.parametrize("variant", [(), ("exact",), ("gpu",), ("quick",), ("exact", "quick")])
def test_each_rung_of_the_preset_adds_something(variant: tuple[str, ...]) -> None:
    one, _ = config.load(presets.find("ladder"), wanted=variant)
    assert one.ladder
    rungs = one.backends
    assert all(added(before, after) for before, after in pairwise(rungs))
    assert rungs[0] == BUILT_IN["cuda"] if variant == ("gpu",) else rungs[0].is_reference


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"backends": ["cpu"]}, "ladder: is true, and a ladder has two backends at least; there is one"),
        ({"baseline": "last"}, "baseline: is 'last'; that of a ladder is its first rung, 'plain'"),
    ],
)
def test_an_invalid_ladder_is_refused(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, **fields}))
    with pytest.raises(BadInput) as caught:
        config.load(path)
    assert said in str(caught.value)


def test_a_ladder_interrupted_and_resumed(
    tmp_path: Path,
    command: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    Stops.after, Stops.spawned = 8, 0  # what asks, three that are timed for the forecast, and the cells
    defaults: list[Any] = [runs.start.__kwdefaults__, runs.resume.__kwdefaults__]
    for of_function in defaults:
        monkeypatch.setitem(of_function, "launch", Stops)
    assert command(tmp_path, "ladder", "tiny.yaml", "--output", "out") == exits.INTERRUPTED
    out = Path("out")
    assert "interrupted; the rest: vsr-bench ladder --resume out" in capfd.readouterr().out
    before = read_journal(out / "journal.jsonl")
    assert len(before) == 6  # three that were skipped first, and three that ran

    Stops.after = 0
    assert command(tmp_path, "ladder", "--resume", "out") == exits.SOME_FAILED  # one is inaccurate
    assert read_journal(out / "journal.jsonl")[:6] == before
    told = capfd.readouterr().out
    assert "channels_last" in told
    assert "(ladder.png)" in told
    assert "note    Intervals are of fewer than six rounds" in told
    assert "skipped: no CUDA" in told
    table = pd.read_csv(out / "ladder.csv")
    assert [*stage_columns(table)] == ["alignment", "propagation", "aggregation", "upsampling", "other"]
    assert [*table["verdict"]][::2] == ["start", "inaccurate"]
    assert (table[["median_s", "stage_alignment_s"]].iloc[:3] > 0).all().all()
    report = (out / "report.md").read_text()
    assert "## Ladder" in report
    assert "![ladder](plots/ladder.png)" in report
    assert (out / "plots" / "ladder.svg").is_file()
    assert "[ladder.csv](ladder.csv)" in report

    (out / "ladder.csv").unlink()
    runs.rebuild(out)
    assert (out / "ladder.csv").is_file()
    assert (out / "report.md").read_text() == report


def test_a_grid_that_is_no_ladder_is_refused(
    tmp_path: Path, command: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, "ladder", "quickstart") == exits.BAD_REQUEST
    assert "quickstart: is no ladder: its backends need not add to each other" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []
