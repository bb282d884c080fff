"""Memory and disk space that enlarging a file takes, and the plan that keeps to their limits."""

import ctypes
import shutil
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import psutil
import torch

from bench.grid.backend import MEMORY_PLAN_NAMES, MemoryPlanSpec
from bench.machine import host_memory
from bench.machine.host import allowed_cores
from bench.measure import backends
from bench.measure.costs import Prepared, streamed
from bench.units import BYTES, with_unit
from bench.upscaling.request import Request
from vsr_model.convolutions.winograd.kernel import release_scratch
from vsr_model.errors import BadInput
from vsr_model.media import MediaInfo
from vsr_model.memory_plan import MemoryPlan
from vsr_model.network import Network
from vsr_model.networks.basicvsr import BasicVSR
from vsr_model.streaming.spool import spool_frame_bytes

_SHARE_OF_HOST: Final = 0.8
"""Share of the available memory that is the limit if none is given."""

_SHARE_OF_DEVICE: Final = 0.9
"""Share of a GPU's memory that is the limit if none is given: its driver and other programs hold some."""

_VIDEO_BITS_PER_PIXEL: Final = 0.5
"""Size of ordinary footage from the project's encoders; grain takes more, drawings less."""

_IMAGE_BYTES_PER_PIXEL: Final = 3

_IN_MEMORY: Final = ("tmpfs", "ramfs")  # file systems

_MIB: Final = 2**20
_PIXEL_BYTES: Final = 3 * 4  # RGB in float32

_BASE_BYTES: Final = 136 * _MIB
_BASE_BYTES_PER_CORE: Final = 8 * _MIB
"""Code, threads and buffers of a process that no trace counts, once all have been used. Of these 72 MiB are
modules that torch imports to trace on the meta device."""

_CUDA_BASE_BYTES: Final = 1024 * _MIB
"""CUDA's libraries and context in host memory. No GPU has confirmed it."""

_CPU_WORKING: Final = 1.6
"""Resident memory over the tensors that a CPU computes with: convolutions work on reordered copies."""

_CUDA_WORKING: Final = 1.2
"""The same for a GPU: workspaces of cuDNN, and sizes that are rounded up. No GPU has confirmed it."""

_FRAMES_READ: Final = 3
"""Frames of the input's size, in float32, that are there while one is read."""

_OUTPUTS_HELD: Final = 8
"""Frames of the output's size, in float32, that wait for the encoder or are being converted for it."""

_ENCODER_BYTES_PER_PIXEL: Final = 110
_ENCODER_BYTES_PER_PIXEL_AND_CORE: Final = 10
"""For the output: an encoder looks ahead for some 40 frames, and each of its threads has its own frames."""

OUTPUTS_WAITING: Final = 2
"""Outputs on the device that are computed and not written yet: one at the encoder, one behind it."""

_LOOSE: Final = 1.25
"""Allowance for a heap that keeps freed memory: without a limit `give_back_at_once` is not called."""

_TRACED_CHUNKS: Final = 4
"""Chunks of frames whose flow is estimated at once that are traced of a longer clip."""

# mallopt(3) and <malloc.h>
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_LEAST_MAPPED_BYTES: Final = 2**20
_MOST_KEPT_BYTES: Final = 2**22

_MEMORIES: Final = {"host_bytes": "host memory", "device_bytes": "device memory", "disk_bytes": "disk space"}


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Bytes that a call takes, or may take. On a CPU all memory is the host's."""

    host_bytes: int
    device_bytes: int = 0
    disk_bytes: int = 0

    def beyond(self, limits: "Needs") -> dict[str, int]:
        """Return the bytes of each memory that has fewer, by the field's name."""
        sizes = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: size for name, size in sizes.items() if size > getattr(limits, name)}


