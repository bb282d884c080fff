"""Checkpoints of every naming and wrapper; tests/vsr_model/test_bad_files.py has hostile ones."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from tests import golden
from tests.networks import build_basicvsr
from vsr_model import BadInput, BasicVSR, load_checkpoint

SIZE = golden.SIZES["tiny"]
BASICSR = golden.weights(*SIZE)
ROWS = [row for row in golden.names() if row[0] in BASICSR]
NAMINGS = {
    "basicsr": BASICSR,
    "mmagic": {mmagic: BASICSR[basicsr] for basicsr, mmagic, _ in ROWS},
    "course": {course: BASICSR[basicsr] for basicsr, _, course in ROWS if course is not None},
}


def other(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same names with weights that must not be the ones loaded."""
    return {name: torch.full_like(tensor, 7) for name, tensor in state.items()}


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


DISCRIMINATOR = {"step_counter": torch.tensor([5]), "discriminator.conv.weight": torch.ones(3, 3)}
WRAPPERS = {
    "bare": lambda state: state,
    "params": lambda state: {"params": state},
    "params_ema": lambda state: {"params": other(state), "params_ema": state},
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"state": {0: torch.ones(2)}}},
    "parallel": lambda state: prefixed("module.", state),
    "compiled": lambda state: prefixed("_orig_mod.", state),
    "generator": lambda state: {"state_dict": prefixed("generator.", state) | DISCRIMINATOR},
    "generator_ema": lambda state: {
        "state_dict": prefixed("generator.", other(state))
        | prefixed("generator_ema.", state)
        | DISCRIMINATOR,
    },
    "mmagic's averaged": lambda state: {
        "state_dict": prefixed("generator.", other(state))
        | prefixed("generator_ema.module.", state)
        | {"generator_ema.steps": torch.tensor(4)},
        "meta": {"epoch": 3},
    },
    "old mmagic with a counter": lambda state: {"state_dict": state | {"step_counter": torch.tensor([5])}},
    "inside out": lambda state: {"params_ema": {"state_dict": prefixed("module.generator.", state)}},
}


@pytest.fixture
def model() -> BasicVSR:
    return build_basicvsr(*SIZE, seed=0)


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    """The recipe's weights by this project's names, placed by hand rather than by rule."""
    model = build_basicvsr(*SIZE, seed=0)
    spynet, propagation = model.alignment.spynet, model.propagation
    with torch.no_grad():
        spynet.mean.copy_(BASICSR["spynet.mean"])
        spynet.std.copy_(BASICSR["spynet.std"])
        modules = {
            f"spynet.basic_module.{i}.basic_module.{j}": spynet.levels[i][j]
            for i in range(6)
            for j in range(0, 9, 2)
        }
        for direction in ("backward", "forward"):
            trunk = getattr(propagation, f"{direction}_trunk")
            modules[f"{direction}_trunk.main.0"] = trunk.conv_in
            for i, block in enumerate(trunk.blocks):
                modules[f"{direction}_trunk.main.2.{i}.conv1"] = block.conv1
                modules[f"{direction}_trunk.main.2.{i}.conv2"] = block.conv2
        modules["fusion"] = model.aggregation.fusion
        for name in ("upconv1", "upconv2", "conv_hr", "conv_last"):
            modules[name] = getattr(model.upsampling, name)
        for name, module in modules.items():
            module.weight.copy_(BASICSR[f"{name}.weight"])
            module.bias.copy_(BASICSR[f"{name}.bias"])
    return model.state_dict()


@pytest.fixture(scope="module")
def namings(expected) -> dict[str, dict[str, Tensor]]:
    return NAMINGS | {"own": expected}


