"""The compiled Winograd kernel against convolutions in float64; the network with it against the plain one."""

import copy
import ctypes
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.compiler import needs_compiler
from tests.networks import build_basicvsr, golden_basicvsr
from tests.textures import moving_texture
from vsr_model import build_network
from vsr_model.convolutions.winograd import build, kernel
from vsr_model.convolutions.winograd.kernel import (
    Step,
    image,
    padded,
    prepare,
    release_scratch,
    run,
    thread_bytes,
)
from vsr_model.convolutions.winograd.modules import use_winograd

WHY_NOT = build.unavailable()
KEPT = "" if WHY_NOT else build.library()._name
"""The compiled kernel's file."""

needs_kernel = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

LANES = {
    "AVX-512": ("-march=native",),
    "AVX2": ("-mavx2", "-mfma"),
    "SSE2": ("-march=x86-64",),
}


def has_lanes(name: str) -> bool:
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    flag = {"AVX-512": "avx512f", "AVX2": "avx2", "SSE2": "sse2"}[name]
    return platform.machine() == "x86_64" and flag in cpuinfo


@pytest.fixture(scope="module", params=LANES)
def library_of_lanes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The kernel compiled for another processor, which takes more or fewer values at once."""
    if not has_lanes(request.param):
        pytest.skip(f"no {request.param} here")
    flags = [flag for flag in build.FLAGS if not flag.startswith("-march")]
    path = tmp_path_factory.mktemp("lanes") / "kernel.so"
    build.compile_kernel(build.find_compiler(), path, [*flags, *LANES[request.param]])
    return build.declared(ctypes.CDLL(str(path)))


@pytest.fixture
def kernel_of_lanes(library_of_lanes: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "library", lambda: library_of_lanes)


def conv_of(channels_in: int, channels_out: int, kernel: int, seed: int = 0) -> nn.Conv2d:
    generator = torch.Generator().manual_seed(seed)
    conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)
    with torch.no_grad():
        conv.weight.normal_(std=(channels_in * kernel * kernel) ** -0.5, generator=generator)
        conv.bias.normal_(generator=generator)  # type: ignore[union-attr]
    return conv


def normal(*shape: int, seed: int = 1) -> Tensor:
    """Normally distributed, in the kernel's layout, with zeros in the channels that fill up."""
    n, channels, h, w = shape
    values = image(n, padded(channels), h, w).zero_()
    values[:, :channels] = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values


def exactly(conv: nn.Conv2d, inputs: Tensor) -> Tensor:
    assert conv.bias is not None
    values = inputs[:, : conv.in_channels].double()
    return F.conv2d(values, conv.weight.double(), conv.bias.double(), padding=conv.padding)  # type: ignore[arg-type]


# The root mean square of an error, of sums whose own is 1. Direct sums in float32 have some 1e-7.
ALLOWED = {3: 1e-5, 7: 6e-5}


@needs_compiler
@needs_kernel
@pytest.mark.parametrize("size", [3, 7])
@pytest.mark.parametrize(
    ("n", "channels_in", "channels_out", "h", "w"),
    [(1, 64, 64, 24, 24), (2, 16, 80, 17, 31), (1, 3, 5, 1, 1), (3, 33, 48, 2, 50), (1, 8, 32, 7, 6)],
)
def test_a_convolution_is_that_of_float64(
    kernel_of_lanes: None, size: int, n: int, channels_in: int, channels_out: int, h: int, w: int
) -> None:
    conv, inputs = conv_of(channels_in, channels_out, size), normal(n, channels_in, h, w)
    weights = prepare(conv)
    out = image(n, weights.channels_out, h, w).fill_(float("nan"))
    run([Step(weights=weights, image=inputs, out=out)])
    error = out[:, :channels_out].double() - exactly(conv, inputs)
    assert error.square().mean().sqrt() < ALLOWED[size]
    assert not out[:, channels_out:].any()


needs_bfloat16 = pytest.mark.skipif(
    build.bfloat16_unavailable() is not None, reason=str(build.bfloat16_unavailable())
)


@needs_bfloat16
@pytest.mark.parametrize(("channels_in", "channels_out", "h", "w"), [(64, 64, 24, 24), (5, 80, 9, 31)])
def test_a_convolution_of_bfloat16_factors(channels_in: int, channels_out: int, h: int, w: int) -> None:
    """The error is that of factors of eight bits; a missing term would be farther."""
    conv, inputs = conv_of(channels_in, channels_out, 3), normal(2, channels_in, h, w)
    weights = prepare(conv, in_bfloat16=True)
    assert weights.transformed.dtype == torch.bfloat16
    out = image(2, weights.channels_out, h, w)
    run([Step(weights=weights, image=inputs, out=out)])
    error = (out[:, :channels_out].double() - exactly(conv, inputs)).square().mean().sqrt()
    assert 1e-3 < error < 2e-2


