"""The course paper's way of measuring as one script, whose faults (bench.paper.experiments) are switches.

A worker like bench.measure.worker, to which the parent speaks the same way: what it leaves are ordinary
records. The faults are on purpose; measure anything else with `vsr-bench run`.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any, Final

import torch
from torch import Tensor, nn

from bench.grid.spans import FORWARD, OTHER
from bench.machine import host_memory
from bench.measure import backends, clips, memory, networks, workload
from bench.measure.draft import Draft, error_line
from bench.measure.output_check import ReferenceCheck
from bench.measure.timing import Timed
from bench.messages import Progress, Ready, Task
from bench.paper.experiments import Fault, text_of
from bench.records import CellRecord, Pass, Phase, Status, WarmupEnd
from bench.stats.steady import tuning_calls
from bench.stats.stopping import Stop
from bench.units import BYTES, with_unit
from vsr_model.stages import StageProbe, no_probe

KEPT_BYTES: Final = 54 * 1024
"""That a forward on a CPU adds per frame and input pixel where autograd records it, as measured."""


def main(connection: Connection) -> None:
    """Measure cells, one after another in this process, until the parent hangs up."""
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(record_of(task, connection))


def record_of(task: Task, connection: Connection) -> CellRecord:
    """Return one cell's record, whatever becomes of it."""
    draft = Draft(task, origin_s=perf_counter())
    try:
        Script(task, draft, connection).run()
    except Exception as error:
        status = Status.OOM if backends.is_out_of_memory(error) else Status.ERROR
        return draft.record(status, error_line(error))
    return draft.record(draft.status, draft.reason)


