"""Any torch module as a network with stages."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.networks import Spans
from vsr_model.adapted import Adapted
from vsr_model.errors import BadInput


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, frame: Tensor) -> Tensor:
        return self.conv(frame)


class Frames(nn.Module):
    """Enlarges frames (n, 3, h, w) by two."""

    def __init__(self) -> None:
        super().__init__()
        self.head = Block()
        self.body = nn.Sequential(Block(), Block())
        self.tail = Block()

    def forward(self, frame: Tensor) -> Tensor:
        features = self.body(self.head(frame))
        return self.tail(F.interpolate(features, scale_factor=2))


class Clips(nn.Module):
    def __init__(self, *, as_dict: bool = False) -> None:
        super().__init__()
        self.frames = Frames()
        self.as_dict = as_dict

    def forward(self, lrs: Tensor) -> Tensor | dict[str, Tensor]:
        out = torch.stack([self.frames(frame) for frame in lrs.unbind(1)], 1)
        return {"sr": out, "loss": out.mean()} if self.as_dict else out


class Windows(nn.Module):
    """The mean of a window (n, w, 3, h, w), enlarged."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = Frames()
        self.seen: list[Tensor] = []

    def forward(self, window: Tensor) -> Tensor:
        self.seen.append(window)
        return self.frames(window.mean(1))


def adapted(module: nn.Module, stages: dict[str, tuple[str, ...]], **options: object) -> Adapted:
    return Adapted(module, title="mine", stages=stages, scale=2, **options)  # type: ignore[arg-type]


LRS = torch.rand(2, 3, 3, 8, 10, generator=torch.Generator().manual_seed(0))


def test_stages_are_spans_of_their_submodules_in_the_order_of_calls():
    network = adapted(Frames(), {"features": ("head", "body"), "upsampling": ("tail",)}, takes="frame")
    spans = Spans()
    output = network(LRS, spans)
    assert spans.stages == ["features", "features", "upsampling"] * 3
    assert torch.equal(output, network(LRS))
    assert output.shape == (2, 3, 3, 16, 20)


def test_calls_within_a_stage_count_once():
    network = adapted(Frames(), {"all": ("body", "body.*", "head")}, takes="frame")
    spans = Spans()
    network(LRS[:, :1], spans)
    assert spans.stages == ["all", "all"]


def test_a_submodule_of_two_stages_counts_for_the_one_that_is_open():
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Block()
            self.outer = nn.Sequential(self.block, Block())
            self.up = nn.Upsample(scale_factor=2)

        def forward(self, frame: Tensor) -> Tensor:
            return self.up(self.block(self.outer(frame)))

    spans = Spans()
    adapted(Shared(), {"first": ("outer",), "second": ("block", "up")}, takes="frame")(LRS[:, :1], spans)
    assert spans.stages == ["first", "second", "second"]


@pytest.mark.parametrize("fails", [False, True])
def test_hooks_end_with_the_call(fails):
    class Fails(Frames):
        def forward(self, frame: Tensor) -> Tensor:
            return self.tail(frame[:, :1])

    network = adapted(Fails() if fails else Frames(), {"tail": ("tail",)}, takes="frame")
    spans = Spans()
    with pytest.raises(RuntimeError) if fails else nullcontext():
        network(LRS, spans)
    assert spans.open is None
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("ends", "frames", "expected"),
    [
        ("mirror", 4, [[2, 1, 0, 1, 2], [1, 0, 1, 2, 3], [0, 1, 2, 3, 2], [1, 2, 3, 2, 1]]),
        ("repeat", 3, [[0, 0, 0, 1, 2], [0, 0, 1, 2, 2], [0, 1, 2, 2, 2]]),
        ("mirror", 2, [[0, 1, 0, 1, 0], [1, 0, 1, 0, 1]]),
        ("mirror", 1, [[0, 0, 0, 0, 0]]),
    ],
)
def test_windows_are_filled_beyond_the_ends(ends, frames, expected):
    module = Windows()
    lrs = torch.arange(frames).view(1, -1, 1, 1, 1).expand(1, frames, 3, 8, 8).float()
    output = adapted(module, {"all": ("frames",)}, takes="window", ends=ends)(lrs)
    assert output.shape == (1, frames, 3, 16, 16)
    assert [window[0, :, 0, 0, 0].tolist() for window in module.seen] == expected


