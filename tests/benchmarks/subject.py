"""What a benchmark calls: a cell's network and clip, on its device and under its backend's settings."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from torch import Tensor

from bench.grid.plan import Cell
from bench.measure import backends, networks, workload
from bench.measure.backends import Device
from bench.measure.timing import timed
from bench.stats.steady import Steadiness, steadiness
from vsr_model.network import Network

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A cell that is ready to be called."""

    cell: Cell
    network: Network
    lrs: Tensor  # (n, t, 3, h, w), on the device
    device: Device
    settings: dict[str, str]  # in force, as read back
    parameters: int


@contextmanager
def placed(cell: Cell) -> Iterator[Subject]:
    """The cell's network and clip on its device, the backend's settings in force for the block.

    Raises BadInput for a checkpoint or a media file, RuntimeError where a setting did not take.
    """
    device = backends.device_of(cell.backend)
    with backends.applied(cell.backend) as settings:
        network = networks.build(cell.model)
        clip = workload.make_clip(cell)
        device.create_context()
        device.release_cached_memory()  # what the benchmarks before have left with the allocator
        parameters = sum(item.numel() for item in network.parameters())
        network = workload.prepare(network, cell.backend, device.torch_device)
        yield Subject(
            cell=cell,
            network=network,
            lrs=clip.to(device.torch_device),
            device=device,
            settings=settings,
            parameters=parameters,
        )


def waited_for(call: Callable[[], T], device: Any) -> Callable[[], T]:
    """The call, which then returns when the device has done its work, and not when it is queued.

    The device has nothing left of the call before, so that the work of this one is all that is waited for.
    """

    def measured() -> T:
        result = call()
        device.synchronize()
        return result

    return measured


def warm_up(
    call: Callable[[], object], first_s: float, wanted: int | Literal["auto"], device: Device
) -> list[float]:
    """Seconds of calls that count for nothing, after a first one that took `first_s`: as many as wanted, or
    until two windows of them take the same time (bench.stats.steady)."""
    walls: list[float] = []
    while len(walls) < wanted if wanted != "auto" else steadiness(first_s, walls) is Steadiness.NOT_YET:
        walls.append(timed(call, device=device)[1].wall_s)
    return walls
