"""A cell's network with its weights, its preparation, and its clip."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.grid import plan
from bench.grid.backend import BUILT_IN
from bench.grid.config import Model
from bench.measure import networks, workload
from bench.measure.clips import clip_note, make_clip
from tests.bench.fakes import experiment
from tests.textures import moving_texture
from vsr_model import media
from vsr_model.channels import luma_of
from vsr_model.errors import BadInput
from vsr_model.network import Facts
from vsr_model.stages import no_probe

ROOT = Path(__file__).parents[2]
FACTS = Facts(title="Net", source="", stages={})
TINY = Model(mid_channels=8, num_blocks=1)


def clip_of(**changes: Any) -> torch.Tensor:
    (cell,) = plan.cells(experiment(**changes))
    return make_clip(cell, FACTS)


def test_weights_follow_the_seed_or_are_a_checkpoints(tmp_path):
    def weights(**changes: Any) -> dict[str, torch.Tensor]:
        return networks.build(TINY.model_copy(update=changes)).state_dict()

    def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
        return all(torch.equal(one[name], other[name]) for name in one)

    unset, zero, five = weights(), weights(seed=0), weights(seed=5)
    assert equal(unset, zero)
    assert not equal(unset, five)
    torch.save(five, tmp_path / "w.pth")
    assert equal(weights(checkpoint=str(tmp_path / "w.pth")), five)
    with pytest.raises(BadInput, match="does not exist"):
        weights(checkpoint=str(tmp_path / "none.pth"))


def test_the_network_measures_and_does_not_train():
    network = networks.build(TINY)
    assert not network.training
    output = workload.forward_of(network)(torch.rand(1, 1, 3, 16, 16), no_probe)
    assert output.shape == (1, 1, 3, 64, 64)
    assert not output.requires_grad


def test_a_network_is_prepared_in_the_backends_type_and_format():
    backend = BUILT_IN["cpu"].replace(dtype="bfloat16", memory_format="channels_last")
    network = workload.prepare(networks.build(TINY), backend, torch.device("cpu"))
    weight = network.get_parameter("upsampling.conv_hr.weight")
    assert weight.dtype is torch.bfloat16
    assert weight.is_contiguous(memory_format=torch.channels_last)
    plain = workload.prepare(networks.build(TINY), BUILT_IN["cpu"], torch.device("cpu"))
    assert {parameter.dtype for parameter in plain.parameters()} == {torch.float32}


def test_a_random_clip_is_the_same_every_time():
    def clip(seed: int) -> torch.Tensor:
        noise = {"name": "noise", "kind": "random", "seed": seed}
        return clip_of(input=noise, grid={"batch": [2], "frames": [3], "size": [[16, 24]]})

    one = clip(3)
    assert one.shape == (2, 3, 3, 16, 24)
    assert one.dtype is torch.float32
    assert 0 <= float(one.min()) < float(one.max()) <= 1
    assert torch.equal(one, clip(3))
    assert not torch.equal(one, clip(4))


def test_media_clips(tmp_path):
    images = moving_texture(4, 32, 48, 0)
    picture, film = tmp_path / "p.png", tmp_path / "f.mp4"
    media.write_image(picture, images[0])
    with media.VideoWriter(film, frame_rate=Fraction(25), height=32, width=48) as writer:
        for image in images:
            writer.write(image)

    still = {"name": "p", "kind": "image", "path": str(picture)}
    assert clip_of(input=still, grid={"batch": [2], "frames": [1], "size": [[16, 24]]}).shape[:2] == (2, 1)
    moving = {"name": "f", "kind": "video", "path": str(film), "fit": "crop"}
    every = clip_of(input=moving, grid={"frames": [3], "size": [[16, 24]]})
    second = clip_of(input={**moving, "stride": 2}, grid={"frames": [2], "size": [[16, 24]]})
    assert torch.equal(second, every[:, ::2])


REHEARSE = """
import psutil, torch
from bench.measure import networks, workload
threads, state = psutil.Process().num_threads(), torch.get_rng_state()
workload.rehearse()
print(psutil.Process().num_threads() - threads, torch.equal(torch.get_rng_state(), state),
      torch.cuda.is_initialized())
"""


def test_a_rehearsal_leaves_no_trace() -> None:
    """Workers are forked after it: no thread that a fork would lose, no random state to share, no device."""
    ended = subprocess.run(
        [sys.executable, "-c", REHEARSE], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["0", "True", "False"]


def test_a_clip_is_made_as_the_network_takes_it():
    (cell,) = plan.cells(experiment(grid={"batch": [2], "frames": [3], "size": [[17, 30]]}))
    inputs = {"luma": 1, "motion_vectors": 2, "side_maps": 3}
    facts = Facts(title="Net", source="", stages={}, inputs=inputs, multiple=4)
    clip, rgb = make_clip(cell, facts), make_clip(cell, FACTS)
    assert clip.shape == (2, 3, 6, 20, 32)
    assert torch.equal(clip[:, :, :1, :17, :30], luma_of(rgb))
    assert torch.equal(clip[:, :, :1, 19], clip[:, :, :1, 16])
    assert not clip[:, :, 1:3].equal(clip[:, :, 1:3].round())  # quarters of a pixel
    assert 0 <= clip[:, :, 3:].min() < clip[:, :, 3:].max() <= 1
    assert clip_note(cell, facts) == (
        "Net's clip is padded to 20x32 (multiples of 4), which its figures are of, is luma alone, has motion "
        "vectors that are made before the calls, has side maps that are made before the calls"
    )
    assert clip_note(cell, FACTS) is None
