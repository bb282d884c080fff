import gc
import subprocess
import sys
import weakref
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.tiles import blended
from vsr_model import BadInput, BasicVSR, Stage, feature_stores, tile_layout
from vsr_model.basicvsr import MIN_SIZE
from vsr_model.clips import random_clip
from vsr_model.frame_sources import TensorFrames
from vsr_model.initialise import build_basicvsr
from vsr_model.memory_plan import MemoryPlan, Place, forward_requests, frame_requests
from vsr_model.streaming import upscale_frames
from vsr_model.tile_layout import Tile, TileLayout, Window
from vsr_model.tiles import TileFrames, put, upscale_tiled


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Frames this small gain nothing by threads, which would wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def smallest() -> BasicVSR:
    return build_basicvsr(4, 1, seed=0)


def clip(batch: int, frames: int, height: int, width: int) -> Tensor:
    return random_clip(batch=batch, frames=frames, height=height, width=width, seed=0)


def layout_of(height: int, width: int, tile_height: int, tile_width: int, overlap: int) -> TileLayout:
    return TileLayout(
        height=height, width=width, tile_height=tile_height, tile_width=tile_width, overlap=overlap
    )


def tiled(network: BasicVSR, lrs: Tensor, plan: MemoryPlan, layout: TileLayout) -> Tensor:
    return torch.stack(list(upscale_tiled(network, TensorFrames(lrs), plan, layout)), 1)


class Asked(TensorFrames):
    """Keeps what it is asked for."""

    def __init__(self, lrs: Tensor) -> None:
        super().__init__(lrs)
        self.requests: list[range] = []

    def frames(self, start: int, stop: int) -> Iterable[Tensor]:
        self.requests.append(range(start, stop))
        return super().frames(start, stop)


# The layout -------------------------------------------------------------------------------------------------


@given(
    length=st.integers(16, 300),
    width=st.integers(16, 40),
    most=st.integers(16, 320),
    overlap=st.integers(0, 60),
)
def test_tiles_cover_the_frame_with_the_overlap_that_was_asked_for(length, width, most, overlap):
    if length > most <= 2 * overlap:
        with pytest.raises(BadInput, match=f"an overlap of at most {(most - 1) // 2} is allowed"):
            layout_of(length, width, most, 40, overlap)
        return
    layout = layout_of(length, width, most, 40, overlap)
    tiles = list(layout.tiles())
    assert len(tiles) == layout.count == layout.down
    assert {(tile.window.columns, tile.kept.columns) for tile in tiles} == {(range(width), range(width))}
    windows = [tile.window.rows for tile in tiles]
    kept = [tile.kept.rows for tile in tiles]
    assert {len(window) for window in windows} == {layout.window_height}
    assert MIN_SIZE <= layout.window_height <= most
    assert [row for rows in kept for row in rows] == list(range(length))  # a partition, in order
    assert all(window.start >= 0 and window.stop <= length for window in windows)
    for (above, below), (kept_above, kept_below) in zip(pairwise(windows), pairwise(kept), strict=True):
        assert above.stop - kept_above.stop >= overlap
        assert kept_below.start - below.start >= overlap
        # The seam is in the middle of what they share.
        assert 0 <= (above.stop - kept_above.stop) - (kept_below.start - below.start) <= 1
    starts = [later.start - earlier.start for earlier, later in pairwise(windows)]
    assert not starts or max(starts) - min(starts) <= 1


@given(length=st.integers(16, 300), most=st.integers(16, 320), overlap=st.integers(0, 60))
def test_there_are_as_few_tiles_as_can_be_and_none_is_larger_than_need_be(length, most, overlap):
    if length > most <= 2 * overlap:
        return

    def reach(tiles: int, each: int) -> int:
        return tiles * each - (tiles - 1) * 2 * overlap

    layout = layout_of(32, length, 32, most, overlap)
    count, each = layout.across, layout.window_width
    assert reach(count, each) >= length
    assert count == 1 or reach(count - 1, most) < length
    assert each == MIN_SIZE or reach(count, each - 1) < length


def test_a_layout_in_figures():
    layout = layout_of(1080, 1920, 540, 540, 32)
    assert (layout.down, layout.across, layout.count) == (3, 4, 12)
    assert (layout.window_height, layout.window_width) == (403, 528)
    tiles = list(layout.tiles())
    assert tiles[5] == Tile(
        window=Window(rows=range(338, 741), columns=range(464, 992)),
        kept=Window(rows=range(370, 709), columns=range(496, 960)),
    )
    whole = Window(rows=range(1080), columns=range(1920))
    assert list(layout_of(1080, 1920, 1080, 4000, 2000).tiles()) == [Tile(window=whole, kept=whole)]


