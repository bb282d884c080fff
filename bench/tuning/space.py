"""The backends that a search may try: fields with the values that are sensible on a device. Pure.

What moves clips (`transfer`) is not among them: the search is for the call with its clip on the device.
"""

from collections.abc import Mapping, Sequence
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


def plain(device: str) -> Backend:
    """Return the network as published on that device (`cpu`, `cuda` or `cuda:1`).

    On a GPU that is cuDNN with PyTorch's defaults, in full float32.
    """
    return _candidate(device, {})


def settings(candidate: Backend) -> dict[str, Any]:
    """Return the fields in which a candidate differs from the plain network, as in a YAML."""
    given = candidate.model_dump(by_alias=True)
    common = {"name": candidate.name, "device": candidate.device, "from": _origin(candidate.device)}
    return {name: value for name, value in given.items() if common.get(name) != value}


def with_value(start: Backend, field: str, value: Any) -> Backend:
    """Return the candidate with the field set, or at its default for None.

    The winograd kernel has its features in one format, whichever is asked for: with it there is no
    memory_format, so that one computation is one candidate.
    """
    fields = {**settings(start), field: value}
    if fields.get("convolution") == "winograd":
        fields["memory_format"] = None
    return _candidate(start.device, {name: known for name, known in fields.items() if known is not None})


def _candidate(device: str, fields: Mapping[str, Any]) -> Backend:
    """Return the backend of these fields, whose name has their values: `im2col-channels_last`."""
    name = "-".join(_named(field, fields[field]) for field in sorted(fields)) or PLAIN_NAME
    place = {} if device in ("cpu", "cuda") else {"device": device}
    return Backend.model_validate({"name": name, "from": _origin(device), **place, **fields})


def _origin(device: str) -> str:
    return "cpu" if device == "cpu" else "cudnn"


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


def alone(start: Backend, of: Axes) -> list[Backend]:
    """Return the start with one value of one field each, without what no machine can run."""
    found = [with_value(start, name, value) for name, values in of.items() for value in values]
    return [candidate for candidate in found if candidate != start and is_possible(candidate)]


def neighbours(start: Backend, of: Axes) -> list[Backend]:
    """Return the result of `alone`, and the start with one field back at its default."""
    back = [with_value(start, name, None) for name in of if name in settings(start)]
    return [*alone(start, of), *filter(is_possible, back)]


def is_possible(candidate: Backend) -> bool:
    """Return whether some machine can run the candidate."""
    return impossible(candidate) is None


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
