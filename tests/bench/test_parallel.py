"""Cells whose clips are divided over processes: real ones once, and everything else with stand-ins."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil
import pytest
import torch

from bench.grid.backend import BUILT_IN, CPU
from bench.grid.config import Experiment, load
from bench.grid.rules import impossible, undivided
from bench.grid.spans import FORWARD, TOTAL
from bench.measure import backends, networks, parallel, workload
from bench.measure.backends import CpuDevice
from bench.measure.clips import make_clip
from bench.measure.map_reduce import map_reduce
from bench.measure.parallel import Failed, Order, RankCall, spans_of, started, why
from bench.measure.timing import Timed
from bench.records import CellRecord, Pass, Phase, Status
from bench.upscaling.request import Request
from tests.bench.fakes import TICK_S, CpuAsCuda, experiment, jobs_of, task_of
from tests.bench.rounds import Ran
from tests.networks import STAGES
from vsr_model.errors import BadInput
from vsr_model.stages import no_probe

ROOT = Path(__file__).parents[2]
TWO = {"name": "two", "from": "cpu", "threads": 1, "processes": 2}


def divided(**changes: Any) -> Experiment:
    grid = {"batch": [2], "frames": [2], "size": [[16, 24]]}
    return experiment(**{"grid": grid, "backends": [TWO], **changes})


# Real processes.


def test_a_round_by_two_processes(tmp_path: Path) -> None:
    measure = {"warmup": 0, "repetitions": 2, "stages": "off", "memory": "off"}
    record = Ran(divided(measure=measure), tmp_path / "references" / "clip.npy").record
    weights = networks.build(divided().models[0]).parameters()
    assert (record.status, record.reason, record.warnings) == (Status.OK, "", ())
    assert (record.stages, record.parameters) == (STAGES, sum(map(torch.numel, weights)))
    assert [record.settings[name] for name in ("processes", "process_group", "threads")] == ["2", "gloo", "1"]
    assert record.output_psnr_db is not None
    assert record.output_psnr_db > 120  # each clip is where it belongs
    assert len(record.rank_forward_s) == 2
    walls = [item.wall_s for item in record.samples if item.stage == FORWARD and item.phase is Phase.STEADY]
    assert len(walls) == 2


def test_a_process_that_is_killed_ends_all_and_is_named(tmp_path: Path) -> None:
    task = task_of(divided(), tmp_path / "references" / "clip.npy")
    with started(task) as group:
        assert len(group.answers()) == len(group.ask("call")) == 2
        pids = group.pids
        psutil.Process(pids[1]).kill()
        with pytest.raises((RuntimeError, MemoryError), match="process 2 of 2 was killed by SIGKILL"):
            group.ask("call")
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert list((tmp_path / "references").iterdir()) == []


def test_the_error_of_a_process_is_the_cells(tmp_path: Path) -> None:
    model = {"mid_channels": 4, "num_blocks": 1, "checkpoint": str(tmp_path / "none.pth")}
    record = Ran(divided(model=model), tmp_path / "clip.npy").record
    assert record.status is Status.ERROR
    assert record.reason.startswith("RuntimeError: process ")
    assert record.reason.endswith(
        f"of 2: BadField: checkpoint: The checkpoint {tmp_path / 'none.pth'} does not exist."
    )


MAPPED = {**TWO, "map_reduce": True}


def test_a_round_by_map_and_reduce(tmp_path: Path) -> None:
    measure = {"warmup": 0, "repetitions": 2, "stages": "off", "memory": "off"}
    grid = {"batch": [3], "frames": [2], "size": [[16, 24]]}
    one = divided(measure=measure, grid=grid, backends=[MAPPED])
    record = Ran(one, tmp_path / "references" / "clip.npy").record
    assert (record.status, record.reason, record.warnings) == (Status.OK, "", ())
    assert record.settings["process_group"] == "none: map and reduce"
    assert record.output_psnr_db is not None
    assert record.output_psnr_db > 120  # each clip is where it belongs
    assert len(record.rank_forward_s) == 2
    assert {item.stage for item in record.samples} == {FORWARD, TOTAL}


def test_the_clip_of_a_process_that_is_lost_runs_again(tmp_path: Path) -> None:
    one = divided(backends=[MAPPED])
    cell = jobs_of(one)[0].cell
    clips = make_clip(cell, networks.build(cell.model).facts).split(1)
    with started(task_of(one, tmp_path / "references" / "clip.npy")) as group:
        group.answers()
        whole = map_reduce(group, [clip.numpy() for clip in clips])
        psutil.Process(group.pids[1]).kill()
        again = map_reduce(group, [clip.numpy() for clip in clips])
        pids = group.pids
    assert again.lost == ["process 2 of 2 was killed by SIGKILL"]
    assert (again.output == whole.output).all()
    assert not any(psutil.pid_exists(pid) for pid in pids)


# One process.


class Orders:
    """A worker's end of a connection: gives orders, hangs up, and keeps what is sent."""

    def __init__(self, *orders: Order) -> None:
        self._orders = iter(orders)
        self.sent: list[Any] = []

    def recv(self) -> Order:
        for order in self._orders:
            return order
        raise EOFError

    def send(self, message: Any) -> None:
        self.sent.append(message)


