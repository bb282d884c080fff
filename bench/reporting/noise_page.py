"""A machine's noise as a page: the threshold in a sentence, its cells, what more rounds would buy."""

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench.comparison.noise import FALSE_ALARMS, FOUND, LEAST_OF_PART, PARTS, STEP, MachineNoise, Noise
from bench.reporting.html_files import Pages, relative, write_pages
from bench.reporting.markdown import Column, escape, image, table
from bench.units import significant, with_unit

STEM: Final = "noise"

_IN_100: Final = (round(100 * FALSE_ALARMS), round(100 * FOUND))
_TWICE_IN_100: Final = round(100 * FOUND**2)
"""How often two looks, each of its own, both find what one finds with FOUND."""

HOW_TO_READ: Final = f"""\
## How to read this

* The program was measured against itself, in turn, as `vsr-bench ci` measures two revisions at its first
  look. Whatever differs within a **pair** of rounds is noise.
* The **scatter** of a pair is half the width of the middle 68 % of the ratios.
* The **half width** is that of a gate's interval of a ratio. It shrinks with the root of the rounds.
* A **gate** is drawn from the pairs, and judged as `vsr-bench compare` does. Of 100 gates
  {_IN_100[0]} at most should call unchanged code slower, and {_IN_100[1]} at least the same and not unclear.
  The least threshold with which they do is the one that is recommended, in steps of {100 * STEP:g} %.
* The **least slowdown** is the one of that cell that {_IN_100[1]} of 100 gates call slower at one look, and
  {_TWICE_IN_100} at two, as `vsr-bench ci` takes them. It lies above the threshold by about a half width: a
  lesser one is often unclear."""


def write_noise(folder: Path, found: MachineNoise, *, picture: Path) -> Pages:
    """Write `noise.md` and `noise.html` into `folder`. Raises OSError where it cannot be."""
    text = render_noise(found, picture=relative(picture, folder))
    return write_pages(folder, text, title=_title(found), pictures=[picture], stem=STEM)


