import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from vsr_model.cost import stage_flops
from vsr_model.memory_cost import Call, Needs, needs

from tests.vsr_model.late_copies import LateCopies
from tests.vsr_model.test_cost import LiveBytes, meta_model
from vsr_model import BadInput, BasicVSR, streaming
from vsr_model.copies import StagedCarrier
from vsr_model.feature_stores import DiskStore, FeatureStore, HostStore
from vsr_model.memory_plan import MemoryPlan
from vsr_model.plan_choice import PLAN_NAMES, Limits, first_that_fits, least_interval, named_plan


class NewFrames:
    """Frames that exist only while someone holds them, as a decoder's."""

    def __init__(self, batch: int, frames: int, height: int, width: int, device: str) -> None:
        self.shape = batch, frames, 3, height, width
        self._device = device

    def frames(self, start: int, stop: int) -> Iterator[Tensor]:
        n, _, c, h, w = self.shape
        return (torch.zeros(n, c, h, w, device=self._device) for _ in range(start, stop))


class Apart(LiveBytes):
    """Counts what is made inside `elsewhere` apart: it stands for another memory."""

    def __init__(self) -> None:
        super().__init__()
        self.apart = LiveBytes()
        self._elsewhere = False

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        self._elsewhere = True
        yield
        self._elsewhere = False

    def add(self, tensor: Tensor) -> None:
        if tensor.is_meta or tensor.untyped_storage()._cdata in self.apart.known:
            return
        if self._elsewhere:
            self.apart.add(tensor)
        else:
            super().add(tensor)


def run(network: BasicVSR, call: Call, plan: MemoryPlan, counter: LiveBytes, device: str) -> None:
    source = NewFrames(call.batch, call.frames, call.height, call.width, device)
    for tensor in network.state_dict().values():
        counter.add(tensor)
    with counter:
        count = 0
        for output in streaming.upscale_frames(network, source, plan):
            count += 1
            assert output.shape[-1] == 4 * call.width  # held while the next is made, as in any loop
    assert count == call.frames


def call_of(mid_channels: int, batch: int, frames: int, height: int, width: int, dtype: torch.dtype) -> Call:
    return Call(
        mid_channels=mid_channels,
        num_blocks=1,
        batch=batch,
        frames=frames,
        height=height,
        width=width,
        bytes_per_element=dtype.itemsize,
    )


@pytest.mark.parametrize(
    ("sizes", "dtype", "interval", "chunk"),
    [
        ((64, 1, 6, 32, 64), torch.float32, 1, 5),  # upsampling is the worst moment
        ((64, 1, 7, 32, 64), torch.bfloat16, 3, 2),
        ((64, 2, 5, 33, 40), torch.float32, 2, 8),
        ((4, 1, 8, 64, 64), torch.float32, 1, 40),  # flow is
        ((4, 2, 7, 33, 40), torch.bfloat16, 5, 40),  # and needs resized frames, and copies of a batch's
        ((8, 1, 1, 32, 48), torch.float32, 1, 1),
    ],
)
def test_device_bytes_are_those_of_the_tensors_alive(sizes, dtype, interval, chunk):
    call = call_of(*sizes, dtype)
    network = meta_model(call.mid_channels, 1)
    network.cast_features(dtype)
    plan = MemoryPlan(interval=interval, chunk=chunk)
    counter = LiveBytes()
    run(network, call, plan, counter, "meta")
    assert needs(call, plan).device_bytes == pytest.approx(counter.peak, rel=0.03)
    assert needs(replace(call, on_cpu=True), plan).host_bytes == needs(call, plan).device_bytes


@pytest.mark.parametrize(("place", "interval", "chunk"), [("host", 2, 40), ("disk", 1, 2), ("disk", 6, 2)])
def test_a_devices_bytes_and_the_hosts_are_counted_apart(monkeypatch, tmp_path, place, interval, chunk):
    call = call_of(32, 1, 6, 16, 16, torch.float32)
    counter = Apart()
    engine = LateCopies()
    plain_buffer = engine.buffer

    def buffer(like: Tensor) -> Tensor:
        with counter.elsewhere():
            return plain_buffer(like)

    monkeypatch.setattr(engine, "buffer", buffer)
    plan = MemoryPlan(
        place=place, interval=interval, chunk=chunk, folder=tmp_path if place == "disk" else None
    )
    carrier = StagedCarrier(torch.device("cpu"), engine)
    file_bytes = 0

    class CountedHostStore(HostStore):
        def put(self, index: int, features: Tensor) -> None:
            with counter.elsewhere():
                super().put(index, features)

    def open_store(plan: MemoryPlan, *, frames: int, features_bytes: int, **_: object) -> FeatureStore:
        nonlocal file_bytes
        kept = len(plan.kept_frames(frames))
        if place == "host":
            return CountedHostStore(carrier)
        if not kept:
            return HostStore(carrier)
        store = DiskStore(carrier, tmp_path, capacity=kept, features_bytes=features_bytes)
        mapped = store._file.part(0, torch.empty(0, dtype=torch.uint8, device="meta")).untyped_storage()
        counter.apart.known.add(mapped._cdata)  # neither memory
        file_bytes = mapped.nbytes()
        return store

    monkeypatch.setattr(streaming, "open_store", open_store)
    run(BasicVSR(32, 1).eval(), call, plan, counter, "cpu")
    taken = needs(call, plan)
    assert taken.device_bytes == pytest.approx(counter.peak, rel=0.03)
    assert taken.host_bytes == counter.apart.peak
    assert taken.disk_bytes == file_bytes


