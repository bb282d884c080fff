"""benchmarks/peers: the plain network's answer, others' adapters, the turns and the command."""

import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from bench.grid.backend_spec import CPU
from bench.measure.backends import CpuDevice
from bench.measure.output_check import OutputError
from benchmarks import common
from benchmarks.peers import command
from benchmarks.peers.command import COLUMNS, Contestant, order_of, page_table, take_turns
from benchmarks.peers.others import PEERS, AbsentError, peer_with_weights
from benchmarks.peers.plain import PlainBasicVSR
from tests import golden
from tests.networks import build_basicvsr
from vsr_model.checkpoint import load_checkpoint
from vsr_model.networks.basicvsr import BasicVSR

TINY = ("--size", "32x48", "--frames", "2", "--mid-channels", "4", "--num-blocks", "1", "--turns", "2")


# The plain network.


@pytest.mark.parametrize(("t", "height", "width"), [(3, 72, 100), (2, 64, 64), (1, 16, 40)])
def test_the_plain_network_is_the_network_bit_for_bit(t, height, width):
    weights = golden.weights(*golden.SIZES["tiny"])
    plain = PlainBasicVSR(*golden.SIZES["tiny"]).eval()
    plain.load_state_dict(weights)
    network = BasicVSR(*golden.SIZES["tiny"]).eval()
    load_checkpoint(network, weights)
    clip = golden.clip(t, height, width)
    with torch.inference_mode():
        torch.testing.assert_close(plain(clip), network(clip), rtol=0, atol=0)


def test_the_plain_network_gives_the_golden_output_with_every_weight_under_its_published_name():
    plain = PlainBasicVSR().eval()
    plain.load_state_dict(golden.weights(*golden.SIZES["full"]))
    with torch.inference_mode():
        output = plain(golden.clip(3, 72, 100))
    expected = torch.from_numpy(golden.load("full")["output_s7"])
    torch.testing.assert_close(output[..., ::7, ::7], expected, rtol=0, atol=1e-4)


# Others.


class FakeBasicSR(PlainBasicVSR):
    """Constructed as BasicSR's class is."""

    def __init__(self, num_feat: int = 64, num_block: int = 15, spynet_path: str | None = None) -> None:
        assert spynet_path is None
        super().__init__(num_feat, num_block)


class FakeMmagic(nn.Module):
    """Constructed as mmagic's class is, with its tensors' names."""

    def __init__(self, mid_channels: int, num_blocks: int, spynet_pretrained: str | None) -> None:
        super().__init__()
        assert spynet_pretrained is None
        self.names = {mmagic: basicsr for basicsr, mmagic, _ in golden.names()}
        self.inner = PlainBasicVSR(mid_channels, num_blocks)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        inner = self.inner.state_dict()
        return {name: inner[own] for name, own in self.names.items() if own in inner}

    def load_state_dict(self, state: Any, *args: Any, **kwargs: Any) -> Any:
        return self.inner.load_state_dict({self.names[name]: tensor for name, tensor in state.items()})

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.inner(clip)


def installed(monkeypatch, path: str, **content: Any) -> None:
    """A module of that path and the packages around it, as if they had been imported."""
    parts = path.split(".")
    for count in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:count]), ModuleType(".".join(parts[:count])))
    vars(sys.modules[path]).update(content)


def not_installed(monkeypatch, *packages: str) -> None:
    for package in packages:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Blind(packages), *sys.meta_path])


class Blind:
    """An importer for which these packages are not there."""

    def __init__(self, packages: tuple[str, ...]) -> None:
        self.packages = packages

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in self.packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("peer", "path", "content"),
    [
        ("basicsr", "basicsr.archs.basicvsr_arch", {"BasicVSR": FakeBasicSR}),
        ("mmagic", "mmagic.models.editors.basicvsr.basicvsr_net", {"BasicVSRNet": FakeMmagic}),
    ],
)
def test_a_peer_that_is_installed_gets_this_networks_weights(monkeypatch, peer, path, content):
    installed(monkeypatch, path, **content)
    network = build_basicvsr(4, 1, seed=3)
    theirs = peer_with_weights(PEERS[peer], network, 4, 1)
    assert not theirs.training
    with torch.inference_mode():
        clip = golden.clip(2, 32, 48)
        torch.testing.assert_close(theirs(clip), network(clip), rtol=0, atol=0)


