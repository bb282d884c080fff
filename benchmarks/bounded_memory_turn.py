"""What benchmarks.bounded_memory starts: one row, measured in this process."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.grid.backend_spec import BUILT_IN
from bench.grid.config import Model
from bench.measure.workload import build_model
from bench.upscaling.heap import give_back_at_once
from bench.upscaling.request import Request
from bench.upscaling.upscale import upscale
from benchmarks.bounded_memory import COLUMNS, MIB, Turn
from benchmarks.evidence import ROOT
from vsr_model.video import iterate_frames


def take(turn: Turn, folder: Path) -> dict[str, Any]:
    """One row, measured in this process."""
    source = folder / "in.mp4"
    _write(source, turn)
    model = Model(num_blocks=turn.blocks)
    row: dict[str, Any] = {"how": turn.how, "frames": turn.frames, "height": turn.height, "width": turn.width}
    row |= dict.fromkeys(COLUMNS[len(row) :])
    row |= {"blocks": turn.blocks, "limit_bytes": None if turn.limit_mib is None else turn.limit_mib * MIB}
    before = _status_bytes("VmRSS")
    _forget_peak()
    if turn.how == "plain":
        lrs = torch.stack([frame.image for frame in iterate_frames(source)])[None]
        with torch.inference_mode():
            build_model(model)(lrs)
    else:
        done = upscale(
            Request(
                source=source,
                output=folder / "out.mp4",
                model=model,
                backend=replace(BUILT_IN["cpu"], convolution=turn.convolution),
                random_weights=True,
                memory_limit_bytes=row["limit_bytes"],
                heap_gives_back=turn.limit_mib is not None and give_back_at_once(),
                place=None if turn.how == "auto" else turn.how,
            )
        )
        row |= {"expected_bytes": done.needs.host_bytes, "disk_bytes": done.needs.disk_bytes}
        row |= {"place": done.plan.place, "interval": done.plan.interval, "chunk": done.plan.chunk}
    row["held_bytes"] = _status_bytes("VmHWM") - before
    return row


def _write(path: Path, turn: Turn) -> None:
    """A texture in motion; by another process, so that no encoder of it is in the count."""
    program = (
        "import sys\nfrom fractions import Fraction\n"
        "from vsr_model.video import VideoWriter, moving_texture\n"
        "path, frames, height, width = sys.argv[1], *map(int, sys.argv[2:])\n"
        "with VideoWriter(path, frame_rate=Fraction(25), height=height, width=width) as writer:\n"
        "    for image in moving_texture(frames, height, width, seed=1): writer.write(image)\n"
    )
    sizes = map(str, (turn.frames, turn.height, turn.width))
    subprocess.run([sys.executable, "-c", program, str(path), *sizes], cwd=ROOT, check=True)


def _status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): resets VmHWM


def main() -> None:
    """Print the row of the turn that the command line has as JSON, with a folder to work in."""
    print(json.dumps(take(Turn(**json.loads(sys.argv[1])), Path(sys.argv[2]))))  # noqa: T201 - a script