@needs_bfloat16
def test_the_network_with_blocks_in_bfloat16() -> None:
    plain = golden_basicvsr()
    narrow = copy.deepcopy(plain)
    use_winograd(narrow, blocks_in_bfloat16=True)
    lrs = moving_texture(2, 33, 48, seed=0)[None]
    with torch.inference_mode():
        output, expected = narrow(lrs), plain(lrs)
    assert output.dtype == torch.float32
    assert 50 < psnr_db(output, expected) < 90


@needs_kernel
@pytest.mark.parametrize("slope", [0.0, 0.1, 1.0])
def test_a_shortcut_and_an_activation_are_fused(slope: float) -> None:
    conv, inputs, shortcut = conv_of(16, 16, 3), normal(1, 16, 9, 13), normal(1, 16, 9, 13, seed=2)
    expected = F.leaky_relu(exactly(conv, inputs) + shortcut.double(), slope)
    out = shortcut.clone()  # what is added may be where the sum goes
    run([Step(weights=prepare(conv), image=inputs, out=out, add=out, negative_slope=slope)])
    torch.testing.assert_close(out.double(), expected, atol=1e-4, rtol=0)


@needs_kernel
@pytest.mark.parametrize("channels", [16, 5])
def test_a_shuffled_convolution_is_pixel_shuffle(channels: int) -> None:
    conv, inputs = conv_of(16, 4 * channels, 3), normal(2, 16, 7, 10)
    weights = prepare(conv, shuffled=True)
    out = image(2, weights.channels_out // 4, 14, 20)
    run([Step(weights=weights, image=inputs, out=out, shuffled=True)])
    expected = F.pixel_shuffle(exactly(conv, inputs), 2)
    torch.testing.assert_close(out[:, :channels].double(), expected, atol=1e-4, rtol=0)


@needs_kernel
def test_steps_give_the_same_on_any_number_of_threads() -> None:
    conv, inputs = conv_of(16, 16, 3), normal(1, 16, 33, 40)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            first, second = torch.empty_like(inputs), torch.empty_like(inputs)
            weights = prepare(conv)
            run([Step(weights=weights, image=a, out=b) for a, b in ((inputs, first), (first, second))])
            results.append(second)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])  # a tile's sums do not depend on who makes it
    assert torch.equal(results[0], results[2])
    expected = exactly(conv, exactly(conv, inputs).float())
    torch.testing.assert_close(results[0].double(), expected, atol=1e-4, rtol=0)


def psnr_db(output: Tensor, reference: Tensor) -> float:
    return float(-10 * (output - reference).double().square().mean().log10())


@needs_kernel
@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ("full", (1, 2, 3, 48, 52)),
        ("tiny", (2, 2, 3, 17, 31)),
    ],
)
def test_the_network_gives_the_plain_networks_output(
    size: str, shape: tuple[int, int, int, int, int]
) -> None:
    plain = golden_basicvsr(size)
    by_winograd = copy.deepcopy(plain)
    use_winograd(by_winograd)
    lrs = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        output, expected = by_winograd(lrs), plain(lrs)
    assert output.shape == expected.shape
    assert output.is_contiguous()
    assert psnr_db(output, expected) > 100
    assert list(by_winograd.state_dict()) == list(plain.state_dict())
    by_winograd.load_state_dict(plain.state_dict())


def test_a_network_without_modules_to_replace_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^the kernel has no module of EGVSR to take the place of$"):
        use_winograd(build_network("egvsr", num_blocks=1))


def test_on_the_meta_device_no_kernel_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads' tiles, which the kernel allocates, are claimed."""
    monkeypatch.setattr(kernel, "library", None)
    monkeypatch.setattr(kernel, "bfloat16_unavailable", lambda: "there is none")
    with torch.device("meta"):
        release_scratch()
        network = build_basicvsr(8, 1).to("meta")
        use_winograd(network, blocks_in_bfloat16=True)
        assert network(torch.empty(1, 2, 3, 16, 16)).shape == (1, 2, 3, 64, 64)
    assert len(kernel._SCRATCH.kept["tiles"]) == torch.get_num_threads() * thread_bytes(64 + 256)
    release_scratch()


@needs_kernel
def test_features_are_not_overwritten_by_the_next_call() -> None:
    network = build_basicvsr(8, 1, seed=0)
    use_winograd(network)
    frame = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        features = network.propagation.forward_trunk(frame, torch.zeros(1, 8, 16, 16))
        before = features.clone()
        network.propagation.forward_trunk(1 - frame, features)
    assert torch.equal(features, before)


