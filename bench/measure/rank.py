"""One of the processes that the clips of a call are divided over. `torchrun` starts them for a worker.

Each builds the same network and takes its share of the clips. The first one speaks with the worker, over the
socket that is its standard input, and passes orders on to the others; they meet before everything that is
timed. See bench.measure.ranks for the worker's side.
"""

import gc
import json
import os
import pickle
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from bench.grid.backend_spec import Backend
from bench.measure import backends, workload
from bench.measure.backends import Device
from bench.measure.draft import in_words
from bench.measure.rank_messages import (
    OUTPUT_FILE,
    TASK_FILE,
    LastWords,
    Order,
    Part,
    Prepared,
    RankCall,
    words_file,
)
from bench.messages import Task
from bench.records import DEVICE_TO_HOST, FORWARD, HOST_TO_DEVICE
from vsr_model.stages import no_probe

T = TypeVar("T")

NO_LIMIT: Final = timedelta(days=7)
"""How long to wait for the others; the run's own limit ends a cell, and this must not come before it."""


class World(Protocol):
    """All the processes, seen from one of them."""

    rank: int
    size: int

    def meet(self) -> None:
        """Wait until all are here, and their devices have done their work."""

    def next_order(self) -> Order:
        """The worker's; END where it has gone."""

    def answer(self, message: Any) -> None:
        """Tell the worker what every process has to say, by rank."""

    def joined(self, share: Tensor) -> Tensor | None:
        """Host tensors of all processes along their first axis, in the first process; None in the others."""

    def tell(self, message: Any) -> None:
        """Tell the worker, if this is the first process."""


class Processes:
    """A `World` of torch.distributed: NCCL between GPUs, gloo between what is on the host."""

    def __init__(self, device: Device, connection: Connection | None) -> None:
        """`connection`: to the worker; of the first process only."""
        on_cuda = device.torch_device.type == "cuda"
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo", timeout=NO_LIMIT)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._device = device
        self._connection = connection
        self._flag = torch.zeros(1, device=device.torch_device)

    def meet(self) -> None:
        dist.all_reduce(self._flag)
        self._device.synchronize()

    def next_order(self) -> Order:
        order = [Order.END]
        if self._connection is not None:
            with suppress(EOFError):
                order = [self._connection.recv()]
        dist.broadcast_object_list(order, src=0)
        return order[0]

    def answer(self, message: Any) -> None:
        gathered: list[Any] | None = [None] * self.size if self.rank == 0 else None
        dist.gather_object(message, gathered, dst=0)
        self.tell(gathered)

    def joined(self, share: Tensor) -> Tensor | None:
        if self.rank > 0:
            dist.gather(share, dst=0)
            return None
        shares = [torch.empty_like(share) for _ in range(self.size)]
        dist.gather(share, shares, dst=0)
        return torch.cat(shares)

    def tell(self, message: Any) -> None:
        if self._connection is not None:
            self._connection.send(message)

    def close(self) -> None:
        dist.destroy_process_group()


def own_backend(backend: Backend, rank: int) -> Backend:
    """The backend of one process: on CUDA each has a GPU of its own."""
    return replace(backend, device=f"cuda:{rank}") if backend.is_cuda else backend


def share_of(clip: Tensor, rank: int, size: int) -> Tensor:
    """The clips (n / size, t, 3, h, w) that are this process's, of the call's (n, t, 3, h, w)."""
    return clip.chunk(size)[rank].clone()


class Share:
    """A network and a share of the clips, on one device."""

    def __init__(self, task: Task, device: Device, world: World) -> None:
        self._device = device
        self._world = world
        backend = own_backend(task.job.cell.backend, world.rank)
        network = workload.build_model(task.model)
        self.parameters = sum(item.numel() for item in network.parameters())
        self._clip = share_of(workload.make_clip(task.job.cell), world.rank, world.size)
        prepared = workload.prepare(network, backend, device.torch_device)
        self._forward = workload.forward_of(prepared, gradients=task.measure.gradients, backend=backend)
        self._output: Tensor | None = None

    def call(self) -> RankCall:
        """One call of the network on this share, with the transfers beside it where there are any."""
        self._output = None  # not two at once
        parts: list[Part] = []
        lrs = self._clip
        if self._device.has_events:
            lrs = self._part(HOST_TO_DEVICE, lambda: self._clip.to(self._device.torch_device), parts)
        before = _minor_faults()
        output = self._part(FORWARD, lambda: self._forward(lrs, no_probe), parts).detach()
        page_faults = _minor_faults() - before
        if self._device.has_events:
            on_device = output
            output = self._part(DEVICE_TO_HOST, lambda: on_device.to("cpu"), parts)
        self._output = output
        return RankCall(parts=tuple(parts), page_faults=page_faults)

    def output(self) -> Tensor:
        """That of the last call, on the host, to be sent to another process."""
        assert self._output is not None  # the worker has asked for a call
        return self._output.clone(memory_format=torch.contiguous_format)  # no inference tensor

    def _part(self, name: str, action: Callable[[], T], parts: list[Part]) -> T:
        self._world.meet()
        start_s = perf_counter()
        result = action()
        self._device.synchronize()
        parts.append(Part(name=name, start_s=start_s, stop_s=perf_counter()))
        return result


def serve(task: Task, folder: Path, device: Device, world: World) -> None:
    """Do what the worker orders until it orders no more, or has gone."""
    with backends.applied(own_backend(task.job.cell.backend, world.rank)) as settings:
        device.create_context()
        share = Share(task, device, world)
        world.answer(
            Prepared(
                pid=os.getpid(),
                settings=settings,
                threads=backends.thread_count(),
                parameters=share.parameters,
            )
        )
        while (order := world.next_order()) is not Order.END:
            if order is Order.CALL:
                world.answer(share.call())
                continue
            output = world.joined(share.output())
            if output is not None:
                np.save(folder / OUTPUT_FILE, output.numpy())
            world.tell(folder / OUTPUT_FILE)


def _minor_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _worker() -> Connection:
    """The socket that came as standard input; nothing this process starts has it."""
    connection = Connection(os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    return connection


def main(folder: Path) -> int:
    """The exit status; an exception is written down for the worker."""
    rank = int(os.environ["RANK"])
    try:
        connection = _worker()
        if rank > 0:
            connection.close()
        task: Task = pickle.loads((folder / TASK_FILE).read_bytes())
        # As the worker does: nothing runs the collector while something is timed.
        gc.freeze()
        gc.disable()
        device = backends.device_of(own_backend(task.job.cell.backend, rank))
        if device.torch_device.type == "cuda":
            torch.cuda.set_device(device.torch_device)  # before NCCL chooses one
        world = Processes(device, None if rank > 0 else connection)
        serve(task, folder, device, world)
        world.close()
    except Exception as error:
        words = LastWords(
            rank=rank,
            at_s=perf_counter(),
            out_of_memory=backends.is_out_of_memory(error),
            words=in_words(error),
        )
        words_file(folder, rank).write_text(json.dumps(asdict(words)), encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
