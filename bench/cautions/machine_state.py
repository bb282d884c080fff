"""Summarise the machine's state during a round's steady samples, from the readings around them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.grid.spans import TOTAL
from bench.machine.telemetry import growth, others_cores
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
    """Return the figures from before the first steady call of any pass to after the last; energy is of the
    end-to-end pass alone."""
    readings = around_steady(record)
    stolen, cores = growth(readings, "steal_s"), record.affinity_cores

    def levels(name: str) -> list[float]:
        return [value for item in readings if (value := getattr(item, name)) is not None]

    def middle(name: str) -> float | None:
        return median(levels(name)) if levels(name) else None

    return MachineState(
        others_cores=others_cores(readings),
        steal_share=stolen[1] / stolen[0] / cores if stolen and cores else None,
        cpu_mhz=middle("cpu_mhz"),
        sm_clock_mhz=middle("sm_clock_mhz"),
        power_w=middle("power_w"),
        temperature_c=max(levels("temperature_c"), default=None),
        energy_per_frame_j=_energy_per_frame_j(record),
    )


def around_steady(record: CellRecord) -> Sequence[TelemetryReading]:
    """Return the readings from the last before the first steady call to the first after the last."""
    readings = record.telemetry
    steady = [item for item in record.samples if item.phase is Phase.STEADY]
    if not steady:
        return readings
    begin = min(item.start_s for item in steady)
    end = max(item.start_s + item.wall_s for item in steady)
    first = max((i for i, item in enumerate(readings) if item.elapsed_s <= begin), default=0)
    last = next((i for i, item in enumerate(readings) if item.elapsed_s >= end), len(readings) - 1)
    return readings[first : last + 1]


def _energy_per_frame_j(record: CellRecord) -> float | None:
    """Return the energy of the end-to-end pass over its frames; the gaps between its calls count too. None
    where clips were streamed: more went through than its samples tell."""
    calls = record.steady(Pass.END_TO_END, TOTAL)
    if not calls or record.settings.get("transfer") == "overlapped":
        return None
    begin, end = calls[0].start_s, calls[-1].start_s + calls[-1].wall_s
    known = [(item.elapsed_s, item.energy_j) for item in record.telemetry if item.energy_j is not None]
    before = [energy_j for elapsed_s, energy_j in known if elapsed_s <= begin]
    after = [energy_j for elapsed_s, energy_j in known if elapsed_s >= end]
    if not before or not after or end - begin < MIN_ENERGY_S:
        return None
    return (after[0] - before[-1]) / (len(calls) * record.batch * record.frames_made)
