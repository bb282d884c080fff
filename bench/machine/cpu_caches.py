"""What the caches of a process's cores hold together, from /sys. `root` stands before paths, for tests."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from bench.units import size_bytes

_CPU: Final = "sys/devices/system/cpu"


def last_cache_bytes(root: Path = Path("/"), cores: Collection[int] | None = None) -> int:
    """Bytes of the caches of one level that the cores reach, each counted once however many share it: of the
    level that holds most, which is mostly the last. 0 where the system gives none.

    `cores`: those that this process may run on, unless given.
    """
    found: dict[tuple[int, str], int] = {}
    for core in _allowed() if cores is None else cores:
        for folder in (root / _CPU / f"cpu{core}/cache").glob("index[0-9]*"):
            level, kind, size, shared = (
                _word(folder / name) for name in ("level", "type", "size", "shared_cpu_list")
            )
            held = size_bytes(size)
            if level.isdecimal() and kind != "Instruction" and held is not None:
                # Who shares it tells caches of a level apart; where that is not said, each core has its own.
                found[int(level), shared or str(core)] = held
    levels = {level for level, _ in found}
    return max((sum(held for (of, _), held in found.items() if of == level) for level in levels), default=0)


def _allowed() -> Collection[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)


def _word(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
