"""A cell's model, clip and call. Runs in a worker."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.grid.backend_spec import Backend
from bench.grid.config import Model, RandomInput
from bench.grid.plan import Cell
from vsr_model import video
from vsr_model.checkpoint import load_checkpoint
from vsr_model.registry import find_model
from vsr_model.stages import StageProbe, no_probe

if TYPE_CHECKING:
    from vsr_model.memory_plan import MemoryPlan

Frames = Callable[[Tensor, StageProbe], Iterator[Tensor]]
"""A network as what gives the outputs (n, 3, 4h, 4w) of a clip (n, t, 3, h, w) one after another."""

DEFAULT_SEED = 0

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def build_model(model: Model) -> nn.Module:
    """The network on the CPU in float32 with its weights, in eval mode. Raises BadInput for a checkpoint."""
    built = find_model(model.name).build(model.parameters, seed=model.seed or DEFAULT_SEED)
    if model.checkpoint is not None:
        load_checkpoint(built, model.checkpoint)
    return built.eval()


def rehearse() -> None:
    """Build the smallest network there is, once, before any worker is forked.

    What torch makes at its first use is then there for every worker, which takes five milliseconds off each.
    No thread is started and no device touched.
    """
    build_model(Model(mid_channels=1, num_blocks=1))


def prepare(network: nn.Module, backend: Backend, device: torch.device) -> nn.Module:
    """The network on the backend's device, in its types and memory format, with its convolutions, compiled if
    it says so."""
    network = network.to(device)
    if backend.memory_format == "channels_last":
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
    if backend.has_narrow_features:
        network.cast_features(_DTYPES[backend.dtype])  # type: ignore[operator]  # nn.Module hides it
    match backend.convolution:
        case "im2col" | "fft" as method:
            # A revision of the network that is measured by this program may not have it yet.
            from vsr_model.convolutions import replace_convolutions  # noqa: PLC0415

            replace_convolutions(network, method)
        case "winograd":
            from vsr_model.native.stages import use_winograd  # noqa: PLC0415

            in_bfloat16 = backend.dtype == "bfloat16"
            use_winograd(network, blocks_in_bfloat16=in_bfloat16)  # type: ignore[arg-type]
    if backend.compile:
        network.compile_stages()  # type: ignore[operator]
    return network


def make_clip(cell: Cell) -> Tensor:
    """The cell's input (n, t, 3, h, w) on the host, float32 in [0, 1]. Raises BadInput for a media file."""
    item = cell.input
    if isinstance(item, RandomInput):
        return video.random_clip(
            batch=cell.batch, frames=cell.frames, height=cell.height, width=cell.width, seed=item.seed
        )
    return video.read_clip(
        item.path,
        frames=cell.frames,
        stride=item.stride if item.kind == "video" else 1,
        height=cell.height,
        width=cell.width,
        fit=item.fit,
        batch=cell.batch,
    )


def forward_of(
    network: nn.Module, *, backend: Backend | None = None
) -> Callable[[Tensor, StageProbe], Tensor]:
    """The network as a call, as the backend has it that it was prepared for; without one as published."""
    call = network if backend is None else _call_of(network, backend)

    def forward(lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        with torch.inference_mode():
            output: Tensor = call(lrs, probe)
            return output

    return forward


def _call_of(network: nn.Module, backend: Backend) -> Callable[[Tensor, StageProbe], Tensor]:
    """The network in the backend's order of work, replayed where it is captured."""
    call: Callable[..., Tensor] = network
    # A revision of the network that is measured by this program may not have these yet.
    if backend.schedule == "pipelined":
        from vsr_model.schedules import Pipelined  # noqa: PLC0415

        call = Pipelined(network)  # type: ignore[arg-type]
    if backend.cuda_graph:
        from vsr_model.cuda_graphs import GraphedCall  # noqa: PLC0415

        graphed = GraphedCall(call)
        return lambda lrs, _probe: graphed(lrs)
    return call


def frames_of(network: nn.Module, plan: "MemoryPlan") -> Frames:
    """The network in bounded memory. The clip may lie on the host: the call brings frames to the device."""
    # A revision of the network that is measured by this program may not have it yet.
    from vsr_model.frame_sources import TensorFrames  # noqa: PLC0415
    from vsr_model.streaming import upscale_frames  # noqa: PLC0415

    @torch.inference_mode()  # as the plain call, whose time is compared with this one's
    def frames(lrs: Tensor, probe: StageProbe = no_probe) -> Iterator[Tensor]:
        yield from upscale_frames(network, TensorFrames(lrs), plan, probe)  # type: ignore[arg-type]

    return frames


def dropping(frames: Frames) -> Callable[[Tensor, StageProbe], None]:
    """A call that makes every output and keeps none."""

    def forward(lrs: Tensor, probe: StageProbe = no_probe) -> None:
        for output in frames(lrs, probe):
            del output

    return forward
