"""vsr-bench noise, asked as on a command line: on made-up runs, and once on a real program."""

import errno
import json
import os
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import typer
import yaml
from matplotlib.figure import Figure

from bench import cli_noise, exits, in_turn, noise_run
from bench.comparison.noise import MachineNoise, noise, over_rounds, wander
from bench.grid import plan
from bench.grid.config import Experiment
from bench.measure import preflight
from bench.messages import RunStoppedError
from bench.noise_request import REQUEST_NAME, request
from bench.plotting.plot_noise import DRAWN, noise_figure
from bench.records import JOURNAL_NAME, Status, read_journal
from bench.reporting.noise_page import not_covered, percent, recommendation, render_noise, rounds_columns
from bench.request_file import alone, write_request
from bench.results.run_folder import RunFolder
from bench.results.whole_file import create_whole
from tests.bench.interrupting import Stops
from tests.bench.sides import ENVIRONMENT, experiment, record
from tests.bench.sides import in_turn as begun_in_turn
from vsr_model.errors import BadInput

CELL = "noise/b1/t2/64x64/cpu"
OTHER = "noise/b1/t1/64x64/cpu"
BOTH = {"grid": {"frames": [1, 2]}}


def ask(*arguments: str | Path) -> int:
    """The exit status of `vsr-bench noise` with these arguments. Raises what the command raises."""
    app = typer.Typer()
    app.command()(cli_noise.noise)
    return int(app(args=[str(argument) for argument in arguments], standalone_mode=False) or 0)


def levels(scatter: float, count: int, seed: int) -> list[float]:
    random = Random(seed)
    return [random.lognormvariate(0, scatter) for _ in range(count)]


def side(path: Path, of: Experiment, seconds: Sequence[float], begun_s: Sequence[float], **bad: Any) -> None:
    """A run whose cells all have these rounds; but what is `bad` of its first cell."""
    folder = RunFolder.create(path, of, {**ENVIRONMENT, "git_commit": None}, ())
    with folder.journal() as journal:
        for cell, changes in zip(plan.cells(of), [bad, {}], strict=False):
            for number, value in enumerate(seconds):
                journal.append(record(cell, number, value, begun_s=begun_s[number], **changes))
    (path / "report.html").touch()


def measured(
    path: Path, *, pairs: int = 40, planned: int | None = None, rounds: int = 10, bad: Any = None, **grid: Any
) -> tuple[list[float], list[float]]:
    """A measurement of noise that is there; its pairs, which are those of every cell."""
    of_gate = experiment(measure={"rounds": rounds}, **grid)
    planned = planned or pairs
    write_request(path, REQUEST_NAME, request(of_gate, rounds=planned), of_gate)
    of_sides = experiment(measure={"rounds": planned}, **grid)
    begun = begun_in_turn(pairs)
    a, b = levels(0.01, pairs, 1), levels(0.01, pairs, 2)
    side(path / "a", of_sides, a, begun[0])
    side(path / "b", of_sides, b, begun[1], **bad or {})
    return a, b


def without_workers(monkeypatch: pytest.MonkeyPatch, **unavailable: str) -> None:
    """Sides are ready at once, on a machine that lacks what is unavailable, by backend."""
    known = SimpleNamespace(answer=preflight.Answer(unavailable=unavailable))
    monkeypatch.setattr(in_turn, "ready", lambda *_, **__: nullcontext((known, known)))


def told(path: Path) -> Any:
    return json.loads((path / "noise.json").read_text())


def in_one_line(text: str) -> str:
    return " ".join(text.split())


