"""The settings that one backend has and another lacks, as a plot's label. Pure."""

from typing import Any, Final

from bench.grid.backend import Backend

_BY_VALUE: Final = ("dtype", "fp32_precision", "memory_format")
"""Fields whose value needs no name beside it."""

_SWITCHES: Final = {
    "cudnn_enabled": "cuDNN",
    "cudnn_benchmark": "cuDNN autotuning",
    "compile": "compile",
    "cuda_graph": "cuda_graph",
}


def added(before: Backend, after: Backend) -> tuple[str, ...]:
    """Return the settings that `after` has and `before` lacks, in the order of the fields, as a text each:
    `channels_last`, `convolution: winograd`, `without compile`. Empty where both compute the same.

    The winograd kernel has its features in one format whatever is asked for: with it a memory_format adds
    nothing."""
    return tuple(
        _worded(name, value)
        for name, value in after.settings.items()
        if not (name == "memory_format" and after.convolution == "winograd")
        and value != (was := before.settings[name])
        and not (name in _SWITCHES and not value and not was)  # absent or off
    )


def _worded(field: str, value: Any) -> str:
    if field in _BY_VALUE:
        return str(value)
    if field in _SWITCHES:
        return _SWITCHES[field] if value else f"without {_SWITCHES[field]}"
    if field == "memory_plan":
        return "without memory_plan" if value is None else f"memory_plan: {value.place}"
    return f"{field}: default" if value is None else f"{field}: {value}"
