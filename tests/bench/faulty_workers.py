"""Targets for real worker processes, most of which end badly. No torch at import: the server has it."""

import ctypes
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from time import sleep
from typing import Any

from vsr_model.stages import StageProbe

TORCH_WAS_THERE = "torch" in sys.modules

FOREVER_S = 600.0
_MIB = 2**20


def describe(connection: Connection) -> None:
    """Send a description of the process from inside."""
    torch_was_there = TORCH_WAS_THERE
    import torch  # noqa: PLC0415 - after TORCH_WAS_THERE was looked at

    product = torch.ones(256, 256) @ torch.ones(256, 256)  # on the threads, whose pool a fork must make anew
    connection.send(
        {
            "torch_was_there": torch_was_there,
            "threads": torch.get_num_threads(),
            "product": float(product[0, 0]),
            "pid": os.getpid(),
            "parent": os.getppid(),
            "session": os.getsid(0),
            "environment": dict(os.environ),
        }
    )


def echo(connection: Connection) -> None:
    """Sends back what it is sent until there is no more."""
    while True:
        try:
            connection.send(connection.recv())
        except EOFError:
            return


def at_once(connection: Connection) -> None:
    """Does nothing."""


def exits_3(connection: Connection) -> None:
    os._exit(3)


def exits_with_a_text(connection: Connection) -> None:
    sys.exit("the reason")


def raises(connection: Connection) -> None:
    raise LookupError("these are the last words")


def is_killed(connection: Connection) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crashes(connection: Connection) -> None:
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    ctypes.string_at(0)


def hangs_deaf(connection: Connection) -> None:
    """Hangs, and does not listen to polite signals."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection.send(os.getpid())
    sleep(FOREVER_S)


def hangs_with_family(connection: Connection) -> None:
    """Hangs with a child, the child's child, one in a session of its own, and one whose parent has gone."""
    connection.send(_family())
    sleep(FOREVER_S)


def leaves_family(connection: Connection) -> None:
    """Ends, and its children do not."""
    connection.send(_family())


def _family() -> list[int]:
    read, write = os.pipe()
    if os.fork() == 0:  # a child
        if os.fork() == 0:  # its child
            _report_and_hang(write)
        _report_and_hang(write)
    if os.fork() == 0:
        os.setsid()
        _report_and_hang(write)
    if os.fork() == 0:  # a daemon: its parent ends at once
        if os.fork() == 0:
            os.setsid()
            _report_and_hang(write)
        os._exit(0)
    found = b""
    while found.count(b"\n") < 4:
        found += os.read(read, 100)
    return [os.getpid(), *map(int, found.split())]


def _report_and_hang(write: int) -> None:
    os.write(write, f"{os.getpid()}\n".encode())
    sleep(FOREVER_S)
    os._exit(0)


def serve(connection: Connection) -> None:
    """The real worker, but a task whose input has one of these names goes wrong that way."""
    from bench.measure import clips, worker  # noqa: PLC0415 - imports torch

    make_clip = clips.make_clip
    faults: dict[str, Callable[[], Any]] = {
        "raises": _raise,
        "exits": lambda: os._exit(5),
        "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "hangs": lambda: sleep(FOREVER_S),
        "torn": lambda: _tear_a_message(connection, signal.SIGKILL),
        "stopped": lambda: _tear_a_message(connection, signal.SIGSTOP),
        "memory": _exhaust_memory,
        "limited": _exhaust_address_space,
        "device-memory": _exhaust_device_memory,
    }

    def troubled(cell: Any, facts: Any) -> Any:
        if cell.input.name in faults:
            faults[cell.input.name]()
        return make_clip(cell, facts)

    clips.make_clip = troubled
    worker.main(connection)


def _tear_a_message(connection: Connection, number: signal.Signals) -> None:
    """Begin a message of 100,000 bytes, and go no further."""
    os.write(connection.fileno(), struct.pack("!i", 100_000) + b"x" * 1000)
    os.kill(os.getpid(), number)


def _raise() -> None:
    raise LookupError("as it is meant to")


def _exhaust_memory() -> None:
    import torch  # noqa: PLC0415

    torch.empty(10**15)


def _exhaust_address_space() -> None:
    """As in a batch system that limits a job's memory so."""
    import torch  # noqa: PLC0415

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    allowed = pages * resource.getpagesize() + 64 * _MIB
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
    torch.ones(128 * _MIB, dtype=torch.uint8)


def _exhaust_device_memory() -> None:
    import torch  # noqa: PLC0415

    torch.empty(2**50, dtype=torch.uint8, device="cuda")


def memory_of_calls(connection: Connection) -> None:
    """bench.measure.memory on calls whose need is known, in a process that nothing else disturbs."""
    from bench.measure import memory  # noqa: PLC0415 - imports torch
    from bench.measure.backends import CpuDevice  # noqa: PLC0415

    allocate()  # as in a round, where this is never the first call: threads start, code is paged in
    for action in (allocate, nothing, start_large_child):
        connection.send(memory.curve(action, device=CpuDevice()))
    connection.send(memory.by_line(allocate, allocate))
    connection.send(memory.by_stage(allocate_in_stages, device=CpuDevice()))


def memory_on_a_device(connection: Connection) -> None:
    """bench.measure.memory beside a device that counts what is allocated on it."""
    from bench.measure import memory  # noqa: PLC0415
    from tests.bench.fakes import CpuAsCuda  # noqa: PLC0415

    connection.send(memory.curve(lambda: sleep(0.05), device=CpuAsCuda()))


def allocate() -> int:
    import torch  # noqa: PLC0415

    elements = 64 * _MIB // 4
    kept = torch.ones(elements)
    sleep(0.03)  # a few samples long
    return kept.numel()


def allocate_in_stages(probe: StageProbe) -> object:
    """Have 64 MiB in a stage that frees them, in one that keeps half, and none in a third."""
    import torch  # noqa: PLC0415

    with probe("frees"):
        torch.ones(64 * _MIB // 4)
    with probe("keeps"):
        whole = torch.ones(64 * _MIB // 4)
        kept = whole[: 32 * _MIB // 4].clone()
        del whole
    with probe("idles"):
        pass
    return kept


def nothing() -> None:
    sleep(0.03)


def start_large_child() -> None:
    held = "held = bytearray(64 * 2**20); held[::4096] = bytes(len(held[::4096]))"
    subprocess.run([sys.executable, "-S", "-c", held], check=True)


def parent_main(target: str, told: str) -> None:
    """A parent to be killed: starts a worker, writes what it says to a file, and waits."""
    from bench.process.launcher import Launcher  # noqa: PLC0415

    with Launcher() as launcher:
        worker = launcher.spawn(target)
        pids = worker.connection.recv()
        partial = Path(told + ".partial")
        partial.write_text(" ".join(map(str, [launcher._process.pid, *pids])))
        partial.replace(told)
        sleep(FOREVER_S)


if __name__ == "__main__":
    parent_main(sys.argv[1], sys.argv[2])
