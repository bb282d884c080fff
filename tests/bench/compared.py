"""Made-up comparisons for tests: one with every verdict, and one of odd names."""

from collections.abc import Sequence
from typing import Any, Final

from bench.comparison.comparison import (
    AccuracyChange,
    Amount,
    CellComparison,
    Change,
    Comparison,
    Limits,
    MemoryChange,
    Method,
    Side,
    StageChange,
    Verdict,
)
from bench.records import Status

GIB: Final = 1024**3

BASE: Final = Side(
    name="main", experiment="ci", machine="NVIDIA H200, torch 2.13.0", code="1a2b3c4",
    started_at="2026-11-20T09:00:00.125000Z",
)  # fmt: skip
NEW: Final = Side(
    name="head", experiment="ci", machine="NVIDIA H200, torch 2.13.0", code="5d6e7f8",
    started_at="2026-11-20T11:00:03.500000+01:00",
)  # fmt: skip


def change(
    ratio: float,
    half: float | None = 0.02,
    *,
    base_s: float = 0.25,
    rounds: int = 20,
    method: Method = Method.PAIRS,
    needed: int | None = None,
) -> Change:
    """Return a ratio with an interval of `half` on both sides; None for none."""
    return Change(
        base_s=base_s,
        new_s=base_s * ratio,
        ratio=ratio,
        low=None if half is None else ratio - half,
        high=None if half is None else ratio + half,
        method=Method.NONE if half is None else method,
        confidence=0.9958,
        rounds=rounds,
        rounds_needed=needed,
    )


def stage(name: str, ratio: float, verdict: Verdict, *, base_s: float = 0.1) -> StageChange:
    return StageChange(stage=name, change=change(ratio, base_s=base_s), verdict=verdict)


SAME_STAGES: Final = tuple(
    stage(name, 1.0, Verdict.SAME) for name in ("alignment", "propagation", "aggregation", "upsampling")
)
SLOW_TRUNK: Final = (
    stage("alignment", 1.01, Verdict.SAME),
    stage("propagation", 1.17, Verdict.SLOWER, base_s=0.15),
    stage("aggregation", 1.3, Verdict.SLOWER, base_s=0.002),
    stage("upsampling", 0.99, Verdict.SAME),
)


