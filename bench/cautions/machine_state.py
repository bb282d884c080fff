"""What the machine did while a round's steady samples were taken, from the readings around them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.cautions.cautions_machine import around_steady
from bench.grid.spans import TOTAL
from bench.machine.telemetry import others_cores
from bench.records import CellRecord, Pass, Phase, TelemetryReading

MIN_ENERGY_S: Final = 1.0
"""Energy counters of GPUs are brought up to date some ten times a second: over a shorter time the figure
would be their rounding."""


@dataclass(frozen=True, kw_only=True)
class MachineState:
    """A round's figures of the machine; None where it does not say."""

    others_cores: float | None = None  # that other processes kept busy, on average
    steal_share: float | None = None  # of the time of the cores allowed
    cpu_mhz: float | None = None  # median
    sm_clock_mhz: float | None = None  # median
    power_w: float | None = None  # median
    temperature_c: float | None = None  # highest
    energy_per_frame_j: float | None = None  # of the whole device, idle power included


def machine_state(record: CellRecord) -> MachineState:
    """Of the time from before the first steady call of any pass to after the last; energy of the end-to-end
    pass alone."""
    readings = around_steady(record)
    return MachineState(
        others_cores=others_cores(readings),
        steal_share=_steal_share(record, readings),
        cpu_mhz=_median([item.cpu_mhz for item in readings]),
        sm_clock_mhz=_median([item.sm_clock_mhz for item in readings]),
        power_w=_median([item.power_w for item in readings]),
        temperature_c=max((c for item in readings if (c := item.temperature_c) is not None), default=None),
        energy_per_frame_j=_energy_per_frame_j(record),
    )


def _steal_share(record: CellRecord, readings: Sequence[TelemetryReading]) -> float | None:
    rate = _rate([(item.elapsed_s, item.steal_s) for item in readings if item.steal_s is not None])
    return None if rate is None or not record.affinity_cores else rate / record.affinity_cores


def _energy_per_frame_j(record: CellRecord) -> float | None:
    """The energy of the end-to-end pass over its frames; the gaps between its calls count too. None where
    clips were streamed: more went through than its samples tell."""
    if record.settings.get("transfer") == "overlapped":
        return None
    calls = [
        item
        for item in record.samples
        if (item.pass_, item.phase, item.stage) == (Pass.END_TO_END, Phase.STEADY, TOTAL)
    ]
    known = [(item.elapsed_s, item.energy_j) for item in record.telemetry if item.energy_j is not None]
    if not calls:
        return None
    begin, end = calls[0].start_s, calls[-1].start_s + calls[-1].wall_s
    before = [reading for reading in known if reading[0] <= begin]
    after = [reading for reading in known if reading[0] >= end]
    if not before or not after or end - begin < MIN_ENERGY_S:
        return None
    return (after[0][1] - before[-1][1]) / (len(calls) * record.batch * record.frames)


def _rate(counter: Sequence[tuple[float, float]]) -> float | None:
    """How fast a counter rose between the first and the last of (seconds, count)."""
    if len(counter) < 2 or counter[-1][0] <= counter[0][0]:
        return None
    return (counter[-1][1] - counter[0][1]) / (counter[-1][0] - counter[0][0])


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
