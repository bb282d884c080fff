"""The ways of measuring that are not the default ones: what each does to a round, exactly where it can be."""

import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from bench.grid import plan, presets
from bench.grid.backend_spec import BUILT_IN
from bench.grid.config import Experiment, Model, load
from bench.grid.estimate import expected_calls
from bench.measure import backends, output_check, worker, workload
from bench.records import CALL, FORWARD, CellRecord, OutputCheck, Pass, Phase, Status, WarmupEnd
from bench.statistics.stopping import Stop
from tests.bench.fakes import (
    TICK_S,
    CpuAsCuda,
    FakeClock,
    FakeDevice,
    FakeNetwork,
    NoQueue,
    experiment,
    task_of,
)
from tests.bench.rounds import COSTS, STAGE_NAMES, WORK_S, Ran, exact, measure, steady, uneven
from vsr_model import basicvsr, spynet
from vsr_model.cost import estimate_peak_bytes
from vsr_model.stages import STAGES, Stage, StageProbe, no_probe

LAUNCH_S = len(STAGES) * TICK_S
"""To queue a frame's work."""

CONTEXT_S = 256 * TICK_S
PLAIN_S = TICK_S + WORK_S
"""A synchronised call of one frame: one launch in the open, the others behind the queue."""


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return tmp_path / "references" / "clip.npy"


@pytest.fixture
def run(reference: Path) -> Callable[..., Ran]:
    def run_one(one: Experiment | None = None, **changes: Any) -> Ran:
        return Ran(one or experiment(**changes), reference)

    return run_one


def stages_of(record: CellRecord, pass_: Pass) -> set[str]:
    return {sample.stage for sample in record.samples if sample.pass_ is pass_}


def counted(**changes: Any) -> dict[str, Any]:
    return measure(**({"first_call": "counted", "warmup": 0, "stages": "off"} | changes))


# synchronise


class Queue(FakeDevice):
    """Says how often it was waited for."""

    made: ClassVar[list["Queue"]] = []

    def __init__(self, clock: FakeClock, **changes: Any) -> None:
        super().__init__(clock, **changes)
        Queue.made.append(self)


def test_without_synchronisation_samples_are_launches(monkeypatch, run):
    record = exact(monkeypatch, run, Queue, backends=["cudnn"],
                   measure=measure(synchronise=False, stages="launch", repetitions=3))  # fmt: skip
    assert record.status is Status.OK, record.reason
    assert steady(record, Pass.END_TO_END, FORWARD) == [LAUNCH_S] * 3
    assert steady(record, Pass.STAGE_LAUNCH, FORWARD) == [LAUNCH_S] * 3
    assert steady(record, Pass.STAGE_LAUNCH, "forward_unprobed") == [LAUNCH_S] * 3
    for stage in STAGE_NAMES:
        assert steady(record, Pass.STAGE_LAUNCH, stage) == [TICK_S] * 3
    assert steady(record, Pass.STAGE_LAUNCH, "other") == [0] * 3
    assert record.first_forward_s == LAUNCH_S
    assert {sample.device_s for sample in record.samples} == {None}
    # Around the model's move; where the end-to-end pass and the stage pass end; before each call of the
    # stage pass; and nowhere else.
    assert Queue.made[-1].synchronised == 2 + 2 + 6
    assert (record.synchronised, record.settings["synchronised"]) == (False, "False")


def test_synchronised_is_the_default_and_is_said(run):
    record = run(measure=measure()).record
    assert (record.synchronised, record.settings["synchronised"]) == (True, "True")


def test_a_round_that_measured_nothing_is_neither(run, monkeypatch):
    monkeypatch.setattr(workload, "make_clip", lambda _: 1 / 0)
    record = run(measure=measure(synchronise=False, stages="off", gradients=True)).record
    assert record.status is Status.ERROR
    assert (record.synchronised, record.gradients) == (None, None)
    assert (record.settings["synchronised"], record.settings["gradients"]) == ("False", "True")


class Short(FakeDevice):
    """Its queue holds a frame's work and no more: the host waits to launch what has no room."""

    def work(self, device_s: float) -> None:
        super().work(device_s)
        self.clock.now_s = max(self.clock.now_s, self.idle_at_s - WORK_S)


