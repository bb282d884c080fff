"""Frames that are too large for the device: each tile is a clip of its own, and the outputs are joined."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from types import EllipsisType
from typing import cast

import torch
from torch import Tensor

from vsr_model.basicvsr import SCALE, BasicVSR, check_shape
from vsr_model.frame_sources import FrameSource
from vsr_model.memory_plan import MemoryPlan
from vsr_model.scratch_file import ScratchFile
from vsr_model.stages import StageProbe, no_probe
from vsr_model.streaming import upscale_frames
from vsr_model.tile_layout import Tile, TileLayout, Window


class TileFrames:
    """The `window` of each frame of another source, as a clip of its own.

    Frames are copies: no window keeps the frame alive that it was cut from.
    """

    def __init__(self, source: FrameSource, window: Window) -> None:
        self._source, self._window = source, window

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """(n, t, 3, h, w) of the window."""
        n, t, c, _, _ = self._source.shape
        return n, t, c, len(self._window.rows), len(self._window.columns)

    def frames(self, start: int, stop: int) -> Iterable[Tensor]:
        """As `FrameSource.frames`."""
        rows, columns = (slice(span.start, span.stop) for span in (self._window.rows, self._window.columns))
        return (frame[..., rows, columns].clone() for frame in self._source.frames(start, stop))


def upscale_tiled(
    network: BasicVSR,
    source: FrameSource,
    plan: MemoryPlan,
    layout: TileLayout,
    probe: StageProbe = no_probe,
) -> Iterator[Tensor]:
    """The outputs (n, 3, 4h, 4w) of all frames of `source`, first to last, float32 in host memory.

    Each tile of `layout` goes through `streaming.upscale_frames` under `plan` as if it were the whole clip.
    The output of every pixel is that of the one tile that keeps it; nothing is blended. So a layout of one
    tile gives what `upscale_frames` gives, bit for bit, and any other gives something else: docs/tiles.md
    says how much.

    The tiles go through the clip side by side: frame i of all of them is made and joined before any goes on
    to frame i + 1, and the backward branch of each runs just before its first frame. What waits is each
    tile's features, at the plan's place, and what a tile needs to go on; no tile's output does.

    The source is asked at random: the requests of each tile are those of `memory_plan.frame_requests`, in
    that order, for whole frames of which the window is taken, but those of other tiles come in between. It
    should have the frames at hand, as `spool.FrameSpool` does.

    An iterator that is dropped early, or fails, lets go of all that it holds for all tiles. Raises ValueError
    at once for a shape that `network` does not take or that is not the layout's, and otherwise what
    `upscale_frames` raises; OSError that names the folder where the plan's disk cannot hold the features of
    all tiles, before the network runs.
    """
    shape = source.shape
    check_shape(shape)
    if shape[-2:] != (layout.height, layout.width):
        raise ValueError(
            f"The layout is for frames of {layout.height} x {layout.width}, and the source has frames of"
            f" {shape[-2]} x {shape[-1]}."
        )
    return _joined(network, source, plan, layout, probe)


def put(output: Tensor, tile: Tile, joined: Tensor) -> None:
    """Copy what is kept of a tile's `output` (n, 3, 4h, 4w) to its place in that of the whole frame."""
    rows, columns = tile.window.rows.start, tile.window.columns.start
    joined[_output_pixels(tile.kept)].copy_(output[_output_pixels(tile.kept, rows, columns)])


def _output_pixels(part: Window, top: int = 0, left: int = 0) -> tuple[EllipsisType, slice, slice]:
    """Where the part of a frame lies in the output of a window that begins at `top` and `left`."""
    rows, columns = (
        slice(SCALE * (span.start - first), SCALE * (span.stop - first))
        for span, first in ((part.rows, top), (part.columns, left))
    )
    return ..., rows, columns


def _joined(
    network: BasicVSR, source: FrameSource, plan: MemoryPlan, layout: TileLayout, probe: StageProbe
) -> Iterator[Tensor]:
    _check_disk(network, source, plan, layout)
    tiles = list(layout.tiles())
    with ExitStack() as closed_at_the_end:
        outputs = [
            closed_at_the_end.enter_context(closing(_outputs(network, source, plan, tile, probe)))
            for tile in tiles
        ]
        for _ in range(source.shape[1]):
            joined = _blank(source.shape)
            for tile, outputs_of_tile in zip(tiles, outputs, strict=True):
                output = next(outputs_of_tile)
                put(output, tile, joined)
                # The tile's iterator refers to its last output until it goes on, which is when all others had
                # their turn. Without its storage that costs nothing.
                output.set_(output.new_empty(0).untyped_storage())
            yield joined
            del joined  # its receiver alone decides how long it lives


def _outputs(
    network: BasicVSR, source: FrameSource, plan: MemoryPlan, tile: Tile, probe: StageProbe
) -> Generator[Tensor, None, None]:
    outputs = upscale_frames(network, TileFrames(source, tile.window), plan, probe)
    return cast("Generator[Tensor, None, None]", outputs)  # which can be told to end


def _blank(shape: tuple[int, int, int, int, int]) -> Tensor:
    n, _, c, h, w = shape
    return torch.empty((n, c, SCALE * h, SCALE * w), dtype=torch.float32, device="cpu")


def _check_disk(network: BasicVSR, source: FrameSource, plan: MemoryPlan, layout: TileLayout) -> None:
    """Claim the space of all tiles once: the last would claim its own when the others have run for long."""
    n, t, *_ = source.shape
    kept = len(plan.kept_frames(t))
    if plan.folder is None or not kept:
        return
    weight = network.propagation.backward_trunk.conv_in.weight
    pixels = n * layout.count * layout.window_height * layout.window_width
    features_bytes = network.propagation.mid_channels * pixels * weight.itemsize
    ScratchFile(plan.folder, kept * features_bytes).close()