def answers_to(task: Any, rank: int, device: Any, *orders: Order) -> tuple[list[Any], int]:
    """Return what one process sends, and how often it waits for the others."""
    connection: Any = Orders(*orders)
    meetings: list[None] = []
    with pytest.raises(EOFError):
        parallel.answer_orders(task, rank, device, connection, lambda: meetings.append(None))
    return connection.sent, len(meetings)


def test_each_process_takes_its_share_of_the_same_clips(tmp_path: Path) -> None:
    task = task_of(divided(), tmp_path / "clip.npy")
    network = networks.build(task.job.cell.model)
    whole = workload.forward_of(network)(make_clip(task.job.cell, network.facts), no_probe)
    for rank in range(2):
        orders: tuple[Order, ...] = ("call", "read back", "output")
        (described, call, compiled, output), meetings = answers_to(task, rank, CpuDevice(), *orders)
        assert compiled == {}
        assert described["threads"] == 1
        assert (list(call.spans), meetings) == ([FORWARD], 1)
        torch.testing.assert_close(torch.from_numpy(output), whole[rank : rank + 1], rtol=0, atol=1e-5)


def test_on_a_gpu_all_meet_before_each_transfer_too(tmp_path: Path) -> None:
    task = task_of(divided(), tmp_path / "clip.npy")
    (_, call), meetings = answers_to(task, 1, CpuAsCuda(), "call")
    assert list(call.spans) == ["host_to_device", "forward", "device_to_host"]
    assert meetings == 3
    spans = call.spans.values()
    assert all(before.start_s + before.wall_s <= after.start_s for before, after in pairwise(spans))


def test_on_cuda_each_process_has_its_own_gpu() -> None:
    two = BUILT_IN["cudnn"].replace(processes=2)
    assert [parallel.own_backend(two, rank).device for rank in range(2)] == ["cuda:0", "cuda:1"]
    assert parallel.own_backend(CPU, 1) == CPU.replace(threads=1)
    assert parallel.own_backend(CPU.replace(threads=3), 1).threads == 3


# The worker's side.


def call_of(*spans: tuple[int, int]) -> RankCall:
    names = ["host_to_device", FORWARD, "device_to_host"] if len(spans) == 3 else [FORWARD]
    return RankCall(
        spans={
            name: Timed(start_s=start * TICK_S, wall_s=(stop - start) * TICK_S)
            for name, (start, stop) in zip(names, spans, strict=True)
        },
        page_faults=3,
    )


def test_a_part_lasts_from_the_first_that_begins_it_to_the_last_that_ends_it() -> None:
    found = spans_of([call_of((10, 20), (31, 60), (70, 75)), call_of((11, 30), (32, 40), (70, 90))])
    ticks = {
        name: (round(span.start_s / TICK_S), round(span.wall_s / TICK_S)) for name, span in found.items()
    }
    assert ticks == {
        "host_to_device": (10, 20), FORWARD: (31, 29), "device_to_host": (70, 20), TOTAL: (10, 80),
    }  # fmt: skip


class FakeGroup:
    """Two processes, the second of which takes twice as long."""

    pids = (1000, 1001)

    def __init__(self) -> None:
        self.ticks = count(round(perf_counter() / TICK_S) + 1, 100)

    def answers(self) -> list[dict[str, Any]]:
        return [{"settings": {"device": "cpu"}, "threads": 1, "parameters": 7, "stages": ("a",), "scale": 4}]

    def ask(self, order: Order) -> list[Any]:
        if order == "output":
            return [torch.zeros(1, 2, 3, 64, 96).numpy()] * 2
        if order == "read back":
            return [{"compile_s": 1.5}, {"compile_s": 2.5}]
        at = next(self.ticks)
        return [call_of((at, at + 4)), call_of((at + 1, at + 9))]


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CellRecord:
    @contextmanager
    def started(_: Any) -> Iterator[FakeGroup]:
        yield FakeGroup()

    monkeypatch.setattr(parallel, "started", started)
    monkeypatch.setattr("bench.measure.watch._cpu_s", lambda pids: 1000.0 * len(pids))
    measure = {"warmup": 1, "repetitions": 3, "stages": "both", "memory": "curve", "profile": True}
    return Ran(divided(measure=measure), tmp_path / "clip.npy").record