class Script:
    """Measures one cell."""

    def __init__(self, task: Task, draft: Draft, connection: Connection) -> None:
        assert isinstance(task.method, set | frozenset)
        self.faults, self.measure, self.cell = task.method, task.measure, task.job.cell
        self.waits = Fault.UNSYNCHRONISED not in self.faults
        self.draft, self.values, self.connection = draft, draft.values, connection
        self.device = backends.device_of(self.cell.backend)
        self.network: nn.Module | None = None  # on the device
        self.output: Tensor | None = None

    def run(self) -> None:
        with backends.applied(self.cell.backend) as settings:
            self.values["settings"] = {**settings, "method": text_of(self.faults)}
            self.values["threads"] = backends.thread_count()
            if self.lacks_memory():
                return
            self.model = networks.build(self.cell.model)
            self.clip = clips.make_clip(self.cell, self.model.facts)
            self.values |= networks.described(self.model, self.cell)
            self.connection.send(Ready())
            self.connection.recv()
            if self.measure.memory != "off":
                self.profile_memory()
            else:
                self.time_calls(staged=self.measure.stages != "off")
            self.device.synchronize()
            assert self.output is not None
            output = self.output.detach().to("cpu")
            self.network = self.output = None
        ReferenceCheck(self.draft, self.connection.send, self.say)(self.clip, output)

    def time_calls(self, *, staged: bool) -> None:
        """Read a clock before and after each call, and each stage where those are timed."""
        pass_ = Pass.STAGE_SYNC if staged else Pass.END_TO_END
        all_in_timer = Fault.ALL_IN_TIMER in self.faults and not staged
        if not all_in_timer or self.device.has_context():
            self.set_up()
        on_device = None if all_in_timer else self.clip.to(self.device.torch_device)
        walls = []
        for phase, repetition in self.calls():
            self.output = None  # and what autograd kept of its call
            clock = StageClock(self.device if self.waits else None)
            if staged:
                self.device.synchronize()  # a queue that is full would have the launching wait
            begin = perf_counter()
            if self.network is None:
                self.set_up()
            lrs = self.clip.to(self.device.torch_device) if on_device is None else on_device
            self.output = self.forward(lrs, clock if staged else no_probe)
            if self.waits:
                self.device.synchronize()
            walls.append(perf_counter() - begin)
            self.keep(pass_, phase, repetition, FORWARD, begin, walls[-1])
            for stage, seconds in clock.took.items():
                self.keep(pass_, phase, repetition, stage, clock.began[stage], seconds)
            if staged:
                self.keep(pass_, phase, repetition, OTHER, begin, walls[-1] - sum(clock.took.values()))
        self.values[f"stop_{pass_}"] = Stop.COUNT
        if not staged:
            self.values["tuning_calls"] = tuning_calls(walls)

    def profile_memory(self) -> None:
        """Run memory_profiler beside one call, and then through the lines of another."""
        self.set_up()
        lrs = self.clip.to(self.device.torch_device)

        def call() -> None:
            self.say("memory")
            self.output = None
            begin = perf_counter()
            self.output = self.forward(lrs)
            self.device.synchronize()
            self.draft.measured_s += perf_counter() - begin

        if Fault.FIRST_CALL_COUNTS not in self.faults:
            call()
            self.output = None
        self.values |= memory.curve(call, device=self.device)
        if self.measure.memory == "lines":
            self.output = None
            self.values["memory_lines"] = memory.by_line(type(self.model).forward, call)

    def set_up(self) -> None:
        """Make the context, and bring the model to the device."""
        self.device.create_context()
        self.network = workload.prepare(self.model, self.cell.backend, self.device.torch_device)
        if Fault.WARP_OFF_CUDNN in self.faults:
            # Its call is the warp of features, and nothing else; flow is estimated by another method.
            keep_from_cudnn(self.network.get_submodule("alignment"))

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        assert self.network is not None
        with torch.enable_grad() if Fault.GRADIENTS in self.faults else torch.inference_mode():
            output: Tensor = self.network(lrs, probe)
        return output

    def calls(self) -> Iterator[tuple[Phase, int]]:
        """Yield the calls to be made, and for what each counts."""
        if Fault.FIRST_CALL_COUNTS not in self.faults:
            assert self.measure.warmup != "auto"
            yield Phase.COLD, 0
            yield from ((Phase.WARMUP, number) for number in range(self.measure.warmup))
        self.values["warmup_end"] = WarmupEnd.COUNT
        yield from ((Phase.STEADY, number) for number in range(self.measure.repetitions.max))

    def keep(
        self, pass_: Pass, phase: Phase, repetition: int, stage: str, begin: float, seconds: float
    ) -> None:
        self.draft.sample(pass_, phase, repetition, stage, Timed(start_s=begin, wall_s=seconds))
        if stage == FORWARD:
            self.values.setdefault("first_forward_s", seconds)
            self.draft.count(seconds)
            self.say(f"call {self.draft.calls}")

    def say(self, doing: str) -> None:
        calls = self.draft.calls
        total = max(calls, self.measure.repetitions.max)
        self.connection.send(Progress(doing=doing, done=calls, total=total))

    def lacks_memory(self) -> bool:
        """Skip the cell where the host has too little for what autograd keeps; return whether it is."""
        cell, free = self.cell, host_memory.available_bytes()
        need = KEPT_BYTES * cell.batch * cell.frames * cell.height * cell.width
        if Fault.GRADIENTS not in self.faults or cell.backend.is_cuda or need <= free:
            return False
        self.draft.status = Status.SKIPPED
        self.draft.reason = (
            f"too large for this machine now: autograd keeps about {with_unit(need, BYTES)} of a call, and "
            f"{with_unit(free, BYTES)} of host memory is free"
        )
        return True


class StageClock:
    """Adds up each stage's seconds: a probe for the network. It waits for the device, if it is given one."""

    def __init__(self, device: backends.Device | None) -> None:
        self.device = device
        self.began: dict[str, float] = {}
        self.took: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str, /) -> Iterator[None]:
        if self.device is not None:
            self.device.synchronize()
        begin = perf_counter()
        self.began.setdefault(stage, begin)
        yield
        if self.device is not None:
            self.device.synchronize()
        self.took[stage] += perf_counter() - begin


def keep_from_cudnn(module: nn.Module) -> None:
    """Switch cuDNN off while the module is called, and back afterwards, whatever the call raises."""
    switch: Any = torch.backends.cudnn
    before: list[bool] = []

    def off(*_: object) -> None:
        before.append(switch.enabled)
        switch.enabled = False

    def back(*_: object) -> None:
        switch.enabled = before.pop()

    module.register_forward_pre_hook(off)
    module.register_forward_hook(back, always_call=True)
