"""The paper's claims on memory: figures 17 and 18 and section 4.4.3. Pure."""

import re
from typing import Final

import numpy as np

from bench.paper.clip import clip_bytes, output_bytes
from bench.paper.editions import Edition, Memory, Role
from bench.paper.needed import GPU, cell
from bench.paper.verdict import (
    Claim,
    Figure,
    Judgement,
    NotKnownError,
    Quantity,
    Stated,
    Verdict,
    all_hold,
    cannot_tell,
    lies,
)

BEGINNING: Final = 0.1
"""The share of the whole rise that the beginning takes, which the paper leaves out of its claim."""

PARTS: Final = 4
"""Equal parts of the rise's time whose rates are compared."""

MIN_POINTS: Final = 2 * PARTS
"""Points of the curve on its rise: two for each part."""

EVEN: Final = 0.25
"""How far a part's rate may be from the whole rise's on the paper's curve."""

STRAIGHT: Final = 0.99
"""The share of a curve's variance from which a straight line explains it (R squared)."""

LEAST_HALF: Final = 0.4
"""The share of the rise that each half of its time has at least: one is at most 1.5 times the other.

Growth with the square of time gives the first half 0.37, growth with its root 0.68. What others take of the
machine's cores bends a curve, too, but up and down: only a rate that falls, or grows, all along says that
the growth itself is not steady.
"""

ALONG: Final = 8
"""Equal parts of the rise's time, whose rates fall or grow one after the other where it is bent."""

KEPT_BYTES: Final = 20 * 1024
"""Bytes per frame and input pixel from which the outputs of the convolutions must have been kept.

The residual trunks alone put out 120 maps of 64 float32 channels, 30 KiB. Without gradients a frame leaves
half a KiB: its features of one direction, its flows and its output.
"""

MOST: Final = 0.5

CONVOLUTIONS: Final = re.compile(
    r"trunk\(|resblocks\(|compute_flow\(|get_flow\(|spynet\(|propagate_backward\(|aggregation\(|upsampling\(|"
    r"conv\w*\(|concat\(|fusion\(|up\w*[12]\("
)
"""Calls in a source line of a forward under which convolutions run."""


def rise(memory: Memory) -> tuple[list[float], list[int]]:
    """Seconds and bytes of the curve from the end of the beginning to the peak, its start at 0 s.

    The beginning ends where a tenth of the rise is done. Raises NotKnownError for a curve that is missing or
    has too few points there.
    """
    if not memory.host_bytes:
        raise NotKnownError(f"{memory.backend} has no curve of host memory")
    top = max(range(len(memory.host_bytes)), key=memory.host_bytes.__getitem__)
    before = memory.host_bytes[0] if memory.before_bytes is None else memory.before_bytes
    from_ = before + BEGINNING * (memory.host_bytes[top] - before)
    # The last point below it: what comes before may rise and fall.
    start = max((i for i in range(top) if memory.host_bytes[i] < from_), default=-1) + 1
    seconds, host = memory.elapsed_s[start : top + 1], memory.host_bytes[start : top + 1]
    if len(host) < MIN_POINTS:
        raise NotKnownError(
            f"too few points: {len(host)} on the rise of {memory.backend}'s memory, of {MIN_POINTS} needed"
        )
    if seconds[-1] <= seconds[0]:
        raise NotKnownError(f"the rise of {memory.backend}'s memory took no time that the clock could tell")
    return [at - seconds[0] for at in seconds], list(host)


def rates(memory: Memory, parts: int = PARTS) -> tuple[float, list[float]]:
    """Bytes per second of the whole rise, and of each of its parts of equal time."""
    seconds, host = rise(memory)
    edges = np.linspace(0.0, seconds[-1], parts + 1)
    levels = np.interp(edges, seconds, host)
    overall = (host[-1] - host[0]) / seconds[-1]
    return overall, [float(rate) for rate in np.diff(levels) / np.diff(edges)]


def growth(memory: Memory) -> int:
    """Bytes of the process's peak above the level before the call."""
    peak = memory.peak_bytes if memory.peak_bytes is not None else max(memory.host_bytes, default=None)
    before = memory.before_bytes
    if before is None and memory.host_bytes:
        before = memory.host_bytes[0]
    if peak is None or before is None:
        raise NotKnownError(f"the host memory of {memory.backend} was not measured")
    return peak - before


def kept(memory: Memory) -> Figure:
    """Growth per frame and pixel of the input."""
    pixels = memory.batch * memory.height * memory.width
    return Figure(
        name=f"growth per frame and input pixel on {memory.backend}",
        value=growth(memory) / (memory.frames * pixels),
        quantity=Quantity.BYTES,
    )


def straightness(memory: Memory) -> Figure:
    """The share of the rise's variance that a straight line explains."""
    seconds, host = rise(memory)
    return Figure(
        name=f"part of {memory.backend}'s rise that a straight line explains (R²)",
        value=float(np.corrcoef(seconds, host)[0, 1] ** 2),
        quantity=Quantity.SHARE,
        n=len(host),
    )


def first_half(memory: Memory) -> Figure:
    """The share of the rise that the first half of its time has."""
    _, (first, second) = rates(memory, 2)
    return Figure(
        name=f"part of {memory.backend}'s rise in the first half of its time",
        value=first / (first + second),
        quantity=Quantity.SHARE,
    )


