"""What a measure asks for that a backend's optimisations cannot do. Pure; a mistake of the whole grid."""

from collections.abc import Iterable, Iterator

from bench.grid.config_backend import BackendSpec
from bench.grid.config_measure import Measure


def disagreement(backends: Iterable[BackendSpec], measure: Measure) -> str | None:
    """The first, as what `measure` should not say or a backend should not have; None where all agree."""
    return next((said for backend in backends for said in _disagreements(backend, measure)), None)


def _disagreements(backend: BackendSpec, measure: Measure) -> Iterator[str]:
    schedule = backend.schedule or "sequential"
    how = "cuda_graph: true" if backend.cuda_graph else f"schedule: {schedule}"
    if measure.memory == "lines" and (backend.cuda_graph or schedule != "sequential"):
        yield (
            f"memory: lines is of the published network's forward, which {backend.name!r} ({how}) does "
            "not call line by line; allowed are curve and off"
        )
