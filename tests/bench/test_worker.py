"""The worker's protocol, run in this process on tiny networks."""

import gc
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.grid.costs import StageCost
from bench.measure import backends, calls, clips, memory, networks, output_check, passes, worker, workload
from bench.messages import GO, Measured, Message, Progress, Ready
from bench.records import CellRecord, OutputCheck, Pass, Phase, Status, WarmupEnd
from bench.stats.stopping import Stop, half_width, look_counts
from tests.bench.fakes import TICK_S, CpuAsCuda, FakeDevice, experiment, task_of
from tests.bench.rounds import COSTS, WORK_S, Ran, exact, measure, steady, uneven
from tests.networks import STAGES, build_basicvsr

ROOT = Path(__file__).parents[2]
ONE_THREAD = {"name": "one", "from": "cpu", "threads": 1}


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return tmp_path / "references" / "clip.npy"


@pytest.fixture
def run(reference: Path) -> Callable[..., Ran]:
    def run_one(**changes: Any) -> Ran:
        return Ran(experiment(**changes), reference)

    return run_one


@pytest.fixture(autouse=True)
def _settings_stay_as_they_were() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == threads


# A whole round on the CPU.


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    one = experiment(
        grid={"frames": [3], "size": [[16, 24]]},
        measure=measure(warmup=2, repetitions=4, memory="lines"),
    )
    return Ran(one, tmp_path_factory.mktemp("references") / "clip.npy")


def test_a_round_fills_its_record(whole):
    record = whole.record
    assert (record.status, record.reason, record.warnings) == (Status.OK, "", ())
    assert (record.frames, record.height, record.width, record.round) == (3, 16, 24, 0)
    assert (record.model, record.stages, record.scale) == ("basicvsr", STAGES, 4)
    assert record.parameters == sum(item.numel() for item in build_basicvsr(8, 1).parameters())
    assert record.import_torch_s == 1.25
    assert record.threads == torch.get_num_threads()
    assert record.settings["mkldnn.conv.fp32_precision"] == "ieee"
    assert record.settings["gc"] == "off while timing"
    assert record.started_at.endswith("+00:00")
    assert record.page_faults_per_forward >= 0
    assert record.first_forward_s == next(item for item in record.samples if item.stage == "forward").wall_s
    assert record.output_check is OutputCheck.REFERENCE
    assert (record.stop_end_to_end, record.warmup_end) == (Stop.COUNT, WarmupEnd.COUNT)
    assert record.reference_s > 0  # of the second one
    for absent in ("context_s", "peak_device_bytes", "compile_s", "compile_graphs", "profile_wall_s"):
        assert getattr(record, absent) is None


def test_the_samples_are_those_planned(whole):
    expected = {
        (Pass.END_TO_END, phase, stage): count
        for phase, count in ((Phase.COLD, 1), (Phase.WARMUP, 2), (Phase.STEADY, 4))
        for stage in ("forward", "total")
    } | {
        (Pass.STAGE_SYNC, Phase.STEADY, stage): 4
        for stage in (*STAGES, "other", "forward", "forward_unprobed")
    }
    numbers: dict[Any, list[int]] = {}
    for sample in whole.record.samples:
        # On a busy machine the warm-up may look like tuning.
        phase = Phase.WARMUP if sample.phase is Phase.TUNING else sample.phase
        numbers.setdefault((sample.pass_, phase, sample.stage), []).append(sample.repetition)
        assert sample.device_s is None
    assert numbers == {key: list(range(count)) for key, count in expected.items()}


def test_stages_lie_inside_their_forward_and_add_up(whole):
    for repetition in range(4):
        of_call = {
            sample.stage: sample
            for sample in whole.record.samples
            if sample.pass_ is Pass.STAGE_SYNC and sample.repetition == repetition
        }
        forward = of_call["forward"]
        parts = [of_call[stage] for stage in (*STAGES, "other")]
        assert all(part.wall_s >= 0 for part in parts)
        assert sum(part.wall_s for part in parts) == pytest.approx(forward.wall_s, rel=1e-9)
        for part in parts:
            assert forward.start_s <= part.start_s <= forward.start_s + forward.wall_s
        starts = [of_call[stage].start_s for stage in STAGES]
        assert starts == sorted(starts)


