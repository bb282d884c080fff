import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests import golden
from tests.compiler import needs_compiler
from tests.networks import STAGES, build_basicvsr
from vsr_model import BasicVSR, load_checkpoint
from vsr_model.stages import AGGREGATION, ALIGNMENT, PROPAGATION, UPSAMPLING


def recipe_model(size: str, variant: str = "bilinear") -> BasicVSR:
    model = BasicVSR(*golden.SIZES[size], base_upsample=variant, flow_resize=variant).eval()
    load_checkpoint(model, golden.weights(*golden.SIZES[size]))
    return model


@pytest.fixture(scope="module")
def tiny() -> BasicVSR:
    return recipe_model("tiny")


class Recorder:
    """A probe that keeps every interval and refuses to be nested."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.open = False

    @contextmanager
    def __call__(self, stage: str, /) -> Iterator[None]:
        assert not self.open, f"{stage} is nested in {self.stages[-1]}"
        self.open = True
        self.stages.append(stage)
        yield
        self.open = False


# The figures of a golden file and ours, computed once for each configuration: the full one is slow.
@pytest.fixture(
    scope="session", params=[(size, variant) for size in golden.SIZES for variant in ("bilinear", "nearest")]
)
def golden_case(request):
    size, variant = request.param
    model = recipe_model(size, variant)
    means: dict[str, list[Tensor]] = {"backward": [], "forward": []}
    for direction, values in means.items():
        trunk = getattr(model.propagation, f"{direction}_trunk")
        trunk.register_forward_hook(
            lambda _module, _inputs, feat, values=values: values.append(feat.mean((2, 3)))
        )
    lrs = golden.clip(3, 72, 100)
    with torch.inference_mode():
        output = model(lrs)
        flows_forward, flows_backward = model.compute_flow(lrs)
    expected = golden.load(size)
    mark = "_gw" if variant == "nearest" else ""
    figures = {
        "output": (output[..., ::7, ::7], expected[f"output{mark}_s7"]),
        "output_mean": (output.double().mean((3, 4)), expected[f"output{mark}_mean"]),
        "flows_forward": (flows_forward[..., ::4, ::4], expected[f"flows_forward{mark}_s4"]),
        "flows_backward": (flows_backward[..., ::4, ::4], expected[f"flows_backward{mark}_s4"]),
    }
    if variant == "nearest":  # its features were not recorded, only what they lead to
        return figures
    return figures | {
        "backward_feat": (torch.stack(means["backward"][::-1], 1), expected["backward_feat_mean"]),
        "forward_feat": (torch.stack(means["forward"], 1), expected["forward_feat_mean"]),
    }


def test_equals_the_public_implementations(golden_case):
    for name, (computed, expected) in golden_case.items():
        np.testing.assert_allclose(computed.numpy(), expected, rtol=0, atol=1e-4, err_msg=name)


def test_has_the_papers_number_of_parameters():
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in BasicVSR().parameters()) == 6_291_311


@pytest.mark.parametrize("t", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 31), (33, 40)])
def test_any_size_from_16_and_any_length_from_1(tiny, t, height, width):
    with torch.inference_mode():
        output = tiny(golden.clip(t, height, width))
    assert output.shape == (1, t, 3, 4 * height, 4 * width)
    assert output.isfinite().all()


@pytest.mark.parametrize(
    "shape", [(3, 3, 32, 32), (1, 3, 1, 32, 32), (1, 3, 3, 15, 32), (1, 3, 3, 32, 8), (1, 0, 3, 32, 32), (3,)]
)
def test_refuses_other_shapes_in_one_sentence(tiny, shape):
    for call in (tiny, tiny.compute_flow):
        with pytest.raises(ValueError, match=r"^BasicVSR needs a clip of shape \(n, t, 3, h, w\) .*\.$"):
            call(torch.zeros(shape))


def test_a_batch_is_its_clips(tiny):
    lrs = torch.cat((golden.clip(3, 17, 33), golden.clip(3, 17, 33).flip(1)))
    with torch.inference_mode():
        both, each = tiny(lrs), torch.cat([tiny(clip.unsqueeze(0)) for clip in lrs])
    torch.testing.assert_close(both, each, atol=1e-4, rtol=0)


def test_information_travels_in_both_directions(tiny):
    lrs = golden.clip(3, 16, 16)
    with torch.inference_mode():
        output = tiny(lrs)
        for changed, seen in ((0, 2), (2, 0)):
            other = lrs.clone()
            other[:, changed] = 1 - other[:, changed]
            assert (tiny(other)[:, seen] - output[:, seen]).abs().max() > 1e-4


def test_flows_of_still_and_single_frames(tiny):
    flows_forward, flows_backward = tiny.compute_flow(golden.clip(1, 16, 20).expand(2, 1, 3, 16, 20))
    assert flows_forward.shape == flows_backward.shape == (2, 0, 2, 16, 20)
    still = golden.clip(1, 16, 20).expand(1, 3, 3, 16, 20)
    flows_forward, flows_backward = tiny.compute_flow(still)
    torch.testing.assert_close(flows_forward, flows_backward)


def test_reports_each_stage_apart(tiny):
    recorder = Recorder()
    lrs = golden.clip(3, 16, 16)
    with torch.inference_mode():
        probed = tiny(lrs, recorder)
        assert torch.equal(probed, tiny(lrs))
    count = {stage: recorder.stages.count(stage) for stage in STAGES}
    assert count == {
        ALIGNMENT: 1 + 2 * 2,  # all flows, then a warp between neighbours in each direction
        PROPAGATION: 2 * (1 + 3),  # the initial features, then each frame, in each direction
        AGGREGATION: 3,
        UPSAMPLING: 3 + 1,  # each frame, then the clip
    }


def test_a_single_frame_has_all_stages(tiny):
    recorder = Recorder()
    tiny(golden.clip(1, 16, 16), recorder)
    assert set(recorder.stages) == set(STAGES)


class Outside(TorchDispatchMode):
    """Keeps the operators that are called while no stage is open; views compute nothing."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder
        self.operators: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if not self.recorder.open and not func.is_view:
            self.operators.append(str(func))
        return func(*args, **(kwargs or {}))