def memory(base: int = GIB, new: int = GIB, amount: Amount = Amount.SAME) -> tuple[MemoryChange, ...]:
    return (
        MemoryChange(what="host growth", base_bytes=GIB // 4, new_bytes=GIB // 4, amount=Amount.SAME),
        MemoryChange(what="device peak", base_bytes=base, new_bytes=new, amount=amount),
    )


def cell(name: str = "basicvsr/noise/b1/t4/64x64/cudnn", **fields: Any) -> CellComparison:
    """Return an ok cell that is the same on both sides, with its axes as its id has them."""
    parts = name.split("/")
    axes = parts if len(parts) == 6 else ("basicvsr", "noise", "b1", "t4", "64x64", name)
    model, input_, batch, frames, size, backend = axes
    known: dict[str, Any] = {
        "cell": name, "base_cell": None, "model": model, "input": input_, "batch": int(batch[1:]),
        "frames": int(frames[1:]), "height": int(size.split("x")[0]), "width": int(size.split("x")[1]),
        "backend": backend, "base_status": Status.OK, "new_status": Status.OK, "verdict": Verdict.SAME,
        "why": "", "change": change(1.0, 0.01), "stages": SAME_STAGES, "memory": memory(),
        "accuracy": AccuracyChange(base_psnr_db=float("inf"), new_psnr_db=104.0, amount=Amount.SAME),
    }  # fmt: skip
    return CellComparison(**known | fields)


def without(name: str, verdict: Verdict, why: str, **fields: Any) -> CellComparison:
    """Return a cell that has no figures."""
    return cell(name, verdict=verdict, why=why, change=None, stages=(), memory=(), accuracy=None, **fields)


EVERY_VERDICT: Final = (
    cell("basicvsr/noise/b1/t4/64x64/cudnn"),
    cell(
        "basicvsr/noise/b1/t4/180x320/cudnn", verdict=Verdict.SLOWER, change=change(1.1), stages=SLOW_TRUNK,
        memory=memory(new=GIB * 5 // 4, amount=Amount.MORE),
    ),
    cell(
        "basicvsr/noise/b1/t8/180x320/cudnn", verdict=Verdict.SLOWER, change=change(1.21, 0.03),
        stages=(stage("alignment", 1.4, Verdict.UNCLEAR), stage("propagation", 1.0, Verdict.SAME)),
    ),
    cell("basicvsr/noise/b1/t8/64x64/cudnn", verdict=Verdict.FASTER, change=change(0.9)),
    cell(
        "basicvsr/noise/b1/t4/64x64/cuda", verdict=Verdict.UNCLEAR, change=change(1.03, 0.05, needed=1_240),
        why="about 1240 rounds would settle it, going by the scatter of these 20",
    ),
    cell(
        "basicvsr/noise/b1/t8/64x64/cuda", verdict=Verdict.UNCLEAR, change=change(1.2, None, rounds=2),
        why="a side has 2 rounds, too few for an interval",
    ),
    cell(
        "basicvsr/noise/b1/t4/180x320/cuda",
        stages=(stage("upsampling", 1.25, Verdict.SLOWER, base_s=0.01), *SAME_STAGES[:3]),
    ),
    cell(
        "basicvsr/noise/b1/t8/180x320/cuda",
        accuracy=AccuracyChange(base_psnr_db=104.25, new_psnr_db=61.04, amount=Amount.LESS),
    ),
    without(
        "basicvsr/noise/b1/t8/720x1280/cudnn", Verdict.WORSE, "it was ok, and now 143 GiB are asked for",
        new_status=Status.OOM,
    ),
    without(
        "basicvsr/noise/b1/t8/720x1280/cuda",
        Verdict.MENDED,
        "it timed out before",
        base_status=Status.TIMEOUT,
    ),
    without(
        "basicvsr/noise/b2/t4/64x64/cudnn", Verdict.MISSING, "the base has not got it",
        base_cell=None, base_status=None,
    ),
    without("basicvsr/noise/b2/t4/64x64/cuda", Verdict.INCOMPARABLE, "network: num_blocks 30, 7"),
    without(
        "basicvsr/noise/b2/t8/64x64/cuda", Verdict.FAILED, "both sides ran out of memory",
        base_status=Status.OOM, new_status=Status.OOM,
    ),
)  # fmt: skip


def comparison(cells: Sequence[CellComparison] = EVERY_VERDICT, **fields: Any) -> Comparison:
    known: dict[str, Any] = {
        "base": BASE, "new": NEW, "limits": Limits(), "cells": tuple(cells),
        "differing": {"code": ("1a2b3c4", "5d6e7f8"), "torch": ("2.12.1", "2.13.0")},
        "cautions": ("the clocks sagged by 7 % in the base",),
    }  # fmt: skip
    return Comparison(**known | fields)


def odd(name: str) -> Comparison:
    """Return a comparison with the name wherever one holds text of a run's, such as a folder's."""
    side = Side(name=name, experiment=name, machine=name, code=name, started_at=name)
    named: dict[str, Any] = {"base_cell": f"{name}2", "why": name}
    odd_stage = stage(name, 1.2, Verdict.SLOWER)
    grown = MemoryChange(what=name, base_bytes=0, new_bytes=GIB, amount=Amount.MORE)
    slower = {"verdict": Verdict.SLOWER, "change": change(1.2), "least_slowdown": 0.05}
    told = (Verdict.SLOWER, Verdict.FASTER, Verdict.SAME)
    cells = [
        cell(name, stages=(odd_stage,), memory=(grown,), **slower, **named),
        cell(name, stages=(odd_stage,), input=name, **named),
        *(without(name, verdict, name, base_cell=f"{name}2") for verdict in Verdict if verdict not in told),
    ]
    limits = Limits(across=frozenset({name}))
    differing = {name: (name, f"{name}!")}
    return comparison(cells, base=side, new=side, differing=differing, cautions=(name,), limits=limits)