def test_plain_and_probed_calls_alternate(whole):
    order = [
        sample.stage
        for sample in whole.record.samples
        if sample.pass_ is Pass.STAGE_SYNC and sample.stage.startswith("forward")
    ]
    probed, plain = "forward", "forward_unprobed"
    assert order == [plain, probed, probed, plain, plain, probed, probed, plain]


def test_memory_is_measured_in_a_pass_of_its_own(whole):
    record = whole.record
    assert record.peak_host_bytes >= record.host_before_bytes > 0
    assert record.memory
    assert {*record.stage_memory} == {*STAGES, "other"}
    assert "with probe(PROPAGATION):" in [line.source.strip() for line in record.memory_lines]


def test_the_machine_is_read_between_calls_and_never_during_one(whole):
    record = whole.record
    moments = [reading.elapsed_s for reading in record.telemetry]
    assert len(moments) >= 4  # before the cold call, before the steady ones, after each pass
    assert moments == sorted(moments)
    forwards = [item for item in record.samples if item.stage in ("forward", "forward_unprobed")]
    for sample in forwards:
        assert not any(sample.start_s < moment < sample.start_s + sample.wall_s for moment in moments)
    assert moments[0] < forwards[0].start_s
    assert moments[-1] > forwards[-1].start_s + forwards[-1].wall_s
    assert record.affinity_cores == len(os.sched_getaffinity(0))


def test_nothing_is_measured_before_the_go(whole):
    ready = whole.messages.index(Ready())
    before = whole.messages[:ready]
    assert [(message.doing, message.done) for message in before] == [
        ("starting", 0),
        ("building the model", 0),
    ]


# What a round may have.


OWN = {
    "name": "own",
    "import": "benchmarks.stranger:Stranger",
    "folder": str(ROOT),
    "arguments": {"channels": 4, "blocks": 1},
    "stages": {"features": ["head", "body"], "upsampling": ["up*", "last"]},
}


@pytest.mark.parametrize("model", [{"name": "egvsr", "num_blocks": 1}, OWN], ids=lambda model: model["name"])
def test_any_network_is_timed_by_its_own_stages(run, reference, model):
    record = run(
        model=model, grid={"frames": [2], "size": [[64, 72]]}, measure=measure(warmup=0, repetitions=1)
    ).record
    assert (record.status, record.reason, record.warnings) == (Status.OK, "", ())
    assert record.model == model["name"]
    assert record.stages[-1] == "upsampling"
    assert {item.stage for item in record.samples if item.pass_ is Pass.STAGE_SYNC} == {
        *record.stages, "other", "forward", "forward_unprobed",
    }  # fmt: skip
    assert output_check.kept(reference).shape == (1, 2, 3, 256, 288)


def test_costs_come_with_the_task_and_where_there_are_none_a_warning_says_why(reference):
    known = {"upsampling": StageCost(flops=7, bytes=5, fused_bytes=3, peak_bytes=9)}
    record = Ran(experiment(), reference, costs=known).record
    assert (record.costs, record.warnings) == (known, ())
    record = Ran(experiment(), reference, costs_missing="it cannot be traced").record
    assert (record.costs, record.warnings) == ({}, ("costs are not known: it cannot be traced",))


@pytest.mark.parametrize("stages", ["off", "events"])
def test_no_stage_or_memory_pass_where_there_is_none_to_make(run, stages):
    record = run(measure=measure(stages=stages)).record
    assert {sample.pass_ for sample in record.samples} == {Pass.END_TO_END}
    assert (record.memory, record.peak_host_bytes, record.stage_memory) == ((), None, {})


