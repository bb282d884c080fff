"""Stores of features and decoded frames: every bit comes back, and no file is left."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vsr_model.memory_plan import MemoryPlan
from vsr_model.streaming import FrameSpool
from vsr_model.streaming.scratch_file import ScratchFile
from vsr_model.streaming.spool import spool_frame_bytes
from vsr_model.streaming.stores import open_store

CPU, META = torch.device("cpu"), torch.device("meta")


def features_of(index: int, dtype: torch.dtype, form: str) -> Tensor:
    features = torch.rand((2, 4, 4, 5), generator=torch.Generator().manual_seed(index)).to(dtype)
    if form == "with gaps":
        return features[:, :3]
    memory_format = torch.channels_last if form == "channels_last" else torch.contiguous_format
    return features[:, :3].contiguous(memory_format=memory_format)


@pytest.mark.parametrize("form", ["contiguous", "channels_last", "with gaps"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("place", ["device", "host", "disk"])
def test_features_come_back_bit_for_bit(tmp_path, place, dtype, form):
    plan = MemoryPlan(place=place, folder=tmp_path if place == "disk" else None)
    with open_store(plan, frames=8, features_bytes=480, device=CPU) as store:
        for index in reversed(range(7)):
            store.put(index, features_of(index, dtype, form))
        assert list(tmp_path.iterdir()) == []
        taken = [store.take(index) for index in range(7)]
        with pytest.raises(KeyError):
            store.take(0)
    for index, features in enumerate(taken):
        expected = features_of(index, dtype, form)
        assert features.dtype == dtype
        assert torch.equal(features, expected)
        assert form == "with gaps" or features.stride() == expected.stride()


def test_a_cpu_copies_nothing_to_the_host_and_meta_features_are_counted_elsewhere():
    features = torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last)
    for device, is_same in ((CPU, True), (META, False)):
        given = features.to(device)
        with open_store(MemoryPlan(place="host"), frames=3, features_bytes=480, device=device) as store:
            store.put(0, given)
            taken = store.take(0)
        assert (taken is given) is is_same
        assert (taken.shape, taken.stride(), taken.device.type) == (given.shape, given.stride(), device.type)


def open_files() -> dict[Path, str]:
    files = Path("/proc/self/fd")
    return {path: str(path.readlink()) for path in files.iterdir() if path.is_symlink()}


def test_a_scratch_file_has_no_name_claims_its_space_and_gives_it_back(tmp_path):
    size = 2**20
    others = open_files()
    file = ScratchFile(tmp_path, size)
    assert list(tmp_path.iterdir()) == []
    [opened] = [path for path, name in open_files().items() if name.startswith(str(tmp_path))]
    assert opened.stat().st_size == size
    assert opened.stat().st_blocks * 512 >= size  # no holes
    file.close()
    file.close()
    assert open_files() == others


def test_a_killed_process_leaves_nothing(tmp_path):
    program = (
        "import os, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from vsr_model.streaming import FrameSpool\n"
        "spool = FrameSpool(Path(sys.argv[1]), frames=4, height=16, width=16)\n"
        "spool.write(torch.zeros(1, 3, 16, 16))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["missing", "file", "full", "limited"])
def test_a_disk_that_cannot_hold_a_scratch_file_is_named(monkeypatch, tmp_path, kind):
    folder, expected = tmp_path, {"missing": errno.ENOENT, "file": errno.ENOTDIR, "full": errno.ENOSPC}
    if kind == "full":
        usage = namedtuple("usage", "total used free")
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage(2**30, 2**30 - 2**20 + 1, 2**20 - 1))
    elif kind != "limited":
        folder = tmp_path / kind
        (tmp_path / "file").touch()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16 if kind == "limited" else soft, hard))
    try:
        with pytest.raises(OSError, match=f"{2**20} bytes are needed") as caught:
            ScratchFile(folder, 2**20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (caught.value.filename, caught.value.errno) == (str(folder), expected.get(kind, errno.EFBIG))
    assert {path.name for path in tmp_path.iterdir()} <= {"file"}


def same_bits(first: Tensor, second: Tensor) -> bool:
    return torch.equal(first.contiguous().view(torch.int32), second.contiguous().view(torch.int32))


def test_a_spool_returns_frames_bit_for_bit(tmp_path):
    clip = torch.rand(1, 5, 3, 6, 7)
    clip[0, 0, 0, 0, :3] = torch.tensor([float("nan"), float("-inf"), -0.0])
    with FrameSpool(tmp_path, frames=3, height=6, width=7) as spool:  # two more come
        for frame in clip.unbind(1):
            spool.write(frame)
        assert spool.shape == (1, 5, 3, 6, 7)
        parts = [torch.stack(list(spool.frames(*part)), 1) for part in ((4, 5), (0, 1), (1, 4))]
        for start, stop in ((0, 6), (-1, 1), (1, 0)):
            with pytest.raises(IndexError, match=r"^The spool has 5 frames"):
                spool.frames(start, stop)
    assert same_bits(torch.cat([parts[1], parts[2], parts[0]], 1), clip)


def test_a_spool_of_eight_bits_takes_a_quarter_and_nothing_else(tmp_path):
    values = (torch.arange(256).repeat(3)[: 3 * 8 * 32] / 255).reshape(1, 3, 8, 32)
    with FrameSpool(tmp_path, frames=1, height=8, width=32, eight_bit=True) as spool:
        spool.write(values)
        [first] = spool.frames(0, 1)
        assert same_bits(first, values)
        assert spool_frame_bytes(height=8, width=32, eight_bit=True) == values.numel()
        for other in (values + 1e-6, values - 1, values + 1, values * float("nan")):
            with pytest.raises(ValueError, match=r"^The spool holds whole numbers of 255ths from 0 to 1"):
                spool.write(other)
        with pytest.raises(ValueError, match=r"^The spool holds frames of shape \(1, 3, 8, 32\)"):
            spool.write(torch.zeros(1, 3, 32, 8))


def test_a_disk_that_fills_up_under_a_spool_is_named(monkeypatch, tmp_path):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with FrameSpool(tmp_path, height=6, width=7) as spool:
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space left") as caught:
            spool.write(torch.zeros(1, 3, 6, 7))
        assert caught.value.filename == str(tmp_path)
        assert spool.shape[1] == 0