def test_a_stage_does_not_wait_for_room_in_a_queue_that_the_call_before_has_filled(monkeypatch, run):
    record = exact(monkeypatch, run, Short, backends=["cudnn"],
                   measure=measure(synchronise=False, stages="launch", repetitions=4))  # fmt: skip
    for stage in STAGE_NAMES:
        assert steady(record, Pass.STAGE_LAUNCH, stage) == [TICK_S] * 4
    assert steady(record, Pass.STAGE_LAUNCH, "forward_unprobed") == [LAUNCH_S] * 4


class Failing(Queue):
    """Its work goes wrong, which it says when it is waited for."""

    def synchronize(self) -> None:
        super().synchronize()
        if self.idle_at_s > 0:
            raise RuntimeError("device-side assert triggered")


def test_a_device_that_fails_late_is_the_cells_error(monkeypatch, run):
    record = exact(monkeypatch, run, Failing, backends=["cudnn"],
                   measure=measure(synchronise=False, stages="off"))  # fmt: skip
    assert (record.status, record.reason) == (Status.ERROR, "RuntimeError: device-side assert triggered")
    assert record.synchronised is False
    assert steady(record, Pass.END_TO_END, FORWARD) == [LAUNCH_S] * 2


# stages: launch


def test_launch_times_beside_the_wait_for_the_device(monkeypatch, run):
    record = exact(monkeypatch, run, FakeDevice, backends=["cudnn"],
                   measure=measure(stages="launch", repetitions=3))  # fmt: skip
    assert steady(record, Pass.STAGE_LAUNCH, FORWARD) == [PLAIN_S] * 3
    assert steady(record, Pass.STAGE_LAUNCH, "forward_unprobed") == [PLAIN_S] * 3
    for stage in STAGE_NAMES:
        assert steady(record, Pass.STAGE_LAUNCH, stage) == [TICK_S] * 3
        assert steady(record, Pass.STAGE_LAUNCH, stage, "device_s") == [None] * 3
    assert steady(record, Pass.STAGE_LAUNCH, "other") == [PLAIN_S - LAUNCH_S] * 3
    assert record.stop_stage_launch is not None
    assert (record.stop_stage_sync, record.stop_stage_events) == (None, None)


def test_without_a_queue_a_launch_is_the_work(monkeypatch, run):
    record = exact(monkeypatch, run, NoQueue, measure=measure(stages="launch"))
    for stage in STAGES:
        assert steady(record, Pass.STAGE_LAUNCH, stage) == [COSTS[stage]] * 2
    assert steady(record, Pass.STAGE_LAUNCH, "other") == [0] * 2


# first_call: counted


def test_a_first_call_that_counts(monkeypatch, run):
    record = uneven(monkeypatch, run, [9000, 100], **counted(repetitions=6))
    assert steady(record, Pass.END_TO_END, FORWARD) == [9000 * TICK_S, *[100 * TICK_S] * 5]
    assert {sample.phase for sample in record.samples} == {Phase.STEADY}
    assert [item.repetition for item in record.samples if item.stage == FORWARD] == list(range(6))
    assert record.first_forward_s == 9000 * TICK_S
    assert (record.warmup_end, record.tuning_calls) == (WarmupEnd.COUNT, 1)
    assert record.measured_s == 9500 * TICK_S
    assert record.settings["first_call"] == "counted"


def test_one_call_and_no_more(run):
    ran = run(measure=counted(repetitions=1, stages="launch", memory="curve"))
    record = ran.record
    assert record.status is Status.OK, record.reason
    assert len(steady(record, Pass.END_TO_END, FORWARD)) == 1
    assert len(steady(record, Pass.STAGE_LAUNCH, FORWARD)) == 1
    assert record.tuning_calls == 0
    assert record.telemetry[0].elapsed_s < record.samples[0].start_s


def test_the_peaks_of_a_first_call_that_counts(run, monkeypatch):
    monkeypatch.setattr(backends, "device_of", lambda _: CpuAsCuda())
    record = run(backends=["cudnn"], measure=counted()).record
    assert (record.cold_peak_device_bytes, record.cold_peak_device_reserved_bytes) == (1001, 2001)


# timed: call