def test_progress_counts_every_call(run, monkeypatch):
    monkeypatch.setattr(passes, "PROGRESS_INTERVAL_S", 0.0)
    changes = {"warmup": 1, "repetitions": 2, "stages": "both", "memory": "curve"}
    progress = run(measure=measure(**changes), backends=[ONE_THREAD]).progress
    calls = 1 + 1 + 2 + 4 + 2
    assert {message.total for message in progress} == {calls}
    done = [message.done for message in progress]
    assert done[0] == 0
    assert all(0 <= after - before <= 2 for before, after in pairwise(done))  # a pair has one message
    assert progress[-1] == Progress(doing="CPU float32 reference", done=calls, total=calls)
    doing = [message.doing for message in progress]
    assert doing[:3] == ["starting", "building the model", "cold call"]
    assert len(set(doing)) == len(doing)


def test_the_parent_is_left_asleep_beside_short_calls(run, monkeypatch):
    monkeypatch.setattr(passes, "PROGRESS_INTERVAL_S", 3600.0)
    doing = [progress.doing for progress in run(measure=measure(repetitions=6)).progress]
    assert doing == ["starting", "building the model", "cold call", "CPU float32 reference"]


# The output check.


def test_the_reference_is_made_once(run, reference):
    first = run(backends=[ONE_THREAD])
    assert first.record.output_check is OutputCheck.COMPARED
    assert first.record.output_psnr_db > 100
    assert first.record.reference_s > 0
    assert first.record.settings["threads"] == "1"
    (measured,) = [message for message in first.messages if isinstance(message, Measured)]
    assert measured.record.output_check is OutputCheck.NOT_DONE
    assert measured.record.samples == first.record.samples

    kept_at = reference.stat().st_mtime_ns
    second = run(backends=[ONE_THREAD])
    assert second.record.output_check is OutputCheck.COMPARED
    assert second.record.reference_s is None
    assert not any(isinstance(message, Measured) for message in second.messages)
    assert run().record.output_check is OutputCheck.REFERENCE
    assert reference.stat().st_mtime_ns == kept_at


@pytest.mark.parametrize("backend", [ONE_THREAD, {**ONE_THREAD, "memory_plan": "device"}], ids=str)
def test_a_kept_reference_is_read_after_memory_is_measured(run, monkeypatch, backend):
    done: list[str] = []

    def noted(module: Any, name: str) -> None:
        function = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *args, **named: done.append(name) or function(*args, **named)
        )

    run()
    noted(memory, "curve")
    noted(output_check, "kept")
    record = run(backends=[backend], measure=measure(stages="off", memory="curve")).record
    assert record.output_check is OutputCheck.COMPARED
    assert done == ["curve", "kept"]


@pytest.mark.parametrize(
    ("dtype", "memory_format", "at_least_db"),
    [("bfloat16", "contiguous", 30), ("float16", "channels_last", 45)],
)
def test_narrow_types_and_formats(run, dtype, memory_format, at_least_db):
    narrow = {"name": "narrow", "from": "cpu", "dtype": dtype, "memory_format": memory_format}
    record = run(grid={"frames": [2], "size": [[16, 24]]}, backends=[narrow]).record
    assert record.status is Status.OK, record.reason
    assert record.settings["dtype"] == dtype
    assert record.settings["memory_format"] == memory_format
    assert at_least_db < record.output_psnr_db < 120
    assert 0 < record.output_max_abs_error < 0.1


def test_an_output_that_differs_is_inaccurate(run, reference):
    record = run(backends=[{**ONE_THREAD, "min_psnr_db": 400.0, "dtype": "bfloat16"}]).record
    assert record.status is Status.INACCURATE
    psnr_db = record.output_psnr_db
    assert record.reason == f"{psnr_db:.1f} dB against the CPU float32 result; one needs 400 dB"
    assert record.output_check is OutputCheck.COMPARED
    assert record.samples  # its times stay


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_is_inaccurate_wherever_it_is(run, monkeypatch, reference, value):
    output_check.keep(torch.full((1, 1, 3, 64, 64), value), reference)
    record = run(backends=[ONE_THREAD]).record
    assert record.status is Status.INACCURATE
    assert record.reason.startswith("the CPU float32 result has values that are not finite")

    output_check.keep(torch.zeros(1, 1, 3, 64, 64), reference)
    forward_of = workload.forward_of
    monkeypatch.setattr(
        workload, "forward_of", lambda *args, **named: lambda *call: value + forward_of(*args, **named)(*call)
    )
    for backend in (ONE_THREAD, "cpu"):  # judged, and the reference itself
        record = run(backends=[backend]).record
        assert (record.status, record.reason) == (
            Status.INACCURATE, "the output has values that are not finite",
        )  # fmt: skip
        assert record.samples


