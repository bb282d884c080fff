"""What enlarging a file takes of memory, and the plan that keeps to its limits."""

import ctypes
import os
from dataclasses import dataclass, replace
from typing import Final

import psutil

from bench.machine import host_memory
from bench.measure import backends
from bench.upscaling.disk import in_memory, spooled_bytes
from bench.upscaling.request import Request
from vsr_model import convolution_memory
from vsr_model.errors import BadInput
from vsr_model.memory_cost import Call, Needs, needs
from vsr_model.memory_plan import MemoryPlan
from vsr_model.native import memory as native_memory
from vsr_model.plan_choice import PLAN_NAMES, Limits, first_that_fits, named_plan
from vsr_model.registry import ModelEntry
from vsr_model.video import MediaInfo

_SHARE_OF_HOST: Final = 0.8
"""Of the memory that is available, where no limit is given: the rest is for whatever else wants some."""

_SHARE_OF_DEVICE: Final = 0.9
"""Of a GPU's memory, where no limit is given: its driver and what else computes there have some of it."""

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

_FRAMES_READ: Final = 3
"""Frames of the input's size, in float32, that are there while one is read."""

_OUTPUTS_HELD: Final = 8
"""Frames of the output's size, in float32, that wait for the encoder or are being converted for it."""

_ENCODER_BYTES_PER_PIXEL: Final = 110
_ENCODER_BYTES_PER_PIXEL_AND_CORE: Final = 10
"""Of the output: an encoder looks ahead for some 40 frames, and each of its threads has frames of its own."""

OUTPUTS_WAITING: Final = 2
"""Of these computed and not written yet, on the device: one at the encoder, one behind it."""

_LOOSE: Final = 1.25
"""What is held over all that is counted here, where the heap keeps freed memory (`give_back_at_once`)."""


# mallopt(3) and <malloc.h>
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_LEAST_MAPPED_BYTES: Final = 2**20
_MOST_KEPT_BYTES: Final = 2**22


@dataclass(frozen=True, kw_only=True)
class Enlarging:
    """A file's frames through the network, as far as memory is concerned."""

    call: Call
    convolution: str
    output_pixels: int
    is_video: bool
    cores: int
    loose: bool  # whether the heap keeps what was freed
    spool_bytes: int  # of decoded frames, in the scratch folder
    scratch_in_memory: bool  # as a folder of tmpfs is

    def needs(self, plan: MemoryPlan) -> Needs:
        """Return what the process takes beyond its start, and what lies on the device and on disk."""
        tensors, convolutions = needs(self.call, plan), self._convolution_bytes(plan)
        host_bytes = _BASE_BYTES + self.cores * _BASE_BYTES_PER_CORE + self._file_bytes()
        device_bytes = 0
        if self.call.on_cpu:
            host_bytes += convolutions + self._computing_bytes(plan, tensors)
        else:
            host_bytes += _CUDA_BASE_BYTES + tensors.host_bytes
            waiting = OUTPUTS_WAITING * _RGB * _FLOAT_BYTES * self.output_pixels
            device_bytes = round(_CUDA_WORKING * (tensors.device_bytes + waiting)) + convolutions
        host_bytes = round(_LOOSE * host_bytes) if self.loose else host_bytes
        host_bytes += self.spool_bytes + tensors.disk_bytes if self.scratch_in_memory else 0
        return replace(tensors, host_bytes=host_bytes, device_bytes=device_bytes)

    def _file_bytes(self) -> int:
        """Return what frames take that are read and written, and the encoder."""
        read = _FRAMES_READ * _RGB * _FLOAT_BYTES * self.call.height * self.call.width
        per_pixel = _OUTPUTS_HELD * _RGB * _FLOAT_BYTES
        if self.is_video:
            per_pixel += _ENCODER_BYTES_PER_PIXEL + self.cores * _ENCODER_BYTES_PER_PIXEL_AND_CORE
        return read + per_pixel * self.output_pixels

    def _computing_bytes(self, plan: MemoryPlan, tensors: Needs) -> int:
        """Return what a CPU computes with: features that are kept, and tensors with copies of them."""
        kept = 0
        if plan.place != "disk":
            kept = len(plan.kept_frames(self.call.frames)) * self.call.features_bytes
        # The compiled kernel's copies are counted apart, and it makes no others.
        working = 1.0 if self.convolution == "winograd" else _CPU_WORKING
        return kept + round(working * (tensors.host_bytes - kept))

    def _convolution_bytes(self, plan: MemoryPlan) -> int:
        """Return what convolutions keep and work in, if they are not the library's."""
        if self.convolution == "library":
            return 0
        call = self.call
        work = {
            "mid_channels": call.mid_channels,
            "batch": call.batch,
            "pairs": plan.pairs_at_once(call.frames),
            "upsampled": 1,
            "height": call.height,
            "width": call.width,
        }
        if self.convolution == "winograd":
            scratch = native_memory.scratch_bytes(**work, threads=self.cores)
            return scratch + native_memory.weight_bytes(
                mid_channels=call.mid_channels, num_blocks=call.num_blocks
            )
        whole = convolution_memory.working_bytes(
            self.convolution, **work, bytes_per_element=call.bytes_per_element, on_cpu=call.on_cpu
        )
        if self.convolution == "fft":
            whole += convolution_memory.spectra_bytes(
                mid_channels=call.mid_channels,
                num_blocks=call.num_blocks,
                height=call.height,
                width=call.width,
            )
        return whole


