"""Stage times and ceilings to the roofline's tables (docs/costs.md). No torch, no plotting, no files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

import pandas as pd

from bench.grid.backend import Backend
from bench.grid.ceilings import (
    Ceiling,
    CeilingKind,
    best,
    has_roofline,
    precision_of,
    precisions_of,
    threads_of,
)
from bench.grid.config import Experiment
from bench.grid.spans import FORWARD
from bench.results.tables import AXES, COLUMNS, Tables, frame

_OF_SUMMARY: Final = (
    "cell", *AXES, "stage", "pass", "clock", "n_rounds", "n", "median_s", "low_s", "high_s", "interval",
)  # fmt: skip
"""The columns that a row has from summary.csv."""

COMPUTE: Final = "compute"
MEMORY: Final = "memory"
MIXED: Final = "mixed"
"""The precision of a forward whose stages have not all the same."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The least time that a machine allows for some work, in seconds by limit."""

    compute_s: float
    memory_s: float

    @property
    def seconds(self) -> float:
        return self.compute_s + self.memory_s

    @property
    def binds(self) -> str:
        """The limit that binds for longer."""
        return COMPUTE if self.compute_s >= self.memory_s else MEMORY


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """A backend's ceilings in FLOP/s by precision, and in bytes/s; None or absent is not measured."""

    matmul: Mapping[str, float | None]
    convolution: Mapping[str, float | None]
    copy: float | None

    @property
    def arithmetic(self) -> dict[str, float | None]:
        """The higher of the two measured rates by precision: the lower one is no limit."""
        return {
            name: max(filter(None, (self.matmul[name], self.convolution[name])), default=None)
            for name in self.matmul
        }


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stage's work in one forward."""

    precision: str
    flops: int
    layers_bytes: int
    fused_bytes: int


def with_roofline(tables: Tables, experiment: Experiment, ceilings: Sequence[Ceiling]) -> Tables:
    """Add the roofline's tables, which are empty where no ceiling was measured."""
    return replace(
        tables,
        ceilings=ceilings_table(ceilings),
        roofline=roofline_table(tables.summary, tables.costs, experiment, ceilings),
    )


def ceilings_table(ceilings: Sequence[Ceiling]) -> pd.DataFrame:
    """Return a row per ceiling."""
    rows = []
    for ceiling in ceilings:
        spec, samples = ceiling.spec, ceiling.samples_s
        rate = "bytes_per_s" if ceiling.flops is None else "flops_per_s"
        rows.append(
            {
                "ceiling": spec.kind, "device": spec.device,
                "threads": spec.threads, "threads_read_back": ceiling.threads,
                "precision": spec.precision, "memory_format": spec.memory_format, "what": ceiling.what,
                "clock": ceiling.clock if samples else None, "n": len(samples),
                "best_s": min(samples, default=None),
                "median_s": median(samples) if samples else None,
                "flops": ceiling.flops, "moved_bytes": ceiling.moved_bytes,
                f"best_{rate}": ceiling.best_rate, f"median_{rate}": ceiling.median_rate,
                "reason": ceiling.reason,
            }
        )  # fmt: skip
    return frame(rows, COLUMNS["ceilings"])


def roofline_table(
    summary: pd.DataFrame, costs: pd.DataFrame, experiment: Experiment, ceilings: Sequence[Ceiling]
) -> pd.DataFrame:
    """Return a row per timed cell and stage, `forward` included, that does some work.

    FLOPs and bytes are the published network's, whatever algorithm computes it. Left out are backends with a
    memory_plan, whose calls do other work, or several processes, which one's ceilings do not limit. Empty
    where no ceiling was measured.
    """
    if not any(ceiling.samples_s for ceiling in ceilings):
        return frame([], COLUMNS["roofline"])
    backends = {backend.name: backend for backend in experiment.backends}
    known = {
        name: ceilings_of(backend, ceilings) for name, backend in backends.items() if has_roofline(backend)
    }
    work = {
        str(cell): parts_of(backends[str(cell).rpartition("/")[2]], rows)
        for cell, rows in costs.groupby("cell")
    }
    rows = []
    for row in summary[summary["median_s"] > 0].to_dict("records"):
        backend = backends[row["backend"]]
        parts = work.get(row["cell"], {})
        if row["backend"] not in known or row["stage"] not in (*parts, FORWARD):
            continue
        chosen = list(parts.values()) if row["stage"] == FORWARD else [parts[row["stage"]]]
        if sum(part.flops for part in chosen):
            where = {"device": backend.device, "threads": threads_of(backend)}
            found = _row(row, chosen, known[row["backend"]], overlapping=backend.schedule == "pipelined")
            rows.append(where | found)
    return frame(rows, COLUMNS["roofline"])


