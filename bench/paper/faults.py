"""The paper's anomalies explained by measurement: what one fault does, beside the same without it. Pure.

An experiment each (configs/paper/faults/): a run with the fault off and one with it on. Where either has no
cell that ended well, the explanation is skipped and says why.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from bench.paper import faults_memory, faults_time
from bench.paper.fault_cells import Told
from bench.paper.reading import RunOfPaper
from bench.paper.verdict import NotKnownError


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What turning a fault on did. `skipped` says why there is nothing, and is empty otherwise."""

    name: str  # of the experiment, as in configs/paper/faults/<name>.yaml
    title: str
    question: str
    sentences: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()  # one text per column
    skipped: str = ""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An experiment that turns one fault on."""

    title: str
    question: str
    tell: Callable[[RunOfPaper, RunOfPaper], Told]


FAULTS: Final[Mapping[str, Fault]] = {
    "synchronisation": Fault(
        title="Nothing waits for the GPU",
        question="Are times that were read without waiting those of the work, or of launching it?",
        tell=faults_time.synchronisation,
    ),
    "autotuning": Fault(
        title="Autotuning in the first call",
        question="What does cuDNN's autotuning cost at the first call, and what does it save at later ones?",
        tell=faults_time.autotuning,
    ),
    "order": Fault(
        title="One backend after the other in one process",
        question="Is cuDNN's first point short because CUDA's was measured before it in the same process?",
        tell=faults_time.order,
    ),
    "gradients": Fault(
        title="Gradients recorded",
        question="How much of the memory is kept for a backward pass that never comes?",
        tell=faults_memory.gradients,
    ),
    "transfers": Fault(
        title="Transfers between host and device",
        question="What do transfers cost, and what does pinned memory save of it?",
        tell=faults_memory.transfers,
    ),
    "tf32": Fault(
        title="TF32 in convolutions",
        question="What do cuDNN's shortened products save, and what do they cost of the answer?",
        tell=faults_time.tf32,
    ),
    "cudnn_warp": Fault(
        title="The warp of features on cuDNN",
        question="What of switching cuDNN off is the warp's, and not the convolutions'?",
        tell=faults_time.cudnn_warp,
    ),
}
"""By the name of the experiment."""


def explain(name: str, off: RunOfPaper, on: RunOfPaper) -> Explanation:
    """What the fault did. Raises KeyError for a name that FAULTS lacks."""
    fault = FAULTS[name]
    try:
        told = fault.tell(off, on)
    except NotKnownError as error:
        return Explanation(name=name, title=fault.title, question=fault.question, skipped=str(error))
    return Explanation(
        name=name,
        title=fault.title,
        question=fault.question,
        sentences=tuple(told.sentences),
        columns=told.columns,
        rows=tuple(told.rows),
    )
