"""The contract of a network, over all networks of the registry."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.networks import Spans
from tests.vsr_model import zoo
from vsr_model import NETWORKS, BadInput, Network, build_network, load_checkpoint
from vsr_model.errors import BadField
from vsr_model.registry import network_class, resolve

SMALL = {
    "basicvsr": {"mid_channels": 8, "num_blocks": 1},
    "basicvsrpp": {"mid_channels": 8, "num_blocks": 1},
    "bicubic": {},
    "bilinear": {},
    "carn": {},
    "carn_m": {},
    "duf": {"num_layers": 16},
    "edvr": {"mid_channels": 8, "num_blocks": 1, "extract_blocks": 1},
    "egvsr": {"num_blocks": 1},
    "espcn": {},
    "frvsr": {"mid_channels": 8, "num_blocks": 1},
    "iconvsr": {"mid_channels": 8, "num_blocks": 1},
    "pfnl": {},
    "rbpn": {"mid_channels": 8, "high_channels": 8, "num_blocks": 1, "neighbours": 2},
    "rfdn": {"mid_channels": 8},
    "rlsp": {"mid_channels": 8, "num_layers": 3},
    "rrn": {"mid_channels": 8, "num_blocks": 1},
    "rsdn": {"mid_channels": 8, "num_blocks": 1},
    "sofvsr": {},
    "sofvsr_accv": {},
    "spmc": {},
    "tdan": {},
    "tecogan": {"mid_channels": 8, "num_blocks": 1},
    "tga": {},
    "toflow": {},
    "vespcn": {},
    "zooming_slowmo": {"mid_channels": 8, "num_blocks": 1, "extract_blocks": 1},
}
"""Arguments that make a network small; one line for each."""


@pytest.fixture(params=NETWORKS)
def network(request) -> Network:
    return build_network(request.param, **SMALL[request.param])


def clip(network: Network, *, batch: int = 1, frames: int | None = None) -> Tensor:
    side = network.facts.min_size
    step = network.facts.multiple
    frames = frames or max(3, network.facts.min_frames)
    shape = (batch, frames, network.facts.channels, side + 5 * step, side + 3 * step)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def of_products(network: Network) -> float:
    """How far two results may be apart: MKL may divide a product of matrices otherwise in another call."""
    return (
        1e-5
        if "deform_conv3x3" in vars(sys.modules[type(network).__module__])
        or any(type(part).__module__ == "vsr_model.deform" for part in network.modules())
        else 0.0
    )


class Outside(TorchDispatchMode):
    """Records the operators that are called while no stage is open; views compute nothing."""

    def __init__(self, spans: Spans) -> None:
        super().__init__()
        self.spans = spans
        self.operators: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.spans.open is None and not func.is_view:
            self.operators.append(str(func))
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
def test_frames_come_out_enlarged_by_scale(network):
    lrs = clip(network, batch=2)
    n, t, _, h, w = lrs.shape
    scale, channels = network.facts.scale, network.facts.image_channels
    output = network(lrs)
    assert output.shape == (n, network.frames_out(t), channels, scale * h, scale * w)
    assert output.dtype == torch.float32
    assert output.isfinite().all()


@torch.inference_mode()
@pytest.mark.parametrize("frames", [None, 1])
def test_all_work_is_a_stages_and_a_probe_changes_nothing(network, frames):
    lrs = clip(network, frames=frames and max(frames, network.facts.min_frames))
    spans = Spans()
    with Outside(spans) as outside:
        probed = network(lrs, spans)
    assert outside.operators == []
    assert set(spans.stages) == set(network.facts.stages)
    torch.testing.assert_close(network(lrs), probed, atol=of_products(network), rtol=0)


@torch.inference_mode()
def test_nothing_is_kept_between_calls(network):
    state = {name: dict(vars(module)) for name, module in network.named_modules()}
    lrs = clip(network)
    first = network(lrs)
    network(lrs[:, : network.facts.min_frames, :, : -network.facts.multiple])
    torch.testing.assert_close(network(lrs), first, atol=of_products(network), rtol=0)
    assert {name: dict(vars(module)) for name, module in network.named_modules()} == state


@torch.inference_mode()
def test_channels_last_changes_the_layout_only(network):
    lrs = clip(network)
    expected = network(lrs)
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(network(lrs), expected, atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    r"ignore:`torch\.jit\.\w+` is deprecated:DeprecationWarning"
)  # the compiler's own
@torch.inference_mode()
def test_compiled_parts_compute_the_same_stage_by_stage(network):
    lrs, spans = clip(network), Spans()
    expected = network(lrs)
    network.compile_parts()
    torch.testing.assert_close(network(lrs, spans), expected, atol=1e-3, rtol=0)
    assert set(spans.stages) == set(network.facts.stages)


@torch.inference_mode()
def test_clips_of_a_batch_do_not_see_each_other(network):
    lrs = clip(network, batch=2)
    torch.testing.assert_close(network(lrs)[1:], network(lrs[1:]), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_the_last_frame_shows_in_the_output(network):
    lrs = clip(network)
    plain = network(lrs)
    changed = lrs.clone()
    changed[:, -1] += 0.1
    assert (network(changed) - plain).abs().max() > 1e-4


def test_an_integer_dtype_of_features_is_refused(network):
    with pytest.raises(ValueError, match=r"floating-point dtype, not torch\.int8"):
        network.cast_features(torch.int8)


@torch.inference_mode()
@pytest.mark.parametrize(
    # A CPU has no fast convolutions in float16.
    "dtype",
    [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)],
)
def test_narrow_features_come_close_and_give_float32(network, dtype):
    lrs = clip(network)
    plain = network(lrs)
    network.cast_features(dtype)
    output = network(lrs)
    assert output.dtype == torch.float32
    error = (output - plain).pow(2).mean().sqrt()
    assert (error > 0) == bool(network.facts.narrow)
    assert error < 0.05 * plain.std()


@pytest.mark.parametrize("shape", [(1, 3, 20, 20), (1, 0, 3, 64, 64), (1, 3, 4, 64, 64), (1, 3, 3, -1, 64)])
def test_other_shapes_are_refused_in_one_sentence(network, shape):
    shape = tuple(network.facts.min_size - 1 if side == -1 else side for side in shape)
    image, channels = next(iter(network.facts.inputs)), network.facts.channels
    needs = rf"needs a clip of shape \(n, t, {channels}, h, w\) \({image}.*\) with .*\.$"
    with pytest.raises(ValueError, match=needs) as caught:
        network(torch.zeros(shape))
    assert str(shape) in str(caught.value)


def test_weights_are_those_of_the_seed_on_any_number_of_threads(network):
    name = next(key for key in NETWORKS if network_class(key) is type(network))
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        same, other = (build_network(name, seed=seed, **SMALL[name]).state_dict() for seed in (0, 1))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.random.get_rng_state(), state)
    own = network.state_dict()
    assert all(torch.equal(same[key], tensor) for key, tensor in own.items())
    assert not own or not all(torch.equal(other[key], tensor) for key, tensor in own.items())
    assert not network.training


def test_submodules_in_its_facts_exist(network):
    for name in (*network.facts.narrow, *network.facts.compiled):
        network.get_submodule(name)


def test_its_own_checkpoint_loads(network, tmp_path):
    if not network.state_dict():
        pytest.skip("it has no weights")
    name = next(key for key in NETWORKS if network_class(key) is type(network))
    other = build_network(name, seed=1, **SMALL[name])
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    load_checkpoint(other, tmp_path / "weights.pth")
    for key, tensor in network.state_dict().items():
        assert torch.equal(other.state_dict()[key], tensor)


@pytest.fixture(
    scope="module", params=zoo.cases(), ids=lambda case: f"{case.network}-{case.name}-{case.output}"
)
def golden(request) -> tuple[zoo.Case, Network, Tensor]:
    case = request.param
    model = build_network(case.network, **case.arguments)
    load_checkpoint(model, case.weights(model))
    with torch.inference_mode():
        return case, model, case.run(model)


def of_golden(output: Tensor, expected: np.ndarray) -> np.ndarray:
    """Return what stands in a golden file: of an image or a window, the middle frame without its axis."""
    frames = output.numpy()
    return frames if frames.ndim == expected.ndim else frames[:, (frames.shape[1] - 1) // 2]


def test_equals_the_public_implementation(golden):
    case, _, output = golden
    for name, expected in case.values.items():
        value, _, kind = name.partition(".")
        if value != case.output:
            continue
        found = {"mean": output.double().mean((3, 4)), "std": output.double().std((3, 4), correction=0)}.get(
            kind
        )
        if found is None:
            step = int(kind.removeprefix("s"))
            found = output[..., ::step, ::step]
        np.testing.assert_allclose(of_golden(found, expected), expected, rtol=0, atol=1e-4)


def test_has_as_many_parameters_as_the_public_implementation(golden):
    case, model, _ = golden
    assert sum(parameter.numel() for parameter in model.parameters()) == case.meta["params"]


@pytest.mark.parametrize("name", ["egvsr", "rrn"])
def test_no_frame_after_the_second_sees_a_later_one(name):
    model = build_network(name, **SMALL[name])
    lrs = clip(model, frames=4)
    with torch.inference_mode():
        assert torch.equal(model(lrs)[:, :2], model(lrs[:, :2]))


def test_egvsr_needs_no_bicubic_kernels_of_a_checkpoint():
    model = build_network("egvsr", num_blocks=1)
    load_checkpoint(model, {"upsample_func.kernels": torch.zeros(4, 4), **model.state_dict()})


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(BadInput, match=r"no network 'BasicVSR' \(did you mean 'basicvsr'\?\)"):
        build_network("BasicVSR")


@pytest.mark.parametrize(
    ("arguments", "argument", "reason"),
    [
        ({"mid_channel": 8}, "mid_channel", "did you mean 'mid_channels'?"),
        ({"mid_channels": 0}, "mid_channels", "greater than or equal to 1, not 0"),
        ({"mid_channels": "8"}, "mid_channels", "valid integer, not '8'"),
        ({"base_upsample": "cubic"}, "base_upsample", "'bilinear' or 'nearest', not 'cubic'"),
    ],
)
def test_an_argument_that_is_not_allowed_is_named(arguments, argument, reason):
    with pytest.raises(BadField) as caught:
        resolve("basicvsr", arguments)
    assert caught.value.field == argument
    assert reason in caught.value.reason


def test_defaults_are_filled_in():
    assert resolve("egvsr", {"degradation": "BI"}) == {"num_blocks": 10, "degradation": "BI"}


def test_the_registry_is_known_without_torch():
    code = "import sys, vsr_model; assert vsr_model.NETWORKS; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