def test_a_threshold_is_recommended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    pairs = {CELL: measured(out)}
    assert ask("--resume", out) == exits.OK
    expected = noise(pairs, 10)
    found = told(out)
    assert found["schema_version"] == 1
    assert (found["gate"]["threshold"], found["gate"]["rounds"]) == (expected.threshold, 10)
    assert (found["gate"]["false_alarms"], found["gate"]["same"]) == (expected.false_alarms, expected.same)
    assert found["gate"]["detectable"] == expected.detectable
    assert found["gate"]["cells"][0]["half_width"] == expected.cells[0].half_width
    assert found["recommended"] == found["gate"]
    assert found["pairs"][CELL]["a_s"] == pairs[CELL][0]
    assert [of["rounds"] for of in found["by_rounds"]] == [5, 10, 20, 40]
    assert found["by_rounds"][1] == found["gate"]
    assert (found["whole"], found["cautions"], found["left_out"]) == (True, [], [])
    assert found["recommendation"] == (
        f"threshold {percent(expected.threshold)}: of 1,000 gates of 10 rounds drawn from these pairs "
        f"{expected.false_alarms} called unchanged code slower and {expected.same} called it the same; a "
        f"slowdown of {_ceiled(expected.detectable)} % or more of any one cell is found in 95 of 100, and in "
        "about 90 by vsr-bench ci, which has to find it twice"
    )
    said = in_one_line(capsys.readouterr().out)
    assert found["recommendation"] in said
    assert "10 (this gate)" in said
    assert "--apart" in said
    for name in ("noise.md", "noise.html", "noise.png", "noise.svg"):
        assert (out / name).stat().st_size > 1000
    assert found["recommendation"] in (out / "noise.md").read_text()
    assert found["recommendation"] in (out / "noise.html").read_text()
    assert "![noise](noise.png)" in (out / "noise.md").read_text()


def _ceiled(share: float) -> str:
    assert share < 0.1
    return f"{-(-1000 * share // 1) / 10:.1f}"


def test_a_threshold_that_is_given_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = {CELL: measured(tmp_path / "out")}
    least = noise(pairs, 10).threshold
    assert ask("--resume", tmp_path / "out", "--threshold", "0.5%") == exits.OK
    found = told(tmp_path / "out")
    assert (found["gate"]["threshold"], found["gate"]["recommended"]) == (0.005, False)
    assert (found["recommended"]["threshold"], found["recommended"]["recommended"]) == (least, True)
    said = in_one_line(capsys.readouterr().out)
    assert f"threshold 0.5 %, as given, is too tight (the least for this noise is {percent(least)}): " in said
    assert ask("--resume", tmp_path / "out", "--threshold", "20%") == exits.OK
    assert "threshold 20 %, as given, is wide enough (" in in_one_line(capsys.readouterr().out)
    assert {of["threshold"] for of in told(tmp_path / "out")["by_rounds"]} == {0.2}


def test_what_failed_is_named_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, status, code in (("oom", Status.OOM, exits.SOME_FAILED), ("skipped", Status.SKIPPED, exits.OK)):
        out = tmp_path / name
        measured(out, bad={"status": status, "reason": "no | <room>"}, **BOTH)
        assert ask("--resume", out) == code
        assert f"left out: {OTHER}: {status}: no | <room>" in capsys.readouterr().out
        assert [cell["cell"] for cell in told(out)["gate"]["cells"]] == [CELL]
        assert told(out)["left_out"] == [
            {"cell": OTHER, "why": f"{status}: no | <room>", "failed": status is Status.OOM}
        ]
        assert rf"{OTHER}: {status}: no \| &lt;room&gt;" in (out / "noise.md").read_text()


def test_nothing_to_judge(tmp_path: Path) -> None:
    out = tmp_path / "out"
    measured(out, bad={"status": Status.ERROR, "reason": "by its own fault"})
    with pytest.raises(BadInput) as caught:
        ask("--resume", out)
    assert str(caught.value) == f"{out}: none of its cells can be judged ({CELL}: error: by its own fault)"
    assert not (out / "noise.json").exists()


def test_what_the_system_refuses_keeps_what_is_done(tmp_path: Path) -> None:
    out = tmp_path / "out"
    measured(out, pairs=10)
    (out / "noise.svg").mkdir()
    with pytest.raises(RunStoppedError, match=f"the rest is for vsr-bench noise --resume {out}$"):
        ask("--resume", out)
    (out / "noise.svg").rmdir()
    assert ask("--resume", out) == exits.OK