class Untouched(FakeDevice):
    """Before its context is made nothing may be asked of it: it would be made by the way."""

    made: ClassVar[list["Untouched"]] = []

    def __init__(self, clock: FakeClock, *, used: bool = False, **changes: Any) -> None:
        super().__init__(clock, **changes)
        self.made_context = used
        Untouched.made.append(self)

    def _used(self) -> None:
        assert self.made_context

    def synchronize(self) -> None:
        self._used()
        super().synchronize()

    def record_event(self) -> float:
        self._used()
        return super().record_event()

    def reset_peak_bytes(self) -> None:
        self._used()

    def release_cached_memory(self) -> None:
        self._used()

    @property
    def gpu(self) -> None:  # type: ignore[override]
        self._used()


class Used(Untouched):
    """Another cell of the process has had it."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock, used=True)


class Movable(FakeNetwork):
    """Takes its time on the way to a device."""

    def to(self, *args: Any, **kwargs: Any) -> "Movable":
        self._device.clock.advance(32 * TICK_S)
        return super().to(*args, **kwargs)


def as_a_script(monkeypatch: Any, run: Any, device: type[FakeDevice], **changes: Any) -> CellRecord:
    return exact(monkeypatch, run, device, lambda made: Movable(made, COSTS), backends=["cudnn"],
                 measure=counted(timed="call", repetitions=3, **changes))  # fmt: skip


def test_a_scripts_first_call_makes_the_context_and_moves_the_model(monkeypatch, run):
    record = as_a_script(monkeypatch, run, Untouched)
    assert record.status is Status.OK, record.reason
    first_s = CONTEXT_S + 32 * TICK_S + PLAIN_S
    assert steady(record, Pass.END_TO_END, CALL) == [first_s, PLAIN_S, PLAIN_S]
    # The first has no mark where it began: there was no queue yet.
    assert [item.device_s for item in record.samples] == [None, PLAIN_S, PLAIN_S]
    assert stages_of(record, Pass.END_TO_END) == {CALL}
    assert record.first_forward_s == first_s
    assert (record.context_s, record.model_to_device_s) == (None, None)
    assert record.measured_s == first_s + 2 * PLAIN_S
    assert record.settings["timed"] == "call"


def test_a_scripts_first_call_without_synchronisation(monkeypatch, run):
    record = as_a_script(monkeypatch, run, Untouched, synchronise=False)
    assert steady(record, Pass.END_TO_END, CALL) == [CONTEXT_S + 32 * TICK_S + LAUNCH_S, LAUNCH_S, LAUNCH_S]
    assert Untouched.made[-1].synchronised == 1  # where the pass ends


@pytest.mark.parametrize("device", [Used, NoQueue])
def test_on_a_device_that_was_used_before_the_model_moves_apart(monkeypatch, run, device):
    record = as_a_script(monkeypatch, run, device)
    call_s = WORK_S if device is NoQueue else PLAIN_S
    assert steady(record, Pass.END_TO_END, CALL) == [call_s] * 3
    assert record.context_s is None
    assert record.model_to_device_s == 32 * TICK_S


class Shared(CpuAsCuda):
    """Another cell of the process has had it."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts = 1


@pytest.mark.parametrize(
    ("timed", "memory", "releases"),
    [("forward", "off", [0]), ("call", "off", []), ("forward", "curve", [0, 1]), ("call", "curve", [1])],
)
def test_a_scripts_loop_finds_the_cache_as_its_last_point_left_it(monkeypatch, run, timed, memory, releases):
    device = Shared()
    monkeypatch.setattr(backends, "device_of", lambda _: device)
    record = run(backends=["cudnn"], measure=counted(timed=timed, memory=memory)).record
    assert record.status is Status.OK, record.reason
    assert device.releases == releases


def test_a_cold_call_may_be_a_scripts_too(monkeypatch, run):
    record = exact(monkeypatch, run, Untouched, lambda made: Movable(made, COSTS), backends=["cudnn"],
                   measure=measure(timed="call", memory="curve"))  # fmt: skip
    assert record.status is Status.OK, record.reason
    phases = [(item.phase, item.wall_s) for item in record.samples if item.stage == CALL]
    assert phases[0] == (Phase.COLD, CONTEXT_S + 32 * TICK_S + PLAIN_S)
    assert {seconds for _, seconds in phases[1:]} == {PLAIN_S}
    assert stages_of(record, Pass.STAGE_EVENTS) == {*STAGE_NAMES, "other", FORWARD, "forward_unprobed"}
    assert record.telemetry_notes == ()


