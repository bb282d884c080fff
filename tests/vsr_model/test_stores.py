"""Where features and decoded frames wait: every bit comes back, and no file is left."""

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

from tests.vsr_model.late_copies import LateCopies
from vsr_model.memory_plan import MemoryPlan
from vsr_model.streaming import FrameSpool
from vsr_model.streaming.copies import Carrier
from vsr_model.streaming.scratch_file import ScratchFile
from vsr_model.streaming.spool import spool_frame_bytes
from vsr_model.streaming.stores import DiskStore, FeatureStore, HostStore, ShapeStore, open_store

CPU = torch.device("cpu")
SHAPE = (2, 3, 4, 5)
COUNT = 7


def features_of(index: int, dtype: torch.dtype, form: str) -> Tensor:
    features = torch.rand((2, 4, 4, 5), generator=torch.Generator().manual_seed(index)).to(dtype)
    if form == "with gaps":
        return features[:, :3]
    memory_format = torch.channels_last if form == "channels_last" else torch.contiguous_format
    return features[:, :3].contiguous(memory_format=memory_format)


@pytest.mark.parametrize("form", ["contiguous", "channels_last", "with gaps"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kind", ["device", "host", "disk"])
def test_what_was_put_is_taken_bit_for_bit(tmp_path, kind, late, dtype, form):
    engine = LateCopies()
    carrier = Carrier(CPU, engine if late else None)
    store = {
        "device": FeatureStore,
        "host": lambda: HostStore(carrier),
        "disk": lambda: DiskStore(carrier, tmp_path, 1000),
    }[kind]()
    with store:
        for index in reversed(range(COUNT)):
            store.put(index, features_of(index, dtype, form))
        # In the forward branch's order, and as it holds them: some while others come.
        taken = [store.take(index) for index in range(COUNT)]
        with pytest.raises(KeyError):
            store.take(0)
    for index, features in enumerate(taken):
        expected = features_of(index, dtype, form)
        assert torch.equal(features, expected)
        assert features.dtype == dtype
        assert form == "with gaps" or features.stride() == expected.stride()
    assert list(tmp_path.iterdir()) == []
    if late and kind != "device":
        assert len(engine.buffers) == 2  # used again and again
        assert engine.started == 2 * COUNT


def test_late_copies_notice_what_is_used_too_early():
    """The stand-in itself: without waiting, the nonsense would be kept, and a second filling be seen."""
    engine = LateCopies()
    source = torch.ones(3)
    buffer = engine.buffer(source)
    arrive = engine.start(source, buffer)
    assert buffer.isnan().all()
    arrive()
    assert torch.equal(buffer, source)
    leave = engine.start(buffer, torch.empty(3))
    buffer.zero_()
    with pytest.raises(AssertionError, match="filled again"):
        leave()


def test_places_on_a_cpu(tmp_path):
    """Its memory is the host's: nothing is copied, and a disk is used where something is kept. The meta
    device stands for another memory, and has nothing to copy."""

    def kind(plan: MemoryPlan) -> type[FeatureStore]:
        with open_store(plan, frames=3, features_bytes=480, device=CPU) as store:
            return type(store)

    assert kind(MemoryPlan()) is kind(MemoryPlan(place="host")) is FeatureStore
    assert kind(MemoryPlan(place="disk", folder=tmp_path)) is DiskStore
    assert kind(MemoryPlan(place="disk", folder=tmp_path, interval=3)) is FeatureStore
    other = torch.device("meta")
    with open_store(MemoryPlan(place="host"), frames=3, features_bytes=480, device=other) as store:
        assert type(store) is ShapeStore
        features = torch.empty(SHAPE, device="meta").to(memory_format=torch.channels_last)
        store.put(0, features)
        taken = store.take(0)
    assert taken is not features
    assert (taken.shape, taken.stride(), taken.dtype) == (features.shape, features.stride(), features.dtype)


# The file


def open_files() -> dict[Path, str]:
    """This process's files with their names, as far as they have some."""
    files = Path("/proc/self/fd")
    return {path: str(path.readlink()) for path in files.iterdir() if path.is_symlink()}


def test_a_file_has_no_name_claims_its_space_and_gives_it_back(tmp_path):
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
        "print('written', flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "written\n")
    assert list(tmp_path.iterdir()) == []


def refused(folder: Path, size: int = 2**20) -> int:
    with pytest.raises(OSError, match=f"{size} bytes are needed") as caught:
        ScratchFile(folder, size)
    assert caught.value.filename == str(folder)
    return caught.value.errno or 0


def test_a_full_disk_is_told_before_anything_is_written(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage(2**30, 2**30 - 2**20 + 1, 2**20 - 1))
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: pytest.fail("it was tried"))
    assert refused(tmp_path) == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_what_the_system_refuses_is_told_with_the_folder(tmp_path):
    assert refused(tmp_path / "missing") == errno.ENOENT
    file = tmp_path / "file"
    file.touch()
    assert refused(file) == errno.ENOTDIR
    file.unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        assert refused(tmp_path) == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


# The spool


def same_bits(first: Tensor, second: Tensor) -> bool:
    return torch.equal(first.contiguous().view(torch.int32), second.contiguous().view(torch.int32))


def test_a_spool_gives_frames_back_bit_for_bit(tmp_path):
    clip = torch.rand(1, 5, 3, 6, 7)
    clip[0, 0, 0, 0, :3] = torch.tensor([float("nan"), float("-inf"), -0.0])
    with FrameSpool(tmp_path, frames=3, height=6, width=7) as spool:  # two more come
        for frame in clip.unbind(1):
            spool.write(frame)
        assert spool.shape == (1, 5, 3, 6, 7)
        frames = {index: next(iter(spool.frames(index, index + 1))) for index in (4, 0, 2, 3, 1)}
        several = torch.stack(list(spool.frames(1, 4)), 1)
        for start, stop in ((0, 6), (-1, 1), (1, 0)):
            with pytest.raises(IndexError, match=r"^The spool has 5 frames"):
                spool.frames(start, stop)
    assert all(same_bits(frame, clip[:, index]) for index, frame in frames.items())
    assert same_bits(several, clip[:, 1:4])  # also when the file is gone


def test_eight_bits_are_kept_as_such(tmp_path):
    values = (torch.arange(256).repeat(3)[: 3 * 8 * 32] / 255).reshape(1, 3, 8, 32)
    assert len(values.unique()) == 256
    with FrameSpool(tmp_path, frames=2, height=8, width=32, eight_bit=True) as spool:
        spool.write(values)
        spool.write(values.flip(-1))
        first, second = spool.frames(0, 2)
        assert same_bits(first, values)
        assert same_bits(second, values.flip(-1))
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
