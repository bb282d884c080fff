"""What the YAML's backends mean."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from bench.grid.backend_spec import BUILT_IN, Backend, resolve
from bench.grid.config_backend import BACKEND_NAMES, BackendSpec


def spec(**fields: Any) -> BackendSpec:
    return BackendSpec.model_validate(fields)


def test_the_names_are_those_that_the_yaml_knows() -> None:
    assert tuple(BUILT_IN) == BACKEND_NAMES
    assert [backend.name for backend in BUILT_IN.values()] == [*BUILT_IN]


@pytest.mark.parametrize(
    ("name", "device", "enabled", "autotune"),
    [
        ("cpu", "cpu", None, None),
        ("cuda", "cuda", False, False),
        ("cudnn", "cuda", True, False),
        ("cudnn_autotune", "cuda", True, True),
    ],
)
def test_built_in(name: str, device: str, enabled: bool | None, autotune: bool | None) -> None:
    assert resolve(spec(name=name)) == Backend(
        name=name, device=device, cudnn_enabled=enabled, cudnn_benchmark=autotune, dtype="float32",
        fp32_precision="ieee", memory_format="contiguous", compile=False, threads=None, min_psnr_db=80.0,
    )  # fmt: skip


def test_a_derived_one_differs_in_what_it_gives() -> None:
    given = {"device": "cuda:1", "memory_format": "channels_last", "compile": True, "threads": 2}
    found = resolve(spec(name="mine", **{"from": "cudnn_autotune"}, **given))
    assert found == replace(BUILT_IN["cudnn_autotune"], name="mine", **given)


def test_a_built_in_one_may_be_changed_under_its_name() -> None:
    assert resolve(spec(name="cpu", threads=1)) == replace(BUILT_IN["cpu"], threads=1)
    assert resolve(spec(name="cpu", **{"from": "cpu"})) == BUILT_IN["cpu"]


@pytest.mark.parametrize(
    ("fields", "min_psnr_db"),
    [
        ({}, 80.0),
        ({"fp32_precision": "tf32"}, 60.0),
        ({"dtype": "bfloat16"}, 45.0),
        ({"dtype": "float16"}, 60.0),
        ({"dtype": "bfloat16", "fp32_precision": "tf32"}, 45.0),
        ({"dtype": "bfloat16", "min_psnr_db": 20.5}, 20.5),
    ],
)
def test_accuracy_asked_for(fields: dict[str, Any], min_psnr_db: float) -> None:
    assert resolve(spec(name="x", **{"from": "cudnn"}, **fields)).min_psnr_db == min_psnr_db


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "gpu"},
        {"name": "x", "from": "gpu"},
        {"name": "cpu", "from": "cuda"},
        {"name": "cpu", "device": "cuda"},
        {"name": "cuda", "device": "cpu"},
        {"name": "x", "from": "cpu", "device": "cuda:0"},
    ],
    ids=str,
)
def test_contradictions_are_no_spec_at_all(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec(**fields)


@pytest.mark.parametrize(
    ("fields", "is_reference"),
    [
        ({"name": "cpu"}, True),
        ({"name": "x", "from": "cpu"}, True),
        ({"name": "x", "from": "cpu", "transfer": "pageable"}, True),
        ({"name": "x", "from": "cpu", "threads": 1}, False),
        ({"name": "x", "from": "cpu", "dtype": "bfloat16"}, False),
        ({"name": "x", "from": "cpu", "memory_format": "channels_last"}, False),
        ({"name": "x", "from": "cpu", "compile": True}, False),
        ({"name": "cuda"}, False),
    ],
    ids=str,
)
def test_which_one_the_others_are_checked_against(fields: dict[str, Any], is_reference: bool) -> None:
    assert resolve(spec(**fields)).is_reference is is_reference


def test_is_cuda() -> None:
    assert [backend.is_cuda for backend in BUILT_IN.values()] == [False, True, True, True]
    assert resolve(spec(name="cuda", device="cuda:3")).is_cuda