def test_the_output_of_a_scripts_call_is_checked(run):
    one_thread = {"name": "one", "from": "cpu", "threads": 1}
    record = run(backends=[one_thread], measure=counted(timed="call", stages="launch")).record
    assert record.output_check is OutputCheck.COMPARED
    assert record.output_psnr_db > 100
    assert stages_of(record, Pass.END_TO_END) == {CALL}


# end_to_end: false


def alone(**changes: Any) -> dict[str, Any]:
    return counted(**({"end_to_end": False, "stages": "launch", "memory": "off"} | changes))


def test_a_stage_pass_makes_the_first_calls_and_no_plain_ones(monkeypatch, run):
    ticks = [4000, 10, 20]
    record = uneven(monkeypatch, run, ticks, **alone(repetitions=3))
    assert record.status is Status.OK, record.reason
    assert steady(record, Pass.STAGE_LAUNCH, "propagation") == [n * TICK_S for n in ticks]
    assert steady(record, Pass.STAGE_LAUNCH, FORWARD) == [n * TICK_S for n in ticks]
    assert {(item.pass_, item.stage) for item in record.samples} == {
        (Pass.STAGE_LAUNCH, stage) for stage in ("propagation", "other", FORWARD)
    }
    assert record.measured_s == sum(ticks) * TICK_S
    assert record.first_forward_s == ticks[0] * TICK_S
    assert (record.warmup_end, record.tuning_calls, record.page_faults_per_forward) == (None, None, None)
    assert (record.stop_end_to_end, record.stop_stage_launch) == (None, Stop.COUNT)
    assert (record.synchronised, record.gradients) == (True, False)
    assert record.settings["end_to_end"] == "False"
    assert record.output_check is OutputCheck.REFERENCE


def test_the_rule_is_asked_about_the_seconds_of_probed_calls(monkeypatch, run):
    # Ratios of pairs would all be one, and seven of them enough; these seconds scatter until none is left.
    rule = {"min": 7, "max": 12, "target": 0.01, "budget_s": 100.0}
    record = uneven(monkeypatch, run, [100, 200, 100, 200, 100, 200, 100, 200], **alone(repetitions=rule))
    assert len(steady(record, Pass.STAGE_LAUNCH, FORWARD)) == 12
    assert record.stop_stage_launch is Stop.MAX
    spent = rule | {"budget_s": 900 * TICK_S}
    record = uneven(monkeypatch, run, [100, 200], **alone(repetitions=spent))
    assert len(steady(record, Pass.STAGE_LAUNCH, FORWARD)) == 7
    assert record.stop_stage_launch is Stop.BUDGET


@pytest.mark.parametrize("made_before", [True, False])
def test_the_context_and_the_model_come_before_a_stage_pass(monkeypatch, run, made_before):
    record = exact(monkeypatch, run, Used if made_before else Untouched,
                   lambda made: Movable(made, COSTS), backends=["cudnn"],
                   measure=alone(timed="call", synchronise=False, repetitions=3))  # fmt: skip
    assert record.status is Status.OK, record.reason
    assert steady(record, Pass.STAGE_LAUNCH, FORWARD) == [LAUNCH_S] * 3
    assert record.context_s == (None if made_before else CONTEXT_S)
    assert record.model_to_device_s == 32 * TICK_S
    assert record.first_forward_s == LAUNCH_S
    assert record.cold_peak_device_bytes == 1000
    # Around the model's way; before each call; at the end.
    assert Untouched.made[-1].synchronised == 2 + 3 + 1


@pytest.mark.parametrize("memory", ["curve", "lines"])
def test_a_memory_pass_makes_the_first_call(monkeypatch, reference, memory):
    network = Recorded()
    monkeypatch.setattr(workload, "build_model", lambda _: network)
    ran = Ran(experiment(measure=alone(stages="off", memory=memory, gradients=True)), reference)
    record = ran.record
    assert record.status is Status.OK, record.reason
    assert network.kept == [0] * (1 + (memory == "lines"))
    assert Token.alive == 0
    assert record.memory
    assert bool(record.memory_lines) is (memory == "lines")
    assert (record.samples, record.first_forward_s) == ((), None)
    assert (record.synchronised, record.gradients) == (None, True)
    assert record.output_check is OutputCheck.REFERENCE
    assert output_check.kept(reference) is not None
    assert [message.total for message in ran.progress] == [len(network.kept)] * len(ran.progress)