def test_nothing_is_computed_outside_the_stages(tiny):
    recorder = Recorder()
    with torch.inference_mode(), Outside(recorder) as outside:
        tiny(golden.clip(3, 64, 64), recorder)
    assert outside.operators == []


def test_nothing_is_kept_between_calls(tiny):
    state = {name: dict(vars(module)) for name, module in tiny.named_modules()}
    lrs = golden.clip(3, 16, 24)
    with torch.inference_mode():
        first = tiny(lrs)
        tiny(golden.clip(2, 20, 16))
        assert torch.equal(tiny(lrs), first)
    assert {name: dict(vars(module)) for name, module in tiny.named_modules()} == state


def test_gradients_reach_every_parameter_and_the_input():
    model = build_basicvsr(4, 1, seed=0)
    lrs = golden.clip(3, 16, 16).requires_grad_()
    model(lrs).square().mean().backward()
    assert lrs.grad is not None
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if not name.startswith(
            "alignment.spynet.levels.0."
        ):  # at one pixel, only its bias is certain to matter
            assert parameter.grad.any(), name


def test_channels_last_changes_the_layout_only(tiny):
    lrs = golden.clip(2, 16, 20)
    with torch.inference_mode():
        expected = tiny(lrs)
        output = copy.deepcopy(tiny).to(memory_format=torch.channels_last)(lrs)
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def narrow_case():
    model = recipe_model("full")
    lrs = golden.clip(2, 48, 64)
    with torch.inference_mode():
        before = model(lrs), *model.compute_flow(lrs)
        model.cast_features(torch.bfloat16)
        after = model(lrs), *model.compute_flow(lrs)
    return model, before, after


def test_narrow_features_stay_close(narrow_case):
    _, (exact, *_), (narrow, *_) = narrow_case
    assert narrow.dtype == torch.float32
    assert not torch.equal(narrow, exact)
    psnr_db = -10 * math.log10(float((narrow - exact).square().mean()))
    assert psnr_db > 35


def test_narrow_features_leave_flows_alone(narrow_case):
    model, (_, *exact_flows), (_, *flows) = narrow_case
    for exact, flow in zip(exact_flows, flows, strict=True):
        assert torch.equal(flow, exact)
    dtypes = {name: parameter.dtype for name, parameter in model.named_parameters()}
    for name, dtype in dtypes.items():
        assert dtype == (torch.float32 if name.startswith("alignment.") else torch.bfloat16), name


def test_casting_to_float32_changes_nothing():
    model = build_basicvsr(4, 1, seed=0)
    parameters = list(model.parameters())
    model.cast_features(torch.float32)
    assert all(new is old for new, old in zip(model.parameters(), parameters, strict=True))


def test_features_cannot_be_whole_numbers(tiny):
    with pytest.raises(ValueError, match=r"floating-point dtype, not torch\.int8"):
        tiny.cast_features(torch.int8)


def test_same_seed_same_weights_on_any_number_of_threads():
    threads = torch.get_num_threads()
    global_state = torch.get_rng_state()
    first = build_basicvsr(8, 1, seed=3).state_dict()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        second = build_basicvsr(8, 1, seed=3).state_dict()
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    other = build_basicvsr(8, 1, seed=4).state_dict()
    assert not torch.equal(first["upsampling.conv_hr.weight"], other["upsampling.conv_hr.weight"])
    assert torch.equal(torch.get_rng_state(), global_state)


def test_seeded_weights_make_flows_features_and_residual_of_meaningful_size():
    model = build_basicvsr(16, 4, seed=0)
    lrs = golden.clip(3, 32, 32)
    with torch.inference_mode():
        flows_forward, _ = model.compute_flow(lrs)
        output = model(lrs)
        base = torch.nn.functional.interpolate(lrs[0], scale_factor=4, mode="bilinear")
    assert 0.1 < flows_forward.abs().mean() < 10
    assert 0.05 < (output[0] - base).std() < 2


def test_seeded_weights_are_pinned():
    # A change here changes what every recorded accuracy figure was computed with.
    state = build_basicvsr(2, 1, seed=0).state_dict()
    weight = state["alignment.spynet.levels.0.0.weight"].flatten()[:3]
    assert weight.tolist() == [-0.0007859523757360876, 0.05631484463810921, -0.08640173822641373]


@needs_compiler
@pytest.mark.slow
@pytest.mark.filterwarnings(
    r"ignore:`torch\.jit\.\w+` is deprecated:DeprecationWarning"
)  # torch's compiler's own
def test_compiled_stages_compute_the_same():
    model = recipe_model("tiny")
    lrs = golden.clip(3, 33, 40)
    recorder = Recorder()
    with torch.inference_mode():
        expected = model(lrs)
        model.compile_stages()
        output = model(lrs, recorder)
    torch.testing.assert_close(output, expected, atol=1e-3, rtol=0)
    assert set(recorder.stages) == set(STAGES)
