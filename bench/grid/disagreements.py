"""What a measure asks for that a backend's optimisations cannot do. Pure; a mistake of the whole grid."""

from collections.abc import Iterable, Iterator

from bench.grid.config_backend import BackendSpec
from bench.grid.config_measure import Measure


def disagreement(backends: Iterable[BackendSpec], measure: Measure) -> str | None:
    """The first, as what `measure` should not say or a backend should not have; None where all agree."""
    return next((said for backend in backends for said in _disagreements(backend, measure)), None)


def _disagreements(backend: BackendSpec, measure: Measure) -> Iterator[str]:
    if backend.cuda_graph and measure.gradients:
        yield (
            f"gradients: true has calls recorded by autograd, and the graphs of {backend.name!r} "
            "(cuda_graph: true) leave it nothing to record; allowed is gradients: false"
        )
    if backend.transfer == "overlapped":
        whose = f"{backend.name!r}, whose transfers are overlapped"
        if measure.timed == "call":
            yield f"timed: call times one clip's way, and {whose}, streams many; allowed is timed: forward"
        if not measure.end_to_end:
            yield f"end_to_end: false leaves out the pass that streams the clips of {whose}; allowed is true"
        if not measure.synchronise:
            yield f"synchronise: false cannot tell when outputs of {whose}, arrive; allowed is true"
        if measure.gradients:
            yield f"gradients: true would keep what is in flight of {whose}; allowed is gradients: false"