@pytest.mark.parametrize("changes", [{}, {"stages": "off", "memory": "lines"}, {"memory": "curve"}])
def test_the_output_of_some_call_is_checked(run, changes):
    one_thread = {"name": "one", "from": "cpu", "threads": 1}
    record = run(backends=[one_thread], measure=alone(**changes)).record
    assert record.output_check is OutputCheck.COMPARED
    assert record.output_psnr_db > 100


def test_two_stage_passes_without_plain_calls(monkeypatch, run):
    device = CpuAsCuda()
    monkeypatch.setattr(backends, "device_of", lambda _: device)
    ran = run(backends=["cudnn"], measure=alone(stages="both", memory="curve", repetitions=2))
    assert ran.record.status is Status.OK, ran.record.reason
    for pass_ in (Pass.STAGE_SYNC, Pass.STAGE_EVENTS):
        assert len(steady(ran.record, pass_, FORWARD)) == 2
        assert steady(ran.record, pass_, "forward_unprobed") == []
    assert ran.record.first_forward_s == steady(ran.record, Pass.STAGE_SYNC, FORWARD)[0]
    assert ran.progress[0].total == 2 * 2 + 1
    assert ran.record.telemetry[0].elapsed_s < ran.record.samples[0].start_s


@pytest.mark.parametrize("preset", ["stages", "memory"])
def test_the_papers_script_for_stages_or_memory_did_nothing_before(preset):
    one, _ = load(presets.find(f"paper/{preset}"), wanted=["faithful"])
    assert not one.measure.end_to_end
    for cell in plan.cells(one):
        assert expected_calls(one.measure, cell.backend).total == {"stages": 3, "memory": 2}[preset]


# gradients


class Token:
    """Alive as long as what autograd kept of a call."""

    alive = 0

    def __init__(self) -> None:
        Token.alive += 1
        weakref.finalize(self, Token.gone)

    @staticmethod
    def gone() -> None:
        Token.alive -= 1


class Keeping(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, lrs: Tensor, _weight: Tensor) -> Tensor:
        ctx.token = Token()
        return lrs.repeat_interleave(4, 3).repeat_interleave(4, 4)


