import pickle
import warnings
from pathlib import Path

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


@pytest.mark.parametrize("naming", [*NAMINGS, "own"])
@pytest.mark.parametrize("suffix", ["pth", "pt", "safetensors"])
def test_every_naming_from_a_file(model, expected, namings, naming, suffix, tmp_path):
    path = tmp_path / f"weights.{suffix}"
    if suffix == "safetensors":
        save_file(namings[naming], path)
    else:
        torch.save({"params": namings[naming]}, path)
    load_checkpoint(model, str(path))
    assert_loaded(model, expected)


def test_flat_files_may_carry_wrappers_as_prefixes(model, expected, tmp_path):
    path = tmp_path / "weights.safetensors"
    state = {name: tensor.clone() for name, tensor in BASICSR.items()}
    save_file(prefixed("params_ema.", state) | prefixed("params.", other(state)), path)
    load_checkpoint(model, path)
    assert_loaded(model, expected)


def test_the_old_format_of_torch(model, expected, tmp_path):
    torch.save(BASICSR, tmp_path / "weights.pth", _use_new_zipfile_serialization=False)
    load_checkpoint(model, tmp_path / "weights.pth")
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
@pytest.mark.parametrize("wrapped", [False, True])
def test_spynet_alone(model, expected, namings, naming, prefix, wrapped):
    start = "alignment.spynet." if naming == "own" else "spynet."
    spynet = {
        prefix + name.removeprefix(start): tensor
        for name, tensor in namings[naming].items()
        if name.startswith(start)
    }
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_checkpoint(model, {"params": spynet} if wrapped else spynet)
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


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(64, dtype=torch.complex64),
        torch.zeros(64, device="meta"),
        torch.zeros(64).to_sparse(),
    ],
)
def test_tensors_that_cannot_be_copied_whole(model, tensor):
    assert_refused(
        model,
        BASICSR | {"conv_hr.bias": tensor},
        "not dense numbers of the model's kind: upsampling.conv_hr.bias",
    )


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"params": {}}, {"params": None}, {0: torch.ones(1)}])
def test_nothing_in_it(model, content):
    assert_refused(model, content, "holds no weights")


def test_a_dict_in_itself(model):
    content: dict[str, object] = {}
    content["params"] = content
    assert_refused(model, content, "holds no weights")


@pytest.mark.parametrize("name", ["none.pth", "none.safetensors"])
def test_a_missing_file(model, tmp_path, name):
    assert_refused(model, tmp_path / name, f"The checkpoint {tmp_path / name} does not exist")


@pytest.mark.parametrize("name", ["folder.pth", "folder.safetensors"])
def test_a_folder(model, tmp_path, name):
    (tmp_path / name).mkdir()
    assert_refused(model, tmp_path / name, name)


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("kept", [0, 5, 1000, -1000])
def test_a_cut_file(model, tmp_path, name, kept):
    path = tmp_path / name
    save_file(BASICSR, path) if path.suffix == ".safetensors" else torch.save(BASICSR, path)
    path.write_bytes(path.read_bytes()[:kept])
    assert_refused(model, path, "is not a checkpoint, or it is damaged")


@pytest.mark.parametrize("content", [b"hello world", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"\x80\x02."])
def test_a_file_of_another_format(model, tmp_path, content):
    for name in ("weights.pth", "weights.safetensors"):
        (tmp_path / name).write_bytes(content)
        assert_refused(model, tmp_path / name, "is not a checkpoint, or it is damaged")


@given(content=st.binary(max_size=200), suffix=st.sampled_from(["pth", "safetensors"]))
@settings(max_examples=60)
def test_any_other_file(tmp_path, content, suffix):
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(BadInput):
        load_checkpoint(build_basicvsr(1, 1, seed=0), path)


@pytest.mark.parametrize("content", [[1, 2], torch.ones(2), 5])
def test_a_file_of_something_else(model, tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    assert_refused(model, tmp_path / "weights.pth", f"holds a {type(content).__name__}, not a state dict")


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.victim,)


@pytest.mark.parametrize("container", ["zip", "old", "pickle"])
def test_code_in_a_file_is_not_run(model, tmp_path, container):
    victim, path = tmp_path / "victim", tmp_path / "weights.pth"
    content = {"params": BASICSR, "extra": Malicious(victim)}
    if container == "pickle":
        path.write_bytes(pickle.dumps({"extra": Malicious(victim)}, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=container == "zip")
    assert_refused(model, path, "holds more than tensors, which could run code")
    assert not victim.exists()


def test_loading_warns_of_nothing(model, tmp_path):
    torch.save(BASICSR, tmp_path / "weights.pth")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_checkpoint(model, tmp_path / "weights.pth")
    assert caught == []
