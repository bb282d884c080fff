"""`python -m benchmarks.peers`: this project's network, and others', in turns on the same weights and input.

The plain transcription of the published network (benchmarks.peers.plain) is always among them; BasicSR and
mmagic are if they are installed.
"""

import argparse
import csv
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from bench.grid.backend_spec import BUILT_IN, Backend, resolve
from bench.grid.config import backend_of
from bench.machine import environment
from bench.measure import backends, output_check, workload
from bench.measure.output_check import OutputError
from bench.results.whole_file import naming, write_whole
from benchmarks.evidence import say, source_line
from benchmarks.peers.figures import Speed, page_table, seconds_of, speeds
from benchmarks.peers.others import PEERS, PLAIN, AbsentError, peer_with_weights
from benchmarks.peers.turns import Contestant, Turn, first_calls, take_turns
from vsr_model import clips
from vsr_model.checkpoint import load_checkpoint
from vsr_model.errors import BadInput
from vsr_model.initialise import build_basicvsr
from vsr_model.registry import MODELS
from vsr_model.stages import no_probe

COMMAND: Final = "python -m benchmarks.peers"
TURN_COLUMNS: Final = ("turn", "place", "network", "wall_s", "device_s")
SPEED_COLUMNS: Final = ("network", "base", "ratio", "low", "high", "turns")
TURNS_NAME: Final = "turns.csv"
FILES: Final = (TURNS_NAME, "speeds.csv", "environment.json", "peers.md")
LAST_SEED: Final = 2**63 - 1

_SIZE: Final = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a comparison gave."""

    turns: Sequence[Turn]
    speeds: Sequence[Speed]
    errors: Mapping[str, OutputError]  # against the plain network's output
    told: Sequence[str]  # who was left out, and why


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    options = parser().parse_args(arguments)
    try:
        ours = backends_of(options.backend or ["cpu"], options.threads)
        clip = clip_of(options.size, options.batch, options.frames, options.seed)
        names = peers_of(options.peers)
        if options.output is not None:
            _make(options.output)
        keep = partial(_keep, options.output) if options.output is not None else lambda _: None
        found = compare(ours, names, clip, options, keep)
        described = {**environment.collect(backends.describe_devices(), {}), "arguments": vars_of(options)}
        text = page(found, described, clip)
        if options.output is not None:
            write(options.output, found, described, text)
    except BadInput as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except OSError as error:  # most often for want of space; the turns that were kept stay
        sys.stderr.write(f"{error.filename or COMMAND}: {error.strerror or error}\n")
        return 2
    sys.stdout.write(text)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog=COMMAND, description=__doc__.partition("\n\n")[2])
    made.add_argument("--size", default="64x64", help="height x width of the input [default: 64x64]")
    made.add_argument("--frames", type=_positive, default=10, help="[default: 10]")
    made.add_argument("--batch", type=_positive, default=1, help="clips in one call [default: 1]")
    made.add_argument(
        "--backend", action="append", help="of ours, as in a grid; may be repeated [default: cpu]"
    )
    made.add_argument(
        "--peers", default=",".join(PEERS), help="[default: %(default)s]; plain is always there"
    )
    made.add_argument("--turns", type=_positive, default=11, help="calls of each that count [default: 11]")
    made.add_argument("--threads", type=_positive, help="the same for all [default: PyTorch's choice]")
    made.add_argument("--mid-channels", type=_positive, default=64, help="[default: 64]")
    made.add_argument("--num-blocks", type=_positive, default=30, help="[default: 30]")
    made.add_argument("--checkpoint", help="weights; without it, seeded ones")
    made.add_argument("--seed", type=_seed, default=0, help="of weights and input [default: 0]")
    made.add_argument("--output", type=Path, help="new folder for the table, the samples and the machine")
    return made


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return value


def _seed(text: str) -> int:
    if not re.fullmatch(r"\d{1,19}", text, re.ASCII) or int(text) > LAST_SEED:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to {LAST_SEED}")
    return int(text)


def backends_of(texts: Sequence[str], threads: int | None) -> dict[str, Backend]:
    """Ours, by what they are called: the given text, or the name in it.

    Raises BadInput for what is no backend, what this machine or this comparison cannot run, and for backends
    that are not all on one device and in as many threads.
    """
    threads = threads or backends.thread_count()
    found: dict[str, Backend] = {}
    for text in texts:
        backend = resolve(backend_of(text))
        name = text.strip().strip("{}").strip() if backend.name == "backend" else backend.name
        if name in found or name in PEERS:
            raise BadInput(f"--backend {text}: there are two called {name!r}; give each a name of its own")
        if backend.threads not in (None, threads):
            raise BadInput(
                f"--backend {text}: threads are the same for all here; give --threads {backend.threads}"
            )
        if backend.is_divided:
            raise BadInput(f"--backend {text}: all are in one process here; leave processes out")
        if backend.memory_plan is not None:
            raise BadInput(f"--backend {text}: a memory_plan gives no whole output, and peers have none")
        if reason := backends.unavailable(backend):
            raise BadInput(f"--backend {text}: {reason}")
        found[name] = replace(backend, threads=threads)
    devices = {backends.device_of(backend).torch_device for backend in found.values()}
    if len(devices) > 1:
        raise BadInput(
            f"--backend: all should be on one device, not on {', '.join(sorted(map(str, devices)))}"
        )
    return found


def clip_of(size: str, batch: int, frames: int, seed: int) -> Tensor:
    """A moving texture (n, t, 3, h, w) on the host, every clip of the batch another. Raises BadInput."""
    read = _SIZE.fullmatch(size)
    least = MODELS["basicvsr"].min_height
    if read is None or min(int(read[1]), int(read[2])) < least:
        raise BadInput(f"--size {size}: should be height x width as in 64x64, both at least {least}")
    height, width = int(read[1]), int(read[2])
    return torch.stack([clips.moving_texture(frames, height, width, seed + i) for i in range(batch)])


def peers_of(text: str) -> list[str]:
    """Which peers are asked for; plain is the first. Raises BadInput for others than there are."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in PEERS:
            raise BadInput(f"--peers: there is no {name!r}; there are {', '.join(PEERS)}")
    return list(dict.fromkeys((PLAIN, *names)))


