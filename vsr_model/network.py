"""The contract of a network: its facts, and its call."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from re import Match

import torch
from torch import Tensor, nn

from vsr_model.stages import StageProbe, no_probe

Replacement = str | Callable[[Match[str]], str]


@dataclass(frozen=True, kw_only=True)
class Published:
    """A figure as a publication gives it, with its conditions and source."""

    quantity: str
    value: float
    unit: str
    source: str
    conditions: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts of a network, by which it is measured, traced and loaded.

    `stages` gives each stage's name, in order, and a sentence on its work. Frames are enlarged by `scale`.
    `inputs` gives the channels of a clip in their order: first the image, "rgb" or "luma", which is also what
    comes out; then what the network takes beside it, such as "flows". Submodules are named as by
    `torch.nn.Module.get_submodule`; "" is the network itself.
    """

    title: str
    source: str
    stages: Mapping[str, str]
    scale: int = 4
    inputs: Mapping[str, int] = field(default_factory=lambda: {"rgb": 3})
    min_size: int = 1  # of height and width, in pixels
    multiple: int = 1  # of height and width
    min_frames: int = 1
    narrow: tuple[str, ...] = ("",)  # submodules that a narrower dtype casts; the rest stays float32
    compiled: tuple[str, ...] = ("",)  # submodules that are compiled one by one, so that stages stay visible
    schedules: tuple[str, ...] = ("sequential",)  # orders of work that vsr_model.schedules has for it
    can_stream: bool = False  # whether vsr_model.streaming takes it: clips of any length in bounded memory
    gains: tuple[tuple[str, float], ...] = ()  # of seeded weights (vsr_model.weights), by pattern of the name
    fixed: str | None = (
        None  # pattern of weights that are constants, and keep what the constructor gives them
    )
    published: tuple[Published, ...] = ()
    # Of checkpoints (vsr_model.checkpoint):
    names: tuple[tuple[str, Replacement], ...] = ()  # other projects' names to this one's, applied in order
    optional: str | None = None  # pattern of tensors that not every project stores
    ignored: str | None = None  # pattern of others' tensors that are not needed here
    parts: tuple[str, ...] = ()  # prefixes of what a checkpoint may hold alone

    @property
    def channels(self) -> int:
        """Channels of a clip."""
        return sum(self.inputs.values())

    @property
    def image_channels(self) -> int:
        """Channels of an output, and the first ones of a clip: 3 of RGB, or 1 of luma."""
        return next(iter(self.inputs.values()))


class Network(nn.Module):
    """A super-resolution network that can be measured stage by stage.

    A subclass is one file of `vsr_model.networks`. Its constructor's parameters are annotated with the values
    that are allowed (`typing.Annotated` with a pydantic field), and its defaults are the published ones.
    """

    facts: Facts

    def __init__(self) -> None:
        super().__init__()

    def forward(self, lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        """Enlarge a clip: `lrs` (n, t, 3, h, w), RGB in [0, 1], to (n, t, 3, scale h, scale w).

        A network of luma takes and gives one channel; `facts.inputs` names further channels of `lrs`.
        `frames_out` says how many frames come out. `probe` spans the work of each stage.

        Raises ValueError for a clip that `facts` exclude.
        """
        raise NotImplementedError

    def frames_out(self, frames: int) -> int:
        """Return how many frames come out of a clip of `frames`."""
        return frames

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int, int, int]:
        """Return the shape of the output of a clip of `shape`."""
        n, t, _, h, w = shape
        return n, self.frames_out(t), self.facts.image_channels, self.facts.scale * h, self.facts.scale * w

    def instrumented(self) -> AbstractContextManager[None]:
        """Return a context that prepares what calls with a probe need, so that none of it is timed."""
        return nullcontext()

    def cast_features(self, dtype: torch.dtype) -> None:
        """Run the submodules of `facts.narrow` in `dtype`, such as torch.bfloat16.

        Flow estimation, the positions of a warp and the output keep the input's precision: an error in a flow
        moves pixels, and is carried from frame to frame.
        """
        if not dtype.is_floating_point:
            raise ValueError(f"features need a floating-point dtype, not {dtype}.")
        for name in self.facts.narrow:
            self.get_submodule(name).to(dtype)

    def compile_parts(self) -> None:
        """Compile the submodules of `facts.compiled` one by one, so that the probe still sees every stage."""
        for name in self.facts.compiled:
            part = self.get_submodule(name)
            part.forward = torch.compile(part.forward)


def title_of(module: nn.Module) -> str:
    """Return a network's name in messages; another module is named by its class."""
    return module.facts.title if isinstance(module, Network) else type(module).__name__


def check_clip(facts: Facts, shape: tuple[int, ...]) -> None:
    """Raise ValueError, in one sentence, for a shape that the network does not take."""
    match shape:
        case (n, t, c, h, w) if (
            n >= 1 and t >= facts.min_frames and c == facts.channels and min(h, w) >= facts.min_size
            and not h % facts.multiple and not w % facts.multiple
        ):  # fmt: skip
            return
    of = f" and multiples of {facts.multiple}" if facts.multiple > 1 else ""
    raise ValueError(
        f"{facts.title} needs a clip of shape (n, t, {facts.channels}, h, w) ({' and '.join(facts.inputs)}) "
        f"with n of at least 1, t of at least {facts.min_frames} and h, w of at least {facts.min_size}{of}, "
        f"not {shape}."
    )
