"""benchmarks/peers: the plain network's answer, others' adapters, the turns and the command."""

import csv
import errno
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from bench.grid.backend_spec import CPU
from bench.measure.backends import CpuDevice
from bench.measure.output_check import OutputError
from bench.measure.timing import Timed
from benchmarks.peers import command
from benchmarks.peers.figures import page_table, seconds_of, speeds
from benchmarks.peers.others import PEERS, AbsentError, peer_with_weights
from benchmarks.peers.plain import PlainBasicVSR
from benchmarks.peers.turns import Contestant, Turn, order_of, take_turns
from tests import golden
from vsr_model.basicvsr import BasicVSR
from vsr_model.checkpoint import load_checkpoint
from vsr_model.initialise import build_basicvsr

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


def contestants(*names: str, calls: list[str] | None = None) -> list[Contestant]:
    def call_of(name: str) -> Any:
        def call(clip: torch.Tensor) -> torch.Tensor:
            assert torch.is_inference_mode_enabled()
            if calls is not None:
                calls.append(name)
            return clip

        return call

    return [Contestant(name=name, settings=replace(CPU, threads=1), call=call_of(name)) for name in names]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_each_is_as_often_before_another_as_after_it_and_in_each_place(count):
    given = contestants(*"abcd"[:count])
    orders = [[item.name for item in order_of(given, turn)] for turn in range(2 * count)]
    for one in "abcd"[:count]:
        assert sorted(order.index(one) for order in orders) == sorted([*range(count), *range(count)])
        for other in "abcd"[:count]:
            before = sum(order.index(one) < order.index(other) for order in orders)
            assert one == other or before == count


def test_turns_call_each_once_and_time_it():
    calls: list[str] = []
    clock = iter(range(100))
    given = contestants("a", "b", calls=calls)
    turns = list(take_turns(given, torch.zeros(1), CpuDevice(), turns=2, clock=lambda: float(next(clock))))
    assert calls == ["a", "b", "b", "a"]
    assert [(turn.turn, turn.place, turn.contestant, turn.span.wall_s) for turn in turns] == [
        (0, 0, "a", 1.0),
        (0, 1, "b", 1.0),
        (1, 0, "b", 1.0),
        (1, 1, "a", 1.0),
    ]


# Figures.


def turn(number: int, name: str, wall_s: float) -> Turn:
    return Turn(turn=number, place=0, contestant=name, span=Timed(start_s=0.0, wall_s=wall_s))


