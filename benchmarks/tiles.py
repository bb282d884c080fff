"""How far frames in tiles are from the same frames in one piece, by the overlap of the tiles.

Frames are cut in two along both axes. The seams stay in the middle at every overlap, and only how far the
tiles reach beyond them changes: every overlap is judged by the same pixels. What neighbours share is cut in
the middle, as `vsr_model.tiles` does it, or blended linearly. The weights are random (vsr_model.initialise).
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, cast

import pandas as pd
import torch
from torch import Tensor

from bench.process.launcher import Launcher
from bench.reporting.markdown import Column, table
from benchmarks import evidence
from benchmarks.evidence import Evidence
from vsr_model import clips
from vsr_model.basicvsr import SCALE
from vsr_model.frame_sources import TensorFrames
from vsr_model.initialise import build_basicvsr
from vsr_model.memory_plan import MemoryPlan
from vsr_model.streaming import upscale_frames
from vsr_model.tile_layout import TileLayout
from vsr_model.tiles import TileFrames, put

NAME: Final = "tiles"
PAGE: Final = evidence.ROOT / "docs" / "tiles.md"
COLUMNS: Final = ("clip", "flow", "overlap", "joined", "where", "psnr_db", "largest", "deviation")

ESTIMATED: Final = "estimated"
ZERO: Final = "zero"
CUT: Final = "cut"
BLENDED: Final = "blended"
NEAR_SEAM: Final = "near a seam"
ELSEWHERE: Final = "elsewhere"
NEAR: Final = 8
"""Input pixels on each side of a seam."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A clip, whole and in tiles of each overlap.

    `clip` is texture (`clips.moving_texture`) or noise (`clips.random_clip`). A `flow` of zero is the same in
    every tile: what is left is what features bring across a seam.
    """

    clip: str
    flow: str = ESTIMATED
    frames: int = 3
    height: int = 160
    width: int = 256
    overlaps: tuple[int, ...] = (0, 8, 16, 32, 64)
    mid_channels: int = 64
    num_blocks: int = 30
    seed: int = 0


FULL: Final = (
    Comparison(clip="texture"),
    Comparison(clip="noise"),
    Comparison(clip="texture", flow=ZERO),
)
QUICK: Final = (
    Comparison(clip="texture", frames=2, height=64, width=64, overlaps=(0, 8), mid_channels=4, num_blocks=1),
)


def layout_of(height: int, width: int, overlap: int) -> TileLayout:
    """Two tiles along each axis, whose seams are in the middle of the frame."""
    return TileLayout(
        height=height,
        width=width,
        tile_height=height // 2 + overlap,
        tile_width=width // 2 + overlap,
        overlap=overlap,
    )


def compare(given: Comparison) -> Iterator[tuple[object, ...]]:
    """A row for each overlap, way of joining, and place."""
    frames, height, width = given.frames, given.height, given.width
    lrs = (
        clips.moving_texture(frames, height, width, given.seed)[None]
        if given.clip == "texture"
        else clips.random_clip(batch=1, frames=frames, height=height, width=width, seed=given.seed)
    )
    network = build_basicvsr(given.mid_channels, given.num_blocks, seed=given.seed)
    if given.flow == ZERO:
        for parameter in network.alignment.parameters():
            parameter.data.zero_()
    plan = MemoryPlan(chunk=max(1, frames - 1))
    source = TensorFrames(lrs)
    whole = torch.stack(list(upscale_frames(network, source, plan)))
    for overlap in given.overlaps:
        layout = layout_of(height, width, overlap)
        outputs = [
            torch.stack(list(upscale_frames(network, TileFrames(source, tile.window), plan)))
            for tile in layout.tiles()
        ]
        cut = torch.empty_like(whole)
        for output, tile in zip(outputs, layout.tiles(), strict=True):
            put(output, tile, cut)
        near = _near_seams(layout)
        for joined, output in ((CUT, cut), (BLENDED, blended(outputs, layout))):
            for where, pixels in ((NEAR_SEAM, near), (ELSEWHERE, ~near)):
                off = (output - whole)[..., pixels].abs()
                psnr_db = float(-10 * torch.log10(off.double().square().mean()))
                of_row = given.clip, given.flow, overlap, joined, where
                yield *of_row, psnr_db, float(off.max()), float(whole.std())


def blended(outputs: Sequence[Tensor], layout: TileLayout) -> Tensor:
    """The tiles' outputs (..., 4h, 4w), each fading linearly across all that it shares with a neighbour."""
    *rest, _, _ = outputs[0].shape
    joined = outputs[0].new_zeros(*rest, SCALE * layout.height, SCALE * layout.width)
    weights = joined.new_zeros(joined.shape[-2:])
    for output, tile in zip(outputs, layout.tiles(), strict=True):
        window, kept = tile.window, tile.kept
        weight = _ramp(window.rows, kept.rows)[:, None] * _ramp(window.columns, kept.columns)
        rows, columns = (
            slice(SCALE * span.start, SCALE * span.stop) for span in (window.rows, window.columns)
        )
        joined[..., rows, columns] += weight * output
        weights[rows, columns] += weight
    return joined / weights


