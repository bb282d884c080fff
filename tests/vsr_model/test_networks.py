"""The contract of a network, over all networks of the registry."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from tests.vsr_model import zoo
from vsr_model import NETWORKS, BadInput, Network, build_network, load_checkpoint
from vsr_model.errors import BadField
from vsr_model.registry import network_class, resolve

SMALL = {"basicvsr": {"mid_channels": 8, "num_blocks": 1}, "egvsr": {"num_blocks": 1}}
"""Arguments that make a network small; one line for each."""


@pytest.fixture(params=NETWORKS)
def network(request) -> Network:
    return build_network(request.param, **SMALL[request.param])


def clip(network: Network, *, batch: int = 1, frames: int | None = None) -> Tensor:
    side = network.facts.min_size
    shape = (batch, frames or max(3, network.facts.min_frames), 3, side + 5, side + 3)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


class Spans:
    """A probe that keeps the stages in order, and refuses to be nested."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.is_open = False

    @contextmanager
    def __call__(self, stage: str, /) -> Iterator[None]:
        assert not self.is_open
        self.is_open = True
        self.stages.append(stage)
        yield
        self.is_open = False


@torch.inference_mode()
def test_frames_come_out_enlarged_by_scale(network):
    lrs = clip(network, batch=2)
    n, t, c, h, w = lrs.shape
    scale = network.facts.scale
    output = network(lrs)
    assert output.shape == (n, t, c, scale * h, scale * w)
    assert output.dtype == torch.float32
    assert output.isfinite().all()


@torch.inference_mode()
def test_reports_the_stages_of_its_facts_and_computes_the_same(network):
    spans = Spans()
    lrs = clip(network)
    assert torch.equal(network(lrs, spans), network(lrs))
    assert set(spans.stages) == set(network.facts.stages)


@torch.inference_mode()
def test_clips_of_a_batch_do_not_see_each_other(network):
    lrs = clip(network, batch=2)
    torch.testing.assert_close(network(lrs)[1:], network(lrs[1:]), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_every_frame_and_weight_that_is_used_shows_in_the_output(network):
    lrs = clip(network)
    plain = network(lrs)
    changed = lrs.clone()
    changed[:, -1] += 0.1
    assert (network(changed) - plain).abs().max() > 1e-4


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_features_come_close_and_give_float32(network, dtype):
    lrs = clip(network)
    plain = network(lrs)
    network.cast_features(dtype)
    output = network(lrs)
    assert output.dtype == torch.float32
    error = (output - plain).pow(2).mean().sqrt()
    assert 0 < error < 0.05 * plain.std()


@pytest.mark.parametrize("shape", [(1, 3, 20, 20), (1, 0, 3, 64, 64), (1, 3, 4, 64, 64), (1, 3, 3, 4, 64)])
def test_refuses_what_is_no_clip_in_one_sentence(network, shape):
    with pytest.raises(ValueError, match=r"needs a clip of shape \(n, t, 3, h, w\) with .*\.$") as caught:
        network(torch.zeros(shape))
    assert str(shape) in str(caught.value)


def test_weights_are_those_of_the_seed_and_leave_the_global_state_alone(network):
    name = next(key for key in NETWORKS if network_class(key) is type(network))
    state = torch.random.get_rng_state()
    same, other = (build_network(name, seed=seed, **SMALL[name]) for seed in (0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    for key, tensor in network.state_dict().items():
        assert torch.equal(same.state_dict()[key], tensor)
    assert any(
        not torch.equal(other.state_dict()[key], tensor) for key, tensor in network.state_dict().items()
    )
    assert not network.training


def test_names_of_submodules_in_its_facts_are_there(network):
    for name in (*network.facts.narrow, *network.facts.compiled):
        network.get_submodule(name)


def test_its_own_checkpoint_loads(network, tmp_path):
    name = next(key for key in NETWORKS if network_class(key) is type(network))
    other = build_network(name, seed=1, **SMALL[name])
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    load_checkpoint(other, tmp_path / "weights.pth")
    for key, tensor in network.state_dict().items():
        assert torch.equal(other.state_dict()[key], tensor)


@pytest.fixture(scope="module", params=zoo.cases(), ids=lambda case: f"{case.network}-{case.name}")
def golden(request) -> tuple[zoo.Case, Network, Tensor]:
    case = request.param
    model = build_network(case.network, **case.arguments)
    weights = case.weights(model)
    load_checkpoint(
        model, {"upsample_func.kernels": torch.zeros(4, 4), **weights}
    )  # as the released class has it
    with torch.inference_mode():
        return case, model, model(case.clip())


def test_equals_the_public_implementation(golden):
    case, _, output = golden
    for name, expected in case.values.items():
        value, _, kind = name.partition(".")
        if value != "output":
            continue
        found = {"mean": output.double().mean((3, 4)), "std": output.double().std((3, 4), correction=0)}.get(
            kind
        )
        if found is None:
            step = int(kind.removeprefix("s"))
            found = output[..., ::step, ::step]
        assert abs(found.numpy() - expected).max() < 1e-4


def test_has_as_many_parameters_as_the_public_implementation(golden):
    case, model, _ = golden
    assert sum(parameter.numel() for parameter in model.parameters()) == case.meta["params"]


def test_egvsr_sees_no_later_frame():
    model = build_network("egvsr", num_blocks=1)
    lrs = clip(model, frames=4)
    with torch.inference_mode():
        assert torch.equal(model(lrs)[:, :2], model(lrs[:, :2]))


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(BadInput, match=r"no network 'BasicVSR' \(did you mean 'basicvsr'\?\)"):
        build_network("BasicVSR")


@pytest.mark.parametrize(
    ("arguments", "argument", "said"),
    [
        ({"mid_channel": 8}, "mid_channel", "did you mean 'mid_channels'?"),
        ({"mid_channels": 0}, "mid_channels", "greater than or equal to 1, not 0"),
        ({"mid_channels": "8"}, "mid_channels", "valid integer, not '8'"),
        ({"base_upsample": "cubic"}, "base_upsample", "'bilinear' or 'nearest', not 'cubic'"),
    ],
)
def test_an_argument_that_is_not_allowed_is_named(arguments, argument, said):
    with pytest.raises(BadField) as caught:
        resolve("basicvsr", arguments)
    assert caught.value.field == argument
    assert said in caught.value.said


def test_defaults_are_filled_in():
    assert resolve("egvsr", {"degradation": "BI"}) == {"num_blocks": 10, "degradation": "BI"}


def test_the_registry_is_known_without_torch():
    code = "import sys, vsr_model; assert vsr_model.NETWORKS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
