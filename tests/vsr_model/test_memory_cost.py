import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.flop_counter import FlopCounterMode

from tests.vsr_model.late_copies import LateCopies
from tests.vsr_model.test_cost import LiveBytes, meta_model
from vsr_model import BadInput, BasicVSR, streaming, tiles
from vsr_model.copies import StagedCarrier
from vsr_model.cost import stage_flops
from vsr_model.feature_stores import DiskStore, FeatureStore, HostStore
from vsr_model.memory_cost import Call, needs, needs_tiled
from vsr_model.memory_plan import MemoryPlan, Place
from vsr_model.plan_choice import Limits, cheapest_plan, chunk_beside_upsampling, least_interval
from vsr_model.tile_layout import TileLayout


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
        ((64, 1, 6, 32, 32), torch.float32, 5, 40),
        ((64, 1, 6, 32, 32), torch.bfloat16, 9, 2),
        ((64, 2, 5, 33, 40), torch.float32, 2, 8),
        ((4, 1, 8, 64, 64), torch.float32, 1, 40),  # flow is
        ((4, 2, 7, 33, 40), torch.bfloat16, 5, 40),  # and needs resized frames, and copies of a batch's
        ((4, 1, 7, 64, 64), torch.float32, 3, 40),
        ((300, 1, 2, 32, 32), torch.float32, 1, 1),
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


@pytest.mark.parametrize(("interval", "chunk"), [(1, 2), (2, 40), (6, 2)])
@pytest.mark.parametrize("place", ["host", "disk"])
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
    assert taken.moved_bytes == engine.started * call.features_bytes


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


@pytest.mark.parametrize(("frames", "interval"), [(1, 1), (5, 2), (5, 3), (6, 2), (4, 3), (4, 1)])
def test_extra_work_is_what_torch_counts(frames, interval):
    call = call_of(3, 2, frames, 20, 33, torch.float32)
    plan = MemoryPlan(interval=interval, chunk=2)
    assert needs(call, plan).extra_flops == extra_flops_counted(call, plan)
    assert (needs(call, plan).extra_flops > 0) is (1 < interval < frames - 1)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Frames this small gain nothing by threads, which would wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run_tiled(call: Call, plan: MemoryPlan, layout: TileLayout, counter: LiveBytes) -> int:
    """Bytes of the weights, which are not counted: they would hide what tiles of this size take."""
    network = BasicVSR(call.mid_channels, 1).eval()
    source = NewFrames(call.batch, call.frames, call.height, call.width, "cpu")
    with counter:
        count = 0
        for output in tiles.upscale_tiled(network, source, plan, layout):
            count += 1
            assert output.shape[-1] == 4 * call.width
    assert count == call.frames
    return sum(tensor.nbytes for tensor in network.state_dict().values())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("sizes", "tile", "overlap", "interval", "chunk"),
    [
        ((32, 1, 4, 40, 48), (24, 32), 4, 1, 2),  # upsampling is the worst moment, beside most features
        ((16, 1, 7, 48, 32), (24, 32), 2, 3, 2),  # and of features that are computed again
        ((4, 1, 4, 32, 152), (32, 32), 4, 1, 3),  # flow is, beside what was estimated for the others
        ((2, 2, 4, 33, 70), (33, 32), 3, 2, 40),
        ((8, 1, 1, 40, 40), (24, 24), 4, 1, 8),
        ((8, 1, 2, 40, 40), (24, 24), 4, 1, 8),
        ((16, 1, 4, 32, 32), (32, 32), 4, 1, 2),  # a single tile
    ],
)
def test_a_tiled_calls_bytes_are_those_of_the_tensors_alive(sizes, tile, overlap, interval, chunk):
    call = replace(call_of(*sizes, torch.float32), on_cpu=True)
    layout = TileLayout(
        height=call.height, width=call.width, tile_height=tile[0], tile_width=tile[1], overlap=overlap
    )
    plan = MemoryPlan(interval=interval, chunk=chunk)
    counter = LiveBytes()
    weights_bytes = run_tiled(call, plan, layout, counter)
    assert needs_tiled(call, plan, layout).host_bytes - weights_bytes == pytest.approx(counter.peak, rel=0.01)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("interval", "chunk"), [(1, 2), (2, 40), (6, 2)])
