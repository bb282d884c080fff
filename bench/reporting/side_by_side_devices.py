"""The section and the figures of several runs' devices: a table per size, a row per device and backend."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.plotting.plot_devices import GROUPS, DeviceBar, DeviceGroup, DevicesPlot
from bench.records import Status
from bench.reporting.devices import DevicePlace, DeviceRow, Devices, Rate
from bench.reporting.devices_table import DEVICES_NAME
from bench.reporting.legible import legible
from bench.reporting.markdown import Column, escape, link, table
from bench.reporting.report_cells import bytes_column, distinct
from bench.reporting.side_by_side_figures import KINDS
from bench.reporting.side_by_side_many import names_in_short
from bench.results.devices import NO_GPU
from bench.statistics.stats import CONFIDENCE, IntervalKind

DEVICES_KIND: Final = "devices"
"""What the figures' names begin with."""

DRAWN_PER_S: Final = (1e-12, 1e12)
"""Rates outside have no bar: a journal that was not measured holds them, and no axis does."""

_WITHIN: Final = "†"
_MARKS: Final = {
    _WITHIN: "the interval is within one process on one of the two sides: the next may lie outside it",
}


def devices_section(devices: Devices, figures: str) -> str:
    """A table per batch and size. Empty where no run has a cell."""
    if not devices.places:
        return ""
    parts = ["## Devices", _intro(devices), figures, *map(_place, devices.places)]
    said = "".join(_ratio_text(row) for place in devices.places for row in place.rows)
    marks = [f"* {mark} {text}." for mark, text in _MARKS.items() if mark in said]
    return "\n\n".join(part for part in [*parts, "\n".join(marks)] if part)


def devices_plots(devices: Devices) -> list[DevicesPlot]:
    """A figure per batch and size at which there is more than one row, and one of them has a rate; several
    where there are more than GROUPS devices."""
    backends = distinct(row.cell.backend for row in devices.rows)
    drawn = [place for place in devices.places if len(_there(place)) > 1 and any(map(_drawable, place.rows))]
    found: list[DevicesPlot] = []
    for place in drawn:
        groups = _groups(place, backends)
        parts = [groups[start : start + GROUPS] for start in range(0, len(groups), GROUPS)]
        base = _reference_rate(place)
        stem = (
            DEVICES_KIND if len(drawn) == 1 else f"{DEVICES_KIND}-b{place.batch}-{place.height}x{place.width}"
        )
        for number, part in enumerate(parts, start=1):
            if base is None and not any(bar.per_s is not None for group in part for bar in group.bars):
                continue
            found.append(
                DevicesPlot(
                    stem=f"{stem}-{number}" if len(parts) > 1 else stem,
                    title=f"Devices: {_title(place)}"
                    + (f" ({number} of {len(parts)})" if len(parts) > 1 else ""),
                    groups=part,
                    reference="" if base is None else str(devices.reference),
                    reference_per_s=base,
                    notes=_plot_notes(place),
                )
            )
    return found


def _intro(devices: Devices) -> str:
    said = [
        "Frames per second are of all clips of a batch; megapixels are the output's.",
        f"Brackets hold {100 * CONFIDENCE:g} % intervals. Memory is the greatest over a run's rounds; power "
        "and energy are medians.",
    ]
    if devices.reference is None:
        said.append("No run has a baseline that ended ok: there is nothing to compare with.")
    else:
        said.append(
            f"*Relative* is how many times as fast as **{escape(str(devices.reference))}** a device is at "
            "the same network, batch, frames and size, whatever the input is called: above 1 is faster."
        )
    return f"{' '.join(said)} {link(Path(DEVICES_NAME))} has every cell of every run."


def _title(place: DevicePlace) -> str:
    frames = "" if place.frames is None else f", {place.frames} frame{'' if place.frames == 1 else 's'}"
    return f"{place.height}×{place.width}, batch {place.batch}{frames}"


def _place(place: DevicePlace) -> str:
    rows = place.rows
    several_frames = place.frames is None
    said = (
        "No frame count is common to all of them: rows of different frame counts do not compare."
        if several_frames
        else f"{place.frames} is the greatest frame count that all of them have."
    )
    inputs, networks = ({getattr(row.cell, name) for row in rows} for name in ("input", "model"))
    columns = [
        Column(title="run", cells=[escape(row.run) for row in rows]),
        Column(title="device", cells=[escape(row.device) for row in rows]),
        Column(title="backend", cells=[escape(row.cell.backend) for row in rows]),
        Column(title="network", cells=[escape(row.cell.model) if len(networks) > 1 else "" for row in rows]),
        Column(title="input", cells=[escape(row.cell.input) if len(inputs) > 1 else "" for row in rows]),
        Column(
            title="frames",
            cells=[str(row.cell.frames) if several_frames else "" for row in rows],
            numeric=True,
        ),
        Column(
            title="ended", cells=["" if row.cell.status is Status.OK else row.cell.status for row in rows]
        ),
        Column(title="frames/s", cells=[_rate_text(row) for row in rows], numeric=True),
        Column(title="relative (×)", cells=[_ratio_text(row) for row in rows], numeric=True),
        _numbers("output MP/s", [row.output_megapixels_per_s for row in rows]),
        _numbers("power (W)", [row.cell.over_rounds("power_w") for row in rows]),
        _numbers("energy (J/frame)", [row.cell.over_rounds("energy_per_frame_j") for row in rows]),
        bytes_column("device memory", [row.cell.over_rounds("peak_device_bytes", max) for row in rows]),
        bytes_column("host memory", [row.cell.over_rounds("peak_host_bytes", max) for row in rows]),
    ]
    return f"### {_title(place)}\n\n{said}\n\n{table(columns)}"