def render_noise(found: MachineNoise, *, picture: Path) -> str:
    """The page as Markdown; `picture` is relative to it. Ends in a newline; empty sections are left out."""
    measured = [
        f"Machine: {escape(found.machine)}",
        f"Code: {escape(found.code)}",
        f"Measured: {found.least_pairs} pairs of rounds, {escape(_when(found))}",
        *(f"**Caution:** {escape(text)}" for text in cautions(found)),
    ]
    sections = [
        f"# {escape(_title(found))}",
        f"**{escape(recommendation(found))}**",
        _list(measured),
        f"## Cells\n\nOf a gate of {found.gate.rounds} rounds.\n\n{_table(cell_columns(found.gate))}",
        f"## Other numbers of rounds\n\n{_table(rounds_columns(found))}",
        f"## How pairs scatter\n\n{image(picture)}",
        f"## What this does not cover\n\n{_list(map(escape, not_covered(found)))}",
        f"## Left out\n\n{_list(map(escape, left_out(found)))}" if found.left_out else "",
        HOW_TO_READ,
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def recommendation(found: MachineNoise) -> str:
    """What a gate can have here, in a sentence or two."""
    gate, least = found.gate, found.recommended.threshold
    if gate.recommended and least > 1:
        return (
            f"no threshold up to 100 % holds for a gate of {gate.rounds} rounds: this machine is too noisy "
            "for one; take more rounds, or quieten it (vsr-bench env --check)"
        )
    rates = (
        f"of {gate.draws:,} gates of {gate.rounds} rounds drawn from these pairs {gate.false_alarms:,} "
        f"called unchanged code slower and {gate.same:,} called it the same; a slowdown of "
        f"{_at_least(gate.detectable)} or more of any one cell is found in {_IN_100[1]} of 100, and in about "
        f"{_TWICE_IN_100} by vsr-bench ci, which has to find it twice"
    )
    if gate.recommended:
        return f"threshold {percent(gate.threshold)}: {rates}"
    kept = gate.false_alarms <= FALSE_ALARMS * gate.draws and gate.same >= FOUND * gate.draws
    known = f"the least for this noise is {percent(least)}"
    which = known if least <= 1 else "no threshold up to 100 % is wide enough"
    return (
        f"threshold {percent(gate.threshold)}, as given, is {'wide enough' if kept else 'too tight'} "
        f"({which}): {rates}"
    )


def cautions(found: MachineNoise) -> tuple[str, ...]:
    """What makes the answer itself uncertain."""
    told = []
    pairs, gate = found.least_pairs, found.gate.rounds
    if not found.whole:
        told.append(f"Not all is measured: there are {pairs} of {found.planned_pairs} pairs of rounds.")
    if gate < found.gate_rounds:
        told.append(
            f"A gate of {found.gate_rounds} rounds was asked about; {pairs} pairs tell of one of {gate}."
        )
    if pairs < 2 * gate:
        told.append(
            f"Gates of {gate} rounds drawn from {pairs} pairs share most of them, so that their rates are "
            f"uncertain: measure {4 * found.gate_rounds} pairs (--rounds)."
        )
    return tuple(told)


def not_covered(found: MachineNoise) -> tuple[str, ...]:
    """What a reader must not conclude."""
    return (
        f"Other machines, and other hours of this one: the pairs were measured {_when(found)}. Measure on "
        "the machine that runs the gate, when it is as busy as it will be then, and anew when it changes.",
        f"Runs that are not measured in turn: what the machine does between them is in their ratio, and "
        f"vsr-bench compare --apart allows for it. {_apart(found)}",
        "Stages, whose intervals are wider, and memory and accuracy, which have limits of their own.",
        "The second look of vsr-bench ci, which measures what fails anew: unchanged code fails less often "
        f"than told here, and a slowdown that {_IN_100[1]} of 100 single looks find is found twice by about "
        f"{_TWICE_IN_100} of 100 ({FOUND:g} squared). With --once one look is all.",
    )


def left_out(found: MachineNoise) -> tuple[str, ...]:
    """The cells that tell nothing, with the reason of each."""
    return tuple(f"{cell.cell}: {cell.why}" for cell in found.left_out)


def cell_columns(gate: Noise) -> list[Column]:
    """The table of a gate's cells; nothing in it is escaped."""
    cells = gate.cells
    return [
        Column(title="cell", cells=[cell.cell for cell in cells]),
        Column(title="level", cells=[with_unit(cell.level_s) for cell in cells], numeric=True),
        Column(title="pairs", cells=[str(cell.pairs) for cell in cells], numeric=True),
        Column(title="scatter", cells=[percent(cell.scatter) for cell in cells], numeric=True),
        Column(title="half width", cells=[percent(cell.half_width) for cell in cells], numeric=True),
        Column(title="least slowdown", cells=[_at_least(cell.detectable) for cell in cells], numeric=True),
    ]


def rounds_columns(found: MachineNoise) -> list[Column]:
    """The table of gates with other numbers of rounds; nothing in it is escaped."""
    gates = found.by_rounds
    return [
        Column(
            title="rounds",
            cells=[f"{of.rounds}{' (this gate)' if of.rounds == found.gate.rounds else ''}" for of in gates],
        ),
        Column(title="threshold", cells=[_threshold(of) for of in gates], numeric=True),
        Column(title="called slower", cells=[_of(of.false_alarms, of) for of in gates], numeric=True),
        Column(title="called the same", cells=[_of(of.same, of) for of in gates], numeric=True),
        Column(title="least slowdown", cells=[_at_least(of.detectable) for of in gates], numeric=True),
    ]


def _table(columns: Iterable[Column]) -> str:
    return table([replace(column, cells=[*map(escape, column.cells)]) for column in columns])


def percent(share: float) -> str:
    """Two significant digits, more where it is whole or half a percent."""
    value = 100 * share
    steps = value / (100 * STEP)
    exact = abs(steps - round(steps)) < 1e-6
    return f"{value:.4g} %" if exact else f"{significant(value, 2)} %"


def _at_least(share: float) -> str:
    """Rounded up, for what is said of it to hold: to a tenth of a percent where it is small."""
    if share < 0.1:
        return f"{math.ceil(1000 * share - 1e-6) / 10:.1f} %"
    return f"{math.ceil(100 * share - 1e-6)} %"


def _threshold(gate: Noise) -> str:
    return percent(gate.threshold) if gate.threshold <= 1 else "over 100 %"


def _of(count: int, gate: Noise) -> str:
    return f"{count:,} of {gate.draws:,}"


def _apart(found: MachineNoise) -> str:
    known = {cell: value for cell, value in found.wander.items() if value is not None}
    if not known:
        return f"For an orientation it takes {PARTS * LEAST_OF_PART // 2} pairs of rounds; here are fewer."
    cell = max(known, key=lambda name: known[name])
    allowed = STEP * max(1, math.ceil(known[cell] / STEP - 1e-9))
    advice = "That is more than it can allow for"
    if allowed <= 1:
        advice = f"Give --apart {100 * allowed:.4g}% or more"
    return (
        f"For orientation: while this measured, the slowest tenth of the rounds of {cell} took "
        f"{percent(known[cell])} longer than the fastest. {advice}; days differ by more than minutes do."
    )


def _when(found: MachineNoise) -> str:
    begin, end = (_minute(text) for text in (found.began_at, found.last_began_at))
    return f"from {begin} to {end}"


def _minute(text: str) -> str:
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return "an unknown time"


def _title(found: MachineNoise) -> str:
    return f"Noise of this machine: {found.experiment}"


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"* {item}" for item in items)