def test_the_least_size_is_the_networks():
    assert tile_layout.LEAST_SIZE == MIN_SIZE
    assert layout_of(17, 17, 16, 16, 0).window_height == 16  # though two of nine would reach


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((8, 64, 32, 32, 0), "height is 8, and a whole number of at least 16 is allowed."),
        ((64, 64, 32, 15, 0), "tile_width is 15, and a whole number of at least 16 is allowed."),
        ((64, 64, 32, 32.0, 0), "tile_width is 32.0, and a whole number of at least 16 is allowed."),
        ((64, 64, 32, 32, -1), "overlap is -1, and a whole number of at least 0 is allowed."),
        ((64, 64, 32, 32, True), "overlap is True, and a whole number of at least 0 is allowed."),
        (
            (64, 64, 64, 32, 16),
            "overlap is 16 and tile_width 32, which leaves nothing of a tile between its neighbours; an"
            " overlap of at most 15 is allowed.",
        ),
    ],
)
def test_layouts_that_cannot_be(fields, message):
    with pytest.raises(BadInput) as caught:
        layout_of(*fields)
    assert str(caught.value) == message


def test_layouts_are_made_without_torch():
    code = "import sys, vsr_model.tile_layout; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The result -------------------------------------------------------------------------------------------------


def plan_of(place: Place, interval: int, folder: Path) -> MemoryPlan:
    return MemoryPlan(place=place, interval=interval, chunk=2, folder=folder if place == "disk" else None)