def assert_loaded(model: BasicVSR, expected: dict[str, Tensor]) -> None:
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def assert_refused(model: BasicVSR, source: object, *patterns: str) -> str:
    """Loading raises a BadInput of one sentence with these words, and leaves the model as it was."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(BadInput) as caught:
        load_checkpoint(model, source)
    message = str(caught.value)
    for pattern in patterns:
        assert pattern in message
    assert message.endswith(".")
    assert "\n" not in message
    assert_loaded(model, before)
    return message


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("naming", [*NAMINGS, "own"])
def test_every_naming_in_every_wrapper(model, expected, namings, naming, wrapper):
    load_checkpoint(model, WRAPPERS[wrapper](namings[naming]))
    assert_loaded(model, expected)


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.safetensors", "old.pth"])
def test_files_of_every_format(model, expected, name, tmp_path):
    if name.endswith("safetensors"):
        save_file(BASICSR, tmp_path / name)
    else:
        torch.save({"params": BASICSR}, tmp_path / name, _use_new_zipfile_serialization=name != "old.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_checkpoint(model, str(tmp_path / name))
    assert_loaded(model, expected)


@given(st.permutations(["params", "state_dict", "module", "generator"]), st.integers(0, 4), st.integers(0, 4))
@settings(max_examples=30)
def test_wrappers_in_any_order_as_dicts_or_prefixes(expected, order, depth, as_prefixes):
    wrappers = order[:depth]
    content = BASICSR
    for i, wrapper in enumerate(wrappers):
        content = prefixed(f"{wrapper}.", content) if i < as_prefixes else {wrapper: content}
    model = build_basicvsr(*SIZE, seed=0)
    load_checkpoint(model, content)
    assert_loaded(model, expected)


@pytest.mark.parametrize("naming", [*NAMINGS, "own"])
@pytest.mark.parametrize("prefix", ["", "spynet."])
def test_spynet_alone(model, expected, namings, naming, prefix):
    start = "alignment.spynet." if naming == "own" else "spynet."
    spynet = {
        prefix + name.removeprefix(start): tensor
        for name, tensor in namings[naming].items()
        if name.startswith(start)
    }
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_checkpoint(model, {"params": spynet})
    of_spynet = {name: tensor for name, tensor in expected.items() if name.startswith("alignment.")}
    assert_loaded(model, before | of_spynet)


def test_part_of_spynet_is_not_enough(model):
    spynet = {name: tensor for name, tensor in BASICSR.items() if name.startswith("spynet.basic_module.0.")}
    message = assert_refused(model, spynet, "missing: alignment.spynet.levels.1.0.weight (32, 8, 7, 7)")
    assert "propagation" not in message


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_converted(model, expected, dtype):
    load_checkpoint(model, {name: tensor.to(dtype) for name, tensor in BASICSR.items()})
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, expected[name].to(dtype).float())


def test_a_narrow_model_stays_narrow(model, expected):
    model.cast_features(torch.bfloat16)
    load_checkpoint(model, BASICSR)
    assert_loaded(
        model, {name: expected[name].to(tensor.dtype) for name, tensor in model.state_dict().items()}
    )


def test_what_does_not_fit_is_listed_with_its_shape(model):
    state = dict(BASICSR)
    del state["fusion.weight"]
    state["conv_hr.bias"] = torch.zeros(65)
    state["attention.weight"] = torch.zeros(2, 3)
    assert_refused(
        model,
        state,
        "The state dict does not fit the model",
        "missing: aggregation.fusion.weight (8, 16, 1, 1)",
        "unexpected: attention.weight (2, 3)",
        "wrongly shaped: upsampling.conv_hr.bias (65,) instead of (64,)",
    )


def test_long_lists_are_cut(model, tmp_path):
    torch.save(golden.weights(8, 4), tmp_path / "weights.pth")
    message = assert_refused(model, tmp_path / "weights.pth", "weights.pth does not fit", "and 11 more")
    assert message.count("unexpected") == 1
    assert len(message) < 600


def test_weights_given_twice(model):
    assert_refused(model, BASICSR | {"concate.bias": torch.zeros(8)}, "unexpected: concate.bias (8,)")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"params": {}}, {"params": None}, {0: torch.ones(1)}])
def test_a_checkpoint_without_weights(model, content):
    assert_refused(model, content, "holds no weights")
