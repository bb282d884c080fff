"""The course paper's script: what each of its faults does to a record, and its runs beside others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.commands import lifecycle as runs
from bench.grid.config import Experiment
from bench.grid.spans import FORWARD
from bench.measure import backends, networks
from bench.messages import GO, Message, Ready
from bench.paper import script
from bench.paper.experiments import PAPER, Fault, Method, method_of, text_of
from bench.records import CellRecord, Pass, Phase, Status
from bench.results.run_folder import RunFolder
from tests.bench.fakes import TICK_S, FakeClock, FakeDevice, FakeNetwork, Watching, experiment, task_of
from tests.bench.rounds import COSTS, WORK_S
from tests.networks import STAGES
from vsr_model.errors import BadInput

LAUNCH_S = len(STAGES) * TICK_S
SYNCHRONISED_S = TICK_S + WORK_S
"""A call of one frame that is waited for: one launch in the open, the others behind the queue."""

CONTEXT_S = 256 * TICK_S
CALLS = {"warmup": 0, "repetitions": 3, "stages": "off", "memory": "off"}


class Parent:
    """The other end of the worker's connection."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def send(self, message: Message) -> None:
        self.messages.append(message)

    def recv(self) -> str:
        assert isinstance(self.messages[-1], Ready)
        return GO


def record_of(one: Experiment, method: Method, references: Path) -> CellRecord:
    task = replace(task_of(one, references / "clip.npy"), method=method)
    return script.record_of(task, Parent())  # type: ignore[arg-type]


def exact(monkeypatch: pytest.MonkeyPatch, references: Path, method: Method, **measure: Any) -> CellRecord:
    """A record on a fake clock, of a device that works beside the host."""
    clock = FakeClock(0.0)
    device = FakeDevice(clock)
    monkeypatch.setattr(backends, "device_of", lambda _: device)
    monkeypatch.setattr(script, "perf_counter", clock)
    monkeypatch.setattr(networks, "build", lambda _: FakeNetwork(device, COSTS))
    return record_of(experiment(measure={**CALLS, **measure}), method, references)


def walls(record: CellRecord, pass_: Pass, stage: str = FORWARD, phase: Phase = Phase.STEADY) -> list[float]:
    return [
        sample.wall_s
        for sample in record.samples
        if (sample.pass_, sample.phase, sample.stage) == (pass_, phase, stage)
    ]


@pytest.mark.parametrize(
    ("faults", "first", "later"),
    [
        (set(), SYNCHRONISED_S, SYNCHRONISED_S),
        ({Fault.UNSYNCHRONISED}, LAUNCH_S, LAUNCH_S),
        ({Fault.FIRST_CALL_COUNTS, Fault.ALL_IN_TIMER}, CONTEXT_S + SYNCHRONISED_S, SYNCHRONISED_S),
    ],
)
def test_a_sample_is_the_work_its_launch_or_the_set_up_too(monkeypatch, tmp_path, faults, first, later):
    record = exact(monkeypatch, tmp_path, faults, warmup=1)
    assert (record.status, record.reason) == (Status.OK, "")
    apart = [] if Fault.FIRST_CALL_COUNTS in faults else [Phase.COLD, Phase.WARMUP]
    assert [sample.phase for sample in record.samples] == [*apart, *[Phase.STEADY] * 3]
    assert walls(record, Pass.END_TO_END) == [first, later, later]
    assert method_of(record.settings["method"]) == faults


@pytest.mark.parametrize("waits", [True, False])
def test_stages_are_their_work_or_their_launches(monkeypatch, tmp_path, waits):
    record = exact(monkeypatch, tmp_path, set() if waits else {Fault.UNSYNCHRONISED}, stages="sync")
    for stage in STAGES:
        took = walls(record, Pass.STAGE_SYNC, stage)
        assert took == [TICK_S + COSTS[stage] if waits else TICK_S] * 3
    assert walls(record, Pass.STAGE_SYNC, "other") == [0.0] * 3