@pytest.mark.parametrize(("place", "interval"), [("device", 1), ("disk", 1), ("disk", 2)])
def test_each_part_is_that_of_its_tile_as_a_clip_of_its_own(tmp_path, smallest, place, interval):
    lrs = clip(2, 3, 33, 50)
    layout = layout_of(33, 50, 24, 30, 3)
    assert layout.count == 4
    plan = plan_of(place, interval, tmp_path)
    output = tiled(smallest, lrs, plan, layout)
    assert output.shape == (2, 3, 3, 132, 200)
    assert output.dtype == torch.float32
    for tile in layout.tiles():
        rows, columns = tile.window.rows, tile.window.columns
        window = lrs[..., rows.start : rows.stop, columns.start : columns.stop]
        alone = torch.stack(list(upscale_frames(smallest, TensorFrames(window), plan)), 1)
        for row in (tile.kept.rows[0], tile.kept.rows[-1]):
            for column in (tile.kept.columns[0], tile.kept.columns[-1]):
                block = output[..., 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                top, left = 4 * (row - rows.start), 4 * (column - columns.start)
                assert torch.equal(block, alone[..., top : top + 4, left : left + 4])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_one_tile_is_the_untiled_call(memory_format):
    network = build_basicvsr(4, 1, seed=0).to(memory_format=memory_format)
    plan = MemoryPlan(interval=2, chunk=2)
    frames = clip(5, 3, 20, 33)[:, 0].to(memory_format=memory_format)
    sources = [Asked(frames[None]) for _ in range(2)]
    layout = layout_of(20, 33, 20, 40, 100)
    alone = torch.stack(list(upscale_frames(network, sources[0], plan)), 1)
    assert torch.equal(torch.stack(list(upscale_tiled(network, sources[1], plan, layout)), 1), alone)
    assert sources[1].requests == sources[0].requests


def without_flow(num_blocks: int) -> BasicVSR:
    """A network that sees no motion: what reaches a pixel is then known."""
    network = build_basicvsr(4, num_blocks, seed=0)
    for parameter in network.alignment.parameters():
        parameter.data.zero_()
    return network


def test_an_overlap_as_wide_as_what_reaches_a_pixel_changes_nothing():
    network = without_flow(num_blocks=1)
    # Three convolutions per step, in two steps to the frame that is furthest; then upsampling's, of a pixel,
    # half of one, and twice a quarter, with the enlarged frame's beside it.
    reach = 3 * 3 + 2
    lrs = clip(1, 3, 40, 64)
    with torch.inference_mode():
        whole = network(lrs)
    plan = MemoryPlan()
    for overlap, most in ((reach, 1e-5), (0, torch.inf)):
        layout = layout_of(40, 64, 20 + overlap, 32 + overlap, overlap)
        assert layout.count == 4
        difference = (tiled(network, lrs, plan, layout) - whole).abs()
        assert difference.max() <= most
    # Without an overlap it differs along the seams, and beyond reach of them it does not.
    assert difference[..., :, 4 * 31 : 4 * 33].max() > 1e-2
    assert difference[..., 4 * (20 - reach) : 4 * (20 + reach), :].max() > 1e-2
    assert difference[..., : 4 * (20 - reach), : 4 * (32 - reach)].max() <= 1e-5


@given(
    batch=st.integers(1, 2),
    t=st.integers(1, 4),
    height=st.integers(16, 30),
    tile=st.integers(18, 32),
    overlap=st.integers(0, 7),
    interval=st.integers(1, 4),
)
@settings(max_examples=5, deadline=None)
def test_any_plan_gives_the_same_for_any_layout(batch, t, height, tile, overlap, interval):
    network = build_basicvsr(2, 1, seed=0)
    lrs = clip(batch, t, height, 18)
    layout = layout_of(height, 18, tile, 16, overlap)
    first = tiled(network, lrs, MemoryPlan(chunk=1), layout)
    assert first.shape == (batch, t, 3, 4 * height, 72)
    assert torch.equal(tiled(network, lrs, MemoryPlan(interval=interval, chunk=1), layout), first)


def test_what_is_cut_or_blended_in_the_benchmark_is_the_frame_where_tiles_agree():
    whole = clip(1, 1, 4 * 40, 4 * 70)[:, 0]
    layout = layout_of(40, 70, 26, 30, 5)
    assert layout.count == 6
    outputs = [
        whole[
            ...,
            4 * tile.window.rows.start : 4 * tile.window.rows.stop,
            4 * tile.window.columns.start : 4 * tile.window.columns.stop,
        ]
        for tile in layout.tiles()
    ]
    cut = torch.full_like(whole, torch.nan)
    for output, tile in zip(outputs, layout.tiles(), strict=True):
        put(output, tile, cut)
    assert torch.equal(cut, whole)
    torch.testing.assert_close(blended(outputs, layout), whole)


# How it goes ------------------------------------------------------------------------------------------------


def test_tiles_go_side_by_side_and_each_asks_as_its_plan_says(smallest):
    t, plan = 5, MemoryPlan(interval=2, chunk=2)
    source = Asked(clip(1, t, 16, 40))
    layout = layout_of(16, 40, 16, 24, 2)
    assert layout.count == 2
    alone = list(frame_requests(plan, t))
    outputs = upscale_tiled(smallest, source, plan, layout)
    assert source.requests == []
    next(outputs)
    # The backward branch, and the first frame; then the same for the other tile.
    until_first = alone[: alone.index(range(1)) + 1]
    assert source.requests == 2 * until_first
    own = until_first
    for _ in outputs:
        asked = source.requests[2 * len(own) :]
        assert asked == 2 * asked[: len(asked) // 2]
        own += asked[: len(asked) // 2]
    assert own == alone


def test_a_window_keeps_no_frame_alive():
    frames = [clip(1, 1, 20, 30)[:, 0] for _ in range(2)]
    kept = [weakref.ref(frame) for frame in frames]

    class Once(TensorFrames):
        def frames(self, start: int, stop: int) -> Iterable[Tensor]:
            return (frames.pop(0) for _ in range(start, stop))

    window = Window(rows=range(4, 20), columns=range(5, 25))
    source = TileFrames(Once(clip(1, 2, 20, 30)), window)
    assert source.shape == (1, 2, 3, 16, 20)
    expected = [frame[..., 4:20, 5:25].clone() for frame in frames]
    cut = list(source.frames(0, 2))
    assert all(map(torch.equal, cut, expected))
    assert all(frame.untyped_storage().nbytes() == frame.nbytes for frame in cut)
    assert [frame() for frame in kept] == [None, None]


class Features:
    """Which of a branch's features are alive."""

    def __init__(self, network: BasicVSR) -> None:
        self._made: list[weakref.ref[Tensor]] = []
        self._hook = network.propagation.backward_trunk.register_forward_hook(self._note)

    def _note(self, _module: object, _inputs: object, features: Tensor) -> None:
        self._made.append(weakref.ref(features))

    def __enter__(self) -> "Features":
        return self

    def __exit__(self, *_error: object) -> None:
        self._hook.remove()

    @property
    def alive(self) -> int:
        return sum(features() is not None for features in self._made)

    @property
    def made(self) -> int:
        return len(self._made)


LAYOUT = layout_of(16, 52, 16, 20, 2)


def test_whoever_stops_early_has_everything_let_go(smallest):
    t = 6
    with Features(smallest) as features:
        outputs = upscale_tiled(smallest, TensorFrames(clip(1, t, 16, 52)), MemoryPlan(), LAYOUT)
        next(outputs)
        assert LAYOUT.count == 3
        assert features.made == 3 * t
        assert features.alive == 3 * (t - 1)
        outputs.close()
        gc.collect()
        assert features.alive == 0


class Breaks(TensorFrames):
    """Cannot be read any more from a request on."""

    def __init__(self, lrs: Tensor, requests: int) -> None:
        super().__init__(lrs)
        self._left = requests

    def frames(self, start: int, stop: int) -> Iterable[Tensor]:
        if not self._left:
            raise OSError("gone")
        self._left -= 1
        return super().frames(start, stop)


@pytest.mark.parametrize("frames_before", [0, 2])
def test_a_tile_that_fails_has_the_others_let_go(tmp_path, monkeypatch, smallest, frames_before):
    """While the error is on its way, which holds on to what the tile itself had in hand."""
    left: list[object] = []
    leave = feature_stores.DiskStore.__exit__

    def noted(self, *error):
        left.append(self)
        return leave(self, *error)

    monkeypatch.setattr(feature_stores.DiskStore, "__exit__", noted)
    t, plan = 6, MemoryPlan(place="disk", interval=1, chunk=1, folder=tmp_path)
    requests_before = len(list(frame_requests(plan, t))) - len(list(forward_requests(plan, t)))
    until_first = requests_before + 1
    # In the second tile: as it starts, or as it goes on from its second frame.
    requests = until_first + 3 if not frames_before else 3 * (until_first + 1) + 1
    source = Breaks(clip(1, t, 16, 52), requests)
    with Features(smallest) as features:
        outputs = upscale_tiled(smallest, source, plan, LAYOUT)
        for _ in range(frames_before):
            next(outputs)
        with pytest.raises(OSError, match="gone") as caught:
            next(outputs)
        gc.collect()
        assert caught.value.__traceback__ is not None
        assert len(left) == (3 if frames_before else 2)  # all that had begun
        assert features.alive <= 2
        assert list(tmp_path.iterdir()) == []


def test_all_tiles_are_stages_to_the_probe(smallest):
    stages: list[Stage] = []

    class Probe:
        def __init__(self, stage: Stage, /) -> None:
            stages.append(stage)

        def __enter__(self) -> None: ...

        def __exit__(self, *_error: object) -> None: ...

    outputs = upscale_tiled(smallest, TensorFrames(clip(1, 2, 16, 52)), MemoryPlan(), LAYOUT, Probe)
    assert len(list(outputs)) == 2
    assert stages.count(Stage.UPSAMPLING) == stages.count(Stage.AGGREGATION) == 2 * LAYOUT.count


def test_outputs_are_for_their_receiver_to_keep_and_nothing_is_recorded(smallest):
    lrs = clip(1, 3, 16, 52).requires_grad_()
    outputs = upscale_tiled(smallest, TensorFrames(lrs), MemoryPlan(), LAYOUT)
    kept = [next(outputs)]
    assert torch.is_grad_enabled()
    as_it_was = kept[0].clone()
    kept += outputs
    assert torch.equal(kept[0], as_it_was)
    assert not any(output.requires_grad for output in kept)
    with torch.inference_mode():
        assert torch.equal(tiled(smallest, lrs, MemoryPlan(), LAYOUT), torch.stack(kept, 1))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 2, 3, 16, 53), "The layout is for frames of 16 x 52, and the source has frames of 16 x 53."),
        ((1, 2, 1, 16, 52), r"BasicVSR needs a clip of shape \(n, t, 3, h, w\) .*"),
    ],
)
def test_other_clips_are_refused_at_once(smallest, shape, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        upscale_tiled(smallest, TensorFrames(torch.zeros(shape)), MemoryPlan(), LAYOUT)


def test_a_disk_that_cannot_hold_all_tiles_is_told_before_the_network_runs(tmp_path, monkeypatch, smallest):
    source = Asked(clip(1, 4, 16, 52))
    plan = MemoryPlan(place="disk", folder=tmp_path)
    free_bytes = 3 * 3 * 4 * 4 * 16 * 20 - 1  # tiles, frames, bytes and channels of a number, pixels
    usage = type("Usage", (), {"free": free_bytes})
    monkeypatch.setattr("vsr_model.scratch_file.shutil.disk_usage", lambda _folder: usage)
    with pytest.raises(OSError, match=rf"{free_bytes + 1} bytes are needed .*{tmp_path}"):
        next(upscale_tiled(smallest, source, plan, LAYOUT))
    assert source.requests == []
    usage.free += 1
    assert len(list(upscale_tiled(smallest, source, plan, LAYOUT))) == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpus_tiles_are_joined_on_the_host(tmp_path):
    network = build_basicvsr(8, 2, seed=0).cuda()
    lrs = clip(2, 5, 33, 80)
    layout = layout_of(33, 80, 40, 40, 4)
    expected = tiled(network, lrs, MemoryPlan(chunk=2), layout)
    assert expected.device.type == "cpu"
    for place in ("host", "disk"):
        assert torch.equal(tiled(network, lrs, plan_of(place, 2, tmp_path), layout), expected)
    # As each window alone gives on the device.
    tile = next(iter(layout.tiles()))
    window = TileFrames(TensorFrames(lrs), tile.window)
    alone = next(upscale_frames(network, window, MemoryPlan(chunk=2)))
    rows, columns = 4 * tile.kept.rows.stop, 4 * tile.kept.columns.stop
    assert torch.equal(expected[:, 0, :, :rows, :columns], alone[..., :rows, :columns].cpu())