def _straight(memory: Memory) -> Judgement:
    straight = lies(straightness(memory), above=STRAIGHT, at_its_word=True)
    even = lies(first_half(memory), above=LEAST_HALF, below=1 - LEAST_HALF, at_its_word=True)
    _, along = rates(memory, ALONG)
    one_way = along in (sorted(along), sorted(along, reverse=True))
    evidence = (*straight.evidence, *even.evidence)
    if straight.verdict is even.verdict is Verdict.SUPPORTED:
        return all_hold([straight, even])
    if even.verdict is Verdict.REFUTED and one_way:
        return Judgement(verdict=Verdict.REFUTED, evidence=evidence)
    return cannot_tell(
        "a machine that does nothing else: the curve is not straight, and its rate goes up and down",
        *evidence,
    )


def _steadily(edition: Edition) -> Judgement:
    memory = cell(edition.memory, Role.CPU, "memory")
    overall, parts = rates(memory)
    farthest = max(parts, key=lambda rate: abs(rate / overall - 1)) / overall - 1
    judged = lies(
        Figure(
            name="the rate farthest from the whole rise's, of its four parts",
            value=farthest,
            quantity=Quantity.SHARE,
        ),
        above=-EVEN,
        below=EVEN,
        at_its_word=True,
    )
    whole = Figure(name="rate of the whole rise", value=overall, quantity=Quantity.BYTES_PER_S)
    return all_hold([judged], whole)


def _steadily_and_kept(edition: Edition) -> Judgement:
    memory = cell(edition.memory, Role.CPU, "memory")
    if memory.frames < 2:
        raise NotKnownError("one frame tells no growth from the memory that a frame works in")
    # One curve is the thing itself, not an estimate of one: it is taken at its word.
    much = lies(kept(memory), above=KEPT_BYTES, at_its_word=True)
    try:
        rate = Figure(name="rate of the whole rise", value=rates(memory)[0], quantity=Quantity.BYTES_PER_S)
        return all_hold([much, _straight(memory)], rate)
    except NotKnownError:
        # A forward that keeps nothing has too short a rise for its rates, and is judged by its size alone.
        if much.verdict is not Verdict.REFUTED:
            raise
        return much


def convolution_share(memory: Memory) -> Figure:
    """The share of the growth that stands in lines whose calls convolve."""
    grown = [(line, max(0, line.increment_bytes)) for line in memory.lines]
    total = sum(size for _, size in grown)
    if not total:
        raise NotKnownError(f"{memory.backend} has no memory by line of the forward")
    convolving = sum(size for line, size in grown if CONVOLUTIONS.search(line.source))
    return Figure(
        name="growth in lines whose calls convolve", value=convolving / total, quantity=Quantity.SHARE
    )


def _in_convolutions(edition: Edition) -> Judgement:
    memory = cell(edition.memory, Role.CPU, "memory")
    return lies(convolution_share(memory), above=MOST, at_its_word=True)


def copied_bytes(memory: Memory) -> int:
    """Bytes that go to the device and come back."""
    clip = memory.batch, memory.frames, memory.height, memory.width
    return clip_bytes(*clip) + output_bytes(*clip)


def _transfers_published(_: Edition) -> Judgement:
    raise NotKnownError("memory of the transfers, which the paper did not measure apart from computing")


def _transfers(edition: Edition) -> Judgement:
    memory = cell(edition.memory, GPU[0], "memory")
    if memory.peak_device_bytes is None:
        raise NotKnownError(f"the device memory of {memory.backend} was not measured")
    share = Figure(
        name=f"the clip and its output over the peak of device memory on {memory.backend}",
        value=copied_bytes(memory) / memory.peak_device_bytes,
        quantity=Quantity.SHARE,
    )
    copied = Figure(
        name="the clip and its output", value=float(copied_bytes(memory)), quantity=Quantity.BYTES
    )
    return all_hold([lies(share, above=MOST, at_its_word=True)], copied)


CLAIMS: Final = (
    Claim(
        id="8a",
        title="Host memory grows at a steady rate through the run",
        source="section 4.4.3, figure 17",
        paper=Stated(
            statement=(
                f"From a tenth of its rise to its peak, no quarter of the curve's time has a rate {EVEN:.0%} "
                "or more off the whole's."
            ),
            judge=_steadily,
        ),
        general=Stated(
            statement=(
                f"On the CPU a forward adds more than {KEPT_BYTES // 1024} KiB per frame and input pixel. "
                f"From a tenth of the rise to the peak each half of the time has {LEAST_HALF:.0%} of it or "
                f"more, and a straight line explains more than {STRAIGHT:.0%} of the curve's variance; a "
                "rate that goes up and down leaves it open."
            ),
            judge=_steadily_and_kept,
            title="Host memory grows with every frame, at a steady rate up to its peak",
        ),
        negated_by_correction=True,  # without gradients a forward keeps little
    ),
    Claim(
        id="8b",
        title="Most of the memory is taken in convolutions",
        source="section 4.4.3, figure 18",
        paper=Stated(
            statement="More than half of the growth by line of the forward is in lines whose calls convolve.",
            judge=_in_convolutions,
        ),
        general=Stated(
            statement="More than half of the growth by line of the forward is in lines whose calls convolve.",
            judge=_in_convolutions,
        ),
    ),
    Claim(
        id="9",
        title="Host-to-device transfer costs the most memory",
        source="sections 4.4.3 and 4.5",
        paper=Stated(
            statement="The transfers take more memory than the computing does.", judge=_transfers_published
        ),
        general=Stated(
            statement=(
                "The clip and its output, which are what is transferred, are more than half of the peak of "
                "device memory."
            ),
            judge=_transfers,
            title="The clip and its output take most of the device's memory",
        ),
    ),
)
