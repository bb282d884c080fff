"""The scripts of benchmarks/: that they work, and what their tables say of data whose truth is known."""

import json
from pathlib import Path
from random import Random

import pandas as pd
import pytest

from bench.grid.spans import FORWARD, FORWARD_UNPROBED
from bench.measure import networks
from bench.process.launcher import Launcher
from bench.records import Pass
from bench.stats.intervals import IntervalKind
from benchmarks import a_a, agreement, common, hooks, known_length
from benchmarks.a_a import alarms, far_apart, first_rounds, in_turn, neighbours, runs_of
from benchmarks.agreement import OURS, PYTEST, TORCH, ratio_of, verdict
from benchmarks.common import Evidence
from benchmarks.known_length import Deviation, Plan, deviations
from tests.networks import STAGES
from vsr_model.errors import BadInput

ENVIRONMENT = {"cpu": "a processor", "git_commit": "0123456789abcdef-dirty", "torch": {"torch": "2.13.0"}}

SCRIPTS = {"agreement": agreement, "known_length": known_length, "a_a": a_a}


# What they share.


def test_what_is_kept_is_read_again_and_the_same_each_time(tmp_path):
    samples = pd.DataFrame({"tool": ["a", "b"], "wall_s": [0.1, 1.000000001]})
    for folder in ("one", "two"):
        common.keep(Evidence(samples=samples, environment=ENVIRONMENT), tmp_path / folder, "name")
    found = common.read(tmp_path / "one", "name")
    pd.testing.assert_frame_equal(found.samples, samples)
    assert found.environment == ENVIRONMENT
    assert found.source == "a processor, torch 2.13.0; commit 0123456789ab-dirty."
    assert (tmp_path / "one" / "name.csv.gz").read_bytes() == (tmp_path / "two" / "name.csv.gz").read_bytes()


def test_a_page_is_split_at_its_markers():
    page = "before\n<!-- begin name -->\ntable\n<!-- end name -->\nafter\n"
    parts = common.split(page, "name")
    assert "".join(parts) == page
    assert parts[1] == "table\n"
    with pytest.raises(BadInput, match="has no markers named other"):
        common.split(page, "other")


@pytest.mark.parametrize("script", [*SCRIPTS.values(), hooks])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--quick"], "give --output"),
        (["--quick", "--write-docs", "--output", "FOLDER"], "no --write-docs"),
        (["--report", "--output", "FOLDER/missing"], "No such file"),
    ],
)
def test_bad_requests_end_with_2_and_one_line(script, options, said, tmp_path, capsys):
    assert script.main([text.replace("FOLDER", str(tmp_path)) for text in options]) == 2
    printed, complained = capsys.readouterr()
    assert printed == ""
    assert complained.count("\n") == 1
    assert said in complained
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_docs_quote_what_is_committed(name):
    kept = common.read(common.DATA, name)
    quoted = common.split(common.PAGE.read_text(encoding="utf-8"), name)[1]
    assert quoted == SCRIPTS[name].render(kept) + "\n"
    assert "host_name" not in kept.environment
    assert not kept.environment["git_commit"].endswith("-dirty")


# Agreement.


def timings(ours: float, noise: float, *, rounds: int = 10, turns: int = 6) -> pd.DataFrame:
    """Tools of which ours reads so many times what the others do."""
    random = Random(0)
    rows = []
    for number in range(rounds):
        for turn in range(turns):
            call_s = 0.1 * random.uniform(0.5, 2)  # what the turn does to all tools alike cancels
            for place, tool in enumerate((OURS, TORCH, PYTEST)):
                factor = (ours if tool == OURS else 1.0) * random.uniform(1 - noise, 1 + noise)
                rows.append(("small", number, turn, place, tool, call_s * factor))
    return pd.DataFrame(rows, columns=list(agreement.COLUMNS))


@pytest.mark.parametrize(
    ("ours", "noise", "expected"),
    [
        (1.003, 0.002, "yes"),
        (1.03, 0.002, "no"),
        (0.97, 0.002, "no"),
        (1.0, 0.2, "cannot tell"),
    ],
)
def test_a_verdict(ours, noise, expected):
    found = ratio_of(timings(ours, noise), OURS, TORCH)
    assert found.interval is IntervalKind.BETWEEN_ROUNDS
    assert verdict(found) == expected


def test_pairs_are_of_one_turn_whatever_the_order_of_rows():
    samples = timings(1.02, 0.0).sample(frac=1, random_state=0)
    found = ratio_of(samples, OURS, PYTEST)
    assert (found.low, found.median, found.high) == pytest.approx((1.02, 1.02, 1.02))
    assert (found.n_rounds, found.n) == (10, 60)
    assert verdict(ratio_of(timings(1.0, 0.01, rounds=1, turns=3), OURS, TORCH)) == "no interval"