@needs_kernel
def test_modes_of_autograd_may_follow_each_other() -> None:
    release_scratch()
    network = build_basicvsr(8, 1, seed=0)
    use_winograd(network)
    lrs = torch.rand(1, 2, 3, 16, 16)
    outputs = []
    for mode in (torch.enable_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            outputs.append(network(lrs))
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    assert not any(kept.requires_grad for kept in kernel._SCRATCH.kept.values())


@needs_kernel
@pytest.mark.parametrize(
    ("inputs", "out"),
    [
        (image(1, 32, 8, 8), image(1, 16, 8, 8)),
        (image(1, 16, 8, 8), image(1, 16, 8, 7)),
        (torch.empty(1, 16, 8, 8), image(1, 16, 8, 8)),
        (image(1, 16, 8, 8).double(), image(1, 16, 8, 8)),
    ],
    ids=["channels", "size", "layout", "type"],
)
def test_images_that_do_not_fit_are_refused(inputs: Tensor, out: Tensor) -> None:
    with pytest.raises(ValueError, match=r"An image should be \(1, 16, 8, 8\), channels_last and float32"):
        run([Step(weights=prepare(conv_of(16, 16, 3)), image=inputs, out=out)])


# Building ---------------------------------------------------------------------------------------------------


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty cache folder, and no library in this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build.library.cache_clear()
    build.unavailable.cache_clear()
    yield tmp_path / "cache" / "vsr-bench"
    build.library.cache_clear()
    build.unavailable.cache_clear()


def compiler(folder: Path, script: str) -> str:
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@needs_compiler
@needs_kernel
def test_the_kernel_is_compiled_once(anew: Path) -> None:
    build.library()
    [kept] = anew.iterdir()
    made = kept.stat().st_mtime_ns
    build.library.cache_clear()
    build.library()
    assert [path.stat().st_mtime_ns for path in anew.iterdir()] == [made]
    assert anew.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'x.cpp:1: error: what?' >&2; exit 1", r"cannot compile the kernel \(x.cpp:1: error: what"),
        ('while [ "$1" != -o ]; do shift || exit 0; done; echo no library > "$2"', "be made or loaded"),
    ],
)  # fmt: skip
def test_a_compiler_that_fails(
    anew: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    monkeypatch.setenv("CXX", compiler(tmp_path, script))
    monkeypatch.setattr(build.tempfile, "gettempdir", lambda: str(tmp_path))  # type: ignore[attr-defined]
    with pytest.raises(build.Unavailable, match=why):
        build.library()
    assert why.partition(r" \(")[0] in (build.unavailable() or "")


@needs_compiler
@needs_kernel
def test_products_in_bfloat16_are_refused_where_there_are_none(
    library_of_lanes: ctypes.CDLL, kernel_of_lanes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library_of_lanes.vsr_has_bfloat16():
        pytest.skip("these instructions have them")
    monkeypatch.setattr(build, "library", lambda: library_of_lanes)
    with pytest.raises(build.Unavailable, match="no AVX512_BF16"):
        prepare(conv_of(16, 16, 3), in_bfloat16=True)


def test_a_compiler_may_have_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", f"{sys.executable} -O1 -g")
    assert build.find_compiler() == [sys.executable, "-O1", "-g"]


def test_no_compiler(anew: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    garbage = Path(compiler(tmp_path, ""))
    garbage.write_bytes(b"\x7fELF no more")
    for name, reason in (
        (str(garbage), f"{garbage} cannot be run ("),
        ("no-such-compiler", "no C++ compiler (CXX is no-such-compiler, which is no program here)"),
        ("", "no C++ compiler (none of c++, g++, clang++)"),
    ):
        monkeypatch.setenv("CXX", name)
        monkeypatch.setenv("PATH", "")
        build.library.cache_clear()
        build.unavailable.cache_clear()
        assert (build.unavailable() or "").startswith(reason)


def no_home(_cache: Path, patched: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    patched.delenv("XDG_CACHE_HOME")
    patched.setattr(Path, "home", none)


def a_link(cache: Path, _patched: pytest.MonkeyPatch) -> None:
    (cache.parent / "elsewhere").mkdir(mode=0o700, parents=True)
    cache.symlink_to(cache.parent / "elsewhere")


def writable_by_others(cache: Path, _patched: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    cache.chmod(0o777)


def without_loading(cache: Path, patched: pytest.MonkeyPatch) -> None:
    load = ctypes.CDLL

    def refusing(path: str) -> ctypes.CDLL:
        if path.startswith(str(cache)):
            raise OSError("failed to map segment from shared object")
        return load(path)

    patched.setattr(build.ctypes, "CDLL", refusing)  # type: ignore[attr-defined]


@needs_compiler
@needs_kernel
@pytest.mark.parametrize("cache_is", [no_home, a_link, writable_by_others, without_loading])
def test_an_unusable_cache_is_passed_over(
    anew: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cache_is: Callable[[Path, pytest.MonkeyPatch], None],
) -> None:
    monkeypatch.setattr(build, "compile_kernel", lambda _compiler, path: shutil.copy(KEPT, path))
    monkeypatch.setattr(build.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))  # type: ignore[attr-defined]
    cache_is(anew, monkeypatch)
    assert build.unavailable() is None
    assert [path.suffix for path in (tmp_path / "temporary").glob("*/*")] == [".so"]
    if cache_is is not without_loading:
        assert not list(tmp_path.glob("cache/**/*.so"))


@needs_kernel
def test_floating_point_stays_as_it_is() -> None:
    """A library built with -ffast-math makes its process flush small numbers to zero."""
    script = (
        "import torch; from vsr_model.convolutions.winograd.build import library; library(); "
        "print(float(torch.tensor(1e-40) * 0.5) > 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True", done.stderr
