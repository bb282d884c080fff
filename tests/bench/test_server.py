"""Real processes throughout: what is tested is what the kernel does with them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep

import psutil
import pytest
import torch

from bench.errors import ServerDiedError
from bench.process.launcher import Launcher, WorkerProcess

ROOT = Path(__file__).resolve().parents[2]
WORKERS = "tests.bench.faulty_workers"


@pytest.fixture(scope="module")
def _launcher() -> Iterator[Launcher]:
    with Launcher({"VSR_BENCH_TEST": "reached"}) as launcher:
        yield launcher


@pytest.fixture
def launcher(_launcher: Launcher) -> Launcher:
    _launcher.clear_output()
    return _launcher


def spawn(launcher: Launcher, name: str) -> WorkerProcess:
    return launcher.spawn(f"{WORKERS}:{name}")


def end(launcher: Launcher, worker: WorkerProcess) -> int:
    worker.connection.close()
    return os.waitstatus_to_exitcode(launcher.exit_status(worker))


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> bool:
    deadline = monotonic() + timeout_s
    while not condition():
        if monotonic() > deadline:
            return False
        sleep(0.01)
    return True


def alive(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            pass
    return found


def test_a_worker_has_torch_and_its_threads(launcher):
    worker = spawn(launcher, "describe")
    said = worker.connection.recv()
    assert end(launcher, worker) == 0
    assert said["torch_was_there"]
    assert launcher.import_torch_s > 0
    assert said["threads"] == torch.get_num_threads()
    assert said["product"] == 256
    assert said["pid"] == worker.pid == said["session"]
    assert said["environment"]["VSR_BENCH_TEST"] == "reached"
    assert os.environ.get("VSR_BENCH_TEST") is None


@pytest.mark.parametrize(
    ("target", "status", "line"),
    [
        ("at_once", 0, ""),
        ("exits_3", 3, ""),
        ("exits_with_a_text", 1, "the reason"),
        ("raises", 1, "LookupError: these are the last words"),
        ("no_such_function", 1, "no_such_function"),
        ("is_killed", -signal.SIGKILL, ""),
        ("crashes", -signal.SIGSEGV, ""),
    ],
)
def test_how_a_worker_ended_is_known(launcher, target, status, line):
    worker, other = spawn(launcher, target), spawn(launcher, "at_once")
    with pytest.raises(EOFError):
        worker.connection.recv()
    assert end(launcher, other) == 0
    launcher.kill(worker)  # which has no effect on one that has ended
    assert end(launcher, worker) == status
    assert line in launcher.last_line()
    launcher.clear_output()
    assert launcher.last_line() == ""


def test_exit_status_waits_no_longer_than_told(launcher):
    worker = spawn(launcher, "hangs_deaf")
    worker.connection.recv()
    with pytest.raises(TimeoutError):
        launcher.exit_status(worker, 0.05)
    launcher.kill(worker)
    assert end(launcher, worker) == -signal.SIGKILL


def test_a_hanging_worker_is_killed_with_all_that_it_started(launcher):
    worker = spawn(launcher, "hangs_with_family")
    family = worker.connection.recv()
    assert len(alive(family)) == 5
    launcher.kill(worker)
    assert end(launcher, worker) == -signal.SIGKILL
    assert until(lambda: not alive(family)), alive(family)


def test_what_a_worker_leaves_behind_is_killed(launcher):
    worker = spawn(launcher, "leaves_family")
    family = worker.connection.recv()
    assert end(launcher, worker) == 0
    assert until(lambda: not alive(family)), alive(family)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_ctrl_c_and_a_closing_terminal_are_the_parents_to_handle(launcher, number):
    worker = spawn(launcher, "echo")
    worker.connection.send(1)
    assert worker.connection.recv() == 1
    os.kill(worker.pid, number)
    os.kill(launcher._process.pid, number)
    worker.connection.send(2)
    assert worker.connection.recv() == 2
    assert end(launcher, worker) == 0


def test_a_worker_can_be_asked_to_end(launcher):
    worker = spawn(launcher, "echo")
    worker.connection.send(1)
    assert worker.connection.recv() == 1
    os.kill(worker.pid, signal.SIGTERM)
    assert end(launcher, worker) == -signal.SIGTERM
    assert end(launcher, spawn(launcher, "at_once")) == 0


def test_many_workers_leave_nothing_open(launcher):
    server = psutil.Process(launcher._process.pid)

    def once() -> None:
        assert end(launcher, spawn(launcher, "at_once")) == 0

    once()
    ours, theirs = psutil.Process().num_fds(), server.num_fds()
    for _ in range(50):
        once()
    assert psutil.Process().num_fds() == ours
    assert server.num_fds() == theirs
    assert until(lambda: not server.children())
    assert launcher._exits == {}


def test_nothing_outlives_a_killed_parent(tmp_path):
    file = tmp_path / "pids"
    parent = subprocess.Popen(
        [sys.executable, "-m", WORKERS, f"{WORKERS}:hangs_with_family", str(file)], cwd=ROOT,
        start_new_session=True,
    )  # fmt: skip
    assert until(file.exists, 120)
    pids = [int(pid) for pid in file.read_text().split()]
    assert alive(pids) == pids
    parent.kill()
    parent.wait()
    assert until(lambda: not alive(pids)), alive(pids)


@pytest.fixture
def own_launcher() -> Iterator[Launcher]:
    with Launcher() as launcher:
        yield launcher


def test_a_killed_server_takes_its_workers_along(own_launcher):
    worker = spawn(own_launcher, "hangs_deaf")
    worker.connection.recv()
    os.kill(own_launcher._process.pid, signal.SIGKILL)
    with pytest.raises(EOFError):
        worker.connection.recv()
    worker.connection.close()
    with pytest.raises(ServerDiedError, match=r"^killed by SIGKILL$"):
        own_launcher.exit_status(worker)
    assert until(lambda: not alive([worker.pid]))
    with pytest.raises(ServerDiedError):
        spawn(own_launcher, "echo")
    with pytest.raises(ServerDiedError):
        own_launcher.kill(worker)

    own_launcher.restart()
    assert end(own_launcher, spawn(own_launcher, "exits_3")) == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_servers_end_leaves_nothing_of_its_workers(own_launcher, number):
    """The kernel ends the workers alone where the server is killed; where it is asked to end it clears up."""
    worker = spawn(own_launcher, "hangs_with_family")
    family = worker.connection.recv()
    ours = [pid for pid in family if psutil.Process(pid).status() and os.getsid(pid) == worker.pid]
    assert len(ours) >= 3
    own_launcher.clear_output()
    os.write(own_launcher._output.fileno(), b"what a worker printed last\n")
    os.kill(own_launcher._process.pid, number)
    worker.connection.close()
    with pytest.raises(ServerDiedError, match=f"^killed by {number.name}$"):
        own_launcher.exit_status(worker)
    left = ours if number == signal.SIGKILL else family  # one in a session of its own is out of reach
    assert until(lambda: not alive(left)), alive(left)
    for pid in alive(family):
        os.kill(pid, signal.SIGKILL)


def test_an_answer_that_an_interrupt_kept_from_being_read_is_no_exit(own_launcher, monkeypatch):
    """The server's word that a worker has started arrives when another one's end is waited for."""
    first = spawn(own_launcher, "at_once")

    def interrupt(self: Launcher, timeout_s: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Launcher, "_receive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        spawn(own_launcher, "at_once")
    monkeypatch.undo()
    assert end(own_launcher, first) == 0


def test_leaving_the_launcher_kills_a_worker_that_runs_and_no_other_bench_is_imported(tmp_path, monkeypatch):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").write_text("raise SystemExit('the wrong bench')")
    (tmp_path / "random.py").write_text("raise SystemExit('the wrong random')")
    monkeypatch.chdir(tmp_path)
    with Launcher() as launcher:
        worker = spawn(launcher, "hangs_with_family")
        family = [launcher._process.pid, *worker.connection.recv()]
    worker.connection.close()
    assert until(lambda: not alive(family)), alive(family)


def test_a_server_that_cannot_start_says_why(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch to be had')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ServerDiedError, match="no torch to be had"):
        Launcher().__enter__()


def test_a_network_that_forks_when_it_is_imported_has_one_server(tmp_path):
    ignored = shutil.ignore_patterns("__pycache__")
    package = shutil.copytree(ROOT / "vsr_model", tmp_path / "vsr_model", ignore=ignored)
    with (package / "networks" / "basicvsr.py").open("a") as source:
        source.write("import os\nos.fork()\n")
    with Launcher(network=tmp_path) as launcher:
        assert [end(launcher, spawn(launcher, "at_once")) for _ in range(2)] == [0, 0]