@pytest.mark.parametrize("place", ["host", "disk"])
def test_a_tiled_calls_bytes_in_each_memory(monkeypatch, tmp_path, place, interval, chunk):
    """Each tile has a store of its own; outputs are joined in host memory."""
    call = call_of(16, 1, 6, 20, 44, torch.float32)
    layout = TileLayout(height=20, width=44, tile_height=20, tile_width=20, overlap=4)
    counter = Apart()
    plan = MemoryPlan(
        place=place, interval=interval, chunk=chunk, folder=tmp_path if place == "disk" else None
    )
    engines: list[LateCopies] = []
    files_bytes = 0

    class CountedHostStore(HostStore):
        def put(self, index: int, features: Tensor) -> None:
            with counter.elsewhere():
                super().put(index, features)

    def open_store(plan: MemoryPlan, *, frames: int, features_bytes: int, **_: object) -> FeatureStore:
        nonlocal files_bytes
        engine = LateCopies()
        engines.append(engine)
        plain_buffer = engine.buffer

        def buffer(like: Tensor) -> Tensor:
            with counter.elsewhere():
                return plain_buffer(like)

        monkeypatch.setattr(engine, "buffer", buffer)
        carrier = StagedCarrier(torch.device("cpu"), engine)
        kept = len(plan.kept_frames(frames))
        if place == "host" or not kept:
            return CountedHostStore(carrier)
        with _disable_current_modes():  # the file is in neither memory
            store = DiskStore(carrier, tmp_path, capacity=kept, features_bytes=features_bytes)
            mapped = store._file.part(0, torch.empty(0, dtype=torch.uint8, device="meta")).untyped_storage()
        counter.apart.known.add(mapped._cdata)
        files_bytes += mapped.nbytes()
        return store

    plain_blank = tiles._blank

    def blank(shape: tuple[int, int, int, int, int]) -> Tensor:
        with counter.elsewhere():
            return plain_blank(shape)

    monkeypatch.setattr(streaming, "open_store", open_store)
    monkeypatch.setattr(tiles, "_blank", blank)
    weights_bytes = run_tiled(call, plan, layout, counter)
    taken = needs_tiled(call, plan, layout)
    assert layout.count == len(engines) == 3
    assert taken.device_bytes - weights_bytes == pytest.approx(counter.peak, rel=0.03)
    # On a CPU nothing is on its way to the host: a tile's output is copied from where it is.
    on_the_way_bytes = 4 * 3 * 16 * layout.window_height * layout.window_width
    assert taken.host_bytes == counter.apart.peak + on_the_way_bytes
    assert taken.disk_bytes == files_bytes
    features_bytes = replace(call, width=layout.window_width).features_bytes
    assert taken.moved_bytes == sum(engine.started for engine in engines) * features_bytes


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("interval", "overlap"), [(1, 0), (2, 3)])
def test_a_tiled_calls_extra_work_is_what_torch_counts(interval, overlap):
    call = call_of(3, 1, 4, 20, 70, torch.float32)
    plan = MemoryPlan(interval=interval, chunk=2)
    layout = TileLayout(height=20, width=70, tile_height=20, tile_width=35 + overlap, overlap=overlap)
    with FlopCounterMode(display=False) as counter:
        for _ in tiles.upscale_tiled(BasicVSR(3, 1).eval(), NewFrames(1, 4, 20, 70, "cpu"), plan, layout):
            pass
    plain = stage_flops(mid_channels=3, num_blocks=1, batch=1, frames=4, height=20, width=70)
    assert needs_tiled(call, plan, layout).extra_flops == counter.get_total_flops() - sum(plain.values())


def test_a_layout_for_other_frames_is_refused():
    layout = TileLayout(height=180, width=300, tile_height=100, tile_width=100, overlap=8)
    with pytest.raises(ValueError, match="for frames of 180 x 300, and the call has frames of 180 x 320"):
        needs_tiled(PAPER, MemoryPlan(), layout)


def test_tiles_take_less_of_the_device_and_more_work():
    layout = TileLayout(height=180, width=320, tile_height=96, tile_width=96, overlap=16)
    plan = MemoryPlan(place="host", chunk=2)
    whole, tiled = needs(PAPER, plan), needs_tiled(PAPER, plan, layout)
    assert tiled.device_bytes < whole.device_bytes / 2
    assert tiled.extra_flops > 0 == whole.extra_flops
    assert tiled.moved_bytes > whole.moved_bytes


@given(st.integers(1, 400))
def test_the_least_interval_holds_the_least(frames):
    def held(interval: int) -> int:
        return min(interval, frames) + len(MemoryPlan(interval=interval).kept_frames(frames))

    assert held(least_interval(frames)) == min(held(interval) for interval in range(1, frames + 1))


PAPER = Call(mid_channels=64, num_blocks=30, batch=1, frames=40, height=180, width=320)
FOLDER = Path("/elsewhere")


def every_plan(call: Call, limits: Limits) -> Iterator[MemoryPlan]:
    places: dict[Place, Path | None] = {"device": None}
    if not call.on_cpu:
        places["host"] = None
    if limits.folder is not None:
        places["disk"] = limits.folder
    for chunk in dict.fromkeys((chunk_beside_upsampling(call), 1)):
        for interval in range(1, call.frames + 1):
            for place, folder in places.items():
                yield MemoryPlan(place=place, interval=interval, chunk=chunk, folder=folder)


megabytes = st.one_of(st.none(), st.integers(500, 1800))


