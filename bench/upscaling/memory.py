"""What enlarging a file takes of memory and of disks, and the plan that keeps to their limits."""

import os
from dataclasses import dataclass, replace
from typing import Final

import psutil

from bench.grid.backend_spec import Backend
from bench.machine import host_memory
from bench.measure import backends
from bench.upscaling.disk import in_memory
from bench.upscaling.intake import spooled_bytes
from bench.upscaling.request import Request
from vsr_model import convolution_memory
from vsr_model.errors import BadInput
from vsr_model.memory_cost import Call, Needs, needs, needs_tiled
from vsr_model.memory_plan import MemoryPlan
from vsr_model.native import memory as native_memory
from vsr_model.plan_choice import Limits, cheapest_plan, named_plan
from vsr_model.registry import ModelEntry
from vsr_model.tile_layout import TileLayout
from vsr_model.video import MediaInfo

_SHARE_OF_HOST: Final = 0.8
"""Of the memory that is available, where no limit is given: the rest is for whatever else wants some."""

_SHARE_OF_DEVICE: Final = 0.9
"""Of a GPU's memory, where no limit is given: its driver and what else computes there have some of it."""

_SMALL_TILE: Final = 64
_SMALL_OVERLAP: Final = 8

_MIB: Final = 2**20
_RGB: Final = 3
_FLOAT_BYTES: Final = 4

_BASE_BYTES: Final = 64 * _MIB
_BASE_BYTES_PER_CORE: Final = 8 * _MIB
"""What a process holds of code, threads and buffers that no formula counts, once all have been used."""

_CUDA_BASE_BYTES: Final = 1024 * _MIB
"""The same of CUDA's libraries and context in host memory, and of page-locked buffers. No GPU has confirmed
it."""

_CPU_WORKING: Final = 1.6
"""Of resident memory over the tensors that a CPU computes with: convolutions work on reordered copies."""

_CUDA_WORKING: Final = 1.2
"""The same of a GPU, for workspaces of cuDNN and what its allocator rounds up. No GPU has confirmed it:
memory that runs out there is told in a sentence."""

_OUTPUTS_HELD: Final = 8
"""Frames of the output's size, in float32, that wait for the encoder or are being converted for it."""

_ENCODER_BYTES_PER_PIXEL: Final = 110
_ENCODER_BYTES_PER_PIXEL_AND_CORE: Final = 10
"""Of the output: an encoder looks ahead for some 40 frames, and each of its threads has frames of its own."""

_LOOSE: Final = 1.25
"""What is held over all that is counted here, where the heap keeps freed memory (bench.upscaling.heap)."""


@dataclass(frozen=True, kw_only=True)
class Enlarging:
    """A file's frames through the network, as far as memory is concerned."""

    call: Call
    layout: TileLayout
    scale: int
    is_video: bool
    cores: int
    loose: bool  # whether the heap keeps what was freed
    spool_bytes: int  # of decoded frames, in the scratch folder
    scratch_in_memory: bool  # as a folder of tmpfs is
    convolution: str = "library"

    def cost(self, call: Call, plan: MemoryPlan) -> Needs:
        """What the process takes beyond its start, and what lies on the device and on disk."""
        if self._by_winograd:  # which fills channels up
            call = replace(call, mid_channels=native_memory.padded(call.mid_channels))
        tensors = needs(call, plan) if self.layout.count == 1 else needs_tiled(call, plan, self.layout)
        device_bytes = round(_CUDA_WORKING * tensors.device_bytes)
        return replace(
            tensors,
            host_bytes=self._in_host_memory(call, plan, tensors),
            device_bytes=device_bytes + (0 if call.on_cpu else self._convolution_bytes(call, plan)),
        )

    @property
    def _by_winograd(self) -> bool:
        return self.convolution == "winograd"

    def _in_host_memory(self, call: Call, plan: MemoryPlan, tensors: Needs) -> int:
        pixels = call.height * call.width
        ahead = 2 * (plan.pairs_at_once(call.frames) + 1) * _RGB * _FLOAT_BYTES * pixels
        output_pixels = self.scale**2 * pixels
        behind = _OUTPUTS_HELD * _RGB * _FLOAT_BYTES * output_pixels
        per_pixel = _ENCODER_BYTES_PER_PIXEL + self.cores * _ENCODER_BYTES_PER_PIXEL_AND_CORE
        encoder = per_pixel * output_pixels if self.is_video else 0
        computing = tensors.host_bytes
        if call.on_cpu:
            kept = 0 if plan.place == "disk" else self._kept_bytes(call, plan)
            # The compiled kernel's copies are counted apart, and it makes no others.
            working = 1.0 if self._by_winograd else _CPU_WORKING
            computing = kept + round(working * max(0, tensors.host_bytes - kept))
        base = _BASE_BYTES + self.cores * _BASE_BYTES_PER_CORE + (0 if call.on_cpu else _CUDA_BASE_BYTES)
        base += self._convolution_bytes(call, plan) if call.on_cpu else 0
        whole = base + ahead + behind + encoder + computing
        whole = round(_LOOSE * whole) if self.loose else whole
        return whole + (self.spool_bytes + tensors.disk_bytes if self.scratch_in_memory else 0)

    def _convolution_bytes(self, call: Call, plan: MemoryPlan) -> int:
        """What convolutions keep and work in, if they are not the library's."""
        if self.convolution == "library":
            return 0
        if self._by_winograd:
            return self._kernel_bytes(call, plan)
        height, width = self.layout.window_height, self.layout.window_width
        whole = convolution_memory.working_bytes(
            self.convolution,
            mid_channels=call.mid_channels,
            batch=call.batch,
            pairs=plan.pairs_at_once(call.frames),
            upsampled=1,
            height=height,
            width=width,
            bytes_per_element=call.bytes_per_element,
            on_cpu=call.on_cpu,
        )
        if self.convolution == "fft":
            whole += convolution_memory.spectra_bytes(
                mid_channels=call.mid_channels, num_blocks=call.num_blocks, height=height, width=width
            )
        return whole

    def _kernel_bytes(self, call: Call, plan: MemoryPlan) -> int:
        scratch = native_memory.scratch_bytes(
            mid_channels=call.mid_channels,
            batch=call.batch,
            pairs=plan.pairs_at_once(call.frames),
            upsampled=1,
            height=self.layout.window_height,
            width=self.layout.window_width,
            threads=self.cores,
        )
        weights = native_memory.weight_bytes(mid_channels=call.mid_channels, num_blocks=call.num_blocks)
        return scratch + weights

    def _kept_bytes(self, call: Call, plan: MemoryPlan) -> int:
        layout = self.layout
        tile = replace(call, height=layout.window_height, width=layout.window_width)
        return layout.count * len(plan.kept_frames(call.frames)) * tile.features_bytes