class Recorded(nn.Module):
    """Notes how many earlier calls are still kept when one begins."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.kept: list[int] = []

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        self.kept.append(Token.alive)
        with probe(Stage.PROPAGATION):
            output: Tensor = Keeping.apply(lrs, self.weight)
        return output


@pytest.mark.parametrize("timed", ["forward", "call"])
@pytest.mark.parametrize("device", [backends.CpuDevice, CpuAsCuda])
def test_one_recorded_call_is_alive_at_a_time(monkeypatch, run, device, timed):
    network = Recorded()
    made = device()
    monkeypatch.setattr(backends, "device_of", lambda _: made)
    monkeypatch.setattr(workload, "build_model", lambda _: network)
    how = measure(gradients=True, timed=timed, memory="lines")
    record = run(backends=["cudnn"], measure=how).record
    assert record.status is Status.OK, record.reason
    assert record.gradients is True
    on_events = made.has_events
    # cold, warm-up and two; pairs of each stage pass; the memory curve, by line, and the reference
    assert network.kept == [0] * (4 + 4 * (1 + on_events) + 2 + 1)
    assert Token.alive == 0


def test_gradients_that_did_not_take_are_an_error(monkeypatch, run):
    record = exact(monkeypatch, run, NoQueue, measure=measure(gradients=True))
    assert record.status is Status.ERROR
    assert record.reason == "RuntimeError: gradients is False where True was set"
    assert record.gradients is None


def test_recording_changes_no_output_and_keeps_what_is_estimated(tmp_path):
    axes = {"frames": [4], "size": [[48, 48]]}
    plain, kept = (
        Ran(
            experiment(grid=axes, measure=counted(memory="curve", gradients=gradients, repetitions=1)),
            tmp_path / name,
        ).record
        for gradients, name in ((False, "plain"), (True, "kept"))
    )
    assert (plain.gradients, kept.gradients) == (False, True)
    assert kept.settings["gradients"] == "True"
    assert torch.equal(output_check.kept(tmp_path / "plain"), output_check.kept(tmp_path / "kept"))
    with_, without = (
        estimate_peak_bytes(
            mid_channels=8, num_blocks=1, batch=1, frames=4, height=48, width=48, gradients=on
        )
        for on in (True, False)
    )
    grown = kept.host_growth_bytes - plain.host_growth_bytes
    # Resident memory grows by 1.2 to 1.5 of what tensors take, the allocator's share; by less where earlier
    # tests have left room in its arenas.
    assert 0.5 < grown / (with_ - without) < 2


def test_the_reference_is_made_without_gradients(run, monkeypatch):
    asked = []
    forward_of = workload.forward_of

    def noting(network: nn.Module, *, gradients: bool = False, **others: Any) -> Any:
        asked.append(gradients)
        return forward_of(network, gradients=gradients, **others)

    monkeypatch.setattr(workload, "forward_of", noting)
    one_thread = {"name": "one", "from": "cpu", "threads": 1}
    record = run(backends=[one_thread], measure=measure(gradients=True)).record
    assert record.output_check is OutputCheck.COMPARED
    assert asked == [True, False]


# host_memory


@pytest.mark.parametrize("timed", ["forward", "call"])
def test_page_locked_memory(monkeypatch, run, timed):
    device = CpuAsCuda()
    monkeypatch.setattr(backends, "device_of", lambda _: device)
    how = measure(host_memory="pinned", timed=timed, stages="off")
    record = run(backends=["cudnn"], measure=how).record
    assert record.status is Status.OK, record.reason
    # The clip, and where outputs land if they are brought back in the pass.
    assert device.locked == [(1, 1, 3, 16, 16), *[(1, 1, 3, 64, 64)] * (timed == "forward")]
    assert record.output_psnr_db > 100
    # Locking pages takes a context, which is therefore none of a call's.
    assert record.context_s is not None
    assert record.model_to_device_s is not None


def test_page_locked_memory_means_nothing_on_a_cpu(run, monkeypatch):
    device = backends.CpuDevice()
    monkeypatch.setattr(device, "page_locked", lambda _: 1 / 0)
    monkeypatch.setattr(backends, "device_of", lambda _: device)
    record = run(measure=measure(host_memory="pinned")).record
    assert record.status is Status.OK, record.reason
    assert record.settings["host_memory"] == "pageable"


# cudnn_warp


def switch() -> bool:
    return bool(torch.backends.cudnn.enabled)


@pytest.mark.parametrize("on_cudnn", [True, False])
def test_cudnn_is_off_for_the_warp_of_features_alone(monkeypatch, on_cudnn):
    seen: dict[str, set[bool]] = {"features": set(), "flow": set(), "convolutions": set()}

    def spied(kind: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def spy(*args: Any, **kwargs: Any) -> Tensor:
            seen[kind].add(switch())
            return function(*args, **kwargs)

        return spy

    monkeypatch.setattr(basicvsr, "warp", spied("features", basicvsr.warp))
    monkeypatch.setattr(spynet, "warp", spied("flow", spynet.warp))
    backend = replace(BUILT_IN["cudnn"], cudnn_warp=on_cudnn)
    before = switch()
    with backends.applied(backend) as settings:
        network = workload.build_model(Model(mid_channels=8, num_blocks=1))
        network = workload.prepare(network, backend, torch.device("cpu"))
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_pre_hook(lambda *_: seen["convolutions"].add(switch()))
        workload.forward_of(network)(torch.rand(1, 3, 3, 16, 16), no_probe)
        assert switch()
    assert seen == {"features": {on_cudnn}, "flow": {True}, "convolutions": {True}}
    assert settings["cudnn.warp"] == str(on_cudnn)
    assert switch() == before


def test_cudnn_is_back_after_a_warp_that_fails():
    module = nn.Linear(1, 1)
    backends.keep_from_cudnn(module)
    with backends.applied(BUILT_IN["cudnn"]):
        with pytest.raises(RuntimeError):
            module(torch.zeros(2, 2))
        assert switch()


def test_without_cudnn_there_is_none_in_the_warp():
    with backends.applied(BUILT_IN["cuda"]) as settings:
        assert settings["cudnn.warp"] == "False"


# What a record says of its process.


@pytest.mark.parametrize("first", [True, False])
def test_whether_a_process_was_used_before(reference, first):
    task = replace(task_of(experiment(), reference), first_in_process=first)
    record = worker.run(task, lambda _: None, lambda: None)
    assert record.first_in_process is first
    assert (record.import_torch_s is not None) is first