def test_the_tools_time_the_same_call(tmp_path, capsys, monkeypatch):
    """A real worker, a real pytest run in it, which is not one of pytest-xdist's."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    assert agreement.main(["--quick", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    samples = common.read(tmp_path, agreement.NAME).samples
    assert tuple(samples.columns) == agreement.COLUMNS
    assert (samples["wall_s"] > 0).all()
    # In the six turns of each of two rounds every tool has every place twice.
    assert samples.groupby(["round", "tool", "place"]).size().to_list() == [2] * (2 * 3 * 3)
    assert printed.count(f"{OURS} / {TORCH}") == 1


# A run against its repeat.


def series(shifts: list[list[float]], *, rounds: int = 9) -> list[a_a.Side]:
    """Runs of cells whose level is moved by these shares; rounds scatter by 1 %, samples by 0.5 %."""
    random = Random(0)
    rows = []
    for run, of_run in enumerate(shifts):
        for cell, shift in enumerate(of_run):
            for number in range(rounds):
                level = 0.01 * (cell + 1) * (1 + shift) * random.gauss(1, 0.01)
                rows += [(run, f"cell-{cell}", number, n, level * random.gauss(1, 0.005)) for n in range(7)]
    return runs_of(pd.DataFrame(rows, columns=list(a_a.COLUMNS)))


def test_a_difference_is_found_where_it_is():
    """The second cell of the second pair is 20 % slower in its second run; the last run has no partner."""
    shifts = [[0.0, 0.0] for _ in range(5)]
    shifts[3][1] = 0.2
    assert alarms(neighbours(series(shifts))) == [set(), {"cell-1"}]


def test_drift_is_found_between_runs_that_are_far_apart():
    runs = series([[0.004 * run] for run in range(20)])
    assert sum(map(bool, alarms(far_apart(runs)))) == 10
    assert sum(map(bool, alarms(neighbours(runs)))) < 5


def test_sides_in_turn_are_the_rounds_of_one_run():
    run: a_a.Side = {"cell": [[1.0], [2.0], [3.0], [4.0]]}
    assert in_turn([run]) == [({"cell": [[1.0], [3.0]]}, {"cell": [[2.0], [4.0]]})]
    assert first_rounds([(run, run)], 1) == [({"cell": [[1.0]]}, {"cell": [[1.0]]})]


def make_run(folder: Path, number: int, machine: str) -> Path:
    path = folder / f"run-{number}"
    path.mkdir()
    about = {"config_sha256": "0", "code_version": {"source_sha256": "1"}, "environment_sha256": machine}
    (path / "run.json").write_text(json.dumps(about))
    (path / "environment.json").write_text(json.dumps(ENVIRONMENT))
    rows = [
        ("cell", 0, n, pass_, "steady", FORWARD, 0.1 + n)
        for pass_ in ("end_to_end", "memory")
        for n in (0, 1)
    ]
    columns = ["cell", "round", "repetition", "pass", "phase", "stage", "wall_s"]
    pd.DataFrame(rows, columns=columns).to_csv(path / "samples.csv", index=False)
    return path


def test_runs_on_two_machines_are_not_mixed(tmp_path):
    one, two, other = (make_run(tmp_path, n, machine) for n, machine in enumerate(("a", "a", "b")))
    assert runs_of(a_a.gather([one, two]).samples) == [{"cell": [[0.1, 1.1]]}] * 2
    with pytest.raises(BadInput, match="the runs differ in environment_sha256"):
        a_a.gather([one, two, other])


@pytest.mark.slow
def test_real_runs(tmp_path, capsys):
    assert a_a.main(["--quick", "--output", str(tmp_path)]) == 0
    assert "2 runs. " in capsys.readouterr().out


# Work of known length.


def known(pairs: list[tuple[float, float]], clock: str = "wall") -> pd.DataFrame:
    """Of one round, from reported and true."""
    rows = [
        ("probed", pairs[0][0], 0, "end_to_end", FORWARD, n, clock, *pair) for n, pair in enumerate(pairs)
    ]
    return pd.DataFrame(rows, columns=list(known_length.COLUMNS))


@pytest.mark.parametrize(
    ("true_s", "reported_s", "within"),
    [
        (1e-3, 1.049e-3, True),  # 50 microseconds are the wider one below 5 ms
        (1e-3, 1.051e-3, False),
        (1e-3, 0.949e-3, False),
        (1.0, 1.0099, True),  # 1 % is above
        (1.0, 1.0101, False),
        (1.0, 0.9899, False),
    ],
)
def test_what_is_asked_of_a_reported_time(true_s, reported_s, within):
    (found,) = deviations(known([(reported_s, true_s)] * 7)).values()
    assert found.is_within is within


def test_cycles_become_seconds_by_the_longest_calls():
    """Of a device at 2 GHz, that reports a shorter call 10 % too long."""
    calls = [known([(0.011, 20_000_000)] * 7, "device"), known([(1.0, 2_000_000_000)] * 7, "device")]
    short, long = deviations(pd.concat(calls)).values()
    assert isinstance(short, Deviation)
    assert (long.is_within, short.is_within) == (True, False)
    assert (short.length_s, short.ratio.median) == pytest.approx((0.01, 1.1))


def test_a_real_worker_reports_every_stage_beside_the_truth():
    plan = Plan(lengths_s=(2e-4,), repetitions=3, rounds=1)
    with Launcher() as launcher:
        frame = known_length.reported_and_true(plan, "cpu", launcher)
    assert len(frame) == 2 * 3 * (1 + 2 + len(STAGES))
    assert set(deviations(frame)) == {
        (network, 2e-4, pass_, "wall", stage)
        for network in ("probed", "hooked")
        for pass_, stage in (
            *((str(Pass.STAGE_SYNC), stage) for stage in (*STAGES, FORWARD, FORWARD_UNPROBED)),
            (str(Pass.END_TO_END), FORWARD),
        )
    }
    shares = {FORWARD: 1.0, FORWARD_UNPROBED: 1.0, **known_length.SHARES}
    assert (frame["true"] >= 2e-4 * frame["stage"].map(shares)).all()


# Hooks.


def test_a_strangers_stages_are_timed_by_hooks_and_by_hand(monkeypatch):
    monkeypatch.setattr(hooks, "SHAPE", (1, 2, 3, 16, 16))
    samples = hooks.pairs(networks.build(hooks.OWN), 2)
    assert samples["stage"].tolist() == ["features", "fusion", "upsampling", "other"] * 2
    assert (samples[["hooks_s", "by_hand_s"]] > 0).all(axis=None)
    assert hooks.ratios(samples.assign(hooks_s=3.0, by_hand_s=2.0))["fusion"].median == 1.5
