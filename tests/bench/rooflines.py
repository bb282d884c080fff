"""Made-up ceilings, and the tables of made-up runs under them."""

from collections.abc import Sequence
from typing import Any

from bench.grid.baseline import Baseline
from bench.grid.ceilings import Ceiling, CeilingKind, CeilingSpec, wanted
from bench.grid.config import Experiment
from bench.records import CellRecord
from bench.results.roofline import with_roofline
from bench.results.tables import Tables, tables_of
from tests.bench import fakes
from tests.bench.synthetic import BASELINE

PUBLISHED = {"mid_channels": 64, "num_blocks": 30}
WORK = 2**30


def measured(spec: CeilingSpec, *, rate: float) -> Ceiling:
    """Return a ceiling that was reached once, by a thousandth less the second time."""
    work = {"moved_bytes": WORK} if spec.precision is None else {"flops": WORK}
    return Ceiling(
        spec=spec, what=f"{WORK} of work", samples_s=(WORK / rate, 1.001 * WORK / rate), threads=2, **work
    )


def rate_of(spec: CeilingSpec) -> float:
    """CPUs of 2 TFLOP/s in float32, GPUs of 60; narrow types twice that, transfers a tenth of a copy."""
    on_gpu = spec.device.startswith("cuda")
    if spec.precision is None:
        copy = 2e12 if on_gpu else 4e10 if spec.threads is None else 2.5e10
        return copy if spec.kind is CeilingKind.COPY else copy / 10
    peak = 60e12 if on_gpu else 2e12 / (1 if spec.threads is None else 2)
    return peak * (1 if spec.precision == "float32" else 2) * (1 if spec.kind is CeilingKind.MATMUL else 0.7)


def experiment_of(records: Sequence[CellRecord]) -> Experiment:
    """Return an experiment of the published network whose backends have the records' names."""
    names = dict.fromkeys(record.backend for record in records)
    return fakes.experiment(model=PUBLISHED, backends=[_backend(name) for name in names])


def _backend(name: str) -> dict[str, Any]:
    known = {"cpu": {}, "cpu-1-thread": {"from": "cpu", "threads": 1}}
    if name in known or name in ("cuda", "cudnn", "cudnn_autotune"):
        return {"name": name, **known.get(name, {})}
    narrow = {"dtype": "bfloat16"} if "bfloat16" in name else {}
    return {"name": name, "from": "cpu" if name.startswith("cpu") else "cudnn", **narrow}


def ceilings_of(experiment: Experiment) -> list[Ceiling]:
    return [measured(spec, rate=rate_of(spec)) for spec in wanted(experiment.backends)]


def tables(records: Sequence[CellRecord], baseline: Baseline = BASELINE) -> Tables:
    """Return the tables of a run whose machine's ceilings were measured."""
    if not records:
        return tables_of(records, baseline)
    experiment = experiment_of(records)
    return with_roofline(tables_of(records, baseline), experiment, ceilings_of(experiment))