@pytest.mark.parametrize(("pairs", "judged"), [(2, False), (3, True), (12, True)])
def test_what_an_interrupt_leaves_is_judged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    pairs: int,
    judged: bool,
) -> None:
    out = tmp_path / "out"
    measured(out, pairs=pairs, planned=40, rounds=20)
    ended = in_turn.Outcome(sides=(), interrupted=True, outputs=())
    without_workers(monkeypatch)
    monkeypatch.setattr(in_turn, "measure", lambda *_, **__: ended)
    assert ask("--resume", out) == exits.INTERRUPTED
    said = in_one_line(capsys.readouterr().out)
    why = "" if judged else " before anything was judged"
    assert said.endswith(f"interrupted{why}; the rest: vsr-bench noise --resume {out}")
    assert (out / "noise.json").exists() is judged
    if judged:
        assert told(out)["gate"]["rounds"] == pairs
        assert f"caution: Not all is measured: there are {pairs} of 40 pairs" in said
        assert f"A gate of 20 rounds was asked about; {pairs} pairs tell of one of {pairs}" in said


# The command line.

TINY = {
    "name": "tiny",
    "model": {"mid_channels": 8, "num_blocks": 1},
    "input": {"name": "noise", "kind": "random"},
    "grid": {"frames": [1], "size": [[16, 16]]},
    "backends": [{"name": "one", "from": "cpu", "threads": 1}],
    "measure": {"warmup": 0, "repetitions": 2, "rounds": 3, "stages": "off", "memory": "off"},
    "plots": [],
}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A grid, beside an empty working directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


PREFLIGHTS = 2  # a worker for each side