class OfThreads:
    """A call whose result depends on the number of threads, as where some of their work is left out."""

    def __call__(self, clip: Any, _probe: Any) -> Any:
        return torch.full((1, 1, 3, 64, 64), float(torch.get_num_threads()))


@pytest.mark.parametrize("backend", ["cpu", ONE_THREAD])
def test_a_reference_that_contradicts_itself_judges_nothing(run, monkeypatch, reference, backend):
    measured = iter([workload.forward_of])
    monkeypatch.setattr(
        workload,
        "forward_of",
        lambda *args, **named: made(*args, **named) if (made := next(measured, None)) else OfThreads(),
    )
    record = run(backends=[backend]).record
    said = r"the CPU float32 result of \d+ threads is -?[\d.]+ dB from that of \d+: this machine computes wr"
    if backend == "cpu":  # its own result is not the other's
        assert record.status is Status.INACCURATE
        assert re.match(said, record.reason)
    else:
        assert (record.status, record.output_check) == (Status.OK, OutputCheck.NOT_DONE)
        assert re.search(said, record.warnings[0])
    assert not reference.exists()
    assert record.samples


def _fail(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_reference_that_fails_costs_no_figures(run, monkeypatch):
    fail = _fail(torch.OutOfMemoryError("no room"))
    builds = iter([networks.build])  # the first is the measured one

    def build(model: Any) -> Any:
        return next(builds, fail)(model)

    monkeypatch.setattr(networks, "build", build)
    record = run(backends=[ONE_THREAD], measure=measure()).record
    assert record.status is Status.OK
    assert record.warnings == ("output not checked: OutOfMemoryError: no room",)
    assert record.output_check is OutputCheck.NOT_DONE
    assert record.output_psnr_db is None
    assert record.reference_s > 0
    assert record.samples


@pytest.mark.parametrize(
    ("backend", "check"), [("cpu", OutputCheck.REFERENCE), (ONE_THREAD, OutputCheck.COMPARED)]
)
def test_a_reference_that_cannot_be_kept_is_still_one(run, monkeypatch, backend, check):
    monkeypatch.setattr(output_check, "keep", _fail(OSError(28, "No space left on device")))
    record = run(backends=[backend]).record
    assert record.status is Status.OK
    assert record.output_check is check
    (warning,) = record.warnings
    assert warning.startswith("the CPU float32 result was not kept: ")
    assert warning.endswith("No space left on device")


# Failures.


def test_an_exception_keeps_what_came_before(run, monkeypatch):
    monkeypatch.setattr(calls, "timed_stages", _fail(RuntimeError("in the stage pass\nsecond line")))
    record = run(measure=measure(), backends=[ONE_THREAD]).record
    assert (record.status, record.reason) == (Status.ERROR, "RuntimeError: in the stage pass")
    assert record.first_forward_s > 0
    assert record.measured_s > 0
    # Of so short calls the first of warm-up may count as tuning.
    assert {sample.phase for sample in record.samples} >= {Phase.COLD, Phase.STEADY}
    assert record.telemetry
    assert record.output_check is None

    monkeypatch.setattr(clips, "make_clip", _fail(LookupError()))
    assert run().record.reason == "LookupError"
    monkeypatch.setattr(clips, "make_clip", lambda *_: torch.empty(10**15))
    record = run().record
    assert record.status is Status.OOM
    assert record.reason.startswith("RuntimeError: ")
    assert "can't allocate memory" in record.reason


def test_main_serves_until_the_parent_hangs_up(reference):
    tasks: deque[Any] = deque([task_of(experiment(), reference)] * 2)
    sent: list[Message] = []

    class Recording:
        def recv(self) -> Any:
            if not tasks:
                raise EOFError
            return tasks.popleft()

        def send(self, message: Message) -> None:
            if isinstance(message, Progress):
                raise BrokenPipeError  # of a parent that has gone, which is no error of the round
            sent.append(message)
            if isinstance(message, Ready):
                tasks.appendleft(GO)

    was_enabled = gc.isenabled()
    try:
        worker.main(Recording())
        assert not gc.isenabled()
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
    assert [message.status for message in sent if isinstance(message, CellRecord)] == [Status.OK] * 2


# A device with events.


def test_on_a_device_with_events(run, monkeypatch):
    device = CpuAsCuda()
    monkeypatch.setattr(backends, "device_of", lambda _: device)
    ran = run(
        grid={"frames": [2], "size": [[16, 16]]},
        backends=["cudnn_autotune"],
        measure=measure(memory="curve"),
    )
    record = ran.record
    assert record.status is Status.OK, record.reason
    assert record.settings["cudnn.benchmark"] == "True"
    assert device.contexts == 1
    assert record.context_s >= 0
    assert record.model_to_device_s > 0
    # Peaks: reset before the cold call, read after warm-up, reset before the memory pass, at the ends of its
    # stages too. What the device's allocator kept is given back before each of the two calls of that pass.
    # Nothing is kept in a process that made its context just now.
    assert device.releases == [1, 2]
    assert (record.cold_peak_device_bytes, record.cold_peak_device_reserved_bytes) == (1001, 2001)
    assert (record.peak_device_bytes, record.peak_device_reserved_bytes) == (1002, 2002)
    assert {point.device_bytes for point in record.memory} == {500}
    assert record.device_growth_bytes == 1002 - 500
    assert record.stage_memory["other"].peak_device_bytes > 1002

    counts = Counter((item.pass_, item.stage) for item in record.samples if item.phase is Phase.STEADY)
    of_stages = (*STAGES, "other", "forward", "forward_unprobed")
    transfers = ("host_to_device", "forward", "device_to_host", "total")
    assert counts == {
        **{(Pass.END_TO_END, stage): 2 for stage in transfers},
        **{(pass_, stage): 2 for pass_ in (Pass.STAGE_SYNC, Pass.STAGE_EVENTS) for stage in of_stages},
    }
    for sample in record.samples:
        of_stage = sample.stage in STAGES or sample.stage == "other"
        has_device_time = sample.stage != "total" and not (sample.pass_ is Pass.STAGE_SYNC and of_stage)
        assert (sample.device_s is not None) is has_device_time, sample
        assert sample.wall_s >= 0
        assert sample.device_s is None or sample.device_s >= 0

    spans = {item.stage: item for item in record.samples if item.phase is Phase.COLD}
    to, forward, back, total = (spans[name] for name in transfers)
    assert to.start_s + to.wall_s <= forward.start_s
    assert forward.start_s + forward.wall_s <= back.start_s
    assert total.start_s == to.start_s
    assert total.wall_s == pytest.approx(back.start_s + back.wall_s - to.start_s, abs=1e-9)


# Exact figures: a fake clock, and a network whose cost is given.


def test_perturbation_on_a_queue_exactly(monkeypatch, run):
    """Synchronising costs each stage its launch; events cost nothing that the queue does not hide."""
    record = exact(monkeypatch, run, FakeDevice, backends=["cudnn"], measure=measure(repetitions=3))
    assert record.status is Status.OK, record.reason
    plain = TICK_S + WORK_S  # one launch in the open, the others behind the queue
    assert steady(record, Pass.END_TO_END, "forward") == [plain] * 3
    assert steady(record, Pass.STAGE_SYNC, "forward_unprobed") == [plain] * 3
    assert steady(record, Pass.STAGE_SYNC, "forward") == [4 * TICK_S + WORK_S] * 3
    assert steady(record, Pass.STAGE_EVENTS, "forward_unprobed") == [plain] * 3
    assert steady(record, Pass.STAGE_EVENTS, "forward") == [plain] * 3
    for stage in STAGES:
        assert steady(record, Pass.STAGE_SYNC, stage) == [TICK_S + COSTS[stage]] * 3
        launch = TICK_S if stage is STAGES[0] else 0
        assert steady(record, Pass.STAGE_EVENTS, stage, "device_s") == [launch + COSTS[stage]] * 3
    assert steady(record, Pass.STAGE_SYNC, "other") == [0] * 3
    assert steady(record, Pass.STAGE_EVENTS, "other", "device_s") == [0] * 3
    assert record.context_s == 256 * TICK_S
    # cold, 1 + 3 end to end, 2 passes of 3 pairs
    assert record.measured_s == 256 * TICK_S + 5 * plain + 3 * (plain + 4 * TICK_S + WORK_S) + 6 * plain


RULE = {"min": 4, "max": 40, "target": 0.02, "budget_s": 2.0}


def test_as_many_repetitions_as_the_target_takes(monkeypatch, run):
    record = uneven(monkeypatch, run, [100], warmup=0, repetitions=RULE)
    # Equal values meet any target, as soon as there are enough of them for an interval.
    least = min(n for n in look_counts(4, 40) if half_width([1.0] * n) is not None)
    counts = {pass_: len(steady(record, pass_, "forward")) for pass_ in (Pass.END_TO_END, Pass.STAGE_SYNC)}
    assert counts[Pass.END_TO_END] == counts[Pass.STAGE_SYNC] == least
    stops = record.stop_end_to_end, record.stop_stage_sync, record.stop_stage_events
    assert stops == (Stop.TARGET, Stop.TARGET, None)


def test_as_many_repetitions_as_the_budget_allows(monkeypatch, run):
    record = uneven(monkeypatch, run, [64, 128] * 100, warmup=1, repetitions=RULE)
    spent = steady(record, Pass.END_TO_END, "forward")
    assert record.stop_end_to_end is Stop.BUDGET
    assert sum(spent[:-1]) < 2.0 <= sum(spent)
    plain, probed = (steady(record, Pass.STAGE_SYNC, name) for name in ("forward_unprobed", "forward"))
    assert record.stop_stage_sync is Stop.BUDGET  # both calls of a pair count
    assert sum(plain[:-1] + probed[:-1]) < 2.0 <= sum(plain + probed)


def test_a_round_whose_seconds_are_spent_makes_its_least_calls(reference):
    grid = {"frames": [1], "size": [[16, 16]]}
    asked = measure(warmup="auto", repetitions={"min": 3, "max": 1000, "target": 0.0001})
    record = Ran(experiment(grid=grid, measure=asked), reference, budget_s=0.0).record
    assert (record.status, record.warmup_end) == (Status.OK, WarmupEnd.GAVE_UP)
    assert (record.stop_end_to_end, record.stop_stage_sync) == (Stop.BUDGET, Stop.BUDGET)
    assert len(steady(record, Pass.END_TO_END, "forward")) == 3
    assert len(steady(record, Pass.STAGE_SYNC, "forward")) == 3


def test_warm_up_ends_when_steady_or_is_given_up_and_keeps_tuning_apart(monkeypatch, run):
    record = uneven(monkeypatch, run, [9000, 5000, 100], warmup="auto", repetitions=6)
    assert record.warmup_end is WarmupEnd.STEADY
    assert record.tuning_calls == 2
    early = [
        (str(sample.phase), sample.repetition)
        for sample in record.samples
        if sample.pass_ is Pass.END_TO_END and sample.stage == "forward" and sample.phase is not Phase.STEADY
    ]
    assert early[:3] == [("cold", 0), ("tuning", 0), ("warmup", 1)]
    assert {name for name, _ in early[2:]} == {"warmup"}
    assert set(steady(record, Pass.END_TO_END, "forward")) == {100 * TICK_S}
    slower = [1000 + 300 * number for number in range(60)]
    record = uneven(monkeypatch, run, slower, warmup="auto", repetitions=1)
    assert record.warmup_end is WarmupEnd.GAVE_UP
