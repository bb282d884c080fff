import inspect
from typing import get_args, get_type_hints

import pytest
import torch

from vsr_model import STAGES, BadInput, BasicVSR
from vsr_model.basicvsr import MIN_SIZE, SCALE, ResizeMode
from vsr_model.registry import MODELS, find_model

ENTRY = MODELS["basicvsr"]
AXES = {"batch": 1, "frames": 2, "height": 16, "width": 20}


def test_names_are_keys():
    assert all(entry.name == name for name, entry in MODELS.items())
    assert find_model("basicvsr") is ENTRY


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("BasicVSR", "There is no model 'BasicVSR'; did you mean 'basicvsr'?"),
        ("basicvs", "There is no model 'basicvs'; did you mean 'basicvsr'?"),
        ("edvr", "There is no model 'edvr'; there is 'basicvsr'."),
    ],
)
def test_an_unknown_name_gets_the_nearest(name, message):
    with pytest.raises(BadInput) as caught:
        find_model(name)
    assert str(caught.value) == message


def test_parameters_are_the_constructors():
    signature = inspect.signature(BasicVSR)
    assert [parameter.name for parameter in ENTRY.parameters] == list(signature.parameters)
    hints = get_type_hints(BasicVSR.__init__)
    for parameter in ENTRY.parameters:
        assert parameter.default == signature.parameters[parameter.name].default
        assert parameter.check(parameter.default) == parameter.default
        if parameter.type is str:
            assert parameter.choices == get_args(ResizeMode) == get_args(hints[parameter.name])
        else:
            assert hints[parameter.name] is int


def test_limits_are_the_networks():
    assert (ENTRY.scale, ENTRY.min_height, ENTRY.min_width) == (SCALE, MIN_SIZE, MIN_SIZE)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"num_block": 3}, "basicvsr has no parameter 'num_block'; did you mean 'num_blocks'?"),
        ({"num_blocks": 0}, "num_blocks must be a whole number of at least 1, not 0."),
        ({"num_blocks": True}, "num_blocks must be a whole number of at least 1, not True."),
        ({"mid_channels": 8.0}, "mid_channels must be a whole number of at least 1, not 8.0."),
        ({"mid_channels": "8"}, "mid_channels must be a whole number of at least 1, not '8'."),
        ({"base_upsample": "bicubic"}, "base_upsample must be bilinear or nearest, not 'bicubic'."),
        ({"flow_resize": None}, "flow_resize must be bilinear or nearest, not None."),
        ({"flow_resize": 1}, "flow_resize must be bilinear or nearest, not 1."),
    ],
)
def test_parameters_are_checked(params, message):
    for call in (ENTRY.resolve, lambda params: ENTRY.build(params, seed=0)):
        with pytest.raises(BadInput) as caught:
            call(params)
        assert str(caught.value) == message


def test_defaults_are_filled_in():
    assert ENTRY.resolve({"num_blocks": 2}) == {
        "mid_channels": 64,
        "num_blocks": 2,
        "base_upsample": "bilinear",
        "flow_resize": "bilinear",
    }


def test_builds_what_it_describes():
    given = {"mid_channels": 4, "num_blocks": 1, "base_upsample": "nearest"}
    model = ENTRY.build(given, seed=1)
    again = ENTRY.build(given, seed=1)
    assert isinstance(model, BasicVSR)
    assert not model.training
    assert model.upsampling.base_upsample == "nearest"
    assert model.alignment.spynet.flow_resize == "bilinear"
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])

    params = ENTRY.resolve(given)
    assert ENTRY.parameter_count(params) == sum(parameter.numel() for parameter in model.parameters())
    assert set(ENTRY.stage_flops(params, **AXES)) == set(STAGES)
    single, half = (ENTRY.estimate_peak_bytes(params, **AXES, bytes_per_element=size) for size in (4, 2))
    assert half < single
