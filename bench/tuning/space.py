"""The backends that a search may try: fields with the values that are sensible on a device. Pure.

What moves clips (`transfer`) is not among them: the search is for the call with its clip on the device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bench.grid.backend import Backend
from bench.grid.rules import impossible

PLAIN_NAME: Final = "plain"

PRECISION_REACHES_DB: Final = {"tf32": 90.0, "float16": 90.0, "bfloat16": 75.0}
"""An upper bound on the PSNR of a precision's outputs: about 70 to 76 dB are seen of the first two, and 50
to 54 of the last by itself (bench.grid.backend). They are not tried where more is required."""

MANY_CORES: Final = 4
"""From this many cores on, other numbers of threads than PyTorch's own are tried."""

_SHORT: Final = {"cudnn_autotune": "autotune", "bfloat16": "bf16", "float16": "fp16"}


Axes = Mapping[str, tuple[Any, ...]]
"""The values to try of each field of a backend beside its default; `from` is the backend it derives from."""


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
        """The settings, as in `im2col-channels_last`."""
        return "-".join(_named(field, value) for field, value in self.fields) or PLAIN_NAME

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
        fields = {
            "name": name or self.name, "from": self.origin, "device": self.device, **dict(self.fields),
            "min_psnr_db": min_psnr_db,
        }  # fmt: skip
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def backend(self) -> Backend:
        return Backend.model_validate(self.entry())


def plain(device: str) -> Candidate:
    """Return the network as published on that device (`cpu`, `cuda` or `cuda:1`).

    On a GPU that is cuDNN with PyTorch's defaults, in full float32.
    """
    if device == "cpu":
        return Candidate(origin="cpu")
    return Candidate(origin="cudnn", device=None if device == "cuda" else device)


def axes(
    device: str, *, cores: int = 1, min_psnr_db: float = 80.0, without: Sequence[str] = ()
) -> dict[str, tuple[Any, ...]]:
    """Return what is tried on a device, the most promising first; `without` are fields to leave alone.

    `cores` are the logical ones that the process may run on.
    """
    known = _cpu(cores) if device == "cpu" else _CUDA
    reach = {
        name: tuple(one for one in values if PRECISION_REACHES_DB.get(str(one), min_psnr_db) >= min_psnr_db)
        for name, values in known.items()
        if name not in without
    }
    return {name: values for name, values in reach.items() if values}


def fields_tried(device: str) -> tuple[str, ...]:
    """Return the fields that a search on the device may set."""
    return tuple(axes(device, cores=MANY_CORES, min_psnr_db=1.0))


def alone(start: Candidate, of: Axes) -> list[Candidate]:
    """Return the start with one value of one field each, without what no machine can run."""
    found = [start.with_value(name, value) for name, values in of.items() for value in values]
    return [candidate for candidate in found if candidate != start and is_possible(candidate)]


def neighbours(start: Candidate, of: Axes) -> list[Candidate]:
    """Return the result of `alone`, and the start with one field back at its default."""
    back = [start.with_value(name, None) for name in of if start.value(name) is not None]
    return [*alone(start, of), *filter(is_possible, back)]


def is_possible(candidate: Candidate) -> bool:
    """Return whether some machine can run the candidate."""
    return impossible(candidate.backend) is None


def _cpu(cores: int) -> Axes:
    return {
        "convolution": ("winograd", "im2col", "fft"),
        "memory_format": ("channels_last",),
        "dtype": ("bfloat16",),
        "threads": (cores // 2, cores) if cores >= MANY_CORES else (),
        "compile": (True,),
    }


_CUDA: Final[Axes] = {
    "dtype": ("bfloat16", "float16"),
    "fp32_precision": ("tf32",),
    "memory_format": ("channels_last",),
    "from": ("cudnn_autotune",),
    "cuda_graph": (True,),
    "schedule": ("pipelined",),
    "compile": (True,),
}


def _named(field: str, value: Any) -> str:
    if value is True:
        return field
    return f"{value}-{field}" if isinstance(value, int) else _SHORT.get(value, value)
