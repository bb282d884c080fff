"""`python -m benchmarks.peers`: this project's network, and others', in turns on the same weights and input.

The plain transcription of the published network (benchmarks.peers.plain) is always among them; BasicSR and
mmagic are if they are installed.
"""

import argparse
import gc
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

import pandas as pd
import torch
from torch import Tensor

from bench.grid.backend_spec import BUILT_IN, Backend, resolve
from bench.grid.config import backend_of
from bench.machine import environment
from bench.measure import backends, output_check, workload
from bench.measure.backends import Device
from bench.measure.draft import in_words
from bench.measure.timing import MONOTONIC, Clock, timed
from bench.reporting.markdown import escape
from bench.stats.intervals import paired_ratio
from benchmarks import common
from benchmarks.common import Evidence
from benchmarks.peers.others import PEERS, PLAIN, AbsentError, peer_with_weights
from vsr_model import media
from vsr_model.checkpoint import load_checkpoint
from vsr_model.errors import BadInput
from vsr_model.network import Network
from vsr_model.networks.basicvsr import BasicVSR
from vsr_model.registry import build_network
from vsr_model.stages import no_probe

NAME: Final = "peers"
COLUMNS: Final = ("turn", "place", "network", "wall_s")

WARMUP_CALLS: Final = 2
"""Of each, before what counts: the first makes what later ones find, the second finds it."""


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A network as a call from a clip (n, t, 3, h, w) to its output, and the settings it is called under."""

    name: str
    settings: Backend
    call: Callable[[Tensor], Tensor]


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status."""
    options = parser().parse_args(arguments)
    try:
        ours = backends_of(options.backend or ["cpu"], options.threads)
        clip = clip_of(options.size, options.batch, options.frames)
        if options.output is not None and options.output.exists():
            raise BadInput(f"--output {options.output}: is there already; give a new folder")
        evidence, table = compare(ours, clip, options)
        if options.output is not None:
            common.keep(evidence, options.output, NAME)
            (options.output / "peers.md").write_text(table, encoding="utf-8")
    except (BadInput, OSError) as error:
        common.say(str(error))
        return 2
    print(table, end="")  # noqa: T201
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    made.add_argument("--size", default="64x64", help="height x width of the input [default: 64x64]")
    made.add_argument("--frames", type=_positive, default=10, help="[default: 10]")
    made.add_argument("--batch", type=_positive, default=1, help="clips in one call [default: 1]")
    made.add_argument(
        "--backend", action="append", help="of ours, as in a grid; may be repeated [default: cpu]"
    )
    made.add_argument("--turns", type=_positive, default=11, help="calls of each that count [default: 11]")
    made.add_argument("--threads", type=_positive, help="the same for all [default: PyTorch's choice]")
    made.add_argument("--mid-channels", type=_positive, default=64, help="[default: 64]")
    made.add_argument("--num-blocks", type=_positive, default=30, help="[default: 30]")
    made.add_argument("--checkpoint", help="weights; without it, seeded ones")
    made.add_argument("--output", type=Path, help="new folder for the table, the samples and the machine")
    return made


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return value


def backends_of(texts: Sequence[str], threads: int | None) -> dict[str, Backend]:
    """Return ours by name, all on one device and in as many threads. Raises BadInput for others."""
    threads = threads or backends.thread_count()
    found: dict[str, Backend] = {}
    for text in texts:
        backend = resolve(backend_of(text))
        name = text.strip().strip("{}").strip() if backend.name == "backend" else backend.name
        if name in found or name in PEERS:
            raise BadInput(f"--backend {text}: there are two called {name!r}; give each a name of its own")
        if backend.threads not in (None, threads):
            raise BadInput(
                f"--backend {text}: threads are the same for all; give --threads {backend.threads}"
            )
        if backend.is_divided or backend.memory_plan is not None:
            raise BadInput(f"--backend {text}: should be one process, and no memory_plan, as peers are")
        if reason := backends.unavailable(backend):
            raise BadInput(f"--backend {text}: {reason}")
        found[name] = replace(backend, threads=threads)
    devices = {str(backends.device_of(backend).torch_device) for backend in found.values()}
    if len(devices) > 1:
        raise BadInput(f"--backend: all should be on one device, not on {', '.join(sorted(devices))}")
    return found


def clip_of(size: str, batch: int, frames: int) -> Tensor:
    """A moving texture (n, t, 3, h, w) on the host, every clip of the batch another. Raises BadInput."""
    read = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size, re.ASCII)
    least = BasicVSR.facts.min_size
    if read is None or min(map(int, read.groups())) < least:
        raise BadInput(f"--size {size}: should be height x width as in 64x64, both at least {least}")
    height, width = map(int, read.groups())
    return torch.stack([media.moving_texture(frames, height, width, i) for i in range(batch)])


