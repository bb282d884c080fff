"""The scripts of benchmarks/: that they work, and what their tables say of data whose truth is known."""

import json
import math
from pathlib import Path
from random import Random

import pandas as pd
import pytest
from scipy.stats import binomtest

from bench.statistics.stats import IntervalKind
from benchmarks import a_a, agreement, evidence, known_length
from benchmarks.a_a import (
    Comparison,
    alarms,
    comparisons,
    differ,
    far_apart,
    in_turn,
    neighbours,
    over_runs,
    runs_of,
)
from benchmarks.agreement import OURS, PYTEST, TORCH, ratio_of, verdict
from benchmarks.evidence import Evidence, markers, put_into, wilson
from vsr_model.errors import BadInput

ENVIRONMENT = {"cpu": "a processor", "git_commit": "0123456789abcdef-dirty", "torch": {"torch": "2.13.0"}}

SCRIPTS = {"agreement": agreement, "known_length": known_length, "a_a": a_a}


# Evidence.


def test_what_is_kept_is_read_again_and_the_same_each_time(tmp_path):
    samples = pd.DataFrame({"tool": ["a", "b"], "wall_s": [0.1, 1.000000001]})
    kept = Evidence(samples=samples, environment=ENVIRONMENT)
    for folder in ("one", "two"):
        evidence.keep(kept, tmp_path / folder, "name")
    found = evidence.read(tmp_path / "one", "name", ["tool", "wall_s"])
    pd.testing.assert_frame_equal(found.samples, samples)
    assert found.environment == ENVIRONMENT
    assert (tmp_path / "one" / "name.csv.gz").read_bytes() == (tmp_path / "two" / "name.csv.gz").read_bytes()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(b"no gzip"), "not what this script keeps"),
        (lambda path: path.write_bytes(path.read_bytes()[:-12]), "not what this script keeps"),
        (lambda path: None, "has the columns wall_s, not other"),
    ],
)
def test_what_is_no_evidence_is_refused(tmp_path, damage, said):
    kept = Evidence(samples=pd.DataFrame({"wall_s": [0.1, 0.2]}), environment=ENVIRONMENT)
    evidence.keep(kept, tmp_path, "name")
    damage(tmp_path / "name.csv.gz")
    with pytest.raises(BadInput, match=said):
        evidence.read(tmp_path, "name", ["other"])


def test_figures_replace_those_before_them(tmp_path):
    page = tmp_path / "page.md"
    begin, end = markers("name")
    page.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    put_into(page, "name", "\nnew\n\n")
    put_into(page, "name", "newer\n")
    assert page.read_text() == f"before\n{begin}\nnewer\n{end}\nafter\n"


@pytest.mark.parametrize("text", ["no place", markers("name")[0], markers("other")[0] + markers("other")[1]])
def test_a_page_without_the_place_is_left_alone(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(BadInput, match="has no place for name"):
        put_into(page, "name", "new")
    assert page.read_text() == text


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 40), (2, 40), (40, 40), (7, 13)])
def test_the_interval_of_a_share_is_wilsons(k, n):
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
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