def _ramp(window: range, kept: range) -> Tensor:
    """A tile's weight along an axis, at each pixel of its output."""
    centres = torch.arange(SCALE * len(window)) + 0.5
    weight = torch.ones_like(centres)
    # The seam is in the middle of what is shared.
    if before := 2 * SCALE * (kept.start - window.start):
        weight = weight.minimum(centres / before)
    if after := 2 * SCALE * (window.stop - kept.stop):
        weight = weight.minimum(centres.flip(0) / after)
    return weight


def _near_seams(layout: TileLayout) -> Tensor:
    """Whether a pixel of the output is near a seam."""
    near = torch.zeros(SCALE * layout.height, SCALE * layout.width, dtype=torch.bool)
    for tile in layout.tiles():
        # Where a tile's kept part begins within the frame is a seam.
        for axis, seam in ((0, tile.kept.rows.start), (1, tile.kept.columns.start)):
            if seam:
                near.narrow(axis, SCALE * (seam - NEAR), 2 * SCALE * NEAR).fill_(True)
    return near


def measure(options: argparse.Namespace) -> Evidence:
    """Every comparison. Nothing is timed: they need no worker, and any machine will do."""
    with Launcher() as launcher:
        described = evidence.environment_of(launcher, {})
    rows: list[tuple[object, ...]] = []
    for given in QUICK if options.quick else FULL:
        evidence.say(f"{given.clip} of {given.height} x {given.width}")
        rows += compare(given)
    return Evidence(samples=pd.DataFrame(rows, columns=list(COLUMNS)), environment=described)


def render(kept: Evidence) -> str:
    """For each clip and overlap how far tiles are off, in both places and ways; and where that comes from."""
    rows: list[list[str]] = []
    ways = list(product((CUT, BLENDED), (NEAR_SEAM, ELSEWHERE)))
    for key, found in kept.samples.groupby(["clip", "flow", "overlap"], sort=False):
        clip, flow, overlap = cast("tuple[str, str, int]", key)
        off = {
            (row.joined, row.where): f"{row.psnr_db:.1f} dB, {row.largest:.2g}" for row in found.itertuples()
        }
        rows.append([clip, flow, str(overlap), *(off[way] for way in ways)])
    titles = ("clip", "flow", "overlap", *(", ".join(way) for way in ways))
    columns = [
        Column(title=title, cells=[row[place] for row in rows], numeric=title == "overlap")
        for place, title in enumerate(titles)
    ]
    deviations = kept.samples["deviation"]
    return (
        f"{table(columns)}\n\nThe outputs of whole frames have a standard deviation of {deviations.min():.2g}"
        f" to {deviations.max():.2g}."
        f" {evidence.source_line(kept.environment, f'python -m benchmarks.{NAME}')}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 for a request that cannot be met."""
    options = evidence.parser(__doc__, NAME).parse_args(argv)
    return evidence.conduct(options, NAME, columns=COLUMNS, measure=measure, render=render, page=PAGE)


if __name__ == "__main__":
    raise SystemExit(main())