def test_what_torchvision_dropped_is_there_while_basicsr_is_imported_and_gone_afterwards(monkeypatch):
    dropped = "torchvision.transforms.functional_tensor"
    not_installed(monkeypatch, "torchvision")
    installed(monkeypatch, "torchvision.transforms.functional", rgb_to_grayscale=object())
    seen = []

    def build(**_: Any) -> nn.Module:
        return PlainBasicVSR(4, 1)

    class Watching(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name != "BasicVSR":
                raise AttributeError(name)
            seen.append(sys.modules[dropped].rgb_to_grayscale)
            return build

    installed(monkeypatch, "basicsr.archs.basicvsr_arch")
    monkeypatch.setitem(sys.modules, "basicsr.archs.basicvsr_arch", Watching("watching"))
    peer_with_weights(PEERS["basicsr"], build_basicvsr(4, 1, seed=0), 4, 1)
    assert len(seen) == 1
    assert dropped not in sys.modules


def test_a_peer_that_is_not_there_says_so(monkeypatch):
    not_installed(monkeypatch, "basicsr", "mmagic")
    for name in ("basicsr", "mmagic"):
        with pytest.raises(AbsentError, match=f"^{name}: not installed$"):
            peer_with_weights(PEERS[name], nn.Identity(), 4, 1)


def broken(**_: Any) -> nn.Module:
    raise ModuleNotFoundError("No module named 'cv2'", name="cv2")


def refusing(**_: Any) -> nn.Module:
    raise TypeError("unexpected keyword argument")


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (broken, "installed, but not to be imported: ModuleNotFoundError: No module named 'cv2'"),
        (refusing, "installed, but not to be built: TypeError: unexpected"),
        (lambda **_: PlainBasicVSR(4, 2), "does not take this network's weights: KeyError"),
        (lambda **_: PlainBasicVSR(8, 1), "does not take this network's weights: RuntimeError"),
    ],
)
def test_a_peer_that_is_something_else_says_what_is_wrong(monkeypatch, build, said):
    installed(monkeypatch, "basicsr.archs.basicvsr_arch", BasicVSR=build)
    with pytest.raises(AbsentError, match=said):
        peer_with_weights(PEERS["basicsr"], build_basicvsr(4, 1, seed=0), 4, 1)


# Turns.


@pytest.mark.parametrize("count", [2, 3, 4])
def test_each_is_as_often_before_another_as_after_it_and_in_each_place(count):
    given = [Contestant(name=name, settings=CPU, call=nn.Identity()) for name in "abcd"[:count]]
    orders = [[item.name for item in order_of(given, turn)] for turn in range(2 * count)]
    for one in "abcd"[:count]:
        assert sorted(order.index(one) for order in orders) == sorted([*range(count), *range(count)])
        for other in "abcd"[:count]:
            before = sum(order.index(one) < order.index(other) for order in orders)
            assert one == other or before == count


def test_turns_call_each_once_and_time_it():
    clock = iter(range(100))
    given = [Contestant(name=name, settings=replace(CPU, threads=1), call=nn.Identity()) for name in "ab"]
    found = take_turns(given, torch.zeros(1), CpuDevice(), turns=2, clock=lambda: float(next(clock)))
    assert list(found.itertuples(index=False, name=None)) == [
        (0, 0, "a", 1.0), (0, 1, "b", 1.0), (1, 0, "b", 1.0), (1, 1, "a", 1.0),
    ]  # fmt: skip


def cells(line: str) -> list[str]:
    return [part.strip() for part in line.split("|")[1:-1]]


