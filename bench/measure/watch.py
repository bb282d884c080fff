"""Keeps telemetry of a round in its draft: when the machine is looked at, and how often."""

from time import perf_counter
from typing import Final, Self

from bench.machine.telemetry import Telemetry
from bench.measure.draft import Draft
from bench.records import TelemetryReading

GLANCE_INTERVAL_S: Final = 0.2
"""Between two readings at most so often: calls may be far shorter, and a machine changes more slowly."""

READING_SHARE: Final = 0.02
"""Of a pass's time, what readings between its calls may take. Where one is slow (/proc/stat adds up every
interrupt of every core, NVML may wait for the driver), there are fewer."""


class Watch:
    """Looks at the machine between timed calls. A context manager; the caller says when nothing is timed."""

    def __init__(self, draft: Draft, gpu: str | None) -> None:
        self._draft = draft
        self._telemetry = Telemetry(origin=draft.origin_s, gpu=gpu)
        self._readings: list[TelemetryReading] = []
        self._due_s = float("-inf")
        self._steady = 0  # the first reading that speaks of steady calls
        draft.values["affinity_cores"] = self._telemetry.affinity_cores
        draft.values["telemetry_notes"] = self._telemetry.notes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._draft.values["telemetry"] = tuple(self._readings)  # after a failure, too
        self._telemetry.close()

    def look(self) -> None:
        """Read the machine now, as where a pass begins or ends."""
        begin = perf_counter()
        self._readings.append(self._telemetry.read())
        end = perf_counter()
        self._due_s = end + max(GLANCE_INTERVAL_S, (end - begin) / READING_SHARE)

    def steady_begins(self) -> None:
        """Read the machine now: what comes from here on is what the figures are made of."""
        self._steady = len(self._readings)
        self.look()

    def glance(self) -> None:
        """Read it if the last reading is not too fresh, as between two calls."""
        if perf_counter() >= self._due_s:
            self.look()

    def finish(self) -> None:
        """Take the round's last reading, and name other processes if there seem to have been some."""
        self.look()
        self._draft.values["others"] = self._telemetry.others(self._readings[self._steady :])