def ceilings_of(backend: Backend, ceilings: Sequence[Ceiling]) -> Ceilings:
    """Return the highest ceilings measured for a backend."""
    precisions = precisions_of(backend)
    return Ceilings(
        matmul={name: best(ceilings, CeilingKind.MATMUL, backend, name) for name in precisions},
        convolution={name: best(ceilings, CeilingKind.CONVOLUTION, backend, name) for name in precisions},
        copy=best(ceilings, CeilingKind.COPY, backend),
    )


def parts_of(backend: Backend, costs: pd.DataFrame) -> dict[str, Part]:
    """Return the work of each stage of one forward, from a cell's rows of the table of costs."""
    return {
        row["stage"]: Part(
            precision=precision_of(backend, row["stage"], row["dtype"]),
            flops=int(row["flops"]),
            layers_bytes=int(row["bytes"]),
            fused_bytes=int(row["fused_bytes"]),
        )
        for row in costs.to_dict("records")
    }


def bound(
    parts: Sequence[Part],
    peaks: Mapping[str, float | None],
    copy: float | None,
    *,
    fused: bool = False,
    overlapping: bool = False,
) -> Bound | None:
    """Return the least time for parts done one after another; None where a ceiling is not known.

    Within a part computing and moving may overlap, so that the longer of the two binds. With `overlapping`
    those of all parts may, as where stages run beside each other.
    """
    times = []
    for part in parts:
        peak = peaks.get(part.precision)
        if peak is None or copy is None:
            return None
        moved = part.fused_bytes if fused else part.layers_bytes
        times.append((part.flops / peak, moved / copy))
    if overlapping:
        times = [(sum(compute for compute, _ in times), sum(memory for _, memory in times))]
    return Bound(
        compute_s=sum(compute for compute, memory in times if compute >= memory),
        memory_s=sum(memory for compute, memory in times if compute < memory),
    )


def _row(
    row: Mapping[Any, Any], parts: Sequence[Part], known: Ceilings, *, overlapping: bool
) -> dict[str, object]:
    flops = sum(part.flops for part in parts)
    layers, fused = (sum(getattr(part, f"{name}_bytes") for part in parts) for name in ("layers", "fused"))
    precisions = {part.precision for part in parts}
    precision = precisions.pop() if len(precisions) == 1 else MIXED
    median_s, low_s, high_s = row["median_s"], row["low_s"], row["high_s"]  # the bounds may be missing
    found: dict[str, object] = {
        **{name: row[name] for name in _OF_SUMMARY}, "precision": precision,
        "flops": flops, "bytes": layers, "bytes_fused": fused,
        "intensity": flops / layers, "intensity_fused": flops / fused,
        "flops_per_s": flops / median_s, "flops_per_s_low": flops / high_s, "flops_per_s_high": flops / low_s,
        "matmul_flops_per_s": known.matmul.get(precision),
        "convolution_flops_per_s": known.convolution.get(precision),
        "copy_bytes_per_s": known.copy,
    }  # fmt: skip
    for prefix, peaks in (("", known.arithmetic), ("convolution_", known.convolution)):
        if (limit := bound(parts, peaks, known.copy, overlapping=overlapping)) is not None:
            found |= {
                f"{prefix}limit_flops_per_s": flops / limit.seconds, f"{prefix}binds": limit.binds,
                f"{prefix}share": limit.seconds / median_s, f"{prefix}share_low": limit.seconds / high_s,
                f"{prefix}share_high": limit.seconds / low_s,
            }  # fmt: skip
    limit = bound(parts, known.arithmetic, known.copy, fused=True, overlapping=overlapping)
    return found | ({} if limit is None else {"binds_fused": limit.binds})