class Work:
    """The memory of a file's frames in a network."""

    def __init__(self, request: Request, info: MediaInfo, network: Network) -> None:
        """`network` is on the CPU, and stays as it is. Looks at the request's scratch folder."""
        self._request, self._info, self._network = request, info, network
        self._scratch_in_memory = is_in_memory(request.scratch_folder)
        self._cores = len(allowed_cores())
        self._traced: dict[tuple[MemoryPlan, int], int] = {}
        prepared = self._prepared().network
        assert isinstance(prepared, BasicVSR)  # of all networks, the one that can be streamed
        frame = torch.empty(1, 3, info.height, info.width, device="meta")
        with torch.device("meta"):
            trunk = prepared.propagation.backward_trunk
            features: torch.Tensor = trunk(frame, prepared.propagation.initial_features(frame.unsqueeze(1)))
        self.features_bytes = features.nbytes
        """Bytes of a frame's features in one direction."""
        self.storage_bytes = features.untyped_storage().nbytes()
        """The same where the network made them, with channels that fill up."""

    def needs(self, plan: MemoryPlan, frames: int) -> Needs:
        """Return the bytes that a plan takes: of the process beyond its start, on the device, and on disk."""
        backend = self._request.backend
        kept_frames = len(plan.kept_frames(frames))
        kept_bytes = kept_frames * self.features_bytes
        working_bytes = self.working_bytes(plan, frames)
        disk_bytes = kept_bytes if plan.place == "disk" else 0
        host_bytes = _BASE_BYTES + self._cores * _BASE_BYTES_PER_CORE + self._file_bytes()
        device_bytes = 0
        if backend.is_cuda:
            host_bytes += _CUDA_BASE_BYTES + (kept_bytes if plan.place == "host" else 0)
            on_device = kept_bytes if plan.place == "device" else 0
            waiting = OUTPUTS_WAITING * _PIXEL_BYTES * self._output_pixels
            device_bytes = round(_CUDA_WORKING * (working_bytes + on_device + waiting))
        else:
            host_bytes += round((_CPU_WORKING if backend.convolution != "winograd" else 1) * working_bytes)
            host_bytes += 0 if plan.place == "disk" else kept_frames * self.storage_bytes
        host_bytes = round((_LOOSE if self._request.memory_limit_bytes is None else 1) * host_bytes)
        if self._scratch_in_memory:
            host_bytes += self.spooled_bytes(frames) + disk_bytes
        return Needs(device_bytes=device_bytes, host_bytes=host_bytes, disk_bytes=disk_bytes)

    def spooled_bytes(self, frames: int) -> int:
        """Return the bytes that decoded frames take in the spool."""
        info = self._info
        return frames * spool_frame_bytes(height=info.height, width=info.width, eight_bit=info.eight_bit)

    def output_bytes(self, frames: int) -> int:
        """Estimate the bytes of the output."""
        pixels, info = frames * self._output_pixels, self._info
        if not self._writes_video:
            return _IMAGE_BYTES_PER_PIXEL * pixels * (1 if info.eight_bit else 2)
        size = round(_VIDEO_BITS_PER_PIXEL / 8 * pixels)
        if self._request.sound and info.has_audio:  # at most the file's size, or its share
            size += round(info.path.stat().st_size * frames / max(frames, info.frame_count or 0))
        return size

    @property
    def _writes_video(self) -> bool:
        return self._info.kind == "video" and self._request.frame_folder is None

    @property
    def _output_pixels(self) -> int:
        return self._network.facts.scale**2 * self._info.height * self._info.width

    def _file_bytes(self) -> int:
        """Return the bytes of frames that are read and written, and of the encoder."""
        read = _FRAMES_READ * _PIXEL_BYTES * self._info.height * self._info.width
        per_pixel = _OUTPUTS_HELD * _PIXEL_BYTES
        if self._writes_video:
            per_pixel += _ENCODER_BYTES_PER_PIXEL + self._cores * _ENCODER_BYTES_PER_PIXEL_AND_CORE
        return read + per_pixel * self._output_pixels

    def working_bytes(self, plan: MemoryPlan, frames: int) -> int:
        """Return the most that is alive at once beside features that the plan keeps: weights, frames, flows,
        features of the segment at hand and what is computed.

        A longer clip than is traced adds features alone: those of a longer segment.
        """
        traced = replace(plan, place="host", interval=min(plan.interval, plan.chunk), folder=None)
        shown = min(frames, _TRACED_CHUNKS * plan.chunk)
        if (traced, shown) not in self._traced:
            self._traced[traced, shown] = self._trace(traced, shown)
        longer = min(plan.interval, frames) - min(traced.interval, shown)
        return self._traced[traced, shown] + longer * self.storage_bytes

    def _trace(self, plan: MemoryPlan, frames: int) -> int:
        """Return the most that is alive at once where what is kept lies in another memory."""
        prepared = self._prepared()
        clip = torch.empty(1, frames, 3, self._info.height, self._info.width, device="meta")
        release_scratch()
        with torch.device("meta"):
            forward = streamed(prepared.network, plan, holds_clip=False)
            costs = prepared.tracer.trace(forward, clip, holds_clip=False)
        return max(cost.peak_bytes for cost in costs.values())

    def _prepared(self) -> Prepared:
        return Prepared.of(self._network, self._request.backend, torch.device("meta"))

    def plan_for(self, frames: int, *, spool_frames: int = 0) -> tuple[MemoryPlan, Needs]:
        """Return the plan for a number of frames, and what it takes.

        The spool still needs the space of `spool_frames`. Raises BadInput if memory or a disk is too small.
        """
        room_bytes = room_for_features(
            self._request,
            spool_bytes=self.spooled_bytes(spool_frames),
            output_bytes=self.output_bytes(frames),
        )
        plan = self.plan(frames, limits_of(self._request, room_bytes))
        return plan, self.needs(plan, frames)

    def plan(self, frames: int, limits: Needs) -> MemoryPlan:
        """Return the first plan within the limits, or the one that the request names.

        Raises BadInput with the least that works where none is.
        """
        request, beyond = self._request, {}
        for name in MEMORY_PLAN_NAMES if request.place is None else (request.place,):
            spec = MemoryPlanSpec.model_validate(name)
            plan = spec.of_clip(frames, request.scratch_folder)
            beyond[name] = self.needs(plan, frames).beyond(limits)
            if not beyond[name]:
                return plan
        # No option gives more disk space, so a plan that lacks it comes last.
        name, sizes = min(
            beyond.items(), key=lambda item: ("disk_bytes" in item[1], len(item[1]), sum(item[1].values()))
        )
        allowed = " and ".join(f"{getattr(limits, key) // _MIB} MiB of {_MEMORIES[key]}" for key in sizes)
        least = " and ".join(f"{-(-size // _MIB)} MiB of {_MEMORIES[key]}" for key, size in sizes.items())
        raise BadInput(
            f"{request.source}: the clip does not fit into {allowed}: the least that works is {least}, with"
            f" the memory plan {name!r}."
        )