def compare(ours: Mapping[str, Backend], clip: Tensor, options: argparse.Namespace) -> tuple[Evidence, str]:
    """Build all, compare what they give, call them in turns; the samples and the page."""
    told: list[str] = []
    backend = next(iter(ours.values()))
    device = backends.device_of(backend)
    device.create_context()
    lrs = clip.to(device.torch_device)
    contestants = []
    for name in PEERS:
        as_published = BUILT_IN["cudnn" if backend.is_cuda else "cpu"]
        settings = replace(as_published, device=backend.device, threads=backend.threads)
        try:
            peer = peer_with_weights(PEERS[name], _network(options), options.mid_channels, options.num_blocks)
        except AbsentError as error:
            told.append(str(error))
            continue
        contestants.append(Contestant(name=name, settings=settings, call=peer.to(device.torch_device)))
    for name, settings in ours.items():
        contestants.append(Contestant(name=name, settings=settings, call=_call(_network(options), settings)))
    outputs = first_outputs(contestants, lrs, told)
    errors = {name: output_check.compare(output, outputs[PLAIN]) for name, output in outputs.items()}
    able = [one for one in contestants if one.name in errors]
    del outputs
    samples = take_turns(able, lrs, device, turns=options.turns)
    described = {**environment.collect(backends.describe_devices(), {}), "arguments": vars_of(options)}
    evidence = Evidence(samples=samples, environment=described)
    n, t, _, height, width = clip.shape
    lines = [
        page_table(samples, errors),
        f"{n} clip(s) of {t} frames, {height} x {width}; {options.mid_channels} channels, "
        f"{options.num_blocks} blocks; {options.turns} turns, in which each network was called once. Ratios "
        "are of calls of the same turn, with the 95 % interval of their median: all are of one process, and "
        "the ratio in the next may lie outside it. Errors are against the plain network's output.",
        *([f"Not there: {'; '.join(told)}."] if told else []),
        evidence.source,
    ]
    return evidence, "\n\n".join(lines) + "\n"


def _network(options: argparse.Namespace) -> Network:
    network = build_network(
        "basicvsr", seed=0, mid_channels=options.mid_channels, num_blocks=options.num_blocks
    )
    if options.checkpoint is not None:
        load_checkpoint(network, options.checkpoint)
    return network


def _call(network: Network, backend: Backend) -> Callable[[Tensor], Tensor]:
    with backends.applied(backend):
        prepared = workload.prepare(network, backend, backends.device_of(backend).torch_device)
    forward = workload.forward_of(prepared, backend=backend)
    return lambda clip: forward(clip, no_probe)


def vars_of(options: argparse.Namespace) -> dict[str, object]:
    """The command line as data; files by their name alone, since a path may name a person."""
    return {
        name: Path(value).name if name in ("output", "checkpoint") and value is not None else value
        for name, value in vars(options).items()
    }


def order_of(contestants: Sequence[Contestant], turn: int) -> list[Contestant]:
    """Who is called when in a turn: over a multiple of twice as many turns as contestants, each as often
    before another as after it, and as often in each place."""
    count = len(contestants)
    start = turn % count
    order = [*contestants[start:], *contestants[:start]]
    return order[::-1] if turn // count % 2 else order


def first_outputs(contestants: Sequence[Contestant], lrs: Tensor, told: list[str]) -> dict[str, Tensor]:
    """Call all before what counts; the outputs, on the host, of those that can be called.

    `told` gets a sentence for each that cannot. Raises what the plain network raises.
    """
    outputs: dict[str, Tensor] = {}
    for one in contestants:
        try:
            for _ in range(WARMUP_CALLS):
                with backends.applied(one.settings), torch.inference_mode():
                    output = one.call(lrs)
                # A network that uses its output's memory again has lent it, no more.
                outputs[one.name] = output.to("cpu", torch.float32, copy=True)
            if output.shape != outputs[PLAIN].shape:
                raise ValueError(f"its output is {tuple(output.shape)}")
        except Exception as error:
            if one.name == PLAIN:
                raise
            outputs.pop(one.name, None)
            told.append(f"{one.name}: left out, its call failed: {in_words(error)}")
    return outputs


def take_turns(
    contestants: Sequence[Contestant], lrs: Tensor, device: Device, *, turns: int, clock: Clock = MONOTONIC
) -> pd.DataFrame:
    """Every contestant's call, turn by turn, timed with the device waited for on both sides."""
    rows = []
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for turn in range(turns):
            common.say(f"turn {turn + 1} of {turns}")
            for place, one in enumerate(order_of(contestants, turn)):
                with backends.applied(one.settings), torch.inference_mode():
                    output, span = timed(lambda: one.call(lrs), device=device, clock=clock)  # noqa: B023
                del output  # not two at once
                rows.append((turn, place, one.name, span.wall_s))
    finally:
        if was_on:
            gc.enable()
    return pd.DataFrame(rows, columns=list(COLUMNS))


def page_table(samples: pd.DataFrame, errors: Mapping[str, output_check.OutputError]) -> str:
    """A row for each network, and a column for how many times as fast as each peer it is."""
    by_turn = samples.pivot_table(index="turn", columns="network", values="wall_s", sort=False)
    rows = []
    for name in by_turn:
        row = {"network": escape(name), "median, s": f"{median(by_turn[name]):.4f}"}
        for base in (peer for peer in PEERS if peer in by_turn):
            found = paired_ratio([list(by_turn[base])], [list(by_turn[name])])
            bounds = common.interval(found, ".3f")
            text = f"{found.median:.3f} ({bounds})" if bounds else f"{found.median:.3f}"
            row[f"times as fast as {base}"] = text if name != base else ""
        error = errors[str(name)]
        row["largest error"] = f"{error.max_abs_error:.1e}"
        row["PSNR, dB"] = "equal" if error.max_abs_error == 0 else f"{error.psnr_db:.1f}"
        rows.append(row)
    return common.table(rows, numeric=tuple(rows[0])[1:])
