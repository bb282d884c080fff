"""Backends: what they derive from, their defaults, and what is written of them."""

from typing import Any

import pytest
from pydantic import ValidationError

from bench.grid.backend import BUILT_IN, Backend


def backend(**fields: Any) -> Backend:
    return Backend.model_validate({name.rstrip("_"): value for name, value in fields.items()})


@pytest.mark.parametrize(
    ("name", "device", "enabled", "autotune"),
    [
        ("cpu", "cpu", None, None),
        ("cuda", "cuda", False, False),
        ("cudnn", "cuda", True, False),
        ("cudnn_autotune", "cuda", True, True),
    ],
)
def test_built_in_backends(name: str, device: str, enabled: bool | None, autotune: bool | None) -> None:
    found = BUILT_IN[name]
    assert (found.device, found.cudnn_enabled, found.cudnn_benchmark) == (device, enabled, autotune)
    assert found.is_cuda is (device == "cuda")
    assert found.min_psnr_db == 80.0


def test_a_derived_backend_differs_in_the_given_fields() -> None:
    given = {"device": "cuda:1", "memory_format": "channels_last", "compile": True, "threads": 2}
    found = backend(name="mine", from_="cudnn_autotune", schedule=None, **given)
    assert found == BUILT_IN["cudnn_autotune"].replace(name="mine", **given)
    assert found.model_dump(by_alias=True) == {"name": "mine", "from": "cudnn_autotune", **given}
    assert backend(name="cpu", from_="cpu") == BUILT_IN["cpu"] == Backend.model_validate("cpu")


@pytest.mark.parametrize(
    ("fields", "min_psnr_db"),
    [
        ({"fp32_precision": "tf32"}, 60.0),
        ({"dtype": "bfloat16"}, 45.0),
        ({"dtype": "float16"}, 60.0),
        ({"dtype": "bfloat16", "fp32_precision": "tf32"}, 45.0),
        ({"dtype": "bfloat16", "min_psnr_db": 20.5}, 20.5),
    ],
)
def test_required_accuracy_follows_the_precision(fields: dict[str, Any], min_psnr_db: float) -> None:
    assert backend(name="x", from_="cudnn", **fields).min_psnr_db == min_psnr_db


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "gpu"}, "'gpu' is not known"),
        ({"name": "x", "from_": "gpu"}, "should be 'cpu'"),
        ({"name": "cpu", "from_": "cuda"}, "'cpu' cannot derive from 'cuda'"),
        ({"name": "cuda", "device": "cpu"}, "cannot be on 'cpu'; for that it should derive from cpu"),
        ({"name": "x", "from_": "cpu", "device": "cuda:0"}, "derive from cuda, cudnn or cudnn_autotune"),
    ],
    ids=str,
)
def test_contradictory_origins_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        backend(**fields)


@pytest.mark.parametrize(
    ("fields", "is_reference"),
    [
        ({"name": "x", "from_": "cpu", "transfer": "pageable", "min_psnr_db": 3.0}, True),
        ({"name": "x", "from_": "cpu", "threads": 1}, False),
        ({"name": "x", "from_": "cpu", "dtype": "bfloat16"}, False),
        ({"name": "x", "from_": "cpu", "memory_plan": "device"}, False),
        ({"name": "cuda"}, False),
    ],
    ids=str,
)
def test_the_plain_cpu_is_the_reference(fields: dict[str, Any], is_reference: bool) -> None:
    assert backend(**fields).is_reference is is_reference
