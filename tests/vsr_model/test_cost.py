import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from vsr_model import STAGES, BasicVSR, Stage
from vsr_model.cost import estimate_peak_bytes, parameter_count, stage_flops

# Tensors on the meta device have shapes and no data: torch counts on them at any size in no time.


def meta_model(mid_channels: int, num_blocks: int) -> BasicVSR:
    with torch.device("meta"):
        return BasicVSR(mid_channels, num_blocks).eval()


def counted_flops(model: BasicVSR, shape: tuple[int, ...]) -> dict[Stage, int]:
    counted = dict.fromkeys(STAGES, 0)
    counter = FlopCounterMode(display=False)

    @contextmanager
    def probe(stage: Stage, /) -> Iterator[None]:
        before = counter.get_total_flops()
        yield
        counted[stage] += counter.get_total_flops() - before

    with torch.no_grad(), counter:
        model(torch.empty(shape, device="meta"), probe)
    assert sum(counted.values()) == counter.get_total_flops()
    return counted


@given(
    mid_channels=st.integers(1, 20),
    num_blocks=st.integers(1, 3),
    batch=st.integers(1, 3),
    frames=st.integers(1, 3),
    height=st.integers(16, 100),
    width=st.integers(16, 100),
)
@settings(max_examples=8)
def test_flops_are_those_torch_counts(mid_channels, num_blocks, batch, frames, height, width):
    counted = counted_flops(meta_model(mid_channels, num_blocks), (batch, frames, 3, height, width))
    assert counted == stage_flops(
        mid_channels=mid_channels,
        num_blocks=num_blocks,
        batch=batch,
        frames=frames,
        height=height,
        width=width,
    )


def test_flops_of_the_papers_network():
    axes = {"batch": 1, "frames": 2, "height": 180, "width": 321}
    counted = counted_flops(meta_model(64, 30), (1, 2, 3, 180, 321))
    assert counted == stage_flops(mid_channels=64, num_blocks=30, **axes)


@pytest.mark.parametrize(("mid_channels", "num_blocks"), [(64, 30), (8, 2), (1, 1), (65, 3)])
def test_parameters_are_those_of_the_network(mid_channels, num_blocks):
    model = meta_model(mid_channels, num_blocks)
    assert parameter_count(mid_channels=mid_channels, num_blocks=num_blocks) == sum(
        parameter.numel() for parameter in model.parameters()
    )


class LiveBytes(TorchDispatchMode):
    """Adds up the storages that operators return for as long as they are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.known: set[int] = set()

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        identity, size = storage._cdata, storage.nbytes()
        if identity not in self.known:
            self.known.add(identity)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self.remove, identity, size)

    def remove(self, identity: int, size: int) -> None:
        self.known.remove(identity)
        self.live -= size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf)
        return out


def live_peak_bytes(model: BasicVSR, lrs: torch.Tensor) -> int:
    counter = LiveBytes()
    for tensor in (*model.state_dict().values(), lrs):
        counter.add(tensor)
    with torch.inference_mode(), counter:
        model(lrs)
    return counter.peak


@pytest.mark.parametrize(
    ("mid_channels", "num_blocks", "batch", "frames", "height", "width"),
    [
        (64, 30, 1, 1, 64, 64),  # upsampling is the peak
        (64, 2, 2, 5, 180, 320),
        (64, 1, 1, 20, 33, 33),  # flow estimation is, and has to resize
        (64, 1, 2, 20, 97, 33),
        (4, 1, 1, 30, 64, 64),  # flow estimation is, at the frames' own size
        (64, 1, 1, 60, 32, 32),  # joining the outputs is
        (600, 1, 1, 2, 32, 32),  # upsampling is, in its first step
        (1, 1, 3, 2, 17, 16),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peak_is_that_of_the_tensors_alive(dtype, mid_channels, num_blocks, batch, frames, height, width):
    model = meta_model(mid_channels, num_blocks)
    model.cast_features(dtype)
    estimate = estimate_peak_bytes(
        mid_channels=mid_channels,
        num_blocks=num_blocks,
        batch=batch,
        frames=frames,
        height=height,
        width=width,
        bytes_per_element=dtype.itemsize,
    )
    lrs = torch.empty(batch, frames, 3, height, width, device="meta")
    actual = live_peak_bytes(model, lrs)
    # Closer than anyone needs, so that it is noticed when the network's temporaries change.
    assert estimate == pytest.approx(actual, rel=0.05)


def test_real_tensors_live_as_long_as_those_without_data():
    model = BasicVSR(8, 1).eval()
    actual = live_peak_bytes(model, torch.zeros(1, 3, 3, 32, 40))
    assert actual == live_peak_bytes(meta_model(8, 1), torch.empty(1, 3, 3, 32, 40, device="meta"))


def test_costs_are_known_without_torch():
    code = "import sys, vsr_model.cost, vsr_model.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
