"""Look at the machine for a moment, before anything is measured."""

from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import psutil

from bench.machine import gpu, timer
from bench.machine.telemetry import Telemetry, busiest
from bench.records import OtherProcess, TelemetryReading

LOOK_S: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class Now:
    """State that changes from moment to moment; None is unknown."""

    timer: timer.Timer
    readings: tuple[TelemetryReading, ...] = ()
    others: tuple[OtherProcess, ...] = ()
    free_memory_share: float | None = None
    on_battery: bool = False
    gpus: tuple[gpu.GpuState, ...] = ()
    gpu_note: str = ""  # why nothing is known of GPUs


def look() -> Now:
    """Watch the machine for LOOK_S, in which this process sleeps."""
    with Telemetry(origin=perf_counter()) as telemetry:
        first = telemetry.read()
        others = busiest(LOOK_S)
        last = telemetry.read()
    memory = psutil.virtual_memory()
    battery = None
    with suppress(Exception):  # machines without a battery answer in several ways
        battery = psutil.sensors_battery()
    gpus, note = gpu.states()
    return Now(
        timer=timer.measure(),
        readings=(first, last),
        others=tuple(others),
        free_memory_share=memory.available / memory.total,
        on_battery=battery is not None and battery.power_plugged is False,
        gpus=gpus,
        gpu_note=note,
    )
