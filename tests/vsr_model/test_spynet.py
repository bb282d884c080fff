import pytest
import torch
import torch.nn.functional as F

from tests.networks import build_basicvsr
from vsr_model.spynet import MEAN, STD, SPyNet


@pytest.fixture(scope="module")
def spynet() -> SPyNet:
    return build_basicvsr(1, 1, seed=0).alignment.spynet


def images(height: int, width: int, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ref, supp = torch.rand(2, batch, 3, height, width, generator=generator)
    return ref, supp


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 31), (32, 32), (33, 64)])
def test_flow_has_the_images_size(spynet, height, width):
    flow = spynet(*images(height, width))
    assert flow.shape == (1, 2, height, width)
    assert flow.abs().mean() > 0.01  # the seeded weights make flows that a mistake would move


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_resizing_rescales_the_vectors(mode):
    spynet = build_basicvsr(1, 1, flow_resize=mode, seed=0).alignment.spynet
    ref, supp = images(24, 40)
    options = {} if mode == "nearest" else {"align_corners": False}
    with torch.inference_mode():
        aligned = [F.interpolate(image, (32, 64), mode=mode, **options) for image in (ref, supp)]
        expected = F.interpolate(spynet(*aligned), (24, 40), mode=mode, **options)
        flow = spynet(ref, supp)
    torch.testing.assert_close(flow[:, 0], expected[:, 0] * 40 / 64)
    torch.testing.assert_close(flow[:, 1], expected[:, 1] * 24 / 32)


def test_pairs_of_a_batch_do_not_see_each_other(spynet):
    ref, supp = images(32, 33, batch=2)
    both = spynet(ref, supp)
    each = torch.cat([spynet(ref[i : i + 1], supp[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(both, each, atol=1e-5, rtol=0)


def test_statistics_are_no_parameters(spynet):
    assert {name for name, _ in spynet.named_buffers()} == {"mean", "std"}
    torch.testing.assert_close(spynet.mean.flatten(), torch.tensor(MEAN))
    torch.testing.assert_close(spynet.std.flatten(), torch.tensor(STD))
    assert sum(parameter.numel() for parameter in spynet.parameters()) == 1_440_300
