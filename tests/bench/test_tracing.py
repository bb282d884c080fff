"""Costs traced on the meta device, against real calls, the counter of PyTorch, and a process's memory."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.grid.costs import StageCost
from bench.measure import tracing
from bench.measure.tracing import Tracer
from vsr_model import build_network
from vsr_model.stages import ALIGNMENT, PROPAGATION, UPSAMPLING, StageProbe


def called(network: nn.Module) -> Callable[[Tensor, StageProbe], Tensor]:
    def forward(lrs: Tensor, probe: StageProbe) -> Tensor:
        with torch.inference_mode(), lrs.device:
            return network(lrs, probe)

    return forward


def traced(network: nn.Module, *shape: int, device: str = "meta") -> dict[str, StageCost]:
    network = network.to(device)
    return Tracer(network).trace(called(network), torch.zeros(shape, device=device))


@pytest.mark.parametrize(
    ("name", "arguments", "dtype", "shape"),
    [
        ("basicvsr", {"mid_channels": 8, "num_blocks": 2}, torch.float32, (1, 12, 3, 32, 40)),
        ("basicvsr", {"mid_channels": 8, "num_blocks": 1}, torch.bfloat16, (2, 5, 3, 40, 36)),
        ("egvsr", {"num_blocks": 2}, torch.float32, (1, 8, 3, 20, 28)),
    ],
)
def test_repeated_calls_that_are_not_run_cost_what_real_ones_do(name, arguments, dtype, shape):
    network = build_network(name, **arguments)
    network.cast_features(dtype)
    real = traced(network, *shape, device="cpu")  # every call is run
    assert traced(network, *shape) == real


@pytest.mark.parametrize(
    ("name", "arguments"), [("basicvsr", {"mid_channels": 16, "num_blocks": 3}), ("egvsr", {})]
)
def test_flops_are_those_that_torch_counts(name, arguments):
    network = build_network(name, **arguments).to("meta")
    lrs = torch.zeros(2, 3, 3, 48, 40, device="meta")
    counter = FlopCounterMode(display=False)
    counted: dict[str, int] = {}

    @contextmanager
    def probe(stage: str, /) -> Iterator[None]:
        before = counter.get_total_flops()
        yield
        counted[stage] = counted.get(stage, 0) + counter.get_total_flops() - before

    with torch.no_grad(), counter:
        network(lrs, probe)
    costs = traced(network, *lrs.shape)
    assert {stage: costs[stage].flops for stage in counted} == counted
    assert sum(cost.flops for cost in costs.values()) == counter.get_total_flops()


@pytest.mark.parametrize(
    ("shape", "flops", "peak_bytes"),
    [
        ((2, 3, 3, 70, 90), (47_155_530_240, 340_265_318_400, 619_315_200, 102_419_251_200), 163_110_068),
        ((1, 100, 3, 64, 64), (518_710_832_640, 3_687_107_788_800, 6_710_886_400, 1_109_812_838_400),
         300_809_684),
    ],
)  # fmt: skip
def test_the_published_network_costs_what_was_derived_by_hand(shape, flops, peak_bytes):
    """The figures are those that formulas gave before costs were traced."""
    network = build_network("basicvsr")
    costs = traced(network, *shape)
    assert tuple(costs[stage].flops for stage in network.facts.stages) == flops
    assert max(cost.peak_bytes for cost in costs.values()) == peak_bytes


class Layers(nn.Module):
    """A convolution with activation and shortcut, and a resizing: layers whose bytes are easily counted."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor, probe: StageProbe) -> Tensor:
        with probe(ALIGNMENT):
            y = F.relu(self.conv(x)) + x
        with probe(UPSAMPLING):
            return 2 * F.interpolate(y, scale_factor=2)


def test_bytes_moved_count_layers_once_with_what_is_done_to_their_output():
    plane = 4 * 4 * 8 * 8  # bytes of an input
    weights = 4 * (4 * 4 * 9 + 4)
    costs = traced(Layers(), 1, 4, 8, 8)
    assert costs[ALIGNMENT].bytes == plane + weights + plane + plane  # input, weights, output, shortcut
    assert costs[UPSAMPLING].bytes == plane + 4 * plane
    assert costs[ALIGNMENT].fused_bytes == plane + weights + plane  # the shortcut is in the cache
    assert costs[UPSAMPLING].fused_bytes == plane + 4 * plane


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed"])
@pytest.mark.parametrize("operator", [torch.ops.aten.upsample_bilinear2d, torch.ops.aten.upsample_bicubic2d])
def test_an_enlarged_frame_lies_as_the_operator_lays_it(operator, layout):
    for channels, height, width in ((1, 4, 6), (3, 1, 1), (3, 4, 6)):
        image = torch.zeros(2, channels, height, width)
        if layout == "channels_last":
            image = image.contiguous(memory_format=torch.channels_last)
        elif layout == "transposed":
            image = image.transpose(2, 3)
        real = operator(image, [8, 12], False)
        shown = tracing._SHAPES[operator](image.to("meta"), [8, 12], False)
        assert (shown.shape, shown.stride()) == (real.shape, real.stride())


class Keeps(nn.Module):
    """Keeps something of every call, so that memory grows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.kept: list[Tensor] = []

    def forward(self, frame: Tensor) -> Tensor:
        self.kept.append(self.conv(frame))
        return 2 * frame


class Passing(nn.Module):
    """Makes a module for each call, of which the next may lie where it lay."""

    def forward(self, frame: Tensor) -> Tensor:
        for _ in range(4):
            nn.Upsample(scale_factor=2)(frame)
        return torch.cat((nn.Upsample(scale_factor=4)(frame), frame.new_empty(0, 3, 32, 32)))


class PerFrame(nn.Module):
    """Calls a module once per frame."""

    def __init__(self, step: nn.Module) -> None:
        super().__init__()
        self.step = step

    def forward(self, lrs: Tensor, probe: StageProbe) -> Tensor:
        with probe(PROPAGATION):
            return [self.step(frame) for frame in lrs.unbind(1)][-1]


@pytest.mark.parametrize("step", [Keeps, Passing])
def test_calls_that_only_look_alike_are_run(step):
    assert traced(PerFrame(step()), 1, 8, 3, 8, 8) == traced(PerFrame(step()), 1, 8, 3, 8, 8, device="cpu")


PROCESS = """
import torch
from pathlib import Path
from bench.measure import tracing
from bench.measure.tracing import Tracer
from vsr_model import build_network
network = build_network("basicvsr", mid_channels=32, num_blocks=1)
def peak():  # of this program; getrusage's is that of the process that was forked, too
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
lrs = torch.zeros(1, 4, 3, 128, 128)
with torch.inference_mode():
    network(lrs[:, :1, :, :16, :16])  # libraries are loaded
    before = peak()
    network(lrs)
    print(peak() - before)
"""


def test_a_process_grows_by_what_was_traced():
    """At least by the tensors of the call, all of which are written, and by no other order of magnitude."""
    done = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, text=True, check=True)
    grown = int(done.stdout)
    network = build_network("basicvsr", mid_channels=32, num_blocks=1)
    costs = traced(network, 1, 4, 3, 128, 128)
    held = sum(p.numel() * p.element_size() for p in network.parameters()) + 4 * 4 * 3 * 128 * 128
    expected = max(cost.peak_bytes for cost in costs.values()) - held
    assert 0.8 * expected < grown < 3 * expected
