"""One round of one cell, in a process of its own, by the protocol in docs/measurement.md.

Forked from a server process that has imported torch (bench.server). Talks to the parent through a
connection: a Task comes in; Progress, then Measured, then CellRecord go out.
"""

import gc
import resource
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from torch import Tensor, nn

from bench import backends, memory, output_check, workload
from bench.messages import Measured, Message, Progress, Task, blank_record
from bench.records import (
    DEVICE_TO_HOST,
    FORWARD,
    FORWARD_UNPROBED,
    HOST_TO_DEVICE,
    OTHER,
    TOTAL,
    CellRecord,
    OutputCheck,
    Pass,
    Phase,
    Sample,
    Status,
)
from bench.timing import EventProbe, Probe, SyncProbe, Timed, timed, timed_stages
from vsr_model.registry import find_model
from vsr_model.stages import STAGES, no_probe

Report = Callable[[Message], None]


def main(connection: Connection) -> None:
    """Serve tasks until the parent hangs up."""
    # What the server imported is never freed: keep the collector from walking it, and from running at
    # all while something is timed, as timeit does.
    gc.freeze()
    gc.disable()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        gc.collect()  # of what an earlier task left
        connection.send(run(task, connection.send))


def run(task: Task, report: Report) -> CellRecord:
    """Measure the round. Whatever the cell raises ends as its record's status and reason."""
    draft = _Draft(task)
    try:
        _Round(task, draft, report).run()
    except Exception as error:
        status = Status.OOM if backends.is_out_of_memory(error) else Status.ERROR
        return draft.record(status, _in_words(error))
    return draft.record(draft.status, draft.reason)


