"""What caches hold together, of made-up trees of /sys."""

from pathlib import Path

import pytest

from bench.machine.cpu_caches import last_cache_bytes

KIB = 2**10
MIB = 2**20


def tree(root: Path, caches: dict[int, list[tuple[int, str, str, str]]]) -> Path:
    """Of each core its caches: level, type, size and who shares it."""
    for core, found in caches.items():
        for index, words in enumerate(found):
            folder = root / f"sys/devices/system/cpu/cpu{core}/cache/index{index}"
            folder.mkdir(parents=True)
            for name, word in zip(("level", "type", "size", "shared_cpu_list"), words, strict=True):
                (folder / name).write_text(f"{word}\n")
    return root


def core(number: int, shares: str) -> list[tuple[int, str, str, str]]:
    return [
        (1, "Data", "48K", str(number)),
        (1, "Instruction", "64M", str(number)),
        (2, "Unified", "1024K", str(number)),
        (3, "Unified", "32768K", shares),
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four cores, of which each two share a last cache."""
    return tree(tmp_path, {n: core(n, "0-1" if n < 2 else "2-3") for n in range(4)})


@pytest.mark.parametrize(
    ("cores", "held"), [((0, 1, 2, 3), 64 * MIB), ((0, 1), 32 * MIB), ((1, 3), 64 * MIB), ((3,), 32 * MIB)]
)
def test_each_last_cache_counts_once(root: Path, cores: tuple[int, ...], held: int) -> None:
    assert last_cache_bytes(root, cores) == held


def test_caches_of_the_cores_own_may_hold_more_than_the_one_they_share(tmp_path: Path) -> None:
    caches = {n: [(2, "Unified", "2048K", str(n)), (3, "Unified", "6M", "0-3")] for n in range(4)}
    assert last_cache_bytes(tree(tmp_path, caches), range(4)) == 8 * MIB


def test_where_nobody_is_said_to_share_each_core_has_its_own(tmp_path: Path) -> None:
    caches = {n: [(2, "Unified", "512K", "")] for n in range(2)}
    assert last_cache_bytes(tree(tmp_path, caches), range(2)) == 1024 * KIB


def test_a_system_that_says_nothing_has_none(tmp_path: Path) -> None:
    assert last_cache_bytes(tmp_path, range(4)) == 0
    assert last_cache_bytes(tree(tmp_path, {0: [(3, "Unified", "no size", "0")]}), (0,)) == 0


def test_it_is_of_the_cores_that_the_process_may_run_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {2})
    assert last_cache_bytes(root) == 32 * MIB
