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
    if (backend.processes or 1) > 1:
        whose = f"{backend.name!r}, whose clips are divided over processes"
        if measure.timed == "call":
            yield f"timed: call is of one process, and {whose}, has several; allowed is timed: forward"
        if not measure.end_to_end:
            yield f"end_to_end: false leaves out the only pass of {whose}; allowed is true"
        if not measure.synchronise:
            yield f"synchronise: false cannot tell when the last process of {whose}, is done; allowed is true"
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
    yield from _of_other_work(backend, measure)


def _of_other_work(backend: BackendSpec, measure: Measure) -> Iterator[str]:
    """Of other convolutions than the library's, and of calls without stages."""
    convolution, schedule = backend.convolution or "library", backend.schedule or "sequential"
    if measure.gradients and convolution != "library":
        yield (
            "gradients: true has calls recorded by autograd, for which the convolutions of "
            f"{backend.name!r} (convolution: {convolution}) are not made; allowed is gradients: false"
        )
    if schedule == "sequential" and not backend.cuda_graph:
        return
    how = "cuda_graph: true" if backend.cuda_graph else f"schedule: {schedule}"
    if measure.memory == "lines":
        yield (
            f"memory: lines is of the published network's forward, which {backend.name!r} ({how}) does "
            "not call line by line; allowed are curve and off"
        )
    if not measure.end_to_end and measure.memory == "off":
        yield (
            f"end_to_end: false leaves the calls to the stage passes, of which {backend.name!r} ({how}) "
            "has none; allowed is memory: curve beside it"
        )
