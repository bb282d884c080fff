"""Control groups and memory, on the kernel's files as its two versions of control groups lay them out."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.machine.control_groups import Limits, folders, limits
from bench.machine.host_memory import OomKills, available_bytes, oom_evidence, oom_kills

GIB = 2**30
V1 = "4:memory:/job\n2:cpu,cpuacct:/job\n1:name=systemd:/\n0::/\n"


@pytest.fixture(autouse=True)
def _a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=32 * GIB))


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """Write files of /proc and of the control groups."""
    files = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in {"proc/self/cgroup": groups, "proc/vmstat": "nr_free 5\noom_kill 3\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def test_limits_of_the_first_version(tmp_path: Path) -> None:
    files = {
        "cpu/job/cpu.shares": "1024",
        "cpu/job/cpu.cfs_quota_us": "150000", "cpu/job/cpu.cfs_period_us": "100000",
        "cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000",
        "memory/job/memory.limit_in_bytes": "9223372036854771712", "memory/memory.limit_in_bytes": "1048576",
    }  # fmt: skip
    found = limits(machine(tmp_path, V1, files))
    assert found == Limits(version=1, cpu_quota_cores=1.5, memory_bytes=1048576)


def test_the_tightest_limit_of_the_second_version_binds(tmp_path: Path) -> None:
    files = {
        "outer/cpu.max": "200000 100000", "outer/memory.max": "max",
        "outer/inner/cpu.max": "max 100000", "outer/inner/memory.max": "4096",
    }  # fmt: skip
    found = limits(machine(tmp_path, "0::/outer/inner", files))
    assert found == Limits(version=2, cpu_quota_cores=2.0, memory_bytes=4096)


@pytest.mark.parametrize("group", ["/host/kubepods/pod1", "/../../outside", "/"])
def test_a_group_that_is_not_below_its_mount_is_the_mount(tmp_path: Path, group: str) -> None:
    root = machine(tmp_path, f"0::{group}", {"cpu.max": "50000 100000"})
    assert limits(root).cpu_quota_cores == 0.5
    assert folders("cpu", root) == [root / "sys/fs/cgroup"]


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    assert limits(tmp_path) == Limits(version=None, cpu_quota_cores=None, memory_bytes=None)
    assert oom_kills(tmp_path) == OomKills(group=None, machine=None)
    assert available_bytes(tmp_path) == 32 * GIB


@pytest.mark.parametrize(
    ("groups", "files", "available", "kills"),
    [
        ("0::/job", {"job/memory.max": "max", "job/memory.current": "5"}, 32 * GIB, None),
        (
            "0::/job",
            {
                "job/memory.max": f"{8 * GIB}", "job/memory.current": f"{6 * GIB}",
                "job/memory.stat": f"anon 5\ninactive_file {GIB}\nactive_file {GIB}",
                "job/memory.events": "low 0\noom 2\noom_kill 1",
            },
            4 * GIB,
            1,
        ),
        # A group above may for a moment have more than it is allowed.
        (
            "0::/user/job",
            {"user/memory.max": f"{GIB}", "user/memory.current": f"{2 * GIB}", "user/job/memory.max": "max"},
            0,
            None,
        ),
        (
            V1,
            {
                "memory/job/memory.limit_in_bytes": f"{8 * GIB}",
                "memory/job/memory.usage_in_bytes": f"{7 * GIB}",
                "memory/job/memory.stat": f"inactive_file 0\ntotal_inactive_file {GIB}\ntotal_active_file 0",
                "memory/job/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 7",
            },
            2 * GIB,
            7,
        ),
    ],
)  # fmt: skip
def test_memory_under_a_limit(
    tmp_path: Path, groups: str, files: dict[str, str], available: int, kills: int | None
) -> None:
    root = machine(tmp_path, groups, files)
    assert available_bytes(root) == available
    assert oom_kills(root) == OomKills(group=kills, machine=3)


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        ((1, 5), (2, 6), "in this control group"),
        ((1, 5), (1, 6), None),  # somebody else's process
        ((None, 5), (None, 6), "on this machine"),
        ((None, 5), (None, 5), None),
        ((None, None), (None, None), None),
        ((1, 5), (None, 6), "on this machine"),
    ],
)
def test_evidence_of_a_kill(before: tuple[int, int], after: tuple[int, int], where: str | None) -> None:
    counts = (OomKills(group=group, machine=everywhere) for group, everywhere in (before, after))
    assert oom_evidence(*counts) == (
        None if where is None else f"the kernel's count of out-of-memory kills {where} rose"
    )
