"""The kernel's files, laid out as its two versions of control groups have them."""

from pathlib import Path

import psutil
import pytest

from bench.machine.host_memory import OomKills, available_bytes, oom_evidence, oom_kills

GIB = 2**30
MEMINFO = f"MemTotal: {64 * 2**20} kB\nMemAvailable:   {32 * 2**20} kB\n"


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": MEMINFO, "proc/vmstat": "nr_free 5\noom_kill 3\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def version_2(root: Path, **own: str) -> Path:
    group = "sys/fs/cgroup/user/job"
    return machine(
        root,
        {
            "proc/self/cgroup": "0::/user/job\n",
            "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
            **{f"{group}/memory.{name}": text for name, text in own.items()},
        },
    )


def version_1(root: Path, **own: str) -> Path:
    group = "sys/fs/cgroup/memory/job"
    return machine(
        root,
        {
            "proc/self/cgroup": "4:memory:/job\n",
            "proc/self/mountinfo": "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            **{f"{group}/memory.{name}": text for name, text in own.items()},
        },
    )


def test_here() -> None:
    available = available_bytes()
    assert available is not None
    assert 0 < available <= psutil.virtual_memory().total
    counts = oom_kills()
    assert counts.machine is not None
    assert counts.machine >= 0


def test_nothing_known(tmp_path: Path) -> None:
    assert available_bytes(tmp_path) is None
    assert oom_kills(tmp_path) == OomKills(group=None, machine=None)


def test_without_groups_the_machine_counts(tmp_path: Path) -> None:
    assert available_bytes(machine(tmp_path, {})) == 32 * GIB
    assert oom_kills(tmp_path) == OomKills(group=None, machine=3)


def test_a_limit_of_version_2_less_what_is_used_and_cannot_be_given_back(tmp_path: Path) -> None:
    version_2(
        tmp_path,
        max=f"{8 * GIB}\n",
        current=f"{6 * GIB}\n",
        stat=f"anon 5\ninactive_file {GIB}\nactive_file {GIB}\n",
        events="low 0\noom 2\noom_kill 1\n",
    )
    assert available_bytes(tmp_path) == 4 * GIB
    assert oom_kills(tmp_path) == OomKills(group=1, machine=3)


def test_the_limit_of_a_group_above_counts_too(tmp_path: Path) -> None:
    version_2(tmp_path, max="max\n", current=f"{GIB}\n")
    above = tmp_path / "sys/fs/cgroup/user"
    (above / "memory.max").write_text(f"{2 * GIB}\n")
    (above / "memory.current").write_text(f"{3 * GIB}\n")  # as it may be for a moment
    assert available_bytes(tmp_path) == 0


def test_no_limit(tmp_path: Path) -> None:
    assert available_bytes(version_2(tmp_path, max="max\n", current="5\n")) == 32 * GIB


def test_a_limit_of_version_1(tmp_path: Path) -> None:
    version_1(
        tmp_path,
        limit_in_bytes=f"{8 * GIB}\n",
        usage_in_bytes=f"{7 * GIB}\n",
        stat=f"inactive_file 0\nactive_file 0\ntotal_inactive_file {GIB}\ntotal_active_file 0\n",
        oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 7\n",
    )
    assert available_bytes(tmp_path) == 2 * GIB
    assert oom_kills(tmp_path) == OomKills(group=7, machine=3)


def test_no_limit_in_version_1(tmp_path: Path) -> None:
    version_1(tmp_path, limit_in_bytes="9223372036854771712\n", usage_in_bytes="5\n")
    assert available_bytes(tmp_path) == 32 * GIB


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ((1, 5), (2, 6), "in this control group rose"),
        ((1, 5), (1, 6), None),  # somebody else's process
        ((None, 5), (None, 6), "on this machine rose"),
        ((None, 5), (None, 5), None),
        ((None, None), (None, None), None),
        ((1, 5), (None, 6), "on this machine rose"),
    ],
)
def test_evidence(before: tuple[int, int], after: tuple[int, int], said: str | None) -> None:
    found = oom_evidence(
        *(OomKills(group=group, machine=everywhere) for group, everywhere in (before, after))
    )
    assert found is None if said is None else found is not None and found.endswith(said)
