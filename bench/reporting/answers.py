"""The first screen of a run's page: how fast, what pays, where time and memory go, and whether to believe it.

Each answer is sentences made from the tables below it, and names the section that has its figures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.grid.baseline import Baseline
from bench.grid.spans import FORWARD, OTHER
from bench.records import OutputCheck, Status
from bench.reporting.cells import distinct
from bench.results.tables import Row, Tables, rows_of
from bench.stats.changes import NO_DIFFERENCE, Effect, effect, one_round
from bench.stats.intervals import MIN_ROUNDS, IntervalKind
from bench.units import BYTES, counted, significant, with_unit

NAMED: Final = 4
"""Backends or warnings that a sentence names; more are counted."""

AXES: Final = {"pixels": "pixels", "frames": "frames", "batch": "the batch"}

CLEAR: Final = 0.5
"""Width of an exponent's interval below which it says something."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer to a reader's first questions."""

    question: str
    sentences: tuple[str, ...]
    section: str  # of the page's tables


def answers(rows: Sequence[Row], tables: Tables, baseline: Baseline) -> list[Answer]:
    """Return the answers that a run's cells give; `rows` are those of bench.reporting.cells."""
    places = _largest_places(rows)
    found = [
        Answer(question="How fast?", sentences=(*_how_fast(places),), section="times"),
        Answer(question="What pays?", sentences=(*_what_pays(places, baseline),), section="times"),
        Answer(question="Where does time go?", sentences=(*_time(places, tables),), section="stages"),
        Answer(
            question="Where does memory go?", sentences=(*_memory(places, tables),), section="stage_memory"
        ),
        Answer(question="Can I trust it?", sentences=(*_trust(rows, tables),), section="sampling"),
    ]
    return [answer for answer in found if answer.sentences]


def not_measured(rows: Sequence[Row], tables: Tables) -> dict[str, str]:
    """Return which cells, and which rounds of measured cells, did not end ok, by how they ended and why."""
    status = {row["cell"]: row["status"] for row in rows}
    cells: dict[str, list[Row]] = {}
    for one in rows_of(tables.cells):
        if one["status"] != Status.OK:
            named = [str(one["status"])] * (one["status"] != Status.SKIPPED or not one["reason"])
            cells.setdefault(": ".join([*named, *filter(None, [one["reason"]])]), []).append(one)
    found = {}
    for why, rounds in cells.items():
        whole = {one["cell"] for one in rounds if status.get(one["cell"]) != Status.OK}
        single = sum(one["cell"] not in whole for one in rounds)
        counts = [counted(len(whole), "cell")] * bool(whole)
        counts += [f"{counted(single, 'round')} of measured cells"] * bool(single)
        found[why] = f"{_some(distinct(one['backend'] for one in rounds))} ({', '.join(counts)})"
    return found