def test_a_ratio_is_of_calls_of_the_same_turn():
    # The machine slows down by a factor of eight; of each pair the ratio stays.
    walls = [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    turns = [item for i, s in enumerate(walls) for item in (turn(i, "ours", s), turn(i, "plain", 3 * s))]
    (found,) = speeds(seconds_of(turns), ["plain"])
    assert (found.contestant, found.base, found.turns) == ("ours", "plain", 6)
    assert (found.low, found.ratio, found.high) == (3.0, 3.0, 3.0)
    (few,) = speeds(seconds_of(turns[:10]), ["plain"])
    assert (few.low, few.high) == (None, None)


def test_the_table_has_a_row_each_and_a_column_for_each_peer():
    seconds = {"plain": [2.0], "basicsr": [2.0], "cpu": [1.0]}
    errors = {
        "plain": OutputError(max_abs_error=0.0, psnr_db=float("inf")),
        "cpu": OutputError(max_abs_error=1e-5, psnr_db=101.26),
    }
    lines = page_table(seconds, speeds(seconds, ["plain", "basicsr"]), errors).splitlines()
    assert [part.strip() for part in lines[0].split("|")[1:-1]] == [
        "network", "median, s", "times as fast as plain", "times as fast as basicsr", "largest error",
        "PSNR, dB",
    ]  # fmt: skip
    assert [part.strip() for part in lines[-1].split("|")[1:-1]] == [
        "cpu", "1.0000", "2.000", "2.000", "1.0e-05", "101.3",
    ]  # fmt: skip
    assert [part.strip() for part in lines[2].split("|")[1:-1]][2:] == ["", "1.000", "0.0e+00", "equal"]


# The command.


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_command_measures_all_who_are_there_and_says_who_is_not(monkeypatch, tmp_path, capsys):
    installed(monkeypatch, "basicsr.archs.basicvsr_arch", BasicVSR=FakeBasicSR)
    not_installed(monkeypatch, "mmagic")
    channels_last = "{from: cpu, memory_format: channels_last}"
    output = tmp_path / "new" / "out"
    arguments = (*TINY, "--backend", "cpu", "--backend", channels_last, "--output", str(output))
    assert command.main(arguments) == 0
    said = capsys.readouterr()
    assert "mmagic: not installed" in said.err
    assert said.out == (output / "peers.md").read_text()
    assert "Not there: mmagic: not installed." in said.out
    assert "all are of one process, and the ratio in the next may lie outside it" in said.out
    rows = rows_of(output / "turns.csv")
    names = ["plain", "basicsr", "cpu", "from: cpu, memory_format: channels_last"]
    assert [row["network"] for row in rows[:4]] == names
    assert [row["turn"] for row in rows] == ["0"] * 4 + ["1"] * 4
    assert all(float(row["wall_s"]) > 0 for row in rows)
    pairs = [(row["network"], row["base"]) for row in rows_of(output / "speeds.csv")]
    assert pairs == [(name, base) for base in ("plain", "basicsr") for name in names if name != base]
    described = json.loads((output / "environment.json").read_text())
    assert described["arguments"]["output"] == "out"


def test_a_peer_whose_call_fails_is_left_out(monkeypatch, capsys):
    class Failing(FakeBasicSR):
        def forward(self, clip: torch.Tensor) -> torch.Tensor:
            raise AssertionError("the height must be at least 64")

    installed(monkeypatch, "basicsr.archs.basicvsr_arch", BasicVSR=Failing)
    assert command.main((*TINY, "--peers", "basicsr")) == 0
    said = capsys.readouterr()
    reason = "basicsr: left out, its call failed: AssertionError: the height must be at least 64"
    assert reason in said.err
    assert [line.split("|")[1].strip() for line in said.out.splitlines() if line.startswith("|")] == [
        "network", "-------", "plain", "cpu",
    ]  # fmt: skip


class Ending(PlainBasicVSR):
    """Is called three times: twice first, and in one turn."""

    def __init__(self, num_feat: int, num_block: int, spynet_path: None) -> None:
        super().__init__(num_feat, num_block)
        self.calls = 0

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls > 3:
            raise KeyboardInterrupt
        return super().forward(clip)


def test_turns_are_kept_as_they_come(monkeypatch, tmp_path):
    installed(monkeypatch, "basicsr.archs.basicvsr_arch", BasicVSR=Ending)
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        command.main((*TINY, "--peers", "basicsr", "--output", str(output)))
    rows = rows_of(output / "turns.csv")
    assert [(row["turn"], row["network"]) for row in rows] == [
        ("0", "plain"), ("0", "basicsr"), ("0", "cpu"),
    ]  # fmt: skip
    assert [item.name for item in output.iterdir()] == ["turns.csv"]


@pytest.mark.parametrize("name", ["turns.csv", "peers.md"])
def test_earlier_results_are_not_written_over(name, tmp_path, capsys):
    (tmp_path / name).write_text("earlier")
    assert command.main((*TINY, "--peers", "plain", "--output", str(tmp_path))) == 2
    assert capsys.readouterr().err == (
        f"--output {tmp_path}: holds earlier results ({name}); give a new folder\n"
    )
    assert [item.read_text() for item in tmp_path.iterdir()] == ["earlier"]


def test_a_comparison_that_is_refused_leaves_no_results(tmp_path):
    assert command.main((*TINY, "--output", str(tmp_path), "--checkpoint", "not-there.pth")) == 2
    assert list(tmp_path.iterdir()) == []


def test_what_the_system_refuses_is_one_line(monkeypatch, tmp_path, capsys):
    def refuse(folder: Path, *_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "speeds.csv"))

    monkeypatch.setattr(command, "write", refuse)
    output = tmp_path / "out"
    assert command.main((*TINY, "--peers", "plain", "--output", str(output))) == 2
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == f"{output / 'speeds.csv'}: No space left on device"
    assert said.out == ""
    assert len(rows_of(output / "turns.csv")) == 4


@pytest.mark.parametrize("seed", ["-1", str(2**63), "9" * 400, "1.5", "one"])
def test_a_seed_that_no_generator_takes_is_refused(seed, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main((*TINY, "--peers", "plain", f"--seed={seed}"))
    assert ended.value.code == 2
    assert f"{seed} is not a whole number from 0 to {2**63 - 1}\n" in capsys.readouterr().err


def test_the_greatest_seed_is_one():
    given = command.parser().parse_args(["--seed", str(2**63 - 1)])
    assert command.clip_of("16x16", 2, 1, given.seed).shape == (2, 1, 3, 16, 16)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--size", "64"), "--size 64: should be height x width"),
        (("--size", "8x64"), "both at least 16"),
        (("--peers", "plain,tensorflow"), "there is no 'tensorflow'; there are plain, basicsr, mmagic"),
        (("--backend", "cpu", "--backend", "cpu"), "two called 'cpu'"),
        (("--backend", "plain"), "'plain'"),
        (("--threads", "1", "--backend", "{from: cpu, threads: 2}"), "give --threads 2"),
        (("--backend", "{from: cpu, memory_plan: disk}"), "no whole output"),
        (("--backend", "{from: cpu, cuda_graph: true}"), "no queue of kernels"),
        (("--backend", "{from: cpu, processes: 2}"), "leave processes out"),
        (("--checkpoint", "not-there.pth"), "does not exist"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(arguments, said, tmp_path, capsys):
    assert command.main((*TINY, "--peers", "plain", *arguments)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