def enlarging(
    info: MediaInfo, entry: ModelEntry, request: Request, layout: TileLayout, frames: int
) -> Enlarging:
    """Of so many frames of a file. Looks at the request's scratch folder."""
    parameters = request.model.parameters
    call = Call(
        mid_channels=parameters["mid_channels"],
        num_blocks=parameters["num_blocks"],
        batch=1,
        frames=frames,
        height=info.height,
        width=info.width,
        bytes_per_element=request.backend.feature_bytes,
        on_cpu=not request.backend.is_cuda,
    )
    return Enlarging(
        call=call,
        layout=layout,
        scale=entry.scale,
        is_video=info.kind == "video",
        cores=_cores(),
        loose=not request.heap_gives_back,
        spool_bytes=spooled_bytes(info, frames),
        scratch_in_memory=in_memory(request.scratch_folder),
        convolution=request.backend.convolution,
    )


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limits_of(request: Request, disk_bytes: int) -> Limits:
    """What the request or the machine allows; `disk_bytes` are free for features in its scratch folder."""
    host_bytes = request.memory_limit_bytes
    if host_bytes is None:
        available = host_memory.available_bytes()
        if available is None:
            available = psutil.virtual_memory().available
        host_bytes = round(_SHARE_OF_HOST * available)
    device_bytes = request.device_memory_limit_bytes
    if device_bytes is None and request.backend.is_cuda:
        device_bytes = round(_SHARE_OF_DEVICE * _device_memory_bytes(request.backend))
    return Limits(
        host_bytes=host_bytes,
        device_bytes=device_bytes,
        disk_bytes=max(0, disk_bytes),
        folder=request.scratch_folder,
    )


def _device_memory_bytes(backend: Backend) -> int:
    """All that the device has: what others hold of it shows only when memory runs out."""
    index = backends.device_of(backend).torch_device.index
    size: int = backends.describe_devices()["devices"][index]["memory_bytes"]
    return size


def plan_of(work: Enlarging, limits: Limits, request: Request) -> MemoryPlan:
    """The quickest plan within the limits, or the one that the request names. Raises BadInput."""
    try:
        if request.place is not None:
            return named_plan(request.place, work.call, limits, work.cost)
        return cheapest_plan(work.call, limits, work.cost)
    except BadInput as error:
        raise BadInput(f"{request.source}: {error}{_remedy(work, limits)}") from None


def _remedy(work: Enlarging, limits: Limits) -> str:
    """What a user can do beside giving more memory."""
    if limits.hold(work.cost(replace(work.call, frames=1), MemoryPlan())):
        return " Fewer frames (--frames) take less."
    smallest = replace(work, layout=_smallest_tiles(work.layout), spool_bytes=0)
    if limits.hold(smallest.cost(replace(work.call, frames=1), MemoryPlan())):
        return " Smaller pieces (--tile) take less."
    return ""


def _smallest_tiles(layout: TileLayout) -> TileLayout:
    """About the least that tiles can be; what they hold hardly falls below."""
    return replace(layout, tile_height=_SMALL_TILE, tile_width=_SMALL_TILE, overlap=_SMALL_OVERLAP)
