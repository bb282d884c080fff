"""What one backend has that another has not, in the words of a plot's label. Pure."""

from dataclasses import fields
from typing import Any, Final

from bench.grid.backend_spec import Backend

_NO_SETTING: Final = ("name", "min_psnr_db")
"""Neither changes what is computed."""

_BY_VALUE: Final = ("dtype", "fp32_precision", "memory_format")
"""Fields whose value says by itself what it is of."""

_SWITCHES: Final = {
    "cudnn_enabled": "cuDNN",
    "cudnn_benchmark": "cuDNN autotuning",
    "compile": "compile",
    "cuda_graph": "cuda_graph",
}


def added(before: Backend, after: Backend) -> tuple[str, ...]:
    """What `after` has that `before` has not, a text per field: `channels_last`, `convolution: winograd`,
    `without compile`. In the order of the fields; empty where both compute the same.

    The winograd kernel has its features in one format whatever is asked for: with it a memory_format adds
    nothing."""
    ignored = {*_NO_SETTING, *(["memory_format"] if after.convolution == "winograd" else [])}
    return tuple(
        _worded(field.name, value)
        for field in fields(Backend)
        if field.name not in ignored
        and (value := getattr(after, field.name)) != (was := getattr(before, field.name))
        and not (field.name in _SWITCHES and not value and not was)  # absent or off
    )


def _worded(field: str, value: Any) -> str:
    if field in _BY_VALUE:
        return str(value)
    if field in _SWITCHES:
        return _SWITCHES[field] if value else f"without {_SWITCHES[field]}"
    if field == "memory_plan":
        return "without memory_plan" if value is None else f"memory_plan: {value.place}"
    return f"{field}: default" if value is None else f"{field}: {value}"
