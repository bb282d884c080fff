"""YAML settings for how cells are measured. Pure."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from bench.grid.strict import MAX_CALLS, MAX_TIMEOUT_S, Seed, Strict, count_or, field_error, off_as_text
from bench.grid.yaml_source import shown

MAX_TARGET: Final = 0.5
"""A target wider than this is a typing mistake, such as 2 for 2 %."""

_PERCENT: Final = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*%\s*")

Calls = Annotated[int, Field(ge=1, le=MAX_CALLS)]


def _share(value: Any) -> Any:
    """Return a percentage as a fraction: `2%` is 0.02."""
    if isinstance(value, str) and (found := _PERCENT.fullmatch(value)):
        return float(found[1]) / 100
    if isinstance(value, str):
        raise ValueError(f"should be a share such as 2% or 0.02, not {value!r}")
    return value


def _fixed(value: Any) -> Any:
    """Return a number of calls as a rule that allows only this number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return {"min": value, "max": value}
    if not isinstance(value, dict | Repetitions):
        raise ValueError(
            "should be a whole number, or a mapping such as "
            f"{{min: 6, max: 60, target: 2%, budget_s: 10}}, not {shown(value)}"
        )
    return value


class Repetitions(Strict):
    """When a pass has enough samples: after `min` at least, and then at the first of the other three."""

    min: Calls = 6
    """The least; six give a median an interval."""
    max: Calls = 60
    """The most."""
    target: Annotated[
        float,
        Field(gt=0, le=MAX_TARGET),
        BeforeValidator(
            _share,
            json_schema_input_type=Annotated[float, Field(gt=0, le=MAX_TARGET)]
            | Annotated[str, Field(pattern=f"^{_PERCENT.pattern}$")],
        ),
    ] = 0.02
    """Distance of the median's 98 % interval from it at which a pass may end, as a share: 2% or 0.02."""
    budget_s: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S)] = 10.0
    """Seconds of timed calls after which the pass ends, however wide its interval."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max < self.min:
            raise field_error("max", f"is {self.max}, below the min of {self.min}")
        if self.is_fixed and (idle := self.model_fields_set & {"target", "budget_s"}):
            raise field_error(
                min(idle), f"has no effect where min and max are both {self.min}; leave it out, or raise max"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_number(self, as_mapping: SerializerFunctionWrapHandler) -> Any:
        """Return a fixed number of calls as a number: target and budget have no effect."""
        return self.min if self.is_fixed else as_mapping(self)

    @property
    def is_fixed(self) -> bool:
        """True if the number of samples is known beforehand."""
        return self.min == self.max


_BY_THE_PAPER: Final = "`vsr-bench paper` measures that way, by the course paper's own script"


class Measure(Strict):
    """The way that each cell is measured."""

    RETIRED: ClassVar[Mapping[str, str]] = {
        "first_call": "the first call is always kept apart; `warmup: 0` and `repetitions: 1` make one more",
        "timed": f"every time is of the forward, with transfers beside it; {_BY_THE_PAPER}",
        "end_to_end": f"there is always an end-to-end pass; {_BY_THE_PAPER}",
        "synchronise": f"the device is always waited for; {_BY_THE_PAPER}",
        "gradients": f"calls are never recorded by autograd; {_BY_THE_PAPER}",
        "host_memory": "`transfer: pinned` of a backend has its clips and outputs page-locked",
        "order=by_backend": f"`isolation: backend` keeps a backend's cells together; {_BY_THE_PAPER}",
        "stages=launch": f"stage times always wait for the device; {_BY_THE_PAPER}",
    }

    warmup: Annotated[int | Literal["auto"], count_or("auto", 0, MAX_CALLS)] = "auto"
    """Calls after the cold one whose samples are kept, marked, and used for nothing; `auto`: until steady."""
    repetitions: Annotated[
        Repetitions, BeforeValidator(_fixed, json_schema_input_type=Calls | Repetitions)
    ] = Repetitions()
    """Steady calls of each pass: a number, or a rule that says when the median's interval is tight enough."""
    rounds: Annotated[int, Field(ge=1, le=1000)] = 1
    """Processes per cell; three or more give an interval that holds between processes, six or more one that
    assumes no distribution."""
    order: Literal["interleaved", "blocked", "random"] = "interleaved"
    """`interleaved`: a round of every cell, then the next round. `blocked`: a cell's rounds together.
    `random`: as interleaved, each round in an order of its own, drawn from the seed."""
    seed: Seed = 0
    """Seed of the random order."""
    isolation: Literal["cell", "backend", "experiment"] = "cell"
    """A process per cell, one per backend with its cells in order, or one for all (per round)."""
    stages: Annotated[Literal["off", "sync", "events", "both"], BeforeValidator(off_as_text)] = "both"
    """Stage probes: synchronising at every boundary, CUDA events (none on a CPU), or both."""
    memory: Annotated[Literal["off", "curve", "lines"], BeforeValidator(off_as_text)] = "curve"
    """Host and device memory over time and by stage, in a pass of its own; `lines` adds a table by line of
    `forward`."""
    profile: bool = False
    """`true`: after all other passes one call under torch's profiler: what ran in each stage, how long the
    device had nothing to do, and a trace to look at. `isolation` must be `cell`."""
    ceilings: bool = False
    """`true`: before the first cell what limits the machine is measured (matrix multiply,
    3x3 convolution, copy, transfers), some seconds for each device, thread count and precision; stages are
    then held against a roofline."""
    budget_s: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S)] | None = None
    """Seconds that the whole run may measure, from its start. They are spent over its cells, each with `min`
    repetitions at least; of what does not fit, the largest clips are left out. Null: as long as it takes."""
    timeout_s: Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S)] = 600.0
    """Time that one round of a cell may take, set-up included."""
    allocator: Literal["retain", "system"] = "retain"
    """`retain`: freed host memory is kept by the process, so that a forward does not fault its pages in
    anew (glibc); `system`: as the C library has it. The same for every backend of a run."""
    after_oom: Literal["skip_larger", "continue"] = "skip_larger"
    """Once a cell has run out of memory: `skip_larger` skips its later rounds, and cells of its backend that
    need no less by the estimate; `continue` tries them."""
    memory_check: Literal["skip", "force"] = "skip"
    """`skip`: a cell that cannot fit into the memory that is free when it is about to start is skipped;
    `force`: it is tried."""
