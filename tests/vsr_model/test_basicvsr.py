"""BasicVSR against public implementations, and its flows; test_networks.py has the contract."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import golden
from tests.networks import build_basicvsr, golden_basicvsr
from vsr_model import BasicVSR


@pytest.mark.parametrize(
    ("size", "variant"), [("tiny", "bilinear"), ("tiny", "nearest"), ("full", "bilinear")]
)
def test_equals_the_public_implementations(size: str, variant: str) -> None:
    network = golden_basicvsr(size, variant)
    means: dict[str, list[Tensor]] = {"backward": [], "forward": []}
    for direction, values in means.items():
        trunk = getattr(network.propagation, f"{direction}_trunk")
        trunk.register_forward_hook(
            lambda _module, _inputs, feat, values=values: values.append(feat.mean((2, 3)))
        )
    lrs = golden.clip(3, 72, 100)
    with torch.inference_mode():
        output = network(lrs)
        flows_forward, flows_backward = network.compute_flow(lrs)
    mark = "_gw" if variant == "nearest" else ""
    computed = {
        f"output{mark}_s7": output[..., ::7, ::7],
        f"output{mark}_mean": output.double().mean((3, 4)),
        f"flows_forward{mark}_s4": flows_forward[..., ::4, ::4],
        f"flows_backward{mark}_s4": flows_backward[..., ::4, ::4],
    }
    if variant == "bilinear":  # of the other the features were not recorded, only what they lead to
        computed["backward_feat_mean"] = torch.stack(means["backward"][::-1], 1)
        computed["forward_feat_mean"] = torch.stack(means["forward"], 1)
    expected = golden.load(size)
    for name, values in computed.items():
        np.testing.assert_allclose(values.numpy(), expected[name], rtol=0, atol=1e-4, err_msg=name)


def test_has_the_papers_number_of_parameters() -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in BasicVSR().parameters()) == 6_291_311


def test_flows_of_still_and_single_frames() -> None:
    tiny = golden_basicvsr()
    flows_forward, flows_backward = tiny.compute_flow(golden.clip(1, 16, 20).expand(2, 1, 3, 16, 20))
    assert flows_forward.shape == flows_backward.shape == (2, 0, 2, 16, 20)
    still = golden.clip(1, 16, 20).expand(1, 3, 3, 16, 20)
    flows_forward, flows_backward = tiny.compute_flow(still)
    torch.testing.assert_close(flows_forward, flows_backward)
    with pytest.raises(ValueError, match=r"^BasicVSR needs a clip of shape"):
        tiny.compute_flow(torch.zeros(1, 3, 3, 8, 32))


def test_narrow_features_leave_flows_alone() -> None:
    network, lrs = golden_basicvsr(), golden.clip(2, 17, 24)
    with torch.inference_mode():
        exact = network.compute_flow(lrs)
        network.cast_features(torch.bfloat16)
        assert all(map(torch.equal, network.compute_flow(lrs), exact))
    for name, parameter in network.named_parameters():
        assert parameter.dtype == (torch.float32 if name.startswith("alignment.") else torch.bfloat16), name


def test_seeded_weights_are_pinned() -> None:
    """A change here changes what every recorded accuracy figure was computed with."""
    state = build_basicvsr(2, 1, seed=0).state_dict()
    weight = state["alignment.spynet.levels.0.0.weight"].flatten()[:3]
    assert weight.tolist() == [-0.0007859523757360876, 0.05631484463810921, -0.08640173822641373]


def test_seeded_weights_make_flows_features_and_residual_of_meaningful_size() -> None:
    network, lrs = build_basicvsr(16, 4), golden.clip(3, 32, 32)
    with torch.inference_mode():
        flows_forward, _ = network.compute_flow(lrs)
        output = network(lrs)
        base = torch.nn.functional.interpolate(lrs[0], scale_factor=4, mode="bilinear")
    assert 0.1 < flows_forward.abs().mean() < 10
    assert 0.05 < (output[0] - base).std() < 2
