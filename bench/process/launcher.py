"""The parent's handle on the server process and its workers (bench.process.server). No torch."""

import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import IO, Any, Final, Self

import psutil

from bench.errors import ServerDiedError
from bench.machine import variables
from bench.places import ROOT

START_TIMEOUT_S: Final = 300.0
"""Importing torch takes a second or two from a warm disk, and minutes at most from a slow network one."""

NETWORK_TIMEOUT_S: Final = 120.0
"""Importing what is to be measured, once torch is there, takes about a second."""

MESSAGE_TIMEOUT_S: Final = 20
"""Limit between the bytes of a worker's message; a whole one takes milliseconds."""

CACHES: Final = {
    "TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton", "CUDA_CACHE_PATH": "cuda",
}  # fmt: skip
"""Variables that name the folders of compilers' caches, and what they are called here."""

_MAX_MESSAGE_BYTES: Final = 65536


class ServerRefusedError(ServerDiedError):
    """The server process ended before it could serve, most likely because an import failed."""


@dataclass(frozen=True, kw_only=True)
class WorkerProcess:
    """A running worker."""

    pid: int
    connection: Connection


class Launcher:
    """A context manager that starts a server process and has it fork workers; nothing outlives it."""

    def __init__(self, environment: Mapping[str, str] | None = None, network: Path | None = None) -> None:
        """Prepare a launcher with `environment`, variables for the workers on top of this process's.

        `network`: a folder whose `vsr_model` the workers import in place of the one beside `bench`.
        """
        self._network = (network or ROOT).resolve()
        self._environment = dict(environment or {})
        self._exits: dict[int, int] = {}
        self._running: set[int] = set()
        self.import_torch_s = 0.0

    def __enter__(self) -> Self:
        self._exits.clear()
        self._running.clear()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        self._serves = False
        self._output: IO[bytes] = tempfile.TemporaryFile()
        self._caches = tempfile.mkdtemp(prefix="vsr-bench-compiled-")
        with theirs:
            self._process = subprocess.Popen(
                # -P: a folder called `bench` where the user happens to be is not this one.
                [sys.executable, "-P", "-m", "bench.process.server", str(theirs.fileno()), self._caches],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=[theirs.fileno()],
                env={**_variables(self._network, self._caches), **self._environment},
            )
        try:
            self._begin()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._control.close()  # the server kills its workers and ends
        if not self._serves and self._process.poll() is None:  # it does not listen yet
            self._kill_unready()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            self._kill_orphans()
        self._output.close()
        shutil.rmtree(self._caches, ignore_errors=True)  # where the server was killed

    def _begin(self) -> None:
        self.import_torch_s = self._loaded("torch", START_TIMEOUT_S)
        try:
            network = self._loaded("network", NETWORK_TIMEOUT_S)
        except TimeoutError:
            raise ServerRefusedError(f"it does not load within {NETWORK_TIMEOUT_S:.0f} s") from None
        self._serves = True
        if Path(network) != self._network:
            raise ServerRefusedError(
                f"vsr_model was imported from {network}, and {self._network} is to be measured"
            )

    def _loaded(self, what: str, timeout_s: float) -> Any:
        """Return the server's answer on an import.

        Raises TimeoutError, or ServerRefusedError if it failed.
        """
        answer = self._receive(timeout_s)
        if "refused" in answer:
            raise ServerRefusedError(answer["refused"])
        return answer[what]

    def _kill_unready(self) -> None:
        """Kill a server that is still importing, with the processes that it started."""
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self._process.kill()

    def restart(self) -> None:
        """Start a new server process after one has died."""
        self.__exit__(None, None, None)
        self.__enter__()

    def spawn(self, target: str) -> WorkerProcess:
        """Return a new worker that calls `target` ("module:function") with its end of a connection."""
        ours, theirs = Pipe()
        try:
            _limit_receiving(ours)
            with theirs:
                self._send({"spawn": target}, theirs.fileno())
            while True:
                answer = self._receive(START_TIMEOUT_S)
                if self._note(answer):
                    return WorkerProcess(pid=answer["pid"], connection=ours)
        except BaseException:
            ours.close()
            raise

    def kill(self, worker: WorkerProcess) -> None:
        """Kill the worker and all that it started. Its exit status can still be read."""
        self._send({"kill": worker.pid})

    def exit_status(self, worker: WorkerProcess, timeout_s: float = 30.0) -> int:
        """Wait for the worker and return its wait status (os.waitpid). Raises TimeoutError."""
        deadline = monotonic() + timeout_s
        while worker.pid not in self._exits:
            self._note(self._receive(max(0.0, deadline - monotonic())))
        return self._exits.pop(worker.pid)

    def last_line(self) -> str:
        """Return the last line that the server or a worker printed, or an empty text."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - 4096))
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        self._output.seek(0, os.SEEK_END)
        return lines[-1].strip() if lines else ""

    def clear_output(self) -> None:
        """Discard the output so far; later output belongs to the next worker."""
        self._output.truncate(0)
        self._output.seek(0)

    def _note(self, answer: dict[str, Any]) -> bool:
        """Record the server's message about a worker; return whether the message is that one has started."""
        if "pid" in answer:
            self._running.add(answer["pid"])
            return True
        self._running.discard(answer["exited"])
        self._exits[answer["exited"]] = answer["status"]
        return False

    def _send(self, message: dict[str, Any], *descriptors: int) -> None:
        try:
            socket.send_fds(self._control, [json.dumps(message).encode()], descriptors)
        except (BrokenPipeError, ConnectionResetError):
            raise self._death() from None

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        readable, _, _ = select.select([self._control], [], [], timeout_s)
        if not readable:
            raise TimeoutError(f"no answer from the server process within {timeout_s:.0f} s")
        try:
            message = self._control.recv(_MAX_MESSAGE_BYTES)
        except ConnectionResetError:  # it ended with messages unread
            message = b""
        if not message:
            raise self._death()
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _death(self) -> ServerDiedError:
        status = self._process.wait(10)
        self._kill_orphans()
        how = f"killed by {signal_name(-status)}" if status < 0 else f"exit status {status}"
        line = self.last_line() if status >= 0 or not self._serves else ""  # any worker's, if killed
        how += f" ({line})" if line else ""
        if self._serves:
            return ServerDiedError(how)
        return ServerRefusedError(f"it ended while it was being imported: {how}")

    def _kill_orphans(self) -> None:
        """Kill what the workers started: where the server is killed, the kernel ends only the workers."""
        for pid in self._running:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        self._running.clear()


