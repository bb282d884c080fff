"""The worker's protocol, run in this process on tiny networks."""

import gc
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.grid.costs import StageCost
from bench.measure import backends, calls, networks, output_check, passes, worker, workload
from bench.messages import GO, Measured, Message, Progress, Ready
from bench.records import CellRecord, OutputCheck, Pass, Phase, Status, WarmupEnd
from bench.stats.stopping import Stop, half_width, look_counts
from tests.bench.fakes import (
    TICK_S,
    CpuAsCuda,
    FakeDevice,
    NoQueue,
    experiment,
    task_of,
)
from tests.bench.rounds import COSTS, WORK_S, Ran, exact, measure, steady, uneven
from tests.networks import STAGES, build_basicvsr
from vsr_model import media

ROOT = Path(__file__).parents[2]


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return tmp_path / "references" / "clip.npy"


@pytest.fixture
def run(reference: Path) -> Callable[..., Ran]:
    def run_one(**changes: Any) -> Ran:
        return Ran(experiment(**changes), reference)

    return run_one


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_an_ok_round_on_the_cpu(run, reference, frames):
    ran = run(grid={"frames": [frames], "size": [[16, 24]]}, measure=measure())
    record = ran.record
    assert (record.status, record.reason, record.warnings) == (Status.OK, "", ())
    assert (record.frames, record.height, record.width, record.round) == (frames, 16, 24, 0)
    assert (record.model, record.stages) == ("basicvsr", STAGES)
    assert record.parameters == sum(item.numel() for item in build_basicvsr(8, 1).parameters())
    assert record.import_torch_s == 1.25
    assert record.threads == torch.get_num_threads()
    assert record.settings["mkldnn.conv.fp32_precision"] == "ieee"
    assert record.settings["gc"] == "off while timing"
    assert record.started_at.endswith("+00:00")
    assert record.page_faults_per_forward is not None
    assert record.page_faults_per_forward >= 0
    for absent in ("context_s", "peak_device_bytes", "peak_host_bytes", "reference_s"):
        assert getattr(record, absent) is None
    assert record.output_check is OutputCheck.REFERENCE
    assert output_check.kept(reference).shape == (1, frames, 3, 64, 96)


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


def test_the_samples_are_those_planned(run, monkeypatch):
    monkeypatch.setattr(passes, "tuning_calls", lambda _: 0)  # a busy machine's warm-up may look like tuning
    ran = run(grid={"frames": [2], "size": [[16, 16]]}, measure=measure(warmup=2, repetitions=3))
    expected = Counter(
        {
            (Pass.END_TO_END, phase, stage): count
            for phase, count in ((Phase.COLD, 1), (Phase.WARMUP, 2), (Phase.STEADY, 3))
            for stage in ("forward", "total")
        }
        | {
            (Pass.STAGE_SYNC, Phase.STEADY, stage): 3
            for stage in (*STAGES, "other", "forward", "forward_unprobed")
        }
    )
    assert ran.counts() == expected
    for (pass_, phase, stage), count in expected.items():
        numbers = [
            sample.repetition
            for sample in ran.record.samples
            if (sample.pass_, sample.phase, sample.stage) == (pass_, phase, stage)
        ]
        assert numbers == list(range(count))
    assert all(sample.device_s is None for sample in ran.record.samples)
    cold = next(sample for sample in ran.record.samples if sample.stage == "forward")
    assert ran.record.first_forward_s == cold.wall_s


