"""Makes a cell's clip, with the channels and the sides that its network takes. Runs in a worker."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.grid.config import RandomInput
from bench.grid.plan import Cell
from vsr_model.channels import luma_of, made
from vsr_model.network import Facts


def clip_shape(cell: Cell, facts: Facts) -> tuple[int, int, int, int, int]:
    """Return the shape (n, t, c, h, w) of the clip, with sides that are multiples the network takes."""
    height, width = (-(-side // facts.multiple) * facts.multiple for side in (cell.height, cell.width))
    return cell.batch, cell.frames, facts.channels, height, width


def clip_note(cell: Cell, facts: Facts) -> str | None:
    """Return how the clip differs from RGB of the cell's size, or None."""
    image, *beside = facts.inputs
    *_, height, width = clip_shape(cell, facts)
    notes = []
    if (height, width) != (cell.height, cell.width):
        notes.append(
            f"is padded to {height}x{width} (multiples of {facts.multiple}), which its figures are of"
        )
    if image != "rgb":
        notes.append(f"is {image} alone")
    notes += (f"has {name.replace('_', ' ')} that are made before the calls" for name in beside)
    return f"{facts.title}'s clip {', '.join(notes)}" if notes else None


def make_clip(cell: Cell, facts: Facts) -> Tensor:
    """Return the cell's input (n, t, c, h, w) on the host, float32, its image in [0, 1].

    All that the network needs is made here, before any call: luma, sides that are multiples (the last row and
    column are repeated), and what it takes beside the image. Raises BadInput for a media file that cannot be
    read.
    """
    clip = _images(cell)
    if "luma" in facts.inputs:
        clip = luma_of(clip)
    *_, height, width = clip_shape(cell, facts)
    below, right = height - cell.height, width - cell.width
    if below or right:
        clip = F.pad(clip, (0, right, 0, below, 0, 0), mode="replicate")
    beside = [made(name, channels, clip) for name, channels in list(facts.inputs.items())[1:]]
    return torch.cat([clip, *beside], 2) if beside else clip


def _images(cell: Cell) -> Tensor:
    """Return the cell's frames (n, t, 3, h, w), RGB in [0, 1]."""
    item = cell.input
    if isinstance(item, RandomInput):
        # A generator of its own draws on one thread: the clip depends on the cell alone.
        generator = torch.Generator().manual_seed(item.seed)
        return torch.rand((cell.batch, cell.frames, 3, cell.height, cell.width), generator=generator)
    # A revision of the network that is measured by this program may not have it yet.
    from vsr_model.media import read_clip  # noqa: PLC0415

    return read_clip(
        item.path,
        frames=cell.frames,
        stride=item.stride if item.kind == "video" else 1,
        height=cell.height,
        width=cell.width,
        fit=item.fit,
        batch=cell.batch,
    )