@dataclass
class _Draft:
    """The record as far as it has been filled: a failure keeps what came before it."""

    task: Task
    status: Status = Status.OK
    reason: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    measured_s: float = 0.0

    def __post_init__(self) -> None:
        cell = self.task.job.cell
        entry = find_model(self.task.model.name)
        parameters = self.task.model.parameters
        flops = entry.stage_flops(
            parameters, batch=cell.batch, frames=cell.frames, height=cell.height, width=cell.width
        )
        self.values |= {f"flops_{stage}": flops[stage] for stage in STAGES}
        self.values["started_at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        if self.task.first_in_process:
            self.values["import_torch_s"] = self.task.import_torch_s

    def record(self, status: Status, reason: str) -> CellRecord:
        return blank_record(self.task.job, status, reason).model_copy(
            update={**self.values, "samples": tuple(self.samples), "measured_s": self.measured_s}
        )


class _Round:
    """The passes over one cell. Each leaves its figures in the draft."""

    def __init__(self, task: Task, draft: _Draft, report: Report) -> None:
        self._task = task
        self._draft = draft
        self._report = report
        self._cell = task.job.cell
        self._measure = task.measure
        self._began = perf_counter()
        self._device = backends.device_of(self._cell.backend)
        self._done = 0
        self._faults = 0  # of the last forward
        passes = self._measure.repetitions * (1 + 2 * len(self._probes()))
        memory_calls = {"off": 0, "curve": 1, "lines": 2}[self._measure.memory]
        self._total = 1 + self._measure.warmup + passes + memory_calls

    def run(self) -> None:
        self._say("starting")
        with backends.applied(self._cell.backend) as settings:
            self._draft.values["settings"] = {**settings, "gc": "off while timing"}
            self._draft.values["threads"] = backends.thread_count()
            # A process that other cells share has its context, and their leftovers, already.
            if self._device.has_events and self._task.first_in_process:
                _, context = timed(self._device.create_context, device=backends.CpuDevice())
                self._keep("context_s", context)
            self._device.release_cached_memory()
            clip = self._set_up()
            output = self._end_to_end_pass(clip)
            on_device = clip.to(self._device.torch_device)
            for pass_, make_probe in self._probes():
                self._stage_pass(pass_, make_probe, on_device)
            if self._measure.memory != "off":
                self._memory_pass(on_device)
            # The network may be needed again as the reference; the device's copies are not.
            del on_device, self._network, self._forward
        self._check_output(clip, output, self._task.reference)

    def _set_up(self) -> Tensor:
        begin = perf_counter()
        self._say("building the model")
        network = workload.build_model(self._task.model)
        self._draft.values["parameters"] = sum(item.numel() for item in network.parameters())
        clip = workload.make_clip(self._cell)
        self._draft.values["setup_s"] = perf_counter() - begin
        backend, target = self._cell.backend, self._device.torch_device
        self._network, moved = timed(lambda: workload.prepare(network, backend, target), device=self._device)
        self._keep("model_to_device_s", moved)
        self._forward = workload.forward_of(self._network)
        return clip

    def _end_to_end_pass(self, clip: Tensor) -> Tensor:
        self._device.reset_peak_bytes()
        self._say("cold call")
        _, cold = self._end_to_end(clip, Phase.COLD, 0)
        self._draft.values["first_forward_s"] = cold.wall_s
        for repetition in range(self._measure.warmup):
            self._say(f"warm-up {repetition + 1}/{self._measure.warmup}")
            self._end_to_end(clip, Phase.WARMUP, repetition)
        if peaks := self._device.peak_bytes():
            self._draft.values["cold_peak_device_bytes"] = peaks[0]
            self._draft.values["cold_peak_device_reserved_bytes"] = peaks[1]
        faults = []
        output = None
        for repetition in range(self._measure.repetitions):
            self._say(f"end to end {repetition + 1}/{self._measure.repetitions}")
            output = None  # not two outputs at once
            output, _ = self._end_to_end(clip, Phase.STEADY, repetition)
            faults.append(self._faults)
        self._draft.values["page_faults_per_forward"] = median(faults)
        assert output is not None  # there is at least one repetition
        return output

    def _end_to_end(self, clip: Tensor, phase: Phase, repetition: int) -> tuple[Tensor, Timed]:
        """One call with nothing inside the network instrumented; the transfers where there are any."""
        target = self._device.torch_device
        spans: dict[str, Timed] = {}
        if self._device.has_events:
            on_device, spans[HOST_TO_DEVICE] = timed(lambda: clip.to(target), device=self._device)
            before = _minor_faults()
            result, forward = timed(lambda: self._forward(on_device, no_probe), device=self._device)
            self._faults = _minor_faults() - before
            output, spans[DEVICE_TO_HOST] = timed(lambda: result.to("cpu"), device=self._device)
        else:
            before = _minor_faults()
            output, forward = timed(lambda: self._forward(clip, no_probe), device=self._device)
            self._faults = _minor_faults() - before
        spans[FORWARD] = forward
        first, last = min(spans.values(), key=_start), max(spans.values(), key=_start)
        spans[TOTAL] = Timed(start_s=first.start_s, wall_s=last.start_s + last.wall_s - first.start_s)
        for stage, span in spans.items():
            self._sample(Pass.END_TO_END, phase, repetition, stage, span)
        self._count(spans[TOTAL].wall_s)
        return output, forward

    def _probes(self) -> list[tuple[Pass, type[Probe]]]:
        """The stage passes that the measure asks for and the device can do."""
        wanted = self._measure.stages
        probes: list[tuple[Pass, type[Probe]]] = []
        if wanted in ("sync", "both"):
            probes.append((Pass.STAGE_SYNC, SyncProbe))
        if wanted in ("events", "both") and self._device.has_events:
            probes.append((Pass.STAGE_EVENTS, EventProbe))
        return probes

    def _stage_pass(self, pass_: Pass, make_probe: type[Probe], lrs: Tensor) -> None:
        """Probed calls, each beside a plain one; which goes first alternates, so that drift hits both."""
        for repetition in range(self._measure.repetitions):
            self._say(f"stages ({pass_.removeprefix('stage_')}) {repetition + 1}/{self._measure.repetitions}")
            calls = [self._plain_call, self._probed_call]
            for call in calls if repetition % 2 == 0 else reversed(calls):
                call(pass_, make_probe, repetition, lrs)

    def _plain_call(self, pass_: Pass, _probe: type[Probe], repetition: int, lrs: Tensor) -> None:
        _, span = timed(lambda: self._forward(lrs, no_probe), device=self._device)
        self._sample(pass_, Phase.STEADY, repetition, FORWARD_UNPROBED, span)
        self._count(span.wall_s)

    def _probed_call(self, pass_: Pass, make_probe: type[Probe], repetition: int, lrs: Tensor) -> None:
        probe = make_probe(self._device, perf_counter)
        span, stages = timed_stages(
            lambda listening: self._forward(lrs, listening), probe, device=self._device
        )
        self._sample(pass_, Phase.STEADY, repetition, FORWARD, span)
        for stage, start in stages.start_s.items():
            of_stage = Timed(start_s=start, wall_s=stages.wall_s[stage], device_s=stages.device_s.get(stage))
            self._sample(pass_, Phase.STEADY, repetition, stage, of_stage)
        rest = Timed(start_s=span.start_s, wall_s=stages.other_wall_s, device_s=stages.other_device_s)
        self._sample(pass_, Phase.STEADY, repetition, OTHER, rest)
        self._count(span.wall_s)

    def _memory_pass(self, lrs: Tensor) -> None:
        self._say("memory")
        # What earlier passes left in the device's cache, autotuning's workspaces too, is not this call's.
        self._device.release_cached_memory()
        self._device.reset_peak_bytes()
        profile = memory.curve(lambda: self._profiled_call(lrs), device=self._device)
        self._draft.values |= {
            "host_before_bytes": profile.before_bytes,
            "peak_host_bytes": profile.peak_bytes,
            "host_growth_bytes": max(0, profile.peak_bytes - profile.before_bytes),
            "memory": profile.points,
        }
        if peaks := self._device.peak_bytes():
            self._draft.values["peak_device_bytes"], self._draft.values["peak_device_reserved_bytes"] = peaks
        if self._measure.memory == "lines":
            self._draft.values["memory_lines"] = memory.by_line(
                type(self._network).forward, lambda: self._profiled_call(lrs)
            )

    def _profiled_call(self, lrs: Tensor) -> None:
        """A call under a profiler. The call alone counts as measured; what profiling costs is the tool's."""
        begin = perf_counter()
        self._forward(lrs, no_probe)
        self._device.synchronize()
        self._count(perf_counter() - begin)

    def _check_output(self, clip: Tensor, output: Tensor, reference: Path) -> None:
        backend = self._cell.backend
        if backend.is_reference:
            self._draft.values["output_check"] = OutputCheck.REFERENCE
            if not reference.exists():
                self._keep_reference(output, reference)
            return
        expected = output_check.kept(reference)
        if expected is None:
            self._say("CPU float32 reference")
            self._draft.values["output_check"] = OutputCheck.NOT_DONE
            self._report(Measured(record=self._draft.record(Status.OK, "")))
            begin = perf_counter()
            try:
                expected = self._make_reference(clip)
                self._keep_reference(expected, reference)
            except Exception as failure:  # as where the process dies over it: what was measured stands
                self._warn(f"output not checked: {_in_words(failure)}")
                return
            finally:
                self._draft.values["reference_s"] = perf_counter() - begin
        error = output_check.compare(output.float(), expected)
        self._draft.values["output_check"] = OutputCheck.COMPARED
        self._draft.values["output_max_abs_error"] = error.max_abs_error
        self._draft.values["output_psnr_db"] = error.psnr_db
        if not error.psnr_db >= backend.min_psnr_db:  # NaN too
            self._draft.status = Status.INACCURATE
            self._draft.reason = (
                f"{error.psnr_db:.1f} dB against the CPU float32 result; "
                f"{backend.name} needs {backend.min_psnr_db:g} dB"
            )

    def _make_reference(self, clip: Tensor) -> Tensor:
        with backends.applied(backends.CPU_REFERENCE):
            network: nn.Module = workload.build_model(self._task.model)
            return workload.forward_of(network)(clip, no_probe)

    def _keep_reference(self, output: Tensor, reference: Path) -> None:
        try:
            output_check.keep(output, reference)
        except OSError as error:  # others make it anew
            self._warn(f"the CPU float32 result was not kept: {_in_words(error)}")

    def _warn(self, warning: str) -> None:
        self._draft.values["warnings"] = (*self._draft.values.get("warnings", ()), warning)

    def _sample(self, pass_: Pass, phase: Phase, repetition: int, stage: str, span: Timed) -> None:
        self._draft.samples.append(
            Sample(
                pass_=pass_,
                phase=phase,
                repetition=repetition,
                stage=stage,
                start_s=span.start_s - self._began,
                wall_s=span.wall_s,
                device_s=span.device_s,
            )
        )

    def _keep(self, name: str, span: Timed) -> None:
        self._draft.values[name] = span.wall_s
        self._draft.measured_s += span.wall_s

    def _count(self, measured_s: float) -> None:
        self._draft.measured_s += measured_s
        self._done += 1

    def _say(self, doing: str) -> None:
        with suppress(BrokenPipeError):  # a parent that has gone ends the worker elsewhere
            self._report(Progress(doing=doing, done=self._done, total=self._total))


def _in_words(error: Exception) -> str:
    """The exception's type and the first line of what it says."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


def _start(span: Timed) -> float:
    return span.start_s


def _minor_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