def enlarging(info: MediaInfo, entry: ModelEntry, request: Request, frames: int) -> Enlarging:
    """Return so many frames of a file as work. Looks at the request's scratch folder."""
    parameters, backend = request.model.parameters, request.backend
    channels = parameters["mid_channels"]
    call = Call(
        # The compiled kernel fills channels up.
        mid_channels=native_memory.padded(channels) if backend.convolution == "winograd" else channels,
        num_blocks=parameters["num_blocks"],
        batch=1,
        frames=frames,
        height=info.height,
        width=info.width,
        bytes_per_element=backend.feature_bytes,
        on_cpu=not backend.is_cuda,
    )
    return Enlarging(
        call=call,
        convolution=backend.convolution,
        output_pixels=entry.scale**2 * info.height * info.width,
        is_video=info.kind == "video",
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        loose=not request.heap_gives_back,
        spool_bytes=spooled_bytes(info, frames),
        scratch_in_memory=in_memory(request.scratch_folder),
    )


def limits_of(request: Request, disk_bytes: int) -> Limits:
    """Return what the request or the machine allows; the scratch folder has `disk_bytes` for features."""
    host_bytes = request.memory_limit_bytes
    if host_bytes is None:
        available = host_memory.available_bytes()
        if available is None:
            available = psutil.virtual_memory().available
        host_bytes = round(_SHARE_OF_HOST * available)
    device_bytes = request.device_memory_limit_bytes
    if device_bytes is None and request.backend.is_cuda:
        # All that the device has: what others hold of it shows only when memory runs out.
        index = backends.device_of(request.backend).torch_device.index
        device_bytes = round(_SHARE_OF_DEVICE * backends.describe_devices()["devices"][index]["memory_bytes"])
    return Limits(host_bytes=host_bytes, device_bytes=device_bytes, disk_bytes=max(0, disk_bytes))


def plan_of(work: Enlarging, limits: Limits, request: Request) -> MemoryPlan:
    """Return the first plan within the limits, or the one that the request names. Raises BadInput."""
    names = PLAN_NAMES if request.place is None else (request.place,)
    plans = {name: named_plan(name, work.call.frames, request.scratch_folder) for name in names}
    try:
        return first_that_fits(plans, work.needs, limits)
    except BadInput as error:
        raise BadInput(f"{request.source}: {error}") from None


def give_back_at_once() -> bool:
    """From here on, for this whole process, have glibc return freed memory of a tensor's size to the system.

    Left alone it keeps what it may need again, half as much as is in use and more: 311 MiB were held where
    218 were needed. Fetching it anew costs a few percent of a network's time. Nothing can undo it, so that it
    is for a process's owner to call. False where it did not take: another C library.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    taken = [mallopt(_MMAP_THRESHOLD, _LEAST_MAPPED_BYTES), mallopt(_TRIM_THRESHOLD, _MOST_KEPT_BYTES)]
    return all(taken)
