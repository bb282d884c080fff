"""Curves of several runs' speed over one reference, against the frame count: figures, and their section."""

from collections.abc import Sequence

from bench.plotting.plot_overlay import RELATIVE, OverlaidCurve, Overlay, in_parts
from bench.plotting.plot_series import Curve, Point
from bench.reporting.devices import DeviceRow, Devices
from bench.reporting.markdown import escape
from bench.reporting.report_cells import distinct
from bench.reporting.side_by_side_devices import DRAWN_PER_S


def relative_section(devices: Devices, figures: str) -> str:
    """Empty without figures."""
    if not figures:
        return ""
    said = (
        f"How many times as fast as **{escape(str(devices.reference))}** each backend of each run is at the "
        "same network, batch, frames and size: above 1 is faster. It is the *Relative* of the devices above, "
        "at every frame count."
    )
    return f"## Relative speed\n\n{said}\n\n{figures}"


def relative_overlays(devices: Devices) -> list[tuple[str, Overlay]]:
    """A figure, with the name of its file, of each batch and size at which a row has a ratio.

    The ratio is to the reference. Several figures where there are more curves than one holds.
    """
    runs = distinct(row.run for row in devices.rows)
    backends = distinct(row.cell.backend for row in devices.rows)
    places: dict[tuple[int, int, int], list[DeviceRow]] = {}
    for row in devices.rows:
        if not row.is_reference and _point(row) is not None:
            cell = row.cell
            places.setdefault((cell.batch, cell.height, cell.width), []).append(row)
    found: list[tuple[str, Overlay]] = []
    for (batch, height, width), rows in places.items():
        curves = _curves(rows, runs)
        whole = Overlay(
            kind=RELATIVE,
            subject="",
            batch=batch,
            height=height,
            width=width,
            runs=tuple(runs),
            backends=tuple(backends),
            baselines=(str(devices.reference),),
            curves=curves,
        )
        stem = RELATIVE if len(places) == 1 else f"{RELATIVE}-b{batch}-{height}x{width}"
        found += [(f"{stem}-{part.part}" if part.parts > 1 else stem, part) for part in in_parts(whole)]
    return found


def _curves(rows: Sequence[DeviceRow], runs: Sequence[str]) -> tuple[OverlaidCurve, ...]:
    """One per run, backend, network and input."""
    several = len({row.cell.model for row in rows}) > 1
    series: dict[tuple[str, str, str], list[DeviceRow]] = {}
    for row in rows:
        clip = f"{row.cell.model} {row.cell.input}" if several else row.cell.input
        series.setdefault((row.run, row.cell.backend, clip), []).append(row)
    clips: dict[tuple[str, str], int] = {}
    for run, backend, _ in series:
        clips[run, backend] = clips.get((run, backend), 0) + 1
    curves = []
    for (run, backend, clip), own in series.items():
        points = [point for row in own if (point := _point(row)) is not None]
        curves.append(
            OverlaidCurve(
                run=runs.index(run),
                curve=Curve(backend=backend, points=tuple(sorted(points, key=lambda point: point.frames))),
                said=f", {clip}" if clips[run, backend] > 1 else "",
            )
        )
    return tuple(curves)


def _point(row: DeviceRow) -> Point | None:
    """None without a ratio, and for one that no axis holds: a journal that was not measured may have it."""
    if row.relative is None:
        return None
    speed = row.relative.speed
    known = [value for value in (speed.ratio, speed.low, speed.high) if value is not None]
    if not all(DRAWN_PER_S[0] <= value <= DRAWN_PER_S[1] for value in known):
        return None
    return Point(
        frames=row.cell.frames,
        value=speed.ratio,
        low=speed.low,
        high=speed.high,
        interval=row.relative.interval,
    )
