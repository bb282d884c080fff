"""The backends that a search may try: fields with the values that are sensible on a device. Pure.

What moves clips (`transfer`) is not among them: the search is for the call with its clip on the device.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bench.grid.backend_spec import Backend, resolve
from bench.grid.config_backend import BackendSpec
from bench.grid.rules import impossible

PLAIN_NAME: Final = "plain"
MAX_NAME: Final = 64

PRECISION_REACHES_DB: Final = {"tf32": 90.0, "float16": 90.0, "bfloat16": 75.0}
"""An upper bound on the PSNR of a precision's outputs: about 70 to 76 dB are seen of the first two, and 50
to 54 of the last by itself (bench.grid.backend_spec). They are not tried where more is required."""

MANY_CORES: Final = 4
"""From this many cores on, other numbers of threads than PyTorch's own are tried."""

_SHORT: Final = {"cudnn_autotune": "autotune", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A field of a backend, and the values to try beside its default."""

    field: str  # as in a YAML; `from` is the backend that it derives from
    values: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A backend that may be tried: its origin, its device, and fields with their values."""

    origin: str
    device: str | None = None
    fields: tuple[tuple[str, Any], ...] = ()

    @property
    def is_plain(self) -> bool:
        return not self.fields

    @property
    def name(self) -> str:
        """The settings, as in `im2col-channels_last`; cut off, with a digest, where that is too long."""
        if self.is_plain:
            return PLAIN_NAME
        text = "-".join(_named(field, value) for field, value in self.fields)
        if len(text) <= MAX_NAME:
            return text
        return f"{text[: MAX_NAME - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def with_value(self, field: str, value: Any) -> "Candidate":
        """Return the candidate with the field set, or at its default for None.

        The winograd kernel has its features in one format whatever is asked for: with it there is no
        memory_format, so that one computation is one candidate.
        """
        kept = {name: known for name, known in self.fields if name != field}
        if value is not None:
            kept[field] = value
        if kept.get("convolution") == "winograd":
            kept.pop("memory_format", None)
        return replace(self, fields=tuple(sorted(kept.items())))

    def value(self, field: str) -> Any:
        return dict(self.fields).get(field)

    def entry(self, name: str | None = None, min_psnr_db: float | None = None) -> dict[str, Any]:
        """Return the candidate as a grid's backend."""
        fields = dict(self.fields)
        entry = {"name": name or self.name, "from": fields.pop("from", self.origin)}
        if self.device is not None:
            entry["device"] = self.device
        entry |= fields
        return entry if min_psnr_db is None else {**entry, "min_psnr_db": min_psnr_db}

    def spec(self, min_psnr_db: float | None = None) -> BackendSpec:
        return BackendSpec.model_validate(self.entry(min_psnr_db=min_psnr_db))

    @property
    def backend(self) -> Backend:
        return resolve(self.spec())


def plain(device: str) -> Candidate:
    """Return the network as published on that device (`cpu`, `cuda` or `cuda:1`).

    On a GPU that is cuDNN with PyTorch's defaults, in full float32.
    """
    if device == "cpu":
        return Candidate(origin="cpu")
    return Candidate(origin="cudnn", device=None if device == "cuda" else device)


def axes(
    device: str, *, cores: int = 1, min_psnr_db: float = 80.0, without: Sequence[str] = ()
) -> tuple[Axis, ...]:
    """Return what is tried on a device, the most promising first; `without` are fields to leave alone.

    `cores` are the logical ones that the process may run on.
    """
    every = _cpu(cores) if device == "cpu" else _CUDA
    kept = []
    for axis in every:
        values = tuple(
            value
            for value in axis.values
            if not isinstance(value, str) or PRECISION_REACHES_DB.get(value, min_psnr_db) >= min_psnr_db
        )
        if values and axis.field not in without:
            kept.append(Axis(field=axis.field, values=values))
    return tuple(kept)


def fields_tried(device: str) -> tuple[str, ...]:
    """Return the fields that a search on the device may set."""
    return tuple(axis.field for axis in axes(device, cores=MANY_CORES, min_psnr_db=1.0))


def alone(start: Candidate, of: Sequence[Axis]) -> list[Candidate]:
    """Return the start with one value of one field each, without what no machine can run."""
    return [
        found
        for axis in of
        for value in axis.values
        if (found := start.with_value(axis.field, value)) != start and is_possible(found)
    ]


def neighbours(start: Candidate, of: Sequence[Axis]) -> list[Candidate]:
    """Return the result of `alone`, and the start with one field back at its default."""
    back = (start.with_value(axis.field, None) for axis in of if start.value(axis.field) is not None)
    return [*alone(start, of), *(found for found in back if is_possible(found))]


def is_possible(candidate: Candidate) -> bool:
    """Return whether some machine can run the candidate."""
    return impossible(candidate.backend) is None


def _cpu(cores: int) -> Iterator[Axis]:
    yield Axis(field="convolution", values=("winograd", "im2col", "fft"))
    yield Axis(field="memory_format", values=("channels_last",))
    yield Axis(field="dtype", values=("bfloat16",))
    if cores >= MANY_CORES:
        yield Axis(field="threads", values=(cores // 2, cores))
    yield Axis(field="compile", values=(True,))


_CUDA: Final = (
    Axis(field="dtype", values=("bfloat16", "float16")),
    Axis(field="fp32_precision", values=("tf32",)),
    Axis(field="memory_format", values=("channels_last",)),
    Axis(field="from", values=("cudnn_autotune",)),
    Axis(field="cuda_graph", values=(True,)),
    Axis(field="schedule", values=("pipelined",)),
    Axis(field="compile", values=(True,)),
)


def _named(field: str, value: Any) -> str:
    if isinstance(value, bool):
        return field if value else f"no_{field}"
    return f"{value}-{field}" if isinstance(value, int) else _SHORT.get(value, str(value))