def test_the_page_has_a_place_for_every_script_and_the_readme_a_line():
    page = evidence.PAGE.read_text(encoding="utf-8")
    for name in (*SCRIPTS, "known_length_cuda"):
        begin, end = markers(name)
        assert -1 < page.find(begin) < page.find(end)
    readme = (evidence.ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    scripts = [
        path.stem
        for path in (evidence.ROOT / "benchmarks").glob("*.py")
        if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
    ]
    assert set(SCRIPTS) <= set(scripts)
    for name in scripts:
        assert f"`python -m benchmarks.{name}`" in readme


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
        (1.0, 0.002, "yes"),
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
    assert found.median == pytest.approx(1.02)
    assert (found.low, found.high) == pytest.approx((1.02, 1.02))
    assert (found.n_rounds, found.n) == (10, 60)


def test_too_few_for_an_interval_has_no_verdict():
    found = ratio_of(timings(1.0, 0.01, rounds=1, turns=3), OURS, TORCH)
    assert verdict(found) == "no interval"


def test_the_tools_time_the_same_call(tmp_path, capsys):
    """A real worker, a real pytest run in it."""
    assert agreement.main(["--quick", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    kept = evidence.read(tmp_path, agreement.NAME, agreement.COLUMNS)
    rounds, turns = agreement.QUICK_ROUNDS, agreement.QUICK[0].turns
    assert len(kept.samples) == 3 * rounds * turns
    assert (kept.samples["wall_s"] > 0).all()
    # In the six turns of a round every tool has every place twice.
    places = kept.samples.groupby(["round", "tool", "place"]).size()
    assert len(places) == rounds * 9
    assert set(places) == {turns // 3}
    assert printed.count(f"{OURS} / {TORCH}") == 1
    assert agreement.main(["--report", "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out == printed


# A run against its repeat.


def series(shifts: list[list[float]], *, rounds: int = 9, seed: int = 0) -> pd.DataFrame:
    """Runs of cells whose level is moved by these shares; rounds scatter by 1 %, samples by 0.5 %."""
    random = Random(seed)
    rows = []
    for run, of_run in enumerate(shifts):
        for cell, shift in enumerate(of_run):
            for number in range(rounds):
                level = 0.01 * (cell + 1) * (1 + shift) * random.gauss(1, 0.01)
                rows += [(run, f"cell-{cell}", number, n, level * random.gauss(1, 0.005)) for n in range(7)]
    return pd.DataFrame(rows, columns=list(a_a.COLUMNS))


ALL = Comparison(name="all", rounds=None)


@pytest.mark.parametrize("n", [2, 3, 8, 9])
@pytest.mark.parametrize("pairing", [neighbours, far_apart])
def test_no_run_is_in_two_pairs(n, pairing):
    pairs = pairing(n)
    used = [run for pair in pairs for run in pair]
    assert len(pairs) == n // 2
    assert len(set(used)) == len(used)
    assert set(used) <= set(range(n))


def test_differences_that_are_there_are_found_where_they_are():
    """The second cell of the second pair is 20 % slower in its second run; the last run has no partner."""
    shifts = [[0.0, 0.0] for _ in range(5)]
    shifts[3][1] = 0.2
    found = alarms(runs_of(series(shifts)), neighbours(5), ALL)
    assert found.by_cell == {"cell-0": 0, "cell-1": 1}
    assert (found.pairs, found.any_cell, found.share) == (2, 1, 0.25)


def test_drift_is_found_between_runs_that_are_far_apart():
    runs = runs_of(series([[0.004 * run] for run in range(20)]))
    far = alarms(runs, far_apart(20), ALL)
    assert far.any_cell == far.pairs == 10
    assert alarms(runs, neighbours(20), ALL).any_cell < 5


def test_equal_runs_raise_few_alarms():
    """At most the stated 5 %, which Wilson's interval is to leave possible."""
    found = alarms(runs_of(series([[0.0] * 4 for _ in range(120)])), neighbours(120), ALL)
    low, high = wilson(found.share, found.pairs)
    assert low <= 0.05
    assert high < 0.15


def test_all_cells_at_once_have_wider_intervals():
    runs = runs_of(series([[0.0] * 4 for _ in range(40)]))
    (family,) = [how for how in comparisons(runs) if how.confidence > 0.95]
    assert family.confidence == pytest.approx(1 - 0.05 / 4)
    plain, wide = (alarms(runs, neighbours(40), how) for how in (ALL, family))
    assert wide.any_cell <= plain.any_cell
    for run in runs:
        for cell in run.values():
            narrow_low = a_a._figure(cell, 0.95).low
            assert a_a._figure(cell, family.confidence).low < narrow_low


def test_what_has_no_interval_says_so():
    runs = runs_of(series([[0.0], [0.0]]))
    few = [samples[:3] for samples in runs[0]["cell-0"]]
    assert differ(few, few, Comparison(name="", rounds=1)) is None
    impossible = Comparison(name="", rounds=None, confidence=0.9999)
    assert alarms(runs, neighbours(2), impossible) is None


def test_the_report_of_a_small_file(tmp_path, capsys):
    kept = Evidence(samples=series([[0.0, 0.0] for _ in range(6)]), environment=ENVIRONMENT)
    evidence.keep(kept, tmp_path, a_a.NAME)
    assert a_a.main(["--report", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for text in ("all 9 rounds", "the first 6 rounds", "the first 3 rounds", "the first round alone"):
        assert printed.count(f"| {text} ") == 2
    assert "97.50% for 2 cells at once" in printed
    assert "| cell-1 " in printed
    assert "of 3 " in printed
    assert "6 runs. a processor, torch 2.13.0; commit 0123456789ab-dirty." in printed


def test_one_run_has_none_to_be_compared_with(tmp_path, capsys):
    kept = Evidence(samples=series([[0.0]]), environment=ENVIRONMENT)
    evidence.keep(kept, tmp_path, a_a.NAME)
    assert a_a.main(["--report", "--output", str(tmp_path)]) == 2
    assert "one run" in capsys.readouterr().err


def make_run(folder: Path, number: int, **environment: str) -> None:
    path = folder / f"run-{number:03}.csv"
    path.with_suffix(".json").write_text(json.dumps({**ENVIRONMENT, **environment}))
    series([[0.0]]).assign(run=number).to_csv(path, index=False)


def test_runs_of_two_versions_are_not_mixed(tmp_path):
    make_run(tmp_path, 0)
    make_run(tmp_path, 1, started_at="later")
    assert len(runs_of(a_a.gather(tmp_path).samples)) == 2
    make_run(tmp_path, 2, git_commit="another")
    with pytest.raises(BadInput, match="run-002: made with another git_commit than run-000"):
        a_a.gather(tmp_path)


@pytest.mark.slow
def test_real_runs_and_going_on_where_it_stopped(tmp_path, capsys):
    assert a_a.main(["--quick", "--output", str(tmp_path)]) == 0
    first = (tmp_path / "a_a.csv.gz").read_bytes()
    runs = runs_of(evidence.read(tmp_path, a_a.NAME, a_a.COLUMNS).samples)
    assert len(runs) == a_a.QUICK_RUNS
    assert all([len(samples) for samples in cell] == [6] for run in runs for cell in run.values())
    # Stopped after a run was done, and before anything of it was kept.
    (tmp_path / "runs" / "run-001.csv").unlink()
    capsys.readouterr()
    assert a_a.main(["--quick", "--output", str(tmp_path)]) == 0
    assert "run 1/2" not in capsys.readouterr().err
    assert (tmp_path / "a_a.csv.gz").read_bytes() == first


# What is committed.

committed = pytest.mark.parametrize("name", [*SCRIPTS, "known_length_cuda"])


def kept_of(name: str) -> Evidence:
    if not (evidence.DATA / f"{name}.csv.gz").exists():
        pytest.skip(f"benchmarks/data has no {name} yet")
    script = SCRIPTS[name.removesuffix("_cuda")]
    return evidence.read(evidence.DATA, name, script.COLUMNS)


@committed
def test_the_docs_quote_what_is_committed(name):
    kept = kept_of(name)
    begin, end = markers(name)
    page = evidence.PAGE.read_text(encoding="utf-8")
    quoted = page.partition(begin)[2].partition(end)[0].strip()
    assert quoted == SCRIPTS[name.removesuffix("_cuda")].render(kept).strip()


@committed
def test_committed_environments_are_those_of_a_clean_commit_and_private(name):
    described = kept_of(name).environment
    assert "host_name" not in described
    assert not described["git_commit"].endswith("-dirty")
    assert str(Path.home()) not in json.dumps(described) or str(Path.home()) == "/"


def test_committed_a_a_runs_are_within_the_stated_rate():
    runs = runs_of(kept_of("a_a").samples)
    assert len(runs) >= 40
    # Rounds that took turns; of runs one after the other the page tells how this machine's drift adds to it.
    for sides in (in_turn(runs), over_runs(runs)):
        found = alarms(sides, neighbours(len(sides)), ALL)
        assert found.share <= 0.05
    cells = [cell for run in runs for cell in run.values()]
    assert all(math.isfinite(sample) and sample > 0 for cell in cells for one in cell for sample in one)


def test_committed_agreement_is_of_all_calls_and_enough_rounds():
    samples = kept_of("agreement").samples
    assert set(samples["call"]) == {call.name for call in agreement.CALLS}
    for _, of_call in samples.groupby("call"):
        assert ratio_of(of_call, OURS, TORCH).interval is IntervalKind.BETWEEN_ROUNDS


@pytest.mark.parametrize("name", ["known_length", "known_length_cuda"])
def test_committed_reports_of_known_lengths_are_true(name):
    for key, found in known_length.deviations(kept_of(name).samples).items():
        assert found.is_within, key
