"""By which options the runs behind two cells differ, in words. Pure.

A list of what differs is no list of causes: which of the options makes a difference only a run tells that
changes one of them alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from bench.grid.backend_spec import resolve
from bench.grid.config_backend import BackendSpec
from bench.paper.editions import Role
from bench.results.identity import differences

Configuration = Mapping[str, Any]

OF_A_GPU: Final = frozenset({"script.unsynchronised", "script.all_in_timer"})
"""Options that change nothing on a CPU, which nothing waits for and nothing is copied to."""

_OF_BACKENDS: Final = ("name", "min_psnr_db")
"""What a backend is called, and what is asked of its output, changes no time and no memory."""


def differing(
    one: Configuration,
    other: Configuration,
    *,
    experiment: str,
    role: Role,
    backends: tuple[str, str],
    but: Iterable[str] = (),
) -> list[str]:
    """Such as "`measure.allocator: system` against `retain`", in the order of the configuration.

    Of the cells of `experiment` (the input's name) on the two runs' `backends`, which both are `role`. `but`
    names options to leave out. Lengths are left out: cells are compared that have the same.
    """
    left_out = {*but, *(OF_A_GPU if role is Role.CPU else ())}
    was_asked, is_asked = (
        _of_cell(whole, experiment, backend) for whole, backend in zip((one, other), backends, strict=True)
    )
    return [
        f"`{field}: {_written(was)}` against `{_written(now)}`"
        for field, was, now in differences(was_asked, is_asked)
        if field not in left_out
    ]


def together(by_backend: Mapping[str, Sequence[str]]) -> str:
    """What differs on all of the backends, and then what on some of them alone; empty where nothing does."""
    where: dict[str, list[str]] = {}
    for backend, texts in by_backend.items():
        for text in texts:
            where.setdefault(text, []).append(backend)
    groups: dict[tuple[str, ...], list[str]] = {}
    for text, backends in where.items():
        groups.setdefault(tuple(backends), []).append(text)
    everywhere = groups.pop(tuple(by_backend), [])
    on_some = [f"on {', '.join(backends)} {', '.join(texts)}" for backends, texts in groups.items()]
    return "; ".join([*([", ".join(everywhere)] if everywhere else []), *on_some])


def _of_cell(whole: Configuration, experiment: str, backend: str) -> dict[str, Any]:
    """What of a run's configuration bears on the experiment's cells on the backend, by option."""
    inputs = [item for item in whole["input"] if item["name"] == experiment]
    specs = [BackendSpec.model_validate(spec) for spec in whole["backends"] if spec["name"] == backend]
    return {
        "model": whole["model"],
        "input": _without(inputs[0], "grid"),
        "grid": _without({**whole["grid"], **inputs[0].get("grid", {})}, "frames"),
        "backend": _without(asdict(resolve(specs[0])), *_OF_BACKENDS),
        "measure": whole["measure"],
        "script": whole.get("script", {}),
    }


def _without(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _written(value: Any) -> str:
    """As a YAML has it."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {_written(its)}' for name, its in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_written, value))}]"
    if value is None:
        return "not given"
    return str(value).lower() if isinstance(value, bool) else str(value)