def compare(
    ours: Mapping[str, Backend],
    peers: Sequence[str],
    clip: Tensor,
    options: argparse.Namespace,
    keep: Callable[[Turn], None],
) -> Found:
    """Build all, call all in turns, each given to `keep` as it comes, and compare what they gave.

    Raises BadInput for a checkpoint.
    """
    told: list[str] = []

    def tell(sentence: str) -> None:
        told.append(sentence)
        say(sentence)

    backend = next(iter(ours.values()))
    device = backends.device_of(backend)
    device.create_context()
    size = options.mid_channels, options.num_blocks
    contestants = []
    for name in peers:
        network = _network(options)
        try:
            peer = peer_with_weights(PEERS[name], network, *size).to(device.torch_device)
        except AbsentError as error:
            tell(str(error))
            continue
        as_published = BUILT_IN["cudnn" if backend.is_cuda else "cpu"]
        settings = replace(as_published, device=backend.device, threads=backend.threads)
        contestants.append(Contestant(name=name, settings=settings, call=peer))
    for name, settings in ours.items():
        contestants.append(Contestant(name=name, settings=settings, call=_call(_network(options), settings)))
    lrs = clip.to(device.torch_device)
    outputs = first_calls(contestants, lrs, device, tell)
    errors = {}
    for name, output in outputs.items():
        if output.shape == outputs[PLAIN].shape:
            errors[name] = output_check.compare(output, outputs[PLAIN])
        else:
            tell(f"{name}: its output is {tuple(output.shape)}, not {tuple(outputs[PLAIN].shape)}")
    able = [contestant for contestant in contestants if contestant.name in errors]
    del outputs
    turns = []
    for turn in take_turns(able, lrs, device, turns=options.turns):
        turns.append(turn)
        keep(turn)
        if turn.place == len(able) - 1:
            say(f"turn {turn.turn + 1} of {options.turns}")
    bases = [name for name in peers if any(contestant.name == name for contestant in able)]
    return Found(turns=turns, speeds=speeds(seconds_of(turns), bases), errors=errors, told=told)


def _network(options: argparse.Namespace) -> nn.Module:
    network = build_basicvsr(options.mid_channels, options.num_blocks, seed=options.seed)
    if options.checkpoint is not None:
        load_checkpoint(network, options.checkpoint)
    return network


def _call(network: nn.Module, backend: Backend) -> Any:
    with backends.applied(backend):
        prepared = workload.prepare(network, backend, backends.device_of(backend).torch_device)
    forward = workload.forward_of(prepared, backend=backend)
    return lambda clip: forward(clip, no_probe)


def page(found: Found, described: Mapping[str, Any], clip: Tensor) -> str:
    """The table, how it was made, and who is not in it."""
    n, t, _, height, width = clip.shape
    seconds = seconds_of(found.turns)
    versions = [f"{name} {PEERS[name].version}" for name in seconds if name in PEERS and PEERS[name].version]
    arguments = described["arguments"]
    lines = [
        page_table(seconds, found.speeds, found.errors),
        f"{n} clip(s) of {t} frames, {height} x {width}; {arguments['mid_channels']} channels, "
        f"{arguments['num_blocks']} blocks; {len(next(iter(seconds.values())))} turns, in which each network "
        "was called once. Ratios are of calls of the same turn, with the 95 % interval of their median: all "
        "are of one process, and the ratio in the next may lie outside it. Errors are against the plain "
        "network's output.",
        *([f"Versions: {', '.join(versions)}."] if versions else []),
        *([f"Not there: {'; '.join(found.told)}."] if found.told else []),
        source_line(described, COMMAND),
    ]
    return "\n\n".join(lines) + "\n"


def vars_of(options: argparse.Namespace) -> dict[str, Any]:
    """The command line as data; files by their name alone, since a path may name a person."""
    return {
        name: Path(value).name if name in ("output", "checkpoint") and value is not None else value
        for name, value in vars(options).items()
    }


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--output {folder}: cannot be made ({error.strerror})") from error
    for name in FILES:
        if (folder / name).exists():
            raise BadInput(f"--output {folder}: holds earlier results ({name}); give a new folder")


def _keep(folder: Path, turn: Turn) -> None:
    """Add a turn to turns.csv, which the first one makes: each is in the file before the next begins, so that
    a comparison that is ended loses none. Raises OSError that names the file."""
    path = folder / TURNS_NAME
    row = turn.turn, turn.place, turn.contestant, f"{turn.span.wall_s:.9f}", _blank(turn.span.device_s)
    with naming(path), path.open("a", newline="", encoding="utf-8") as file:
        is_first = turn.turn == turn.place == 0
        file.write((_line(TURN_COLUMNS) if is_first else "") + _line(row))


def write(folder: Path, found: Found, described: Mapping[str, Any], text: str) -> None:
    """speeds.csv, environment.json and peers.md, beside the turns. Raises OSError that names a file."""
    rows = (SPEED_COLUMNS, *(asdict(speed).values() for speed in found.speeds))
    write_whole(folder / "speeds.csv", "".join(map(_line, rows)))
    write_whole(folder / "environment.json", json.dumps(described, indent=2) + "\n")
    write_whole(folder / "peers.md", text)


def _blank(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.9f}"


def _line(row: Iterable[object]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue()
