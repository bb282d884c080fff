"""Resident memory that an upscale adds, by the kernel's count, in a process of its own."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

from bench.grid.backend import BUILT_IN
from bench.grid.config_model import Model
from bench.places import ROOT
from bench.upscaling.memory import give_back_at_once
from bench.upscaling.request import Request
from bench.upscaling.upscale import upscale
from tests.textures import moving_texture
from vsr_model.media import VideoWriter


def held_bytes(
    folder: Path, *, frames: int, height: int, width: int, convolution: str, limit_bytes: int
) -> int:
    """The highest level of resident memory less that before the work, when all modules were imported."""
    source = folder / "held.mp4"
    with VideoWriter(source, frame_rate=Fraction(25), height=height, width=width) as writer:
        for image in moving_texture(frames, height, width, seed=1):
            writer.write(image)
    command = [sys.executable, "-m", __name__, str(source), convolution, str(limit_bytes)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    held = json.loads(ended.stdout.splitlines()[-1])
    assert isinstance(held, int)
    return held


def main(source: str, convolution: str, limit_bytes: str) -> None:
    """Print the bytes held."""
    before = status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): resets VmHWM
    give_back_at_once()
    upscale(
        Request(
            source=Path(source),
            output=Path(source).with_name("out.mp4"),
            model=Model(num_blocks=1),
            backend=BUILT_IN["cpu"].replace(convolution=convolution),
            random_weights=True,
            memory_limit_bytes=int(limit_bytes),
        )
    )
    print(status_bytes("VmHWM") - before)


def status_bytes(name: str) -> int:
    """Return a figure of this process by its name in proc(5)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
