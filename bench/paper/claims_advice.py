"""What the paper says would help or would not, and nothing here measures: sections 4.2 and 4.5. Pure."""

from typing import Final

from bench.paper.editions import Edition
from bench.paper.verdict import Claim, Judgement, Stated, cannot_tell


def _claim(number: str, title: str, source: str, missing: str) -> Claim:
    """A claim that no edition can judge, and what it would take."""

    def judge(_: Edition) -> Judgement:
        return cannot_tell(missing)

    stated = Stated(statement=f"{title}.", judge=judge)
    return Claim(id=number, title=title, source=source, paper=stated, general=stated)


CLAIMS: Final = (
    _claim(
        "10a", "More GPUs would raise the speedup", "section 4.5",
        "several GPUs, and a forward that uses them",
    ),
    _claim(
        "10b", "Upsampling overlapped with propagation would raise the speedup", "section 4.5",
        "a forward that overlaps the two",
    ),
    _claim(
        "10d", "Better structured code would raise the speedup", "section 4.5",
        "both versions of the code",
    ),
    _claim(
        "10e", "Task parallelism does not apply", "section 4.2",
        "a forward whose stages run as tasks beside each other",
    ),
)  # fmt: skip
