"""The process that workers are forked from: it has imported torch and initialised no device.

A fork takes milliseconds where a new interpreter that imports torch takes over a second. Linux only.

The parent speaks to it over a Unix socket: a line of JSON each way, a worker's connection passed along as a
file descriptor. `{"spawn": "module:function"}` forks a worker that calls `function(connection)`;
`{"kill": pid}` kills one with all that it started; the answers are `{"pid": pid}` and
`{"exited": pid, "status": wait status}`. Before them come `{"torch": seconds}` when that is imported, and
then `{"network": folder}`, where `vsr_model` came from, or `{"refused": why}` where it cannot be measured.
When the parent is gone, however it died, the socket closes, and the server kills its workers and ends. When
the server is killed, the kernel kills them.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import socket
import sys
import traceback
import warnings
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, Final

import psutil

from bench.process.load import load, why

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_MAX_MESSAGE_BYTES: Final = 65536
_SWEEPS: Final = 3  # a process may fork between being seen and being killed


class Server:
    """A loop that forks workers and supervises them until the parent disconnects."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._workers: set[int] = set()
        self._wake = (-1, -1)  # a pipe that signals write to

    def serve(self) -> None:
        wake_read, wake_write = self._wake = os.pipe()
        os.set_blocking(wake_write, False)
        os.set_blocking(wake_read, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only there to wake the loop
        try:
            while True:
                readable, _, _ = select.select([self._control.fileno(), wake_read], [], [])
                if wake_read in readable:
                    with suppress(BlockingIOError):
                        os.read(wake_read, 4096)
                    self._reap()
                if self._control.fileno() in readable and not self._answer():
                    return
        finally:
            for pid in list(self._workers):
                _kill_tree(pid)
            _kill_remaining()

    def _answer(self) -> bool:
        """Handle one message; return False when the parent has gone."""
        message, descriptors, _, _ = socket.recv_fds(self._control, _MAX_MESSAGE_BYTES, 1)
        if not message:
            return False
        asked: dict[str, Any] = json.loads(message)
        if "kill" in asked and asked["kill"] in self._workers:
            _kill_tree(asked["kill"])
        if "spawn" in asked:
            self._spawn(asked["spawn"], descriptors[0])
        return True

    def _spawn(self, target: str, descriptor: int) -> None:
        server = os.getpid()
        # Until the child is a worker a signal that asks the server to end must not have it clear up.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        pid = os.fork()
        if pid == 0:
            self._control.close()
            os.close(self._wake[0])
            os.close(self._wake[1])
            _run_worker(target, descriptor, server)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.close(descriptor)
        self._workers.add(pid)
        self._send({"pid": pid})

    def _reap(self) -> None:
        ended: dict[int, int] = {}
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                ended[pid] = status
        exits = ended.keys() & self._workers
        self._workers -= exits
        if ended:  # an orphan's end, too, since its children are handed on then
            self._kill_orphans()
        for pid in exits:
            self._send({"exited": pid, "status": ended[pid]})

    def _kill_orphans(self) -> None:
        """Kill the children of ended workers, which were handed to this process."""
        for child in psutil.Process().children():
            if child.pid not in self._workers:
                _kill_tree(child.pid)

    def _send(self, message: dict[str, Any]) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            _say(self._control, message)


def _say(control: socket.socket, message: dict[str, Any]) -> None:
    control.send(json.dumps(message).encode())


def _run_worker(target: str, descriptor: int, server: int) -> None:
    """Turn the forked process into a worker; never returns."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.setsid()  # a group of its own, to be killed whole
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:
            os._exit(1)
        _raise_oom_score()
        module, _, function = target.partition(":")
        getattr(import_module(module), function)(Connection(descriptor))
        status = 0
    except SystemExit as request:
        status = _exit_status(request)
    except BrokenPipeError:
        pass  # the parent has gone
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # no teardown of torch: it takes longer than a small cell's call


def _exit_status(request: SystemExit) -> int:
    """Return the status as the interpreter does: nothing is 0, and a text goes to stderr."""
    if request.code is None:
        return 0
    if isinstance(request.code, int):
        return request.code
    sys.stderr.write(f"{request.code}\n")
    return 1


def _raise_oom_score() -> None:
    """Have the kernel end the worker if memory runs out, not the parent or the user's desktop."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


class _TerminatedError(BaseException):
    """SIGTERM has arrived; the server ends after clearing up."""


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise _TerminatedError


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _kill_tree(pid: int) -> None:
    """Kill a worker, its process group and its descendants in other groups."""
    with suppress(psutil.NoSuchProcess):
        descendants = psutil.Process(pid).children(recursive=True)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        for process in (*descendants, psutil.Process(pid)):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _kill_remaining() -> None:
    """Kill and await all that workers started and that was handed to this process when they ended."""
    for _ in range(_SWEEPS):
        left = psutil.Process().children(recursive=True)
        if not left:
            return
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=1)


def main() -> None:
    """Import what workers need, then serve on the socket whose descriptor is the first argument.

    The second is the folder of the workers' compilers, which ends with the server, also where the parent was
    killed.
    """
    # Ctrl-C and a terminal that closes reach the whole group, and are the parent's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Forking is safe here: libraries' idle thread pools are made anew in the child, and no device is in use.
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork.*", category=DeprecationWarning)
    control = socket.socket(fileno=int(sys.argv[1]))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # When the parent dies a stopped server goes on, finds the socket closed, and clears up.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)
    server, refusal = os.getpid(), ""
    try:
        network = load(lambda seconds: _say(control, {"torch": seconds}))
    except BaseException as error:
        refusal = why(error)
    if os.getpid() != server:  # a copy that the network's import has forked must not answer, too
        os._exit(0)
    is_terminated = False
    try:
        with suppress(BrokenPipeError):
            if refusal:
                _kill_remaining()
                _say(control, {"refused": refusal})
            else:
                signal.signal(signal.SIGTERM, _leave)
                _say(control, {"network": str(network)})
                Server(control).serve()
    except _TerminatedError:
        is_terminated = True
    if caches := sys.argv[2]:
        shutil.rmtree(caches, ignore_errors=True)
    if is_terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if refusal else 0)  # no teardown of torch, nor of its threads: it takes half a second


if __name__ == "__main__":
    main()
