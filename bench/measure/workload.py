"""Makes a cell's network, clip and call. Runs in a worker."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.grid.backend import Backend
from bench.grid.config_model import Model
from bench.measure import networks
from vsr_model.network import Facts, Network
from vsr_model.stages import StageProbe, no_probe

if TYPE_CHECKING:
    from vsr_model.memory_plan import MemoryPlan

Frames = Callable[[Tensor, StageProbe], Iterator[Tensor]]
"""A call that yields the outputs (n, 3, 4h, 4w) of a clip (n, t, 3, h, w) one after another."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Unsupported(Exception):  # noqa: N818 - no error: the cell is skipped
    """A backend has a setting that the network does not support; the message is a sentence."""


class ClipFrames:
    """A clip (n, t, 3, h, w) in memory as a source of frames, which are views of it."""

    def __init__(self, lrs: Tensor) -> None:
        self._lrs = lrs
        n, t, c, h, w = lrs.shape
        self.shape = n, t, c, h, w

    def frames(self, start: int, stop: int) -> Iterable[Tensor]:
        """Return the frames from `start` to before `stop`, each (n, 3, h, w)."""
        return self._lrs[:, start:stop].unbind(1)


def rehearse() -> None:
    """Build the smallest network once, before any worker is forked.

    Every worker then has what torch makes at its first use, which saves five milliseconds each. No thread is
    started and no device is touched.
    """
    networks.build(Model(parameters={"mid_channels": 1, "num_blocks": 1}))


def prepare(
    network: Network, backend: Backend, device: torch.device, *, on_cpu: bool | None = None
) -> Network:
    """Move the network to the device, with the backend's types, memory format, convolutions and compilation.

    `on_cpu` says which device the meta device stands for. Raises Unsupported for what the network does not
    support.
    """
    check_support(network.facts, backend)
    network = network.to(device)
    if backend.memory_format == "channels_last":
        _to_channels_last(network)
    if backend.has_narrow_features:
        network.cast_features(_DTYPES[backend.dtype])
    match backend.convolution:
        case "im2col" | "fft" as method:
            # A revision of the network that is measured by this program may not have it yet.
            from vsr_model.convolutions import replace_convolutions  # noqa: PLC0415

            is_on_cpu = device.type == "cpu" if on_cpu is None else on_cpu
            with _as_unsupported(f"convolution: {method}"):
                replace_convolutions(network, method, on_cpu=is_on_cpu)
        case "winograd":
            from vsr_model.convolutions.winograd.modules import use_winograd  # noqa: PLC0415

            in_bfloat16 = backend.dtype == "bfloat16"
            with _as_unsupported("convolution: winograd"):
                use_winograd(network, blocks_in_bfloat16=in_bfloat16)
    if backend.compile:
        network.compile_parts()
    return network


def check_support(facts: Facts, backend: Backend) -> None:
    """Raise Unsupported for a schedule or a memory plan that a network does not support."""
    if backend.schedule not in facts.schedules:
        raise Unsupported(f"schedule: {facts.title} knows {', '.join(facts.schedules)} only")
    if backend.memory_plan is not None and not facts.can_stream:
        raise Unsupported(f"memory_plan: {facts.title} takes a whole clip in one call only")


def _to_channels_last(network: nn.Module) -> None:
    """Lay out weights of four dimensions; `Module.to` fails on those of five."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)


@contextmanager
def _as_unsupported(field: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise Unsupported(f"{field}: {error}") from None


def forward_of(network: Network, backend: Backend | None = None) -> Callable[[Tensor, StageProbe], Tensor]:
    """Return a call of the network, by the schedule and graph of the backend that it was prepared for."""
    call: Callable[..., Tensor] = network
    # A revision of the network that is measured by this program may not have these yet.
    if backend is not None and backend.schedule == "pipelined":
        from vsr_model.schedules import Pipelined  # noqa: PLC0415

        call = Pipelined(network)  # type: ignore[arg-type]
    if backend is not None and backend.cuda_graph:
        from vsr_model.cuda_graphs import GraphedCall  # noqa: PLC0415

        graphed = GraphedCall(call)
        call = lambda lrs, _probe: graphed(lrs)  # noqa: E731

    @torch.inference_mode()
    def forward(lrs: Tensor, probe: StageProbe = no_probe) -> Tensor:
        return call(lrs, probe)

    return forward


def frames_of(network: Network, plan: "MemoryPlan") -> Frames:
    """Return the network in bounded memory, which moves frames to the device from where the clip lies."""
    # A revision of the network that is measured by this program may not have it yet.
    from vsr_model.streaming import upscale_frames  # noqa: PLC0415

    @torch.inference_mode()  # as the plain call, whose time is compared with this one's
    def frames(lrs: Tensor, probe: StageProbe = no_probe) -> Iterator[Tensor]:
        yield from upscale_frames(network, ClipFrames(lrs), plan, probe)  # type: ignore[arg-type]

    return frames
