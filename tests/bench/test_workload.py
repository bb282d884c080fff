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
from bench.grid.plan import Cell
from bench.measure import networks, workload
from tests.bench.fakes import experiment
from vsr_model import media
from vsr_model.errors import BadInput
from vsr_model.stages import no_probe

ROOT = Path(__file__).parents[2]
TINY = Model(mid_channels=8, num_blocks=1)
CPU = torch.device("cpu")


def cell(**changes: Any) -> Cell:
    (found,) = plan.cells(experiment(**changes))
    return found


def test_weights_follow_the_seed():
    def weights(seed: int | None) -> dict[str, torch.Tensor]:
        return networks.build(TINY.model_copy(update={"seed": seed})).state_dict()

    unset, zero, one = weights(None), weights(0), weights(1)
    assert all(torch.equal(unset[name], zero[name]) for name in unset)
    assert not all(torch.equal(unset[name], one[name]) for name in unset)


def test_a_checkpoint_replaces_the_weights(tmp_path):
    other = networks.build(TINY.model_copy(update={"seed": 5}))
    torch.save(other.state_dict(), tmp_path / "w.pth")
    loaded = networks.build(TINY.model_copy(update={"checkpoint": str(tmp_path / "w.pth")}))
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in other.state_dict().items())
    with pytest.raises(BadInput, match="does not exist"):
        networks.build(TINY.model_copy(update={"checkpoint": str(tmp_path / "none.pth")}))


def test_the_network_measures_and_does_not_train():
    network = networks.build(TINY)
    assert not network.training
    output = workload.forward_of(network)(torch.rand(1, 1, 3, 16, 16), no_probe)
    assert output.shape == (1, 1, 3, 64, 64)
    assert not output.requires_grad


def test_prepare():
    backend = BUILT_IN["cpu"].replace(dtype="bfloat16", memory_format="channels_last")
    network = workload.prepare(networks.build(TINY), backend, CPU)
    weight = network.get_parameter("upsampling.conv_hr.weight")
    assert weight.dtype is torch.bfloat16
    assert weight.is_contiguous(memory_format=torch.channels_last)
    plain = workload.prepare(networks.build(TINY), BUILT_IN["cpu"], CPU)
    assert {parameter.dtype for parameter in plain.parameters()} == {torch.float32}


def test_a_random_clip_is_the_same_every_time():
    noise = {"name": "noise", "kind": "random", "seed": 3}
    one = cell(input=noise, grid={"batch": [2], "frames": [3], "size": [[16, 24]]})
    clip = workload.make_clip(one)
    assert clip.shape == (2, 3, 3, 16, 24)
    assert clip.dtype is torch.float32
    assert 0 <= float(clip.min()) < float(clip.max()) <= 1
    assert torch.equal(clip, workload.make_clip(one))
    other = cell(input={**noise, "seed": 4}, grid={"batch": [2], "frames": [3], "size": [[16, 24]]})
    assert not torch.equal(clip, workload.make_clip(other))


def test_media_clips(tmp_path):
    images = media.moving_texture(4, 32, 48, 0)
    picture, film = tmp_path / "p.png", tmp_path / "f.mp4"
    media.write_image(picture, images[0])
    with media.VideoWriter(film, frame_rate=Fraction(25), height=32, width=48) as writer:
        for image in images:
            writer.write(image)

    still = cell(input={"name": "p", "kind": "image", "path": str(picture)},
                 grid={"batch": [2], "frames": [1], "size": [[16, 24]]})  # fmt: skip
    assert workload.make_clip(still).shape == (2, 1, 3, 16, 24)

    moving = {"name": "f", "kind": "video", "path": str(film), "fit": "crop"}
    every = workload.make_clip(cell(input=moving, grid={"frames": [3], "size": [[16, 24]]}))
    second = workload.make_clip(cell(input={**moving, "stride": 2}, grid={"frames": [2], "size": [[16, 24]]}))
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