def _numbers(title: str, values: Sequence[float | None]) -> Column:
    return Column(
        title=title, cells=["" if value is None else legible(value) for value in values], numeric=True
    )


def _rate_text(row: DeviceRow) -> str:
    rate = row.frames_rate
    if rate is None:
        return ""
    return _with_bounds(rate.per_s, rate.low_per_s, rate.high_per_s)


def _ratio_text(row: DeviceRow) -> str:
    found = row.relative
    if found is None:
        return row.why_not
    if row.is_reference:
        return "reference"
    text = _with_bounds(found.speed.ratio, found.speed.low, found.speed.high)
    return f"{text} {_WITHIN}" if found.interval is IntervalKind.WITHIN_PROCESS else text


def _with_bounds(value: float, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return legible(value)
    return f"{legible(value)} ({legible(low)} … {legible(high)})"


def _there(place: DevicePlace) -> list[DeviceRow]:
    """The rows whose device their machine has: a figure has no room for GPUs that are not there."""
    return [row for row in place.rows if not row.device.startswith(NO_GPU)]


def _groups(place: DevicePlace, backends: Sequence[str]) -> tuple[DeviceGroup, ...]:
    rows: dict[tuple[str, str], list[DeviceRow]] = {}
    for row in _there(place):
        rows.setdefault((row.run, row.device), []).append(row)
    varying = [
        name
        for name in ("model", "input")
        if any(len({getattr(row.cell, name) for row in of_one}) > 1 for of_one in rows.values())
    ]
    return tuple(
        DeviceGroup(
            title=f"{run}: {device}",
            bars=tuple(_bar(row, place, backends, varying) for row in of_one),
        )
        for (run, device), of_one in rows.items()
    )


def _bar(row: DeviceRow, place: DevicePlace, backends: Sequence[str], varying: Sequence[str]) -> DeviceBar:
    """`varying`: the axes, model or input, of which a device has several values."""
    rate, drawn, cell = row.frames_rate, _drawable(row), row.cell
    words = [
        cell.backend,
        *(getattr(cell, name) for name in varying),
        *([f"t={cell.frames}"] if place.frames is None else []),
    ]
    said = [
        *([] if rate is None else [legible(rate.per_s)]),
        *([] if row.relative is None or row.is_reference else [f"{legible(row.relative.speed.ratio)}×"]),
        *(["reference"] if row.is_reference and rate is not None else []),
        *([] if cell.status is Status.OK else [f"({cell.status})"]),
    ]
    return DeviceBar(
        label=", ".join(words),
        backend=backends.index(cell.backend),
        per_s=None if drawn is None else drawn.per_s,
        low_per_s=None if drawn is None else drawn.low_per_s,
        high_per_s=None if drawn is None else drawn.high_per_s,
        said="  ".join(said),
        is_reference=row.is_reference,
    )


def _drawable(row: DeviceRow) -> Rate | None:
    """The rate, where an axis can hold it with its interval."""
    rate = row.frames_rate
    if rate is None:
        return None
    known = [value for value in (rate.per_s, rate.low_per_s, rate.high_per_s) if value is not None]
    return rate if all(DRAWN_PER_S[0] <= value <= DRAWN_PER_S[1] for value in known) else None


def _reference_rate(place: DevicePlace) -> float | None:
    """What all bars stand beside; None where the reference has no row here, or more than one."""
    rates = [_drawable(row) for row in place.rows if row.is_reference and row.relative is not None]
    return rates[0].per_s if len(rates) == 1 and rates[0] is not None else None


def _plot_notes(place: DevicePlace) -> tuple[str, ...]:
    figures = [figure for row in place.rows if (figure := row.cell.figure) is not None]
    kinds = distinct(IntervalKind(figure["interval"]) for figure in figures)
    said = " or ".join(KINDS[kind] for kind in kinds if kind is not IntervalKind.NONE)
    notes = [
        *([f"Whiskers: {100 * CONFIDENCE:g} % intervals, {said}."] if said else []),
        *(["Without a whisker: too few samples for one."] if IntervalKind.NONE in kinds else []),
        "Behind each bar: frames per second, and how many times the reference's.",
    ]
    if len(_there(place)) < len(place.rows):
        runs = distinct(row.run for row in place.rows if row.device.startswith(NO_GPU))
        notes.append(f"Not shown: GPUs that are not there ({names_in_short(runs)}).")
    if place.frames is None:
        notes.append("No frame count is common to all: bars of different frame counts do not compare.")
    return tuple(notes)