Launch = Callable[[Mapping[str, str]], AbstractContextManager[Launcher]]
"""A function that returns a launcher for a run's environment variables."""


@contextmanager
def shared_launchers() -> Iterator[Launch]:
    """Yield a function that gives consecutive runs the same launchers, so that torch is imported once."""
    known: dict[tuple[tuple[str, str], ...], Launcher] = {}
    with ExitStack() as opened:

        def launch(environment: Mapping[str, str]) -> AbstractContextManager[Launcher]:
            key = tuple(sorted(environment.items()))
            if key not in known:
                known[key] = opened.enter_context(Launcher(environment))
            return nullcontext(known[key])

        yield launch


def _limit_receiving(connection: Connection) -> None:
    """Make an incomplete message raise BlockingIOError after a while, as when its sender was stopped."""
    seconds = struct.pack("ll", MESSAGE_TIMEOUT_S, 0)
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)


def signal_name(number: int) -> str:
    """Return a signal's name, such as SIGKILL for 9, or its number if it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _variables(network: Path, caches: str) -> dict[str, str]:
    """Return the variables for the server: this process's own, but those that overrule what is measured.

    The folders of the network and of `bench`, maybe a clone's, lead PYTHONPATH. Compilers have `caches`, an
    empty folder which the workers share: none is warm of another run.
    """
    first = dict.fromkeys((str(network), str(ROOT)))
    path = os.pathsep.join(filter(None, (*first, os.environ.get("PYTHONPATH"))))
    own = {name: f"{caches}/{kind}" for name, kind in CACHES.items()}
    return {**variables.for_workers(os.environ), **own, "PYTHONPATH": path}