def test_stages_lie_inside_their_forward_and_add_up(run):
    ran = run(grid={"frames": [3], "size": [[16, 16]]}, measure=measure(repetitions=3))
    for repetition in range(3):
        of_call = {
            sample.stage: sample
            for sample in ran.record.samples
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


def test_pairs_alternate(run):
    ran = run(measure=measure(repetitions=4))
    order = [
        sample.stage
        for sample in ran.record.samples
        if sample.pass_ is Pass.STAGE_SYNC and sample.stage.startswith("forward")
    ]
    probed, plain = "forward", "forward_unprobed"
    assert order == [plain, probed, probed, plain, plain, probed, probed, plain]


@pytest.mark.parametrize("stages", ["off", "events"])
def test_no_stage_pass_where_there_is_none_to_make(run, stages):
    ran = run(measure=measure(stages=stages))
    assert {sample.pass_ for sample in ran.record.samples} == {Pass.END_TO_END}


@pytest.mark.parametrize("memory", ["off", "curve", "lines"])
def test_memory(run, memory):
    record = run(measure=measure(stages="off", memory=memory)).record
    assert record.status is Status.OK
    assert bool(record.memory) is (memory != "off")
    assert bool(record.memory_lines) is (memory == "lines")
    if memory != "off":
        assert record.peak_host_bytes >= record.host_before_bytes > 0
        assert record.host_growth_bytes == record.peak_host_bytes - record.host_before_bytes
        assert all(point.device_bytes is None for point in record.memory)
    if memory == "lines":
        sources = [line.source.strip() for line in record.memory_lines]
        assert "with probe(PROPAGATION):" in sources


@pytest.mark.parametrize(
    ("changes", "calls"),
    [
        ({"warmup": 0, "repetitions": 1, "stages": "off"}, 2),
        ({"warmup": 3, "repetitions": 2, "stages": "sync"}, 1 + 3 + 2 + 4),
        ({"warmup": 1, "repetitions": 2, "stages": "both", "memory": "curve"}, 1 + 1 + 2 + 4 + 1),
    ],
)
def test_progress_counts_every_call(run, monkeypatch, changes, calls):
    monkeypatch.setattr(passes, "PROGRESS_INTERVAL_S", 0.0)
    ran = run(measure=measure(**changes), backends=[{"name": "one", "from": "cpu", "threads": 1}])
    assert {progress.total for progress in ran.progress} == {calls}
    done = [progress.done for progress in ran.progress]
    assert done[0] == 0
    assert all(0 <= after - before <= 2 for before, after in pairwise(done))  # a pair of calls is said once
    assert ran.progress[-1] == Progress(doing="CPU float32 reference", done=calls, total=calls)
    doing = [progress.doing for progress in ran.progress]
    assert doing[:3] == ["starting", "building the model", "cold call"]
    assert len(set(doing)) == len(doing)


def test_the_parent_is_left_asleep_beside_short_calls(run, monkeypatch):
    monkeypatch.setattr(passes, "PROGRESS_INTERVAL_S", 3600.0)
    doing = [progress.doing for progress in run(measure=measure(repetitions=6)).progress]
    assert doing == ["starting", "building the model", "cold call"]


def test_a_parent_that_has_gone_is_no_error_of_the_progress(reference):
    def report(_message: Message) -> None:
        raise BrokenPipeError

    assert worker.run(task_of(experiment(), reference), report, lambda: None).status is Status.OK


# The output check.


ONE_THREAD = {"name": "one", "from": "cpu", "threads": 1}


def test_the_reference_is_made_once(run, monkeypatch):
    first = run(backends=[ONE_THREAD])
    assert first.record.output_check is OutputCheck.COMPARED
    assert first.record.output_psnr_db > 100
    assert first.record.reference_s > 0
    (measured,) = [message for message in first.messages if isinstance(message, Measured)]
    assert measured.record.output_check is OutputCheck.NOT_DONE
    assert measured.record.samples == first.record.samples

    second = run(backends=[ONE_THREAD])
    assert second.record.output_check is OutputCheck.COMPARED
    assert second.record.reference_s is None
    assert not any(isinstance(message, Measured) for message in second.messages)


def test_the_reference_backend_does_not_overwrite_it(run, reference):
    run()
    kept_at = reference.stat().st_mtime_ns
    run()
    assert reference.stat().st_mtime_ns == kept_at


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


def test_inaccurate(run):
    backend = {"name": "half", "from": "cpu", "dtype": "bfloat16", "min_psnr_db": 200.0}
    record = run(backends=[backend], measure=measure()).record
    assert record.status is Status.INACCURATE
    assert record.reason == (
        f"{record.output_psnr_db:.1f} dB against the CPU float32 result; half needs 200 dB"
    )
    assert record.output_check is OutputCheck.COMPARED
    assert record.samples  # its times stay


def test_nan_is_inaccurate(run, reference, monkeypatch):
    run()
    output_check.keep(torch.full((1, 1, 3, 64, 64), torch.nan), reference)
    record = run(backends=[ONE_THREAD]).record
    assert record.status is Status.INACCURATE
    assert record.reason.startswith("nan dB")


def _fail_to(what: str, monkeypatch: Any, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    if what == "keep":
        monkeypatch.setattr(output_check, "keep", fail)
        return
    build = networks.build
    calls = iter([build])  # the first is the measured one

    def build_once(model: Any) -> Any:
        return next(calls, fail)(model)

    monkeypatch.setattr(networks, "build", build_once)


def test_a_reference_that_fails_costs_no_figures(run, monkeypatch):
    """As where the process dies over it: what was measured stands, and a warning says what is missing."""
    _fail_to("make", monkeypatch, torch.OutOfMemoryError("no room"))
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
    _fail_to("keep", monkeypatch, OSError(28, "No space left on device"))
    record = run(backends=[backend]).record
    assert record.status is Status.OK
    assert record.output_check is check
    (warning,) = record.warnings
    assert warning.startswith("the CPU float32 result was not kept: ")
    assert warning.endswith("No space left on device")


# Settings, inputs, failures.


def test_threads_are_applied_and_restored(run):
    before = torch.get_num_threads()
    record = run(backends=[ONE_THREAD]).record
    assert record.threads == 1
    assert record.settings["threads"] == "1"
    assert torch.get_num_threads() == before


def test_a_video(run, tmp_path):
    path = tmp_path / "clip.mp4"
    frames = media.moving_texture(4, 32, 48, 0)
    with media.VideoWriter(path, frame_rate=Fraction(25), height=32, width=48) as writer:
        for frame in frames:
            writer.write(frame)
    clip = {"name": "clip", "kind": "video", "path": str(path), "fit": "crop", "stride": 2}
    record = run(input=clip, grid={"frames": [2], "size": [[16, 24]]}).record
    assert (record.status, record.input) == (Status.OK, "clip")

    missing = run(input=clip, grid={"frames": [3], "size": [[16, 24]]}).record
    assert missing.status is Status.ERROR
    assert missing.reason.startswith("BadInput: ")


def test_an_exception_keeps_what_came_before(run, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("in the stage pass\nsecond line")

    monkeypatch.setattr(calls, "timed_stages", fail)
    record = run(measure=measure()).record
    assert record.status is Status.ERROR
    assert record.reason == "RuntimeError: in the stage pass"
    assert record.first_forward_s > 0
    assert record.measured_s > 0
    # Of so short calls the first of warm-up may count as tuning.
    assert {sample.phase for sample in record.samples} >= {Phase.COLD, Phase.STEADY}
    assert record.telemetry
    assert record.output_check is None


def test_an_exception_without_words_after_which_settings_are_as_before(run, monkeypatch):
    monkeypatch.setattr(workload, "make_clip", lambda _: (_ for _ in ()).throw(LookupError))
    assert run(backends=[ONE_THREAD]).record.reason == "LookupError"  # and see _as_it_was


def test_torchs_own_word_is_out_of_memory(run, monkeypatch):
    monkeypatch.setattr(workload, "make_clip", lambda _: torch.empty(10**15))
    record = run().record
    assert record.status is Status.OOM
    assert record.reason.startswith("RuntimeError: ")
    assert "can't allocate memory" in record.reason


def test_main_serves_until_the_parent_hangs_up(reference):
    tasks: deque[Any] = deque([task_of(experiment(), reference)] * 2)
    said: list[Message] = []

    class Recording:
        def recv(self) -> Any:
            if not tasks:
                raise EOFError
            return tasks.popleft()

        def send(self, message: Message) -> None:
            said.append(message)
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
    assert [message.status for message in said if isinstance(message, CellRecord)] == [Status.OK] * 2


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
    # Peaks: reset before the cold call, read after warm-up, reset before the memory pass; what the device's
    # allocator kept is given back before that. Nothing is kept in a process that made its context just now.
    assert device.releases == [1]
    assert (record.cold_peak_device_bytes, record.cold_peak_device_reserved_bytes) == (1001, 2001)
    assert (record.peak_device_bytes, record.peak_device_reserved_bytes) == (1002, 2002)
    assert {point.device_bytes for point in record.memory} == {500}

    steady = {
        (pass_, stage): count
        for (pass_, phase, stage), count in ran.counts().items()
        if phase is Phase.STEADY
    }
    of_stages = (*STAGES, "other", "forward", "forward_unprobed")
    assert steady == {
        **{(Pass.END_TO_END, stage): 2 for stage in ("host_to_device", "forward", "device_to_host", "total")},
        **{(pass_, stage): 2 for pass_ in (Pass.STAGE_SYNC, Pass.STAGE_EVENTS) for stage in of_stages},
    }
    for sample in record.samples:
        on_events = sample.stage in STAGES or sample.stage == "other"
        has_device_time = sample.stage != "total" and not (sample.pass_ is Pass.STAGE_SYNC and on_events)
        assert (sample.device_s is not None) is has_device_time, sample
        assert sample.wall_s >= 0
        assert sample.device_s is None or sample.device_s >= 0


def test_total_spans_the_transfers(run, monkeypatch):
    monkeypatch.setattr(backends, "device_of", lambda _: CpuAsCuda())
    ran = run(backends=["cuda"], measure=measure(stages="off", warmup=0, repetitions=1))
    spans = {sample.stage: sample for sample in ran.record.samples if sample.phase is Phase.STEADY}
    to, forward, back = (spans[name] for name in ("host_to_device", "forward", "device_to_host"))
    assert to.start_s + to.wall_s <= forward.start_s
    assert forward.start_s + forward.wall_s <= back.start_s
    assert spans["total"].start_s == to.start_s
    assert spans["total"].wall_s == pytest.approx(back.start_s + back.wall_s - to.start_s, abs=1e-9)


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


def test_perturbation_without_a_queue_exactly(monkeypatch, run):
    record = exact(monkeypatch, run, NoQueue, measure=measure(repetitions=2),
                   grid={"frames": [3], "size": [[16, 16]]})  # fmt: skip
    assert steady(record, Pass.STAGE_SYNC, "forward") == [3 * WORK_S] * 2
    assert steady(record, Pass.STAGE_SYNC, "forward_unprobed") == [3 * WORK_S] * 2
    assert record.first_forward_s == 3 * WORK_S
    assert record.measured_s == (1 + 1 + 2 + 4) * 3 * WORK_S


RULE = {"min": 4, "max": 40, "target": 0.02, "budget_s": 2.0}


def test_as_many_repetitions_as_the_target_takes(monkeypatch, run):
    record = uneven(monkeypatch, run, [100], warmup=0, repetitions=RULE)
    # Equal values meet any target, as soon as there are enough of them for an interval.
    least = min(n for n in look_counts(4, 40) if half_width([1.0] * n) is not None)
    counts = {pass_: len(steady(record, pass_, "forward")) for pass_ in (Pass.END_TO_END, Pass.STAGE_SYNC)}
    assert counts[Pass.END_TO_END] == counts[Pass.STAGE_SYNC] == least
    assert record.stop_end_to_end is Stop.TARGET
    assert record.stop_stage_sync is Stop.TARGET
    assert record.stop_stage_events is None


def test_as_many_repetitions_as_the_budget_allows(monkeypatch, run):
    noisy = [64, 128] * 100
    record = uneven(monkeypatch, run, noisy, warmup=1, repetitions=RULE)
    spent = steady(record, Pass.END_TO_END, "forward")
    assert record.stop_end_to_end is Stop.BUDGET
    assert sum(spent[:-1]) < 2.0 <= sum(spent)
    plain, probed = (steady(record, Pass.STAGE_SYNC, name) for name in ("forward_unprobed", "forward"))
    assert record.stop_stage_sync is Stop.BUDGET  # both calls of a pair are paid from it
    assert sum(plain[:-1] + probed[:-1]) < 2.0 <= sum(plain + probed)


def test_a_fixed_number_of_repetitions(monkeypatch, run):
    record = uneven(monkeypatch, run, [64, 128] * 20, warmup=0, repetitions=3)
    assert len(steady(record, Pass.END_TO_END, "forward")) == 3
    assert (record.stop_end_to_end, record.warmup_end) == (Stop.COUNT, WarmupEnd.COUNT)


def phases(record: CellRecord) -> list[tuple[str, int]]:
    return [
        (str(sample.phase), sample.repetition)
        for sample in record.samples
        if sample.pass_ is Pass.END_TO_END and sample.stage == "forward" and sample.phase is not Phase.STEADY
    ]


def test_warm_up_until_steady_keeps_tuning_apart(monkeypatch, run):
    record = uneven(monkeypatch, run, [9000, 5000, 100], warmup="auto", repetitions=6)
    assert record.warmup_end is WarmupEnd.STEADY
    assert record.tuning_calls == 2
    assert phases(record)[:3] == [("cold", 0), ("tuning", 0), ("warmup", 1)]
    assert {name for name, _ in phases(record)[2:]} == {"warmup"}
    assert set(steady(record, Pass.END_TO_END, "forward")) == {100 * TICK_S}


def test_warm_up_that_does_not_end_is_given_up(monkeypatch, run):
    slower = [1000 + 300 * number for number in range(60)]
    record = uneven(monkeypatch, run, slower, warmup="auto", repetitions=1)
    assert record.warmup_end is WarmupEnd.GAVE_UP


def test_the_machine_is_read_between_calls_and_never_during_one(run):
    record = run(grid={"frames": [3], "size": [[16, 16]]}, measure=measure(repetitions=4)).record
    moments = [reading.elapsed_s for reading in record.telemetry]
    assert len(moments) >= 4  # before the cold call, before the steady ones, after each pass
    assert moments == sorted(moments)
    for sample in record.samples:
        if sample.stage in ("forward", "forward_unprobed"):
            assert not any(sample.start_s < moment < sample.start_s + sample.wall_s for moment in moments)
    forwards = [sample for sample in record.samples if sample.stage == "forward"]
    assert moments[0] < forwards[0].start_s
    assert moments[-1] > forwards[-1].start_s + forwards[-1].wall_s
    assert record.affinity_cores == len(os.sched_getaffinity(0))


def test_nothing_is_measured_before_the_go(run):
    ran = run()
    ready = ran.messages.index(Ready())
    before = [message.doing for message in ran.messages[:ready] if isinstance(message, Progress)]
    assert before == ["starting", "building the model"]
    assert all(message.done == 0 for message in ran.messages[:ready] if isinstance(message, Progress))