def test_the_output_is_taken_from_a_dict_by_its_key():
    stages = {"all": ("frames",)}
    plain = Clips()
    wrapped = Clips(as_dict=True)
    wrapped.load_state_dict(plain.state_dict())
    assert torch.equal(adapted(wrapped, stages, output="sr")(LRS), adapted(plain, stages)(LRS))
    with pytest.raises(BadInput, match="a dict with 'sr', 'loss' comes out, and a tensor is needed"):
        adapted(wrapped, stages)(LRS)
    with pytest.raises(BadInput, match="output: 'hr' is not in what comes out, a dict"):
        adapted(wrapped, stages, output="hr")(LRS)


def test_another_shape_than_scale_says_is_refused():
    network = Adapted(Clips(), title="mine", stages={"all": ("frames",)}, scale=4)
    with pytest.raises(BadInput, match=r"scale: 4 makes .*, and \(2, 3, 3, 16, 20\) comes out"):
        network(LRS)


def test_a_narrow_dtype_casts_the_whole_module():
    network = adapted(Clips(), {"all": ("frames",)})
    plain = network(LRS)
    network.cast_features(torch.bfloat16)
    output = network(LRS)
    assert output.dtype == torch.float32
    assert 0 < (output - plain).abs().max() < 0.1


class CallsItself(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def __call__(self, frame: Tensor) -> Tensor:
        return self.conv(frame)


def compiled() -> nn.Module:
    module = Block()
    module._compiled_call_impl = module._call_impl  # as `module.compile()` leaves it, without a compiler
    return module


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"body": ("bodi",)}, r"stages: body: 'bodi' is no submodule of Frames \(did you mean 'body'\?\)"),
        ({"body": ("up*",)}, r"'up\*' is no submodule of Frames; its own are head, body, tail"),
        ({"a": ("body",), "b": ("body.0",)}, r"stages: b: 'body\.0' lies inside 'body', which is of a"),
    ],
)
def test_bad_stages_are_refused(stages, message):
    with pytest.raises(BadInput, match=message):
        adapted(Frames(), stages)


@pytest.mark.parametrize(
    ("make", "message"), [(CallsItself, "overrides __call__ in CallsItself"), (compiled, "was compiled")]
)
def test_submodules_whose_hooks_would_not_fire_are_refused(make, message):
    module = Frames()
    module.body = make()
    with pytest.raises(BadInput, match=f"stages: 'body' {message}"):
        adapted(module, {"body": ("body",)})


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.alias = self.blocks[0]

    def forward(self, frame: Tensor) -> Tensor:
        for block in self.blocks:
            frame = block(frame)
        return F.interpolate(frame, scale_factor=2)


class Recompiled(Blocks):
    def __init__(self) -> None:
        super().__init__()
        self.forward = torch.compile(self.forward, backend="eager")  # type: ignore[method-assign]


@pytest.mark.parametrize("patterns", [("blocks",), ("block*",)])
def test_a_container_stands_for_what_is_in_it(patterns):
    network, spans = adapted(Blocks(), {"all": patterns}, takes="frame"), Spans()
    network(torch.zeros(1, 1, 3, 8, 8), spans)
    assert spans.stages == ["all", "all"]
    assert network.uncalled() == []
    assert set(network.facts.compiled) == {"module.blocks.0", "module.blocks.1"}


def test_a_network_whose_forward_was_compiled_is_refused():
    with pytest.raises(BadInput, match=r"'blocks\.0' lies in the network, which was compiled"):
        adapted(Recompiled(), {"all": ("blocks",)})


def test_the_work_of_other_hooks_is_the_stages():
    module, spans = Frames(), Spans()
    module.head.register_forward_pre_hook(lambda *_: seen.append(spans.open))
    seen: list[str | None] = []
    adapted(module, {"head": ("head",)}, takes="frame")(torch.zeros(1, 1, 3, 8, 8), spans)
    assert seen == ["head"]