def test_samples_span_all_processes_and_each_ones_time_is_kept(faked: CellRecord) -> None:
    forward = [item for item in faked.samples if item.stage == FORWARD]
    assert [(item.pass_, item.phase) for item in forward] == [
        (Pass.END_TO_END, phase) for phase in (Phase.COLD, Phase.WARMUP, *[Phase.STEADY] * 3)
    ]
    assert [item.wall_s for item in forward] == [9 * TICK_S] * 5
    assert faked.rank_forward_s == (4 * TICK_S, 8 * TICK_S)
    assert faked.page_faults_per_forward == 6
    assert (faked.threads, faked.parameters, faked.stages, faked.scale) == (1, 7, ("a",), 4)
    assert faked.compile_s == 1.5
    assert faked.status is Status.INACCURATE  # zeros were checked as any output is


def test_what_several_processes_have_no_figure_of_is_left_out_with_a_warning(faked: CellRecord) -> None:
    assert faked.warnings == (
        "no stage times: each of the processes has its own, and they make no one figure",
        parallel.NO_MEMORY,
        parallel.NO_PROFILE,
    )
    assert {item.stage for item in faked.samples} == {FORWARD, TOTAL}
    assert (faked.peak_host_bytes, faked.profile_wall_s) == (None, None)


def test_cpu_time_of_the_processes_is_the_workers_own(faked: CellRecord) -> None:
    assert faked.telemetry
    assert all(item.own_cpu_s is None or item.own_cpu_s >= 2000 for item in faked.telemetry)


CLOSED = Failed(rank=0, at_s=2.0, out_of_memory=False, reason="RuntimeError: connection closed by peer")
FULL = Failed(rank=1, at_s=1.0, out_of_memory=True, reason="MemoryError")


@pytest.mark.parametrize(
    ("codes", "failed", "evidence", "expected"),
    [
        ([1, -9, None], [CLOSED], None, (False, "process 2 of 3 was killed by SIGKILL")),
        ([1, -9, None], [CLOSED], "it rose", (True, "process 2 of 3 was killed by SIGKILL (it rose)")),
        # One may abort because another has gone.
        ([-6, -9], [], None, (False, "process 2 of 2 was killed by SIGKILL")),
        ([1, -6], [CLOSED], None, (False, "process 1 of 2: RuntimeError: connection closed by peer")),
        ([None, -6], [], None, (False, "process 2 of 2 was killed by SIGABRT")),
        ([1, 1], [CLOSED, FULL], None, (True, "process 2 of 2: MemoryError")),
        ([None, 1], [], None, (False, "process 2 of 2 ended with exit status 1")),
        ([0, 0], [], None, (False, "the 2 processes ended")),
    ],
)
def test_why_processes_ended(
    codes: Any, failed: Any, evidence: str | None, expected: tuple[bool, str]
) -> None:
    assert why(codes, failed, evidence) == expected


# What cannot be divided.


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"device": "cuda:1"}, "device: cuda:1 is one GPU"),
        ({"transfer": "overlapped"}, "transfer: overlapped is for one process"),
        ({"transfer": "pinned"}, "transfer: pinned is for one process"),
    ],
)
def test_what_contradicts_several_processes(changes: dict[str, Any], start: str) -> None:
    two = BUILT_IN["cudnn"].replace(processes=2)
    assert impossible(two) is None
    assert (impossible(two.replace(**changes)) or "").startswith(start)
    assert impossible(two.replace(**changes, processes=1)) is None


def test_a_memory_plan_and_a_file_are_not_divided() -> None:
    one = divided(backends=[{**TWO, "memory_plan": "disk"}])
    reason = impossible(jobs_of(one)[0].cell.backend)
    assert reason == "processes: a memory_plan has no whole output for them to join"
    request = Request(
        source=Path("in.mp4"),
        output=Path("out.mp4"),
        model=divided().models[0],
        backend=CPU.replace(processes=2),
        random_weights=True,
    )
    with pytest.raises(BadInput, match="cannot enlarge a file frame by frame: processes: "):
        request.check_options()


def test_a_torch_that_cannot_join_processes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    two = CPU.replace(processes=2)
    assert backends.unavailable(two) is None
    monkeypatch.setattr(torch.distributed, "is_gloo_available", lambda: False)
    assert "without gloo" in (backends.unavailable(two) or "")
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    assert "without torch.distributed" in (backends.unavailable(two) or "")
    assert backends.unavailable(CPU) is None


@pytest.mark.parametrize("variant", ["two-cores", "four-cores", "gpus", "quick"])
def test_the_preset_divides_every_batch(variant: str) -> None:
    planned, _ = load(ROOT / "configs" / "parallel.yaml", wanted=[variant])
    cells = [job.cell for job in jobs_of(planned)]
    assert any(cell.backend.is_divided for cell in cells)
    assert [undivided(cell.backend, cell.batch) for cell in cells] == [None] * len(cells)
    expected = "processes: 2 cannot share 3 clip(s) evenly; batch should be a multiple"
    assert undivided(CPU.replace(processes=2), 3) == expected
