"""Reads the machine between a round's timed calls, and keeps the readings in its draft."""

from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter
from typing import Final, Self

import psutil

from bench.machine.telemetry import Telemetry
from bench.measure.draft import Draft
from bench.records import TelemetryReading

READ_INTERVAL_S: Final = 0.2
"""Between two readings: calls may be far shorter, and a machine changes more slowly."""

READING_SHARE: Final = 0.02
"""The share of a pass's time that readings between its calls may take. Where one is slow (/proc/stat adds up
every interrupt of every core, NVML may wait for the driver), there are fewer."""


class Watch:
    """Reads the machine between timed calls. A context manager; the caller says when nothing is timed.

    `processes` are those that make the calls where the worker itself does not.
    """

    def __init__(self, draft: Draft, gpu: str | None, processes: Sequence[int] = ()) -> None:
        self._draft = draft
        self._processes = processes
        self._telemetry = Telemetry(origin=draft.origin_s, gpu=gpu)
        self._readings: list[TelemetryReading] = []
        self._due_s = float("-inf")
        self._steady = 0  # the first reading of the steady calls
        draft.values["affinity_cores"] = self._telemetry.affinity_cores
        draft.values["telemetry_notes"] = self._telemetry.notes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._draft.values["telemetry"] = tuple(self._readings)  # after a failure, too
        self._telemetry.close()

    def read(self) -> None:
        """Read the machine now, as where a pass begins or ends."""
        begin = perf_counter()
        reading = self._telemetry.read()
        if self._processes and reading.own_cpu_s is not None:
            own_s = reading.own_cpu_s + _cpu_s(self._processes)
            reading = reading.model_copy(update={"own_cpu_s": own_s})
        self._readings.append(reading)
        end = perf_counter()
        self._due_s = end + max(READ_INTERVAL_S, (end - begin) / READING_SHARE)

    def read_if_due(self) -> None:
        """Read the machine unless the last reading is recent, as between two calls."""
        if perf_counter() >= self._due_s:
            self.read()

    def begin_steady(self) -> None:
        """Read the machine before the first steady call."""
        self._steady = len(self._readings)
        self.read()

    def finish(self) -> None:
        """Take the round's last reading, and name other processes that were at work in the steady calls."""
        self.read()
        others = self._telemetry.others(self._readings[self._steady :])
        self._draft.values["others"] = tuple(item for item in others if item.pid not in self._processes)


def _cpu_s(pids: Sequence[int]) -> float:
    """Return the CPU seconds of processes so far."""
    spent = 0.0
    for pid in pids:
        with suppress(psutil.Error):
            times = psutil.Process(pid).cpu_times()
            spent += times.user + times.system
    return spent