def limits_of(request: Request, disk_bytes: int) -> Needs:
    """Return the limits of the request or the machine; the scratch folder has `disk_bytes` for features."""
    host_bytes = request.memory_limit_bytes
    if host_bytes is None:
        host_bytes = round(_SHARE_OF_HOST * host_memory.available_bytes())
    device_bytes = request.device_memory_limit_bytes
    if device_bytes is None and request.backend.is_cuda:
        # All that the device has: what others hold of it shows only when memory runs out.
        index = backends.device_of(request.backend).torch_device.index
        device_bytes = round(_SHARE_OF_DEVICE * backends.describe_devices()["devices"][index]["memory_bytes"])
    return Needs(host_bytes=host_bytes, device_bytes=device_bytes or 0, disk_bytes=max(0, disk_bytes))


def room_for_features(request: Request, *, spool_bytes: int, output_bytes: int) -> int:
    """Return the bytes that the scratch folder's disk has left beside the decoded frames and the output.

    Raises BadInput where a disk does not hold those.
    """
    scratch, output = request.scratch_folder, request.output.parent
    if _is_same_disk(scratch, output):
        wanted = {scratch: (spool_bytes + output_bytes, "decoded frames and the output")}
    else:
        wanted = {scratch: (spool_bytes, "decoded frames"), output: (output_bytes, "the output")}
    for folder, (size, purpose) in wanted.items():
        if size > free_bytes(folder):
            raise BadInput(
                f"{request.source} needs about {with_unit(size, BYTES)} for {purpose} in {folder}, whose disk"
                f" has {with_unit(free_bytes(folder), BYTES)} left; free some, or name a folder on another"
                " disk (--scratch is for all but the output)."
            )
    return free_bytes(scratch) - wanted[scratch][0]


def free_bytes(folder: Path) -> int:
    """Return the free bytes of a folder's disk."""
    return shutil.disk_usage(folder).free


def _is_same_disk(folder: Path, other: Path) -> bool:
    return folder.stat().st_dev == other.stat().st_dev


def is_in_memory(folder: Path) -> bool:
    """Tell whether files in a folder take memory, as in tmpfs; False if that is unknown."""
    where = folder.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if where.is_relative_to(part.mountpoint)]
    nearest = max(mounts, key=lambda part: len(Path(part.mountpoint).parts), default=None)
    return nearest is not None and nearest.fstype in _IN_MEMORY


def give_back_at_once() -> None:
    """Have glibc return freed memory of a tensor's size to the system from here on, in the whole process.

    By default it keeps much of it: 311 MiB were held where 218 were needed. Fetching it again costs a few
    percent of a network's time. Nothing can undo it, so only the process's owner should call it. Other C
    libraries are left alone.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LEAST_MAPPED_BYTES)
        mallopt(_TRIM_THRESHOLD, _MOST_KEPT_BYTES)
