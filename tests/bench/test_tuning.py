"""The search for a backend, its parts: candidates, policy, answers, the file and where it is found."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.grid import config, plan
from bench.grid.backend_file import find, read_backends, user_folder
from bench.grid.backend_spec import CPU, Backend, resolve
from bench.grid.config_backend import BackendSpec
from bench.records import CellRecord, Status
from bench.tuning import answers, space
from bench.tuning.answers import Verdict, gain, verdict
from bench.tuning.request import REQUEST_NAME, Request, request
from bench.tuning.search import ALONE, CONFIRM, CONFIRM_ROUNDS, Answer, Done, Search, Stage
from bench.tuning.space import Axis, Candidate, alone, axes, is_possible, plain
from bench.tuning.tuned import (
    Circumstances,
    file_text,
    format_runner_up_gain,
    format_verdict,
    frame_by_frame,
    note,
    tuned_on,
)
from tests.bench.sides import ENVIRONMENT, experiment, record
from vsr_model.errors import BadInput

AXES = (
    Axis(field="convolution", values=("winograd", "im2col")),
    Axis(field="memory_format", values=("channels_last",)),
    Axis(field="dtype", values=("bfloat16",)),
)
PLAIN = plain("cpu")
WINO = PLAIN.with_value("convolution", "winograd")
IM2COL = PLAIN.with_value("convolution", "im2col")
LAST = PLAIN.with_value("memory_format", "channels_last")
NARROW = PLAIN.with_value("dtype", "bfloat16")
SEARCH = Search(plain=PLAIN, axes=AXES)


def measured(stage: str, seconds: Mapping[Candidate, float | str]) -> Done:
    """A stage whose rounds all took so long; a text is how a candidate ended instead. Plain takes 1 s."""
    made = {}
    for candidate in (PLAIN, *stage.candidates):
        value = seconds.get(candidate, 1.0)
        levels = {} if isinstance(value, str) else dict.fromkeys(range(stage.rounds), value)
        status = value if isinstance(value, str) else "ok"
        made[candidate] = Answer(candidate=candidate, levels={"clip": levels}, status=status)
    return Done(stage=stage, answers=made)


def searched(seconds: Mapping[Candidate, float | str]) -> list[Done]:
    done: list[Done] = []
    while (stage := SEARCH.next_stage(done)) is not None:
        done.append(measured(stage, seconds))
    return done


# What may be tried.


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
    assert [axis.field for axis in axes(device, **asked)] == fields.split()


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_every_candidate_is_a_backend_that_some_machine_can_run(device: str) -> None:
    start = plain(device)
    found = alone(start, axes(device, cores=8, min_psnr_db=1.0))
    assert len(found) == len({candidate.name for candidate in found}) > 6
    for candidate in found:
        assert is_possible(candidate)
        assert len(candidate.fields) == 1
        assert resolve(candidate.spec(50.0)).min_psnr_db == 50.0
    assert start.name == "plain"
    assert start.backend == replace(start.backend, name="plain")


def test_names_are_legible_and_never_too_long() -> None:
    both = plain("cuda").with_value("from", "cudnn_autotune").with_value("dtype", "bfloat16")
    assert both.with_value("compile", value=True).name == "compile-bf16-autotune"
    assert PLAIN.with_value("threads", 3).name == "3-threads"
    long = replace(both, fields=tuple((f"field{n}", "a" * 30) for n in range(4)))
    assert len(long.name) == space.MAX_NAME
    assert both.entry("x", 45.0) == {
        "name": "x", "from": "cudnn_autotune", "dtype": "bfloat16", "min_psnr_db": 45.0,
    }  # fmt: skip
    assert plain("cuda:1").entry() == {"name": "plain", "from": "cudnn", "device": "cuda:1"}


# What is measured next.


def test_first_each_alone_then_together_from_the_fastest_on() -> None:
    first = SEARCH.next_stage([])
    assert first == Stage(name=ALONE, candidates=(WINO, IM2COL, LAST, NARROW), rounds=2)
    done = [measured(first, {WINO: 3.0, IM2COL: 0.5, LAST: 0.9, NARROW: 1.1})]
    second = SEARCH.next_stage(done)
    assert second is not None
    everything = IM2COL.with_value("memory_format", "channels_last")
    # The fastest again, all that paid alone, and one field changed; winograd is hopeless.
    assert second.candidates == (IM2COL, everything, IM2COL.with_value("dtype", "bfloat16"))
    done.append(measured(second, {IM2COL: 0.5, everything: 0.4, second.candidates[2]: 0.45}))
    assert SEARCH.best(done) == everything
    third = SEARCH.next_stage(done)
    assert third is not None
    assert third.candidates == (everything, everything.with_value("dtype", "bfloat16"))
    done.append(measured(third, {everything: 0.4, third.candidates[1]: 0.398}))
    assert SEARCH.next_stage(done) is None  # half a per cent is no reason to go on
    assert SEARCH.best(done) == third.candidates[1]
    assert SEARCH.runner_up(done) == everything
    assert SEARCH.confirmation(done) == Stage(
        name=CONFIRM, candidates=(third.candidates[1], everything), rounds=CONFIRM_ROUNDS
    )


def test_what_failed_alone_is_tried_with_nothing() -> None:
    done = searched({WINO: "error", IM2COL: "oom", LAST: 0.8, NARROW: "not measured"})
    assert {candidate for one in done[1:] for candidate in one.answers} <= {PLAIN, LAST}
    assert SEARCH.best(done) == LAST


def test_what_was_inaccurate_alone_may_be_right_with_others() -> None:
    first = SEARCH.next_stage([])
    assert first is not None
    one = measured(first, {WINO: 3.0, IM2COL: 0.5, LAST: 0.7, NARROW: 1.2})
    wrong = replace(one.answers[LAST], status=Status.INACCURATE)
    one = replace(one, answers={**one.answers, LAST: wrong})
    assert one.ratio(LAST, PLAIN) is None
    assert one.ratio(LAST, PLAIN, right=False) == pytest.approx(0.7)
    second = SEARCH.next_stage([one])
    assert second is not None
    assert IM2COL.with_value("memory_format", "channels_last") in second.candidates
    assert SEARCH.best([one]) == IM2COL
    assert SEARCH.runner_up([one]) is None


def test_the_ratio_is_of_the_rounds_that_both_have_and_over_all_clips() -> None:
    base = Answer(candidate=PLAIN, levels={"a": {0: 1.0, 1: 10.0}, "b": {0: 2.0}})
    half = Answer(candidate=WINO, levels={"a": {1: 5.0}, "b": {0: 4.0}})
    cut_short = Answer(candidate=LAST, levels={"a": {0: 0.5}, "b": {}})
    none = Answer(candidate=NARROW, levels={"a": {2: 1.0}, "b": {}})
    done = Done(stage=Stage(name="x", candidates=(WINO, LAST), rounds=2),
                answers={PLAIN: base, WINO: half, LAST: cut_short, NARROW: none})  # fmt: skip
    assert done.ratio(WINO, PLAIN) == pytest.approx(1.0)  # half as long and twice as long
    assert done.ratio(LAST, PLAIN) == pytest.approx(0.5)  # of the one clip that both have
    assert done.ratio(NARROW, PLAIN) is None
    assert done.ratio(NARROW, PLAIN) is None


# What the confirmation says.


def confirmed(seconds: Mapping[Candidate, Sequence[float] | str]) -> Done:
    stage = Stage(name=CONFIRM, candidates=tuple(one for one in seconds if one != PLAIN), rounds=6)
    made = {}
    for candidate, value in seconds.items():
        levels = {} if isinstance(value, str) else dict(enumerate(value))
        made[candidate] = Answer(
            candidate=candidate, levels={"clip": levels}, status=value if isinstance(value, str) else "ok"
        )
    return Done(stage=stage, answers=made)


def rounds(level: float) -> list[float]:
    return [level * factor for factor in (0.98, 1.02, 0.99, 1.01, 1.0, 1.0)]


def test_the_gain_is_that_of_the_confirmation() -> None:
    found = verdict(confirmed({PLAIN: rounds(1), WINO: rounds(0.5), LAST: rounds(0.6)}), PLAIN, WINO, LAST)
    assert found.chosen == WINO
    assert found.gain is not None
    assert found.gain.ratio == pytest.approx(2)
    assert found.gain.low == pytest.approx(2)
    assert found.gain.high == pytest.approx(2)
    assert found.gain.rounds == 6
    assert found.over_runner_up is not None
    assert found.over_runner_up.ratio == pytest.approx(1.2)
    assert found.notes == ()


def test_a_runner_up_that_is_surely_faster_is_taken_and_that_is_told() -> None:
    done = confirmed({PLAIN: rounds(1), WINO: rounds(0.5), LAST: rounds(0.4)})
    found = verdict(done, PLAIN, WINO, LAST)
    assert found.chosen == LAST
    assert found.notes == ("winograd was the fastest of the search, and channels_last in the confirmation",)
    assert found.over_runner_up is not None
    assert found.over_runner_up.ratio == pytest.approx(1.25)


def test_what_does_not_stand_its_confirmation() -> None:
    lost = confirmed({PLAIN: rounds(1), WINO: "inaccurate", LAST: rounds(0.5)})
    found = verdict(lost, PLAIN, WINO, LAST)
    assert (found.chosen, found.over_runner_up) == (LAST, None)
    assert "winograd, the fastest of the search, did not stand its confirmation (inaccurate)" in found.notes
    found = verdict(confirmed({PLAIN: rounds(1), WINO: "error"}), PLAIN, WINO, None)
    assert found.chosen == PLAIN
    assert found.notes[-1] == "so that the plain network stays"
    found = verdict(confirmed({PLAIN: rounds(1), WINO: rounds(2)}), PLAIN, WINO, None)
    assert found.chosen == PLAIN
    assert found.gain is None
    unsure = [0.5, 2.0, 0.9, 1.1, 0.7, 1.2]
    found = verdict(confirmed({PLAIN: rounds(1), WINO: unsure}), PLAIN, WINO, None)
    assert found.chosen == WINO
    assert found.notes == (
        "its interval holds 1: the gain is not sure; search for longer, or on a quieter machine",
    )
    assert gain(confirmed({PLAIN: rounds(1), WINO: "error"}), PLAIN, WINO) is None


@pytest.mark.parametrize(
    ("count", "seconds", "note", "between"),
    [
        (2, rounds(0.5), "2 rounds are too few for an interval: the gain is not sure; search for longer",
         "(no interval: 2 rounds)"),
        (3, rounds(0.5), "its interval is Student's, of 3 rounds, and takes their logarithms for normal; 6 "
         "rounds have one without that assumption: search for longer", ", Student's)"),
        (4, [0.5, 2.0, 0.9, 1.1], "its interval holds 1: the gain is not sure; search for longer, or on a "
         "quieter machine (the interval is Student's, of 4 rounds)", ", Student's)"),
        (6, rounds(0.5), None, "(2.00× to 2.00×)"),
    ],
)  # fmt: skip
def test_no_interval_one_that_assumes_and_one_that_does_not_are_told_apart(
    count: int, seconds: list[float], note: str | None, between: str
) -> None:
    done = confirmed({PLAIN: rounds(1)[:count], WINO: seconds[:count], LAST: rounds(0.7)[:count]})
    found = verdict(done, PLAIN, WINO, LAST)
    assert found.chosen == WINO
    assert found.notes == (() if note is None else (note,))
    assert found.gain is not None
    assert found.gain.assumed == (count in (3, 4))
    assert between in format_verdict(found)
    assert found.over_runner_up is not None
    over = format_runner_up_gain(found.over_runner_up)
    assert (" to " in over) == (count > 2)
    assert ("Student's" in over) == (count in (3, 4))
    assert ("(no interval: 2 rounds)" in over) == (count == 2)


def test_records_to_answers() -> None:
    names = [PLAIN.entry("plain"), WINO.entry(), LAST.entry()]
    cells = plan.cells(experiment(backends=names, grid={"frames": [1, 2]}))
    records: list[CellRecord] = []
    for cell in cells[:5]:
        slow = 2.0 if cell.backend.name == "plain" else 1.0
        records += [record(cell, number, slow, output_psnr_db=100.0 + number) for number in range(2)]
    records.append(record(cells[5], 0, None, status=Status.OOM, reason="too much"))
    stage = Stage(name="x", candidates=(WINO, LAST, NARROW), rounds=2)
    found = answers.done(stage, PLAIN, cells, records)
    assert found.ratio(WINO, PLAIN) == pytest.approx(0.5)
    assert found.answers[WINO].psnr_db == 100.0
    assert (found.answers[LAST].status, found.answers[LAST].reason) == ("oom", "too much")
    assert found.answers[NARROW].status == "not measured"


# The file, and what is made of it.

FOUND = Verdict(
    chosen=replace(WINO, fields=(("convolution", "winograd"), ("memory_format", "channels_last"))),
    gain=gain(confirmed({PLAIN: rounds(1), WINO: rounds(0.5)}), PLAIN, WINO),
    psnr_db=118.4,
    over_runner_up=None,
    notes=("a note\nof two lines",),
)
HERE = tuned_on({**ENVIRONMENT, "cpu_affinity": 2}, "cpu")


def text_of(name: str = "fast", used_as: str = "fast") -> str:
    about = Circumstances(
        experiment="made-up", clips=("basicvsr/noise/b1/t2/64x64",),
        network="mid_channels 8", machine="a machine",
        code="some code", when="2026-01-02 03:04 UTC", within="5 min", min_psnr_db=80.0, tried=7, folder="t",
        used_as=used_as,
    )  # fmt: skip
    return file_text(name, FOUND, HERE, about, searched({WINO: 0.5, IM2COL: "skipped"}))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = tmp_path / "here" / "mine.yaml"
    path.write_text(text_of())
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
    assert all(line.startswith("#") for line in text.splitlines()[: text.count("\n#") + 1])
    assert read_backends(file) == {
        "fast": {
            "name": "fast", "from": "cpu", "convolution": "winograd", "memory_format": "channels_last",
            "min_psnr_db": 80.0, "tuned_on": {"processor": "a processor", "cores": 2, "torch": "2.13.0"},
        }
    }  # fmt: skip


def test_it_is_used_by_its_name_only_where_that_leads_to_it(file: Path) -> None:
    asked = request(device="cpu", cores=2)
    assert asked.used_as(asked.file) == "tuned"  # once it is written
    assert asked.used_as(Path("mine.yaml")) == "mine.yaml"
    assert request(device="cpu", cores=2, name="mine").used_as(Path("mine.yaml")) == "mine.yaml"
    Path("backends").mkdir()
    assert asked.used_as(Path("backends/tuned.yaml")) == "tuned"
    Path("backends/tuned.yaml").write_text(text_of())
    assert asked.used_as(asked.file) == str(asked.file)


def test_a_grid_includes_it_by_path_and_by_name(file: Path, tmp_path: Path) -> None:
    for folder in (Path("backends"), user_folder()):
        folder.mkdir(parents=True)
        assert find("fast") is None
        (folder / "fast.yaml").write_text(text_of())
        assert find("fast") == folder / "fast.yaml"
        path = grid(
            tmp_path, "cpu", "fast", {"name": "mine", "from": "here/mine.yaml", "threads": 1},
            {"name": "again", "from": "fast", "convolution": "library"},
        )  # fmt: skip
        one, _ = config.load(path)
        _, fast, mine, again = (resolve(spec) for spec in one.backends)
        expected = replace(CPU, name="fast", convolution="winograd", memory_format="channels_last")
        assert fast == expected
        assert mine == replace(expected, name="mine", threads=1)
        assert again == replace(expected, name="again", convolution="library")
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
        ("backends:\n- {name: a, from: bad.yaml}", "bad.yaml:2: backends[0].from: should be"),
        ("backends: [{name: a, from: cpu}, {name: b, from: cpu}]",
         "bad.yaml: has 2 backends, of which none is called 'x'; name one of a, b"),
    ],
)  # fmt: skip
def test_a_file_that_is_none(file: Path, text: str, said: str) -> None:
    (file.parent / "bad.yaml").write_text(text)
    with pytest.raises(BadInput) as caught:
        config.load(grid(file.parent, {"name": "x", "from": "bad.yaml"}))
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(BadInput, match=r"mina\.yaml: there is no such file \(did you mean 'mine.yaml'\?\)"):
        config.backend_of("mina.yaml")
    with pytest.raises(BadInput, match="'fats' is not known"):
        config.backend_of("fats")
    with pytest.raises(BadInput, match=r"grid\.yaml:\d+: backends\[0\]\.threads: should be a whole number"):
        config.load(grid(file.parent, {"name": "x", "from": "mine.yaml", "threads": "two"}))


ELSEWHERE = {"cpu": "another", "cpu_affinity": 4, "torch": {"torch": "9.9", "devices": [{"name": "a GPU"}]}}


def test_where_machine_or_torch_are_others_there_is_a_note() -> None:
    spec = BackendSpec.model_validate({"name": "t", "from": "cpu", "tuned_on": HERE.model_dump()})
    assert note(spec, "cpu", {**ENVIRONMENT, "cpu_affinity": 2}) is None
    told = note(spec, "cpu", ELSEWHERE)
    assert told is not None
    assert told.startswith(
        "backend t: tuned on a processor, and this is another; on 2 cores, and here are 4; "
        "with torch 2.13.0, and this is 9.9: another may be the fastest here"
    )
    assert note(spec.model_copy(update={"tuned_on": None}), "cpu", ELSEWHERE) is None
    on_gpu = tuned_on(ELSEWHERE, "cuda")
    assert on_gpu.gpu == "a GPU"
    spec = BackendSpec.model_validate({"name": "t", "from": "cudnn", "tuned_on": on_gpu.model_dump()})
    assert note(spec, "cuda", {**ELSEWHERE, "cpu": "a third"}) is None  # the GPU is what counts
    told = note(spec, "cuda", {**ELSEWHERE, "torch": {"torch": "9.9", "devices": []}})
    assert told is not None
    assert "tuned on a GPU, and this is without it" in told


def test_what_is_for_whole_clips_is_left_out_where_frames_come_one_by_one() -> None:
    fast = Backend(name="t", device="cuda", compile=True, schedule="pipelined", memory_format="channels_last")
    usable, told = frame_by_frame(fast)
    assert usable == replace(fast, compile=False, schedule="sequential")
    assert told is not None
    assert "without compile: true, schedule: pipelined" in told
    assert frame_by_frame(CPU) == (CPU, None)


# What is asked for.


CPU_OF_TWO: dict[str, Any] = {"device": "cpu", "cores": 2}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"within": "5 days"}, "--within: should be a time such as 5min, 90s or 1h"),
        ({"within": "0"}, "--within: "),
        ({"within": "0.0001s"}, "a second at least and a day at most, not '0.0001s'"),
        ({"within": "25h"}, "--within: "),
        ({"min_psnr_db": 0.0}, "--min-psnr-db: should be above 0"),
        ({"device": "tpu"}, "--device: should be cpu, cuda"),
        (
            {"without": ["compil"]},
            "--without: 'compil' is not among what is tried on cpu (did you mean 'compile'?",
        ),
        (
            {"without": ["compile", "convolution", "memory_format"]},
            "leaves nothing that could be tried on cpu",
        ),
        ({"filters": ["backend=plain"]}, "--filter backend=plain: would leave out some of the search's own"),
        ({"filters": ["frames=1", "cell=noise/*"]}, "--filter cell=noise/*: would leave out"),
        ({"filters": ["noise/*/plain"]}, "--filter noise/*/plain: would leave out"),
        ({"output": Path("/proc/x.yaml")}, "--output: /proc/x.yaml: cannot be written (/proc: "),
        ({"output": Path("mine.yaml/x.yaml")}, "mine.yaml/x.yaml: cannot be written ("),
        ({"name": "cudnn"}, "--name: 'cudnn' is a backend that needs no file"),
        ({"name": "a b"}, "--name: should consist of"),
        ({"output": Path("out.txt")}, "--output: out.txt: should end in .yaml"),
        ({"output": Path("folder.yaml")}, "--output: folder.yaml: is a folder"),
        ({"output": Path("someones.yaml")}, "--output: someones.yaml: is there, and is no file of backends"),
    ],
)
def test_what_cannot_be_asked_for(file: Path, fields: dict[str, Any], said: str) -> None:
    (file.parent / "folder.yaml").mkdir()
    (file.parent / "someones.yaml").write_text("a: 1")
    with pytest.raises(BadInput) as caught:
        request(**{**CPU_OF_TWO, **fields})
    assert said in str(caught.value)


def test_what_is_written_over_is_a_file_of_backends(file: Path) -> None:
    assert request(device="cpu", cores=2, output=file).file == file
    asked = request(device="cpu", cores=2)
    assert asked.file == user_folder() / "tuned.yaml"
    assert not user_folder().exists()  # that it can be written is tried, and leaves nothing
    assert "home" not in asked.model_dump_json()
    assert Request.model_validate_json(asked.model_dump_json()) == asked
    assert REQUEST_NAME == "request.json"