def test_a_real_program_interrupted_and_gone_on_with(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Stops.after, Stops.spawned = PREFLIGHTS + 7, 0
    monkeypatch.setitem(noise_run.start.__kwdefaults__, "launch", Stops)
    assert ask(tiny, "--rounds", "6") == exits.INTERRUPTED
    (out,) = (tiny.parent / "here" / "results").iterdir()
    assert out.name.startswith("noise-tiny-")
    assert (told(out)["whole"], told(out)["planned_pairs"], told(out)["gate"]["rounds"]) == (False, 6, 3)
    before = told(out)["pairs"]["noise/b1/t1/16x16/one"]["a_s"]
    assert len(before) == 3
    capsys.readouterr()

    assert ask("--resume", out) == exits.OK
    assert "a noise/b1/t1/16x16/one round 6  ok" in capsys.readouterr().err
    found = told(out)
    assert (found["whole"], found["experiment"]) == (True, "tiny")
    (cell,) = found["gate"]["cells"]
    assert cell["pairs"] == 6
    assert cell["level_s"] > 0
    assert found["pairs"]["noise/b1/t1/16x16/one"]["a_s"][:3] == before
    assert [of["rounds"] for of in found["by_rounds"]] == [3, 6]
    turns = [
        (record.started_at, name, record.round)
        for name in ("a", "b")
        for record in read_journal(out / name / JOURNAL_NAME)
    ]
    order = "".join(f"{name}{number} " for _, name, number in sorted(turns)).split()
    assert order == ["a0", "b0", "b1", "a1", "a2", "b2", "b3", "a3", "a4", "b4", "b5", "a5"]
    for name in ("a", "b"):
        assert RunFolder.open(out / name).experiment.measure.rounds == 6
        assert (out / name / "report.html").is_file()
    assert yaml.safe_load((out / "config.yaml").read_text())["measure"]["rounds"] == 3


def test_an_interrupt_before_the_first_round_says_that_nothing_was_measured(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(in_turn, "ready", interrupted)
    assert ask(tiny) == exits.INTERRUPTED
    assert capsys.readouterr().out == "interrupted before anything was measured; nothing is kept\n"
    assert list((tiny.parent / "here").iterdir()) == []
    out = tmp_path / "out"
    measured(out, pairs=4, planned=40)
    assert ask("--resume", out) == exits.INTERRUPTED
    assert in_one_line(capsys.readouterr().out) == (
        f"interrupted before anything more was measured; the rest: vsr-bench noise --resume {out}"
    )


def test_cells_are_paired_round_by_round_where_one_lacks_a_round(tmp_path: Path) -> None:
    out = tmp_path / "out"
    a, b = measured(out, pairs=10, **BOTH)
    journal = out / "a" / JOURNAL_NAME
    lines = journal.read_bytes().splitlines(keepends=True)
    gone = next(place for place, line in enumerate(lines) if json.loads(line)["cell"] == OTHER) + 4
    journal.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
    runs = [noise_run._cells(RunFolder.open(out / name)) for name in ("a", "b")]
    pairs, left_out = noise_run._pairs(*runs)
    expected = a[:4] + a[5:], b[:4] + b[5:]
    assert (pairs, left_out) == ({CELL: expected, OTHER: expected}, ())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "measure.rounds=2"], "measure.rounds: is 2; a gate has an interval"),
        (["--rounds", "2"], "--rounds: should be from 3 to 1,000, not 2"),
        (["--rounds", "1001"], "--rounds: should be from 3 to 1,000, not 1001"),
        (["--threshold", "3"], "--threshold: should be a percentage"),
        (["--filter", "backend=cuda"], "--filter backend=cuda: "),
        (["--variant", "gpu"], "no variant 'gpu'"),
        (["--output", ".."], "is not empty"),
        (["--resume", "nowhere"], "--resume: all but --threshold is as it began; give none of it"),
    ],
)
def test_what_cannot_be_met_writes_nothing(tiny: Path, arguments: list[str], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        ask(tiny, *arguments)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert list((tiny.parent / "here").iterdir()) == []


def test_no_cell_can_be_measured_here(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_workers(monkeypatch, one="no such device")
    with pytest.raises(BadInput, match=r"^none of the 1 cells can be measured here: no such device$"):
        ask(tiny)
    assert list((tiny.parent / "here").iterdir()) == []


def test_of_two_that_begin_at_once_the_first_keeps_its_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    one, other = (experiment(measure={"rounds": rounds}) for rounds in (10, 5))
    write_request(out, REQUEST_NAME, request(one), one)
    before = {path.name: path.read_text() for path in out.iterdir()}
    with pytest.raises(BadInput, match=r"out: another process has just begun there$"):
        write_request(out, REQUEST_NAME, request(other), other)
    assert {path.name: path.read_text() for path in out.iterdir()} == before
    assert [*before] != []


def test_no_two_measure_in_one_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    measured(out)
    with alone(out, REQUEST_NAME), pytest.raises(BadInput, match=r"out: another process is measuring there$"):
        ask("--resume", out)
    assert not (out / "noise.json").exists()
    assert ask("--resume", out) == exits.OK


def test_a_folder_that_cannot_be_filled_is_removed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, text: str) -> None:
        if path.name == REQUEST_NAME:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        create_whole(path, text)

    monkeypatch.setattr("bench.request_file.create_whole", refuse)
    one = experiment(measure={"rounds": 10})
    with pytest.raises(BadInput, match=r"deep/out: cannot be written to \(No space left on device\)"):
        write_request(tmp_path / "deep" / "out", REQUEST_NAME, request(one), one)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere: holds no measurement of noise \(there is no request.json"):
        ask("--resume", tmp_path / "nowhere")
    out = tmp_path / "out"
    measured(out, pairs=10)
    path = out / "request.json"
    before = json.loads(path.read_text())
    for change, said in (
        ({"schema_version": 99}, "schema version 99"),
        ({"rounds": 2}, "request.json: rounds: "),
        ({"rounds": 4000}, "request.json: rounds: "),
        ({"threshold": -1}, "request.json: threshold: "),
        ({"more": 1}, "request.json: more: "),
    ):
        path.write_text(json.dumps({**before, **change}))
        with pytest.raises(BadInput) as caught:
            ask("--resume", out)
        assert said in str(caught.value)


def test_the_preset_and_how_many_rounds_if_nothing_is_said(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def start(*given: Any, output: Path | None) -> noise_run.Found:
        asked.append(given[:2])
        return noise_run.Found(folder=Path("noise"), interrupted=True)

    monkeypatch.setattr(noise_run, "start", start)
    assert ask() == exits.INTERRUPTED
    assert asked[0][1].name == "ci"
    for rounds, measured_rounds in ((3, 40), (10, 40), (30, 120), (250, 1000), (900, 1000)):
        ask(tiny, "--set", f"measure.rounds={rounds}")
        assert (asked[-1][1].measure.rounds, asked[-1][0].rounds) == (rounds, measured_rounds)
    ask(tiny, "--rounds", "7", "--threshold", "2.5%", "--filter", "backend=one")
    assert asked[-1][0].rounds == 7
    assert asked[-1][0].threshold == pytest.approx(0.025)
    assert asked[-1][0].filters == ("backend=one",)


# What is pure.


def test_gates_of_more_rounds_than_there_are_pairs_are_not_drawn() -> None:
    made = {"a": (levels(0.01, 30, 1), levels(0.01, 30, 2)), "b": (levels(0.01, 25, 3), levels(0.01, 25, 4))}
    for rounds, own, others in (
        (5, 5, [5, 10, 20]),
        (12, 12, [6, 12, 24]),
        (40, 25, [12, 25]),
        (3, 3, [3, 6, 12]),
    ):
        gate, found = over_rounds(made, rounds, draws=10)
        assert gate.rounds == own
        assert gate in found
        assert [of.rounds for of in found] == others
        assert gate == noise(made, own, draws=10)


def test_how_far_a_level_wanders() -> None:
    flat = [1.0] * 20
    assert wander((flat, flat)) == 0
    slow = [1.0] * 10 + [1.1] * 10
    assert wander((slow, slow)) == pytest.approx(0.1)
    lone = [1.0] * 19 + [9.0]  # one round is no stretch of time
    assert wander((lone, flat)) == 0
    assert wander((flat[:14], flat[:14])) is None
    assert wander((flat[:15], flat[:15])) == 0


def machine_noise(cells: int, count: int, rounds: int, name: str = "made-up", **changes: Any) -> MachineNoise:
    made = {
        f"{name}/{number}": (levels(0.01, count, number), levels(0.01, count, -number - 1))
        for number in range(cells)
    }
    gate, by_rounds = over_rounds(made, rounds, draws=20)
    fields = {
        "experiment": name, "machine": "a machine", "code": "some code",
        "began_at": "2026-01-02T03:04:05+00:00", "last_began_at": "2026-01-02T04:04:05+00:00",
        "gate_rounds": rounds, "planned_pairs": count, "whole": True, "gate": gate, "recommended": gate,
        "by_rounds": by_rounds, "pairs": made, "wander": {cell: wander(pair) for cell, pair in made.items()},
        "left_out": (),
    }  # fmt: skip
    return MachineNoise(**fields | changes)


def panels(found: MachineNoise) -> Any:
    drawn = noise_figure(found)
    assert isinstance(drawn, Figure)
    return drawn.axes


def test_the_figure_has_a_dot_per_pair_and_a_line_per_cell() -> None:
    found = machine_noise(3, 24, 6)
    above, below = panels(found)
    lines = {tuple(line.get_xdata()): line for line in above.lines if len(line.get_xdata()) == 4}
    assert [*lines] == [(3, 6, 12, 24)]
    drawn = [list(line.get_ydata()) for line in above.lines]
    for place in range(3):
        assert [pytest.approx(100 * of.cells[place].detectable) for of in found.by_rounds] in drawn
    assert [pytest.approx(100 * of.threshold) for of in found.by_rounds] in drawn
    assert [6, 6] in [list(line.get_xdata()) for line in above.lines]
    dots = [x for line in below.lines if line.get_linestyle() == "None" for x in line.get_xdata()]
    assert sorted(dots) == sorted([*range(1, 25)] * 3)


def test_a_pair_that_is_far_off_lies_on_the_edge() -> None:
    found = machine_noise(1, 60, 6)
    ((cell, (a, b)),) = found.pairs.items()
    odd = machine_noise(1, 60, 6, pairs={cell: (a, [*b[:-1], 50 * a[-1]])})
    _, below = panels(odd)
    hollow = [line for line in below.lines if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[60]]
    assert list(hollow[0].get_ydata()) == [below.get_ylim()[1]]
    assert below.get_ylim()[1] < 100


def test_one_number_of_rounds_many_cells_and_odd_names() -> None:
    above, _ = panels(machine_noise(1, 3, 3))
    assert [label.get_text() for label in above.get_xticklabels()] == ["3"]
    drawn = noise_figure(machine_noise(DRAWN + 2, 6, 6, name="$x_1$ <b>|\n中"))
    assert any(f"Of {DRAWN + 2} cells" in text.get_text() for text in drawn.texts)


def test_names_are_shown_and_not_obeyed() -> None:
    odd = "<b>|\x1b[31m"
    text = render_noise(machine_noise(1, 16, 4, name=odd, machine=odd, code=odd), picture=Path("noise.png"))
    assert "<b>" not in text
    assert "\x1b" not in text
    tables = [line.replace(r"\|", "") for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in tables[:3]}) == 1


def test_a_machine_that_is_too_noisy_for_a_gate() -> None:
    a, b = levels(2.0, 40, 1), levels(2.0, 40, 2)
    gate, by_rounds = over_rounds({"a": (a, b)}, 4, draws=50)
    found = machine_noise(
        1, 40, 4, gate=gate, recommended=gate, by_rounds=by_rounds, pairs={"a": (a, b)}, wander={"a": None}
    )
    assert gate.threshold > 1
    assert rounds_columns(found)[1].cells[by_rounds.index(gate)] == "over 100 %"
    assert recommendation(found).startswith("no threshold up to 100 % holds for a gate of 4 rounds")
    given, _ = over_rounds({"a": (a, b)}, 4, threshold=0.5, draws=50)
    found = machine_noise(1, 40, 4, gate=given, recommended=gate, by_rounds=by_rounds, pairs={"a": (a, b)})
    assert "as given, is too tight (no threshold up to 100 % is wide enough)" in recommendation(found)


def test_thresholds_follow_each_other_over_rounds() -> None:
    found = machine_noise(1, 80, 10)
    assert all(more.detectable <= fewer.detectable for fewer, more in pairwise(found.by_rounds))


def test_what_the_second_look_costs_is_told() -> None:
    found = machine_noise(1, 80, 10)
    assert "found in 95 of 100, and in about 90 by vsr-bench ci" in recommendation(found)
    assert "found twice by about 90 of 100 (0.95 squared)" in not_covered(found)[-1]
    assert "at one look, and\n  90 at two" in render_noise(found, picture=Path("noise.png"))


def test_sides_that_are_not_its_own_are_not_judged(tmp_path: Path) -> None:
    out = tmp_path / "out"
    measured(out, pairs=10)
    for name, field, said in (
        ("config.yaml", {"name": "another"}, r"/a: begun with name: "),
        ("request.json", {"filters": ["frames=2"]}, r"/a: begun with other filters than "),
    ):
        before = (out / name).read_text()
        (out / name).write_text(json.dumps({**yaml.safe_load(before), **field}))
        with pytest.raises(BadInput, match=said):
            ask("--resume", out)
        (out / name).write_text(before)
    assert not (out / "noise.json").exists()


@pytest.mark.parametrize(
    ("wandered", "said"),
    [
        (
            {"a": 0.0612, "b": 0.01, "c": None},
            "rounds of a took 6.1 % longer than the fastest. Give --apart 6.5% or",
        ),
        ({"a": 0.0}, "took 0 % longer than the fastest. Give --apart 0.5% or more"),
        ({"a": 1.2}, "took 120 % longer than the fastest. That is more than it can allow for"),
        ({"a": None}, "For an orientation it takes 15 pairs of rounds; here are fewer."),
    ],
)
def test_what_runs_apart_need(wandered: dict[str, float | None], said: str) -> None:
    assert said in not_covered(machine_noise(1, 6, 3, wander=wandered))[1]
