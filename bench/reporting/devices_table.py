"""devices.csv: every cell of every run beside each other. docs/tables.md has the columns and their units."""

from collections.abc import Sequence
from typing import Final

import pandas as pd

from bench.records import Status
from bench.reporting.devices import DeviceRow, Devices
from bench.results.analysis import AXES

DEVICES_NAME: Final = "devices.csv"

DEVICES_COLUMNS: Final = (
    "run", "device", "cell", *AXES, "status", "reason", "stage",
    "n_rounds", "n", "median_s", "low_s", "high_s", "interval",
    "frames_per_s", "frames_per_s_low", "frames_per_s_high", "output_megapixels_per_s",
    "power_w", "energy_per_frame_j",
    "peak_device_bytes", "peak_device_reserved_bytes", "peak_host_bytes", "host_growth_bytes", "parameters",
    "reference", "reference_cell", "relative_speed", "relative_speed_low", "relative_speed_high",
    "relative_speed_interval",
)  # fmt: skip

_MEDIANS: Final = ("power_w", "energy_per_frame_j")
_PEAKS: Final = (
    "peak_device_bytes", "peak_device_reserved_bytes", "peak_host_bytes", "host_growth_bytes", "parameters",
)  # fmt: skip
_OF_SUMMARY: Final = ("stage", "n_rounds", "n", "median_s", "low_s", "high_s", "interval")


def devices_table(devices: Devices) -> pd.DataFrame:
    """A row per run and cell, runs in the order given; what is not known is missing."""
    rows = [_row(row, devices) for row in devices.rows]
    table = pd.DataFrame(rows, columns=list(DEVICES_COLUMNS), dtype=object)
    floats = [
        name for name in DEVICES_COLUMNS if name.endswith(("_s", "_w", "_j", "_low", "_high", "_speed"))
    ]
    whole = dict.fromkeys(("n_rounds", "n", *_PEAKS), "Int64")
    return table.astype(dict.fromkeys(floats, "float64") | whole)


def _row(row: DeviceRow, devices: Devices) -> dict[str, object]:
    cell, rate, relative = row.cell, row.frames_rate, row.relative
    figure = cell.figure or {}
    found: dict[str, object] = {
        "run": row.run,
        "device": row.device,
        "cell": cell.cell,
        **{name: getattr(cell, name) for name in AXES},
        "status": cell.status,
        "reason": _reason(cell.rounds, cell.status),
        **{name: _known(figure.get(name)) for name in _OF_SUMMARY},
        **{name: cell.over_rounds(name) for name in _MEDIANS},
        **{name: None if (peak := cell.over_rounds(name, max)) is None else int(peak) for name in _PEAKS},
        "output_megapixels_per_s": row.output_megapixels_per_s,
    }
    if rate is not None:
        found |= {
            "frames_per_s": rate.per_s,
            "frames_per_s_low": rate.low_per_s,
            "frames_per_s_high": rate.high_per_s,
        }
    if relative is not None:
        found |= {
            "reference": str(devices.reference),
            "reference_cell": relative.cell,
            "relative_speed": relative.speed.ratio,
            "relative_speed_low": relative.speed.low,
            "relative_speed_high": relative.speed.high,
            "relative_speed_interval": relative.interval,
        }
    return found


def _reason(rounds: Sequence[dict[str, object]], status: Status) -> object:
    """Of the first round that ended as the cell did."""
    return next((row["reason"] for row in rounds if row["status"] == status), None)


def _known(value: object) -> object:
    return None if pd.isna(value) else value  # type: ignore[call-overload]