def test_the_table_has_ratios_of_calls_of_the_same_turn():
    # The machine slows down by a factor of eight; of each pair the ratio stays.
    rows = [
        (turn, 0, name, factor * wall_s)
        for turn, wall_s in enumerate([1.0, 2.0, 4.0, 8.0, 8.0, 8.0])
        for name, factor in (("plain", 3.0), ("basicsr", 3.0), ("cpu", 1.0))
    ]
    equal = OutputError(max_abs_error=0.0, psnr_db=float("inf"))
    close = OutputError(max_abs_error=1e-5, psnr_db=101.26)
    samples = pd.DataFrame(rows, columns=list(COLUMNS))
    lines = page_table(samples, {"plain": equal, "basicsr": equal, "cpu": close}).splitlines()
    assert cells(lines[0]) == [
        "network", "median, s", "times as fast as plain", "times as fast as basicsr", "largest error",
        "PSNR, dB",
    ]  # fmt: skip
    three = "3.000 (3.000 to 3.000)"
    assert cells(lines[2])[2:] == ["", "1.000 (1.000 to 1.000)", "0.0e+00", "equal"]
    assert cells(lines[-1]) == ["cpu", "6.0000", three, three, "1.0e-05", "101.3"]


# The command.


def test_the_command_measures_all_who_are_there_and_says_who_is_not(monkeypatch, tmp_path, capsys):
    installed(monkeypatch, "basicsr.archs.basicvsr_arch", BasicVSR=FakeBasicSR)
    not_installed(monkeypatch, "mmagic")
    channels_last = "{from: cpu, memory_format: channels_last}"
    output = tmp_path / "new" / "out"
    arguments = (*TINY, "--backend", "cpu", "--backend", channels_last, "--output", str(output))
    assert command.main(arguments) == 0
    said = capsys.readouterr().out
    assert said == (output / "peers.md").read_text()
    assert "Not there: mmagic: not installed." in said
    kept = common.read(output, command.NAME)
    names = ["plain", "basicsr", "cpu", "from: cpu, memory_format: channels_last"]
    assert list(kept.samples["network"][:4]) == names
    assert list(kept.samples["turn"]) == [0] * 4 + [1] * 4
    assert (kept.samples["wall_s"] > 0).all()
    assert kept.environment["arguments"]["output"] == "out"


def test_a_peer_whose_call_fails_is_left_out(monkeypatch, capsys):
    class Failing(FakeBasicSR):
        def forward(self, clip: torch.Tensor) -> torch.Tensor:
            raise AssertionError("the height must be at least 64")

    installed(monkeypatch, "basicsr.archs.basicvsr_arch", BasicVSR=Failing)
    not_installed(monkeypatch, "mmagic")
    assert command.main(TINY) == 0
    said = capsys.readouterr().out
    assert "basicsr: left out, its call failed: AssertionError: the height must be at least 64" in said
    assert [cells(line)[0] for line in said.splitlines() if line.startswith("|")][2:] == ["plain", "cpu"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--size", "64"), "--size 64: should be height x width"),
        (("--size", "8x64"), "both at least 16"),
        (("--backend", "cpu", "--backend", "cpu"), "two called 'cpu'"),
        (("--backend", "plain"), "'plain'"),
        (("--threads", "1", "--backend", "{from: cpu, threads: 2}"), "give --threads 2"),
        (("--backend", "{from: cpu, memory_plan: disk}"), "no memory_plan"),
        (("--backend", "{from: cpu, cuda_graph: true}"), "no queue of kernels"),
        (("--backend", "{from: cpu, processes: 2}"), "should be one process"),
        (("--checkpoint", "not-there.pth", "--output", "OUT"), "does not exist"),
        (("--output", "."), "is there already"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(arguments, said, tmp_path, capsys):
    output = tmp_path / "out"
    assert command.main((*TINY, *(text.replace("OUT", str(output)) for text in arguments))) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not output.exists()