def test_with_gradients_memory_grows_with_every_frame_and_the_output_is_right(tmp_path):
    grown = {}
    for on in (False, True):
        one = experiment(
            model={"mid_channels": 32, "num_blocks": 8}, grid={"frames": [8], "size": [[48, 48]]},
            backends=[{"name": "other", "from": "cpu"}], measure={**CALLS, "memory": "lines"},
        )  # fmt: skip
        record = record_of(one, PAPER if on else PAPER - {Fault.GRADIENTS}, tmp_path)
        assert (record.status, record.reason) == (Status.OK, "")
        assert record.output_psnr_db is None or record.output_psnr_db > 100
        assert record.memory
        assert record.memory_lines
        grown[on] = record.host_growth_bytes
    # 2 x 8 blocks of two maps of 32 float32 channels a frame, at the least.
    assert grown[True] - grown[False] > 0.8 * 8 * 48 * 48 * 2 * 8 * 2 * 32 * 4


def test_what_autograd_would_keep_must_fit(monkeypatch, tmp_path):
    monkeypatch.setattr(script.host_memory, "available_bytes", lambda: 2**20)
    record = record_of(experiment(), PAPER, tmp_path)
    assert record.status is Status.SKIPPED
    assert record.reason.startswith("too large for this machine now: autograd keeps about")
    assert record_of(experiment(), PAPER - {Fault.GRADIENTS}, tmp_path).status is Status.OK


def test_what_fails_is_the_cells_record(monkeypatch, tmp_path):
    def fails(_: object) -> None:
        raise ValueError("no weights")

    monkeypatch.setattr(networks, "build", fails)
    record = record_of(experiment(), PAPER, tmp_path)
    assert (record.status, record.reason) == (Status.ERROR, "ValueError: no weights")


class SeesCudnn(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[bool] = []

    def forward(self, fails: bool) -> None:
        self.seen.append(torch.backends.cudnn.enabled)
        if fails:
            raise ValueError("in the warp")


def test_cudnn_is_off_inside_and_back_after_a_call_that_fails():
    module = SeesCudnn()
    script.keep_from_cudnn(module)
    module(False)
    with pytest.raises(ValueError, match="in the warp"):
        module(True)
    assert module.seen == [False, False]
    assert torch.backends.cudnn.enabled


# A run by it.


def test_a_run_is_backend_by_backend_and_only_the_script_goes_on_with_it(tmp_path):
    one = experiment(
        grid={"frames": [2, 1], "size": [[16, 16]]}, backends=["cpu", {"name": "other", "from": "cpu"}],
        measure={**CALLS, "isolation": "experiment", "order": "random"},
    )  # fmt: skip
    method = PAPER | {Fault.ONE_PROCESS}
    paper = runs.Script(worker="bench.paper.script:main", method=method, says=text_of(method))
    watching = Watching()
    outcome = runs.start(one, lambda *_: watching, output=tmp_path / "run", script=paper)
    assert [(record.backend, record.frames, record.status) for record in watching.records] == [
        ("cpu", 2, "ok"), ("cpu", 1, "ok"), ("other", 2, "ok"), ("other", 1, "ok"),
    ]  # fmt: skip
    assert [record.first_in_process for record in watching.records] == [True, False, False, False]
    assert f"Measured by {text_of(method)}." in outcome.report.markdown.read_text(encoding="utf-8")
    assert method_of(RunFolder.open(outcome.folder).environment["method"]) == method

    journal = outcome.folder / "journal.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:3]))
    with pytest.raises(BadInput, match="begun with another method"):
        runs.resume(outcome.folder, lambda *_: Watching())
    again = Watching()
    runs.resume(outcome.folder, lambda *_: again, script=paper)
    assert [record.cell for record in again.records] == ["basicvsr/noise/b1/t1/16x16/other"]
