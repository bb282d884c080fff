"""One of the processes that the clips of a call are divided over, and what it sends to the worker.

The processes are a group of torch.distributed, and wait for each other before everything that is timed. See
bench.measure.ranks for the worker's side.
"""

import gc
import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from bench.grid.backend_spec import Backend
from bench.grid.spans import DEVICE_TO_HOST, FORWARD, HOST_TO_DEVICE
from bench.measure import backends, networks, workload
from bench.measure.backends import Device
from bench.measure.draft import in_words
from bench.measure.timing import Timed, timed
from bench.messages import Task
from vsr_model.stages import no_probe

T = TypeVar("T")

NO_LIMIT: Final = timedelta(days=7)
"""How long to wait for the others; the run's own limit ends a cell, and this must not come before it."""


class Order(StrEnum):
    """A request of the worker, to all the processes."""

    CALL = "call"  # answered by a RankCall
    OUTPUT = "output"  # of the last call's share; answered by an array
    END = "end"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A process has its network and its share of the clips."""

    settings: dict[str, str]  # as read back
    threads: int
    parameters: int
    stages: tuple[str, ...]  # of the network, in its order
    scale: int


@dataclass(frozen=True, kw_only=True)
class RankCall:
    """One process's part of a call. All begin a span together, by the machine's one monotonic clock."""

    spans: dict[str, Timed]
    page_faults: int  # minor ones, of the forward


@dataclass(frozen=True, kw_only=True)
class Failed:
    """An exception has ended the process."""

    rank: int
    at_s: float  # the monotonic clock
    out_of_memory: bool
    reason: str


def own_backend(backend: Backend, rank: int) -> Backend:
    """The backend of one process: on CUDA each has a GPU of its own; one thread, where it is not said."""
    device = f"cuda:{rank}" if backend.is_cuda else backend.device
    return replace(backend, device=device, threads=backend.threads or 1)


def share_of(clip: Tensor, rank: int, size: int) -> Tensor:
    """The clips (n / size, t, 3, h, w) that are this process's, of the call's (n, t, 3, h, w)."""
    return clip.chunk(size)[rank].clone()


class Share:
    """A network and a share of the clips, on one device."""

    def __init__(self, task: Task, rank: int, device: Device, meet: Callable[[], None]) -> None:
        """`meet` waits for the other processes."""
        self._device = device
        self._meet = meet
        backend = own_backend(task.job.cell.backend, rank)
        network = networks.build(task.job.cell.model)
        self.scale = network.facts.scale
        self.parameters = sum(item.numel() for item in network.parameters())
        self.stages = tuple(network.facts.stages)
        self._clip = share_of(workload.make_clip(task.job.cell), rank, backend.processes)
        prepared = workload.prepare(network, backend, device.torch_device)
        self._forward = workload.forward_of(prepared, backend=backend)
        self._output: Tensor | None = None

    def call(self) -> RankCall:
        """One call of the network on this share, with the transfers beside it where there are any."""
        self._output = None  # not two at once
        spans: dict[str, Timed] = {}
        lrs = self._clip
        if self._device.has_events:
            lrs, spans[HOST_TO_DEVICE] = self._timed(lambda: self._clip.to(self._device.torch_device))
        before = _minor_faults()
        output, spans[FORWARD] = self._timed(lambda: self._forward(lrs, no_probe))
        output = output.detach()
        page_faults = _minor_faults() - before
        if self._device.has_events:
            on_device = output
            output, spans[DEVICE_TO_HOST] = self._timed(lambda: on_device.to("cpu"))
        self._output = output
        return RankCall(spans=spans, page_faults=page_faults)

    def output(self) -> npt.NDArray[np.float32]:
        """That of the last call. An array is sent as it is, where a tensor would go through shared memory."""
        assert self._output is not None  # the worker has asked for a call
        return self._output.numpy()

    def _timed(self, action: Callable[[], T]) -> tuple[T, Timed]:
        self._meet()
        return timed(action, device=self._device)


def serve(task: Task, rank: int, device: Device, connection: Connection, meet: Callable[[], None]) -> None:
    """Do what the worker orders until it orders no more. Raises EOFError where it has gone."""
    with backends.applied(own_backend(task.job.cell.backend, rank)) as settings:
        device.create_context()
        share = Share(task, rank, device, meet)
        connection.send(
            Prepared(
                settings=settings,
                threads=backends.thread_count(),
                parameters=share.parameters,
                stages=share.stages,
                scale=share.scale,
            )
        )
        while (order := connection.recv()) is not Order.END:
            connection.send(share.call() if order is Order.CALL else share.output())


def main(rank: int, task: Task, store: Path, connection: Connection) -> None:
    """Serve the worker as one of the processes, which meet by way of the file `store`.

    An exception is sent to the worker, and ends the process.
    """
    try:
        # As the worker does: nothing runs the collector while something is timed.
        gc.freeze()
        gc.disable()
        backend = own_backend(task.job.cell.backend, rank)
        device = backends.device_of(backend)
        if backend.is_cuda:
            torch.cuda.set_device(device.torch_device)  # before NCCL chooses one
        os.environ |= {
            "GLOO_SOCKET_IFNAME": "lo",
            "NCCL_SOCKET_IFNAME": "lo",
        }  # no network but this machine's
        dist.init_process_group(
            "nccl" if backend.is_cuda else "gloo",
            init_method=store.as_uri(),
            rank=rank,
            world_size=backend.processes,
            timeout=NO_LIMIT,
        )
        flag = torch.zeros(1, device=device.torch_device)
        meet: Callable[[], Any] = lambda: dist.all_reduce(flag)  # noqa: E731
        serve(task, rank, device, connection, meet)
        dist.destroy_process_group()
    except Exception as error:
        failed = Failed(
            rank=rank,
            at_s=perf_counter(),
            out_of_memory=backends.is_out_of_memory(error),
            reason=in_words(error),
        )
        with suppress(OSError):  # the worker may have gone
            connection.send(failed)
        sys.exit(1)


def _minor_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
