"""The search for a backend, its parts: candidates, policy, answers, the file and where it is found."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.grid import config, plan
from bench.grid.backend import BUILT_IN, CPU, Backend
from bench.grid.backend_file import find, read_backends, user_folder
from bench.grid.baseline import Baseline
from bench.records import Status
from bench.results.run_folder import RunFolder
from bench.results.tables import tables_of
from bench.tuning.report import file_text, format_verdict
from bench.tuning.request import Request, request
from bench.tuning.search import ALONE, CONFIRM, CONFIRM_ROUNDS, Answer, Search, Stage, answered, table
from bench.tuning.space import alone, axes, is_possible, plain, settings, with_value
from bench.tuning.tuned import frame_by_frame, note, tuned_on
from bench.tuning.verdict import verdict
from tests.bench.sides import ENVIRONMENT, experiment, record
from vsr_model.errors import BadInput

PLAIN = plain("cpu")
WINO = with_value(PLAIN, "convolution", "winograd")
IM2COL = with_value(PLAIN, "convolution", "im2col")
LAST = with_value(PLAIN, "memory_format", "channels_last")
NARROW = with_value(PLAIN, "dtype", "bfloat16")
SEARCH = Search(
    plain=PLAIN,
    axes={
        "convolution": ("winograd", "im2col"),
        "memory_format": ("channels_last",),
        "dtype": ("bfloat16",),
    },
)

Seconds = Mapping[Backend, float | Sequence[float] | str]
"""What a candidate took, in each round; a text is how it ended instead."""


def measured(stage: Stage, seconds: Seconds) -> Stage:
    """Return the stage with made-up answers; what is not given took 1 s, as the plain network does."""
    made = {}
    for candidate in (PLAIN, *stage.candidates):
        value = seconds.get(candidate, 1.0)
        if isinstance(value, str):
            made[candidate] = Answer(status=value)
        else:
            rounds = value if isinstance(value, Sequence) else [value] * stage.rounds
            made[candidate] = Answer(levels={"clip": dict(enumerate(rounds))})
    return replace(stage, answers=made)


def confirmed(seconds: Seconds) -> Stage:
    candidates = tuple(one for one in seconds if one != PLAIN)
    return measured(Stage(name=CONFIRM, candidates=candidates, rounds=6), seconds)


@pytest.mark.parametrize(
    ("device", "asked", "fields"),
    [
        ("cpu", {}, "convolution memory_format compile"),
        ("cpu", {"min_psnr_db": 50.0}, "convolution memory_format dtype compile"),
        ("cpu", {"cores": 8, "without": ("compile", "convolution")}, "memory_format threads"),
        ("cuda", {"min_psnr_db": 100.0}, "memory_format from cuda_graph schedule compile"),
        ("cuda:1", {"min_psnr_db": 45.0},
         "dtype fp32_precision memory_format from cuda_graph schedule compile"),
    ],
)  # fmt: skip
def test_the_fields_that_a_device_is_tuned_by(device: str, asked: dict[str, Any], fields: str) -> None:
    assert [*axes(device, **asked)] == fields.split()


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_every_candidate_is_a_backend_that_some_machine_can_run(device: str) -> None:
    found = alone(plain(device), axes(device, cores=8, min_psnr_db=1.0))
    assert len(found) == len({candidate.name for candidate in found}) > 6
    assert all(is_possible(candidate) and len(settings(candidate)) == 1 for candidate in found)


def test_names_are_the_settings() -> None:
    both = with_value(with_value(plain("cuda"), "from", "cudnn_autotune"), "dtype", "bfloat16")
    assert with_value(both, "compile", value=True).name == "compile-bf16-autotune"
    assert with_value(PLAIN, "threads", 3).name == "3-threads"
    assert settings(both) == {"from": "cudnn_autotune", "dtype": "bfloat16"}
    assert with_value(WINO, "memory_format", "channels_last") == WINO  # it has its own
    assert plain("cuda:1").model_dump(by_alias=True) == {
        "name": "plain", "from": "cudnn", "device": "cuda:1",
    }  # fmt: skip


def test_first_each_alone_then_together_from_the_fastest_on() -> None:
    first = SEARCH.next_stage([])
    assert first == Stage(name=ALONE, candidates=(WINO, IM2COL, LAST, NARROW), rounds=2)
    done = [measured(first, {WINO: 3.0, IM2COL: 0.5, LAST: 0.9, NARROW: 1.1})]
    second = SEARCH.next_stage(done)
    assert second is not None
    everything = with_value(IM2COL, "memory_format", "channels_last")
    # The fastest again, all that paid alone, and one field changed; winograd is hopeless.
    assert second.candidates == (IM2COL, everything, with_value(IM2COL, "dtype", "bfloat16"))
    done.append(measured(second, {IM2COL: 0.5, everything: 0.4, second.candidates[2]: 0.45}))
    assert SEARCH.best(done) == everything
    third = SEARCH.next_stage(done)
    assert third is not None
    assert third.candidates == (everything, with_value(everything, "dtype", "bfloat16"))
    done.append(measured(third, {everything: 0.4, third.candidates[1]: 0.398}))
    assert SEARCH.next_stage(done) is None  # half a per cent is no reason to go on
    assert SEARCH.confirmation(done) == Stage(
        name=CONFIRM, candidates=(third.candidates[1],), rounds=CONFIRM_ROUNDS
    )


def test_a_value_that_failed_alone_is_tried_with_nothing_and_an_inaccurate_one_is() -> None:
    first = SEARCH.next_stage([])
    assert first is not None
    one = measured(first, {WINO: "error", IM2COL: 0.5, LAST: 0.7, NARROW: "not measured"})
    inaccurate = replace(one.answers[LAST], status=Status.INACCURATE)
    one = replace(one, answers={**one.answers, LAST: inaccurate})
    assert one.speedup(LAST) is None
    assert one.speedup(LAST, right=False) == pytest.approx(1 / 0.7)
    second = SEARCH.next_stage([one])
    assert second is not None
    assert second.candidates == (IM2COL, with_value(IM2COL, "memory_format", "channels_last"))
    assert SEARCH.best([one]) == IM2COL


def test_speedup_is_of_the_rounds_that_both_have_and_over_all_clips() -> None:
    stage = Stage(
        name="x", candidates=(WINO, LAST, NARROW), rounds=2,
        answers={
            PLAIN: Answer(levels={"a": {0: 1.0, 1: 10.0}, "b": {0: 2.0}}),
            WINO: Answer(levels={"a": {1: 5.0}, "b": {0: 4.0}}),  # half as long and twice as long
            LAST: Answer(levels={"a": {0: 0.5}, "b": {}}),  # of the one clip that both have
            NARROW: Answer(levels={"a": {2: 1.0}, "b": {}}),
        },
    )  # fmt: skip
    found = [stage.speedup(candidate) for candidate in stage.candidates]
    assert found == [pytest.approx(1.0), pytest.approx(2.0), None]
    assert stage.ranked() == [LAST, WINO]


def rounds(level: float) -> list[float]:
    return [level * factor for factor in (0.98, 1.02, 0.99, 1.01, 1.0, 1.0)]


UNSURE = "its interval holds 1: the gain is not sure; search for longer, or on a quieter machine"


@pytest.mark.parametrize(
    ("seconds", "gain", "note"),
    [
        (rounds(0.5), 2.0, ""),
        ("error", None, "winograd, the fastest of the search, did not stand its confirmation (error), so "
         "that the plain network stays"),
        (rounds(2), None, "winograd, the fastest of the search, was slower than the plain network in its "
         "confirmation"),
        ([0.5, 2.0, 0.9, 1.1, 0.7, 1.2], 1.0, UNSURE),
        (rounds(1), 1.0, "its whole interval is within 3 % of 1: it makes no difference"),
        (rounds(0.5)[:2], 2.0,
         "2 rounds are too few for an interval: the gain is not sure; search for longer"),
        (rounds(0.5)[:3], 2.0,
         "its interval is Student's, of 3 rounds, and takes their logarithms for normal; "
         "6 rounds have one without that assumption: search for longer"),
        ([0.5, 2.0, 0.9, 1.1], 1.0, f"{UNSURE} (the interval is Student's, of 4 rounds)"),
    ],
)  # fmt: skip
def test_verdict_of_a_confirmation(seconds: list[float] | str, gain: float | None, note: str) -> None:
    found = verdict(confirmed({PLAIN: rounds(1)[: len(seconds)], WINO: seconds}), PLAIN)
    assert found.note == note
    assert (found.chosen == WINO) == (found.gain is not None) == (gain is not None)
    if found.gain is not None:
        assert found.gain.ratio == pytest.approx(gain, rel=0.01)


def test_nothing_found_leaves_the_plain_network() -> None:
    assert verdict(None, PLAIN).chosen == PLAIN


@pytest.mark.parametrize(("count", "between"), [(2, "(no interval)"), (3, ", Student's)"),
                                                (6, "(2.00× to 2.00×)")])  # fmt: skip
def test_the_kind_of_an_interval_is_named(count: int, between: str) -> None:
    found = verdict(confirmed({PLAIN: rounds(1)[:count], WINO: rounds(0.5)[:count]}), PLAIN)
    assert between in format_verdict(found)


def test_answers_from_the_tables_of_a_run() -> None:
    names = [backend.model_dump(by_alias=True) for backend in (PLAIN, WINO, LAST)]
    cells = plan.cells(experiment(backends=names, grid={"frames": [1, 2]}))
    records = [
        record(cell, number, 2.0 if cell.backend.name == "plain" else 1.0, output_psnr_db=100.0 + number)
        for cell in cells[:5]
        for number in range(2)
    ]
    records.append(record(cells[5], 0, None, status=Status.OOM, reason="too much"))
    stage = Stage(name="x", candidates=(WINO, LAST, NARROW), rounds=2)
    found = answered(stage, PLAIN, cells, tables_of(records, Baseline.of("plain")))
    assert found.speedup(WINO) == pytest.approx(2)
    assert found.answers[WINO].psnr_db == 100.0
    assert found.answers[LAST].in_short == "oom: too much"
    assert found.answers[NARROW].in_short == "not measured"
    rows = table([found])[["backend", "status", "rounds", "speedup"]].astype(object)
    assert rows.where(rows.notna(), None).to_numpy().tolist() == [
        ["plain", "ok", 2, 1.0], ["winograd", "ok", 2, 2.0], ["channels_last", "oom", 0, None],
        ["bf16", "not measured", 0, None],
    ]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backend file in an empty working directory, with a configuration folder of the user's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    both = with_value(IM2COL, "memory_format", "channels_last")
    stage = confirmed({PLAIN: rounds(1), both: rounds(0.5)})
    stage = replace(stage, answers={**stage.answers, both: replace(stage.answers[both], psnr_db=118.4)})
    found = replace(verdict(stage, PLAIN), note="a note\nof two lines")
    run = RunFolder(
        path=Path("t/1-alone"), experiment=experiment(), environment={**ENVIRONMENT, "cpu_affinity": 2},
        filters=(), files={}, started_at="",
    )  # fmt: skip
    asked = request(device="cpu", cores=2, name="fast")
    when = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    path = tmp_path / "here" / "mine.yaml"
    path.write_text(file_text(asked, found, [stage], run, when=when))
    return path


def grid(folder: Path, *backends: Any) -> Path:
    path = folder / "grid.yaml"
    data = {
        "name": "g", "input": {"name": "n", "kind": "random"},
        "grid": {"frames": [1], "size": [[16, 16]]}, "backends": list(backends),
    }  # fmt: skip
    path.write_text(yaml.safe_dump(data))
    return path


def test_the_file_says_what_was_measured_and_is_a_backend(file: Path) -> None:
    text = file.read_text()
    assert "2.00× as fast as the plain network (2.00× to 2.00×), confirmed in 6 rounds of its own" in text
    assert "# Output: 118 dB against the CPU float32 result; 80 dB were asked for" in text
    assert "# Note: a note" in text
    assert "#   confirm      im2col-channels_last                         2.00× 118 dB\n" in text
    assert "# Use: vsr-bench upscale --backend fast INPUT OUTPUT\n" in text
    assert all(line.startswith("#") for line in text.splitlines()[: text.count("\n#") + 1])
    assert read_backends(file) == {
        "fast": {
            "name": "fast", "from": "cpu", "convolution": "im2col", "memory_format": "channels_last",
            "min_psnr_db": 80.0, "tuned_on": {"processor": "a processor", "cores": 2, "torch": "2.13.0"},
        }
    }  # fmt: skip


def test_it_is_used_by_its_name_only_where_that_leads_to_it(file: Path) -> None:
    asked = request(device="cpu", cores=2)
    assert asked.used_as == "tuned"  # once it is written
    assert request(device="cpu", cores=2, output=Path("mine.yaml")).used_as == "mine.yaml"
    Path("backends").mkdir()
    Path("backends/tuned.yaml").write_text(file.read_text())  # it comes first
    assert asked.used_as == str(asked.file)


def test_a_user_without_a_home_has_no_backends_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", unknown)
    assert find("nope") is None
    with pytest.raises(BadInput, match=r"no home folder .* by --output"):
        user_folder()


@pytest.mark.parametrize("name", ["a" * 300, "closed"])
def test_a_name_that_cannot_be_looked_up_has_no_file(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    look = Path.stat

    def closed(path: Path, **options: bool) -> os.stat_result:
        if path.stem == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return look(path, **options)

    monkeypatch.setattr(Path, "stat", closed)
    assert find(name) is None


def test_a_grid_includes_it_by_path_and_by_name(file: Path, tmp_path: Path) -> None:
    for folder in (Path("backends"), user_folder()):
        folder.mkdir(parents=True)
        assert find("fast") is None
        (folder / "fast.yaml").write_text(file.read_text())
        assert find("fast") == folder / "fast.yaml"
        path = grid(
            tmp_path, "cpu", "fast", {"name": "mine", "from": "here/mine.yaml", "threads": 1},
            {"name": "again", "from": "fast", "convolution": "library"},
        )  # fmt: skip
        one, _ = config.load(path)
        _, fast, mine, again = one.backends
        assert fast.settings == CPU.replace(convolution="im2col", memory_format="channels_last").settings
        assert mine == fast.replace(name="mine", threads=1)
        assert again == fast.replace(name="again", convolution="library")
        (folder / "fast.yaml").unlink()
    text = config.dump(one, tmp_path)
    assert "mine.yaml" not in text  # all is written out
    (tmp_path / "copy.yaml").write_text(text)
    assert config.load(tmp_path / "copy.yaml")[0].backends == one.backends


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "bad.yaml: empty; a grid has at least"),
        ("a: 1", "bad.yaml: is no file of backends, which has a list `backends:`"),
        ("backends: [cpu]\nmore: 1", "bad.yaml:2: unknown field 'more'"),
        ("backends: [fast]", "bad.yaml:1: backends[0]: 'fast' is not known"),
        ("backends:\n- {name: a, from: cpu, dtype: no}", "bad.yaml:2: backends[0].dtype: should be"),
        ("backends: [{name: a, from: cpu}, {name: b, from: cpu}]",
         "bad.yaml: has 2 backends, of which none is called 'x'; name one of a, b"),
    ],
)  # fmt: skip
def test_an_invalid_file_is_refused_with_its_place(file: Path, text: str, said: str) -> None:
    (file.parent / "bad.yaml").write_text(text)
    with pytest.raises(BadInput) as caught:
        config.load(grid(file.parent, {"name": "x", "from": "bad.yaml"}))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_refused_with_the_nearest(file: Path) -> None:
    with pytest.raises(BadInput, match=r"mina\.yaml: there is no such file \(did you mean 'mine.yaml'\?\)"):
        config.backend_of("mina.yaml")
    with pytest.raises(BadInput, match="'fats' is not known"):
        config.backend_of("fats")


ELSEWHERE = {"cpu": "another", "cpu_affinity": 4, "torch": {"torch": "9.9", "devices": [{"name": "a GPU"}]}}
WITHOUT_GPU = {**ELSEWHERE, "torch": {"torch": "9.9", "devices": []}}


@pytest.mark.parametrize(
    ("was", "here", "device", "said"),
    [
        (ENVIRONMENT, ENVIRONMENT, "cpu", None),
        ({**ENVIRONMENT, "cpu_affinity": 2}, ELSEWHERE, "cpu",
         "tuned on a processor, and this is another; on 2 cores, and here are 4; with torch 2.13.0, and "
         "this is 9.9: another may be the fastest here"),
        (ELSEWHERE, {**ELSEWHERE, "cpu": "a third"}, "cuda", None),  # the GPU is what counts
        (ELSEWHERE, WITHOUT_GPU, "cuda", "tuned on a GPU, and this is without it"),
    ],
)  # fmt: skip
def test_another_machine_or_torch_is_noted(
    was: dict[str, Any], here: dict[str, Any], device: str, said: str | None
) -> None:
    found_on = tuned_on(was, device).model_dump()
    spec = Backend.model_validate({"name": "t", "from": device, "tuned_on": found_on})
    told = note(spec, here)
    assert told is None if said is None else told is not None and f"backend t: {said}" in told


def test_settings_for_whole_clips_are_left_out_frame_by_frame() -> None:
    fast = BUILT_IN["cuda"].replace(compile=True, schedule="pipelined", memory_format="channels_last")
    usable, told = frame_by_frame(fast)
    assert usable == fast.replace(compile=False, schedule="sequential")
    assert told is not None
    assert "without compile: true, schedule: pipelined" in told
    assert frame_by_frame(CPU) == (CPU, None)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"within": "5 days"}, "--within: should be a time such as 5min, 90s or 1h"),
        ({"within": "0.0001s"}, "a second at least and a day at most, not '0.0001s'"),
        ({"within": "25h"}, "--within: "),
        ({"min_psnr_db": 0.0}, "--min-psnr-db: should be above 0"),
        ({"device": "tpu"}, "--device: should be cpu, cuda"),
        ({"without": ["compil"]},
         "--without: 'compil' is not among what is tried on cpu (did you mean 'compile'?"),
        ({"without": ["compile", "convolution", "memory_format"]},
         "leaves nothing that could be tried on cpu"),
        ({"filters": ["frames=1", "backend=plain"]},
         "--filter backend=plain: would leave out some of the search's own"),
        ({"filters": ["noise/*/plain"]}, "--filter noise/*/plain: would leave out"),
        ({"name": "cudnn"}, "--name: 'cudnn' is a backend that needs no file"),
        ({"name": "a b"}, "--name: should consist of"),
        ({"output": Path("mine.yaml/x.yaml")}, "mine.yaml/x.yaml: cannot be written ("),
        ({"output": Path("out.txt")}, "--output: out.txt: should end in .yaml"),
        ({"output": Path("folder.yaml")}, "--output: folder.yaml: is a folder"),
        ({"output": Path("someones.yaml")}, "--output: someones.yaml: is there, and is no file of backends"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_met_is_refused(file: Path, fields: dict[str, Any], said: str) -> None:
    (file.parent / "folder.yaml").mkdir()
    (file.parent / "someones.yaml").write_text("a: 1")
    with pytest.raises(BadInput) as caught:
        request(**{"device": "cpu", "cores": 2, **fields})
    assert said in str(caught.value)


def test_a_request_may_write_over_a_file_of_backends_and_leaves_nothing_behind(file: Path) -> None:
    assert request(device="cpu", cores=2, output=file).file == file
    asked = request(device="cpu", cores=2)
    assert asked.file == user_folder() / "tuned.yaml"
    assert not user_folder().exists()  # that it can be written is tried
    assert "home" not in asked.model_dump_json()
    assert Request.model_validate_json(asked.model_dump_json()) == asked