def _largest_places(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the right cells of each network at the place where most backends are, the largest of those."""
    places: dict[str, dict[tuple[object, ...], list[Row]]] = {}
    for row in rows:
        if row["status"] == Status.OK and row["median_s"]:
            place = (row["input"], row["batch"], row["frames"], row["height"], row["width"])
            places.setdefault(row["model"], {}).setdefault(place, []).append(row)

    def weight(cells: Sequence[Row]) -> tuple[int, int]:
        first = cells[0]
        return len(cells), first["batch"] * first["frames"] * first["height"] * first["width"]

    return [max(of_model.values(), key=weight) for of_model in places.values()]


def _how_fast(places: Iterable[Sequence[Row]]) -> Iterable[str]:
    for cells in places:
        best = min(cells, key=lambda row: row["median_s"])
        interval = ""
        if best["low_s"] is not None and best["high_s"] is not None:
            interval = f" ({with_unit(best['low_s'])} to {with_unit(best['high_s'])})"
        yield (
            f"{best['model']} takes {with_unit(best['median_s'])}{interval} for {_place(best)} on "
            f"{best['backend']}{', the fastest' if len(cells) > 1 else ''}: "
            f"{significant(best['frames_per_s'])} frames/s."
        )


def _what_pays(places: Sequence[Sequence[Row]], baseline: Baseline) -> Iterable[str]:
    said = {
        Effect.MORE: f"Faster than {baseline}",
        Effect.LESS: f"Slower than {baseline}",
        Effect.NONE: f"Within {100 * NO_DIFFERENCE:g} % of it",
        Effect.OPEN: "Unclear",
    }
    for cells in places:
        others = [row for row in cells if not row["is_baseline"] and row["speedup"] is not None]
        if not others:
            continue
        others.sort(key=lambda row: -row["speedup"])
        effects = [_effect(row) for row in others]
        parts = []
        for kind, words in said.items():
            these = [row for row, found in zip(others, effects, strict=True) if found is kind]
            if these:
                parts.append(f"{words}: {_some([_speedup(row) for row in these])}")
        nothing = "" if Effect.MORE in effects else f"Nothing is sure to be faster than {baseline} here. "
        yield f"{nothing}{'. '.join(parts)} (for {_where(cells[0], places)})."


def _effect(row: Row) -> Effect:
    """Return what a speedup's interval says; one within processes leaves out by how much they differ."""
    is_within = row["speedup_interval"] == IntervalKind.WITHIN_PROCESS
    return effect(row["speedup_low"], row["speedup_high"], counts=NO_DIFFERENCE if is_within else 0.0)


def _speedup(row: Row) -> str:
    if row["speedup_low"] is None or row["speedup_high"] is None:
        return f"{row['backend']} {significant(row['speedup'])}×"
    ends = f"{significant(row['speedup_low'])} to {significant(row['speedup_high'])}"
    return f"{row['backend']} {significant(row['speedup'])}× ({ends})"


def _time(places: Sequence[Sequence[Row]], tables: Tables) -> Iterable[str]:
    for cells in places:
        cell = next((row for row in cells if row["is_baseline"]), cells[0])
        stages = _stages(tables, cell, "share")
        if stages:
            shares = ", ".join(f"{row['stage']} {100 * row['share']:.0f} %" for row in stages[:2])
            yield f"On {cell['backend']}, {_where(cell, places)}: {shares}."
        where = "There" if stages else f"On {cell['backend']}"
        yield from _growth(_exponents(tables, cell), where)


def _growth(exponents: Sequence[Row], where: str) -> Iterable[str]:
    known = [
        f"{AXES[row['axis']]} to the power of {row['exponent']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        for row in exponents
        if _is_clear(row)
    ]
    if known:
        yield f"{where} time grows with {' and '.join(known)}."
    unclear = [AXES[row["axis"]] for row in exponents if not _is_clear(row)]
    if unclear:
        yield f"How it grows with {' and '.join(unclear)} takes more points, or quieter ones, to tell."


def _is_clear(row: Row) -> bool:
    return row["low"] is not None and row["high"] is not None and row["high"] - row["low"] < CLEAR


def _exponents(tables: Tables, cell: Row) -> list[Row]:
    scaling = tables.scaling
    if not len(scaling):
        return []
    own = scaling[
        (scaling["model"] == cell["model"])
        & (scaling["input"] == cell["input"])
        & (scaling["backend"] == cell["backend"])
        & (scaling["stage"] == FORWARD)
    ]
    return [row for row in rows_of(own) if row["exponent"] is not None]


def _memory(places: Sequence[Sequence[Row]], tables: Tables) -> Iterable[str]:
    for cells in places:
        cell = next((row for row in cells if row["is_baseline"]), cells[0])
        for where, column in (("device", "device_growth_bytes"), ("host", "host_growth_bytes")):
            stages = _stages(tables, cell, column)
            if stages and stages[0][column]:
                top = stages[0]
                yield (
                    f"On {cell['backend']}, {_where(cell, places)}: {where} memory rises most in "
                    f"{top['stage']}, {with_unit(top[column], BYTES)} above its level before the call."
                )
                break


def _stages(tables: Tables, cell: Row, column: str) -> list[Row]:
    """Return the rows of a cell's stages that have a figure, the greatest first."""
    summary = tables.summary
    own = rows_of(summary[(summary["cell"] == cell["cell"]) & summary["share"].notna()])
    found = [row for row in own if row[column] is not None and row["stage"] != OTHER]
    return sorted(found, key=lambda row: -row[column])


def _trust(rows: Sequence[Row], tables: Tables) -> Iterable[str]:
    measured = [row for row in rows if row["median_s"] is not None]
    if not measured:
        return
    few = one_round(int(max(row["n_rounds"] for row in measured)))
    fewer = [row for row in measured if row["n_rounds"] < MIN_ROUNDS]
    kinds = {IntervalKind(row["interval"]) for row in measured if row not in fewer}
    if not few and fewer:
        rounds = f"of fewer than {MIN_ROUNDS} rounds, can be compared with no other run"
        yield f"{counted(len(fewer), 'cell')} of {len(measured)}, {rounds}."
    if few:
        yield f"{few[0].upper()}{few[1:]}."
    elif kinds == {IntervalKind.BETWEEN_ROUNDS}:
        yield "Intervals are between processes: they hold for the next one, too."
    else:
        yield "Intervals are between processes, of few rounds, which are taken to scatter normally."
    yield from _outputs(measured)
    warned = tables.warnings
    if len(warned):
        codes = warned.groupby("code", sort=False)["cell"].nunique()
        named = _some([f"{code} ({number})" for code, number in codes.items()])
        yield f"Warnings, by cells: {named}; what to do about them stands below."
    else:
        yield "No warning."


def _outputs(measured: Sequence[Row]) -> Iterable[str]:
    checked = [row for row in measured if row["output_psnr_db"] is not None]
    if checked:
        worst = min(checked, key=lambda row: row["output_psnr_db"])
        is_equal = worst["output_psnr_db"] == float("inf")
        distance = "equal to" if is_equal else f"{worst['output_psnr_db']:.0f} dB from"
        yield (
            f"{counted(len(checked), 'output')} checked: the farthest, {worst['backend']}'s, is {distance} "
            "the CPU's float32 result."
        )
    unchecked = [
        row
        for row in measured
        if row["output_psnr_db"] is None and row["output_check"] != OutputCheck.REFERENCE
    ]
    if unchecked:
        yield f"{counted(len(unchecked), 'output')} not checked."


def _where(row: Row, places: Sequence[Sequence[Row]]) -> str:
    """Return a cell's place, with its network where there are several."""
    return ", ".join([row["model"]] * (len(places) > 1) + [_place(row)])


def _place(row: Row) -> str:
    clips = f"{row['batch']} clips of " if row["batch"] > 1 else ""
    return f"{clips}{counted(row['frames'], 'frame')} of {row['size']}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