@given(
    on_cpu=st.booleans(),
    frames=st.integers(1, 40),
    host=st.one_of(megabytes, st.integers(0, 600)),
    device=megabytes,
    disk=st.one_of(st.none(), st.integers(0, 600)),
    folder=st.sampled_from([None, FOLDER]),
)
@settings(max_examples=60, deadline=None)
def test_the_cheapest_plan_is_that_of_trying_all(on_cpu, frames, host, device, disk, folder):
    call = replace(PAPER, frames=frames, on_cpu=on_cpu)
    host, device, disk = (None if size is None else size * 10**6 for size in (host, device, disk))
    limits = Limits(host_bytes=host, device_bytes=device, disk_bytes=disk, folder=folder)
    fitting = [plan for plan in every_plan(call, limits) if limits.hold(needs(call, plan))]
    if not fitting:
        with pytest.raises(BadInput):
            cheapest_plan(call, limits)
        return
    plan = cheapest_plan(call, limits)
    assert limits.hold(needs(call, plan))
    whole = [plan for plan in fitting if plan.interval == 1]
    if whole:
        assert plan.interval == 1
        assert plan.place == min((plan.place for plan in whole), key=["device", "host", "disk"].index)
        assert plan.chunk == max(other.chunk for other in whole if other.place == plan.place)
    else:
        assert plan.chunk == max(plan.chunk for plan in fitting)
        assert plan.recomputed_frames(frames) == min(
            other.recomputed_frames(frames) for other in fitting if other.chunk == plan.chunk
        )


def test_flow_beside_upsampling_costs_no_memory():
    chunk = chunk_beside_upsampling(PAPER)
    assert 1 < chunk < PAPER.frames - 1

    def device_bytes(pairs: int) -> int:
        return needs(PAPER, MemoryPlan(chunk=pairs)).device_bytes

    # A frame and its flow wait.
    waiting = device_bytes(chunk) - device_bytes(chunk - 1)  # a frame and its flow
    assert device_bytes(chunk - 1) - device_bytes(chunk - 2) == waiting
    assert device_bytes(chunk + 2) - device_bytes(chunk + 1) > 10 * waiting
    assert chunk_beside_upsampling(replace(PAPER, frames=1)) == 1
    assert chunk_beside_upsampling(replace(PAPER, frames=2)) == 1


LARGE = 2**50


@pytest.mark.parametrize(
    ("call", "limits", "place", "interval"),
    [
        (PAPER, Limits(), "device", 1),
        (PAPER, Limits(device_bytes=600 * 10**6), "host", 1),
        (PAPER, Limits(device_bytes=700 * 10**6, host_bytes=10**8, folder=FOLDER), "disk", 1),
        (replace(PAPER, frames=10**6), Limits(device_bytes=LARGE, host_bytes=0), "device", 1),
        (replace(PAPER, on_cpu=True), Limits(host_bytes=10**9, folder=FOLDER), "disk", 1),
    ],
)
def test_places_in_the_order_of_time(call, limits, place, interval):
    plan = cheapest_plan(call, limits)
    assert (plan.place, plan.interval) == (place, interval)
    assert (plan.folder == FOLDER) is (place == "disk")


def test_as_little_again_as_fits():
    """What fits all frames but one computes few of them again, not a whole pass."""
    call = replace(PAPER, on_cpu=True)
    all_but_one = needs(call, MemoryPlan(chunk=1)).host_bytes - call.features_bytes
    plan = cheapest_plan(call, Limits(host_bytes=all_but_one))
    assert 1 <= plan.recomputed_frames(call.frames) <= 3
    assert plan.chunk == chunk_beside_upsampling(call)


@pytest.mark.parametrize(
    ("call", "limits"),
    [
        (PAPER, Limits(device_bytes=10 * 2**20, host_bytes=LARGE)),
        (PAPER, Limits(device_bytes=10 * 2**20, host_bytes=2**20)),
        (PAPER, Limits(device_bytes=600 * 2**20, host_bytes=2**20)),
        (replace(PAPER, on_cpu=True), Limits(host_bytes=10 * 2**20)),
        (replace(PAPER, on_cpu=True, frames=1), Limits(host_bytes=10 * 2**20, folder=FOLDER)),
    ],
)
def test_what_does_not_fit_is_told_the_least_that_works(call, limits):
    with pytest.raises(BadInput, match=r"the least that works is") as caught:
        cheapest_plan(call, limits)
    sentence = str(caught.value)
    least = re.search(r"the least that works is (.*), and a single frame takes (\d+) MiB\.$", sentence)
    assert least is not None
    sizes = {kind: int(size) for size, kind in re.findall(r"(\d+) MiB of (device|host) memory", least[1])}
    assert sizes

    def with_sizes(sizes: dict[str, int]) -> Limits:
        return replace(limits, **{f"{kind}_bytes": size * 2**20 for kind, size in sizes.items()})

    cheapest_plan(call, with_sizes(sizes))
    for kind, size in sizes.items():
        with pytest.raises(BadInput):
            cheapest_plan(call, with_sizes(sizes | {kind: size - 1}))
    single = needs(replace(call, frames=1), MemoryPlan())
    assert int(least[2]) == -(-(single.device_bytes + single.host_bytes) // 2**20)


def test_the_sentence_for_one_frame():
    call = replace(PAPER, on_cpu=True, frames=1)
    with pytest.raises(BadInput) as caught:
        cheapest_plan(call, Limits(host_bytes=10 * 2**20))
    assert str(caught.value) == (
        "1 frame of 180 x 320 does not fit into 10 MiB of host memory: the least that works is 560 MiB of"
        " host memory, and a single frame takes 560 MiB."
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