def extra_flops_counted(call: Call, plan: MemoryPlan) -> int:
    """What torch counts under the plan, beyond a call of the network itself."""
    network = meta_model(call.mid_channels, call.num_blocks)
    with FlopCounterMode(display=False) as counter:
        for _ in streaming.upscale_frames(
            network, NewFrames(call.batch, call.frames, call.height, call.width, "meta"), plan
        ):
            pass
    plain = stage_flops(
        mid_channels=call.mid_channels, num_blocks=call.num_blocks, batch=call.batch, frames=call.frames,
        height=call.height, width=call.width,
    )  # fmt: skip
    return counter.get_total_flops() - sum(plain.values())


@pytest.mark.parametrize(("frames", "interval"), [(1, 1), (5, 2), (6, 2), (4, 3)])
def test_extra_work_is_what_torch_counts(frames, interval):
    call = call_of(3, 2, frames, 20, 33, torch.float32)
    plan = MemoryPlan(interval=interval, chunk=2)
    assert needs(call, plan).extra_flops == extra_flops_counted(call, plan)
    assert (needs(call, plan).extra_flops > 0) is (1 < interval < frames - 1)


@given(st.integers(1, 400))
def test_the_least_interval_holds_the_least(frames):
    def held(interval: int) -> int:
        return min(interval, frames) + len(MemoryPlan(interval=interval).kept_frames(frames))

    assert held(least_interval(frames)) == min(held(interval) for interval in range(1, frames + 1))


PAPER = Call(mid_channels=64, num_blocks=30, batch=1, frames=40, height=180, width=320)
FOLDER = Path("/elsewhere")


def chosen(limits: Limits, names: tuple[str, ...] = PLAN_NAMES, call: Call = PAPER) -> str:
    plans = {name: named_plan(name, call.frames, FOLDER) for name in names}
    plan = first_that_fits(plans, lambda plan: needs(call, plan), limits)
    return next(name for name in names if plans[name] == plan)


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        (Limits(), "device"),
        (Limits(device_bytes=600 * 2**20), "host"),
        (Limits(device_bytes=600 * 2**20, host_bytes=10**8), "disk"),
        (Limits(device_bytes=900 * 2**20, host_bytes=10**8, disk_bytes=10**8), "recompute"),
        (Limits(device_bytes=2**50, host_bytes=0), "device"),
    ],
)
def test_the_first_place_that_fits_is_taken(limits: Limits, name: str) -> None:
    assert chosen(limits) == name


def test_named_plans() -> None:
    assert named_plan("host", 10, FOLDER) == MemoryPlan(place="host")
    assert named_plan("disk", 10, FOLDER) == MemoryPlan(place="disk", folder=FOLDER)
    assert named_plan("recompute", 10, FOLDER) == MemoryPlan(interval=4)


@pytest.mark.parametrize(
    ("limits", "names", "named"),
    [
        (Limits(device_bytes=10 * 2**20, host_bytes=2**50), PLAN_NAMES, "host"),
        (Limits(device_bytes=10 * 2**20, host_bytes=2**20), PLAN_NAMES, "recompute"),
        (Limits(device_bytes=10 * 2**20, disk_bytes=0), ("host", "disk"), "host"),
        (Limits(disk_bytes=2**20), ("disk",), "disk"),
    ],
)
def test_what_does_not_fit_is_told_the_least_that_works(
    limits: Limits, names: tuple[str, ...], named: str
) -> None:
    with pytest.raises(BadInput) as caught:
        chosen(limits, names)
    found = re.search(r"the least that works is (.*), with the memory plan '(.*)'\.$", str(caught.value))
    assert found is not None
    assert found[2] == named
    sizes = {kind: int(size) * 2**20 for size, kind in re.findall(r"(\d+) MiB of (\w+) ", found[1])}
    assert sizes
    chosen(replace(limits, **{f"{kind}_bytes": size for kind, size in sizes.items()}), names)
    for kind, size in sizes.items():
        less = {f"{other}_bytes": most for other, most in sizes.items()} | {f"{kind}_bytes": size - 2**20}
        with pytest.raises(BadInput):
            chosen(replace(limits, **less), names)


def test_the_sentence_of_what_does_not_fit() -> None:
    def taken(_plan: MemoryPlan) -> Needs:
        return Needs(
            device_bytes=3 * 2**20, host_bytes=2**21 + 1, disk_bytes=0, recomputed_frames=0, extra_flops=0
        )

    with pytest.raises(BadInput) as caught:
        first_that_fits({"device": MemoryPlan()}, taken, Limits(device_bytes=2**20, host_bytes=2**20))
    assert str(caught.value) == (
        "the clip does not fit into 1 MiB of device memory and 1 MiB of host memory: the least that works is"
        " 3 MiB of device memory and 3 MiB of host memory, with the memory plan 'device'."
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"place": "tape"}, "place is 'tape', and 'device', 'host' and 'disk' are allowed."),
        ({"interval": 0}, "interval is 0, and a whole number of at least 1 is allowed."),
        ({"interval": True}, "interval is True, and a whole number of at least 1 is allowed."),
        ({"chunk": 1.5}, "chunk is 1.5, and a whole number of at least 1 is allowed."),
        ({"place": "disk"}, "place is 'disk' and there is no folder; give the folder to keep features in."),
        ({"folder": FOLDER}, "folder is /elsewhere, and place is 'device'; only 'disk' has a folder."),
    ],
)
def test_plans_that_cannot_be(fields, message):
    with pytest.raises(BadInput) as caught:
        MemoryPlan(**fields)
    assert str(caught.value) == message


def test_plans_are_made_without_torch():
    code = "import sys, vsr_model.plan_choice; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
