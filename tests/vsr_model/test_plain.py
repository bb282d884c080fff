"""benchmarks/plain.py, which shares no code with `vsr_model`, gives the same answer."""

import pytest
import torch

from benchmarks.plain import PlainBasicVSR
from tests import golden
from vsr_model.checkpoint import load_checkpoint
from vsr_model.networks.basicvsr import BasicVSR


@pytest.mark.parametrize(("t", "height", "width"), [(3, 72, 100), (2, 64, 64), (1, 16, 40)])
def test_its_output_is_equal_bit_for_bit(t: int, height: int, width: int) -> None:
    weights = golden.weights(*golden.SIZES["tiny"])
    plain = PlainBasicVSR(*golden.SIZES["tiny"]).eval()
    plain.load_state_dict(weights)
    network = BasicVSR(*golden.SIZES["tiny"]).eval()
    load_checkpoint(network, weights)
    clip = golden.clip(t, height, width)
    with torch.inference_mode():
        torch.testing.assert_close(plain(clip), network(clip), rtol=0, atol=0)


def test_it_gives_the_golden_output_with_every_weight_under_its_published_name() -> None:
    plain = PlainBasicVSR().eval()
    plain.load_state_dict(golden.weights(*golden.SIZES["full"]))
    with torch.inference_mode():
        output = plain(golden.clip(3, 72, 100))
    expected = torch.from_numpy(golden.load("full")["output_s7"])
    torch.testing.assert_close(output[..., ::7, ::7], expected, rtol=0, atol=1e-4)
