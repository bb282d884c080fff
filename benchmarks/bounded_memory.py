"""What `vsr-bench upscale` holds in memory, by the kernel's own count, under limits; and the plain network.

Each row is a process of its own, which enlarges a made-up video or gives the network itself the same frames
in one call. What is counted is the highest level of resident memory less that before the work, when all
modules were imported. The sizes are those at which the plain network leaves the limit that 1,000 frames keep
to. Nothing is timed, so that the machine may do other work meanwhile; `--blocks 1` makes networks with nearly
the same memory and a tenth of the work.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import pandas as pd

from bench.process.launcher import Launcher
from benchmarks.evidence import ROOT, Evidence, conduct, environment_of, parser, say, source_line

NAME: Final = "bounded_memory"
PAGE: Final = ROOT / "docs" / "upscale.md"
COLUMNS: Final = (
    "how", "frames", "height", "width", "blocks", "limit_bytes", "expected_bytes", "held_bytes",
    "place", "interval", "chunk", "disk_bytes",
)  # fmt: skip
MIB: Final = 2**20


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One process. `how` is "plain", or the memory plan's name, or "auto" for what the limit chooses."""

    how: str
    frames: int
    height: int = 64
    width: int = 64
    limit_mib: int | None = None
    blocks: int = 30
    convolution: str = "library"


TURNS: Final = (
    Turn(how="plain", frames=10),
    Turn(how="plain", frames=30),
    Turn(how="plain", frames=100),
    *(
        Turn(how=how, frames=frames, limit_mib=2000)
        for how in ("device", "disk", "recompute")
        for frames in (10, 30, 100, 300)
    ),
    Turn(how="auto", frames=1000, limit_mib=200),
    Turn(how="plain", frames=4, height=180, width=320),
    Turn(how="auto", frames=30, height=180, width=320, limit_mib=1300),
)
QUICK: Final = tuple(Turn(how=how, frames=4, height=32, width=32, blocks=1) for how in ("plain", "disk"))


def run(turn: Turn) -> dict[str, Any]:
    """One row, made by a process of its own."""
    program = "from benchmarks.bounded_memory_turn import main; main()"
    with tempfile.TemporaryDirectory(dir=ROOT / "results") as folder:
        ended = subprocess.run(
            [sys.executable, "-c", program, json.dumps(asdict(turn)), folder],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    if ended.returncode:
        raise SystemExit(f"{turn}: {ended.stderr.strip()}")
    row: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return row


def table(samples: pd.DataFrame) -> str:
    """The rows as Markdown."""
    lines = [
        "| how | frames | size | limit, MiB | expected, MiB | held, MiB | on disk, MiB |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for row in samples.to_dict("records"):
        how = {
            "plain": "the plain network",
            "auto": f"chosen: `{row['place']}`, interval {row['interval']:.0f}",
        }.get(row["how"], f"`{row['how']}`")
        limit, expected, held, on_disk = (
            "" if pd.isna(row[name]) else f"{row[name] / MIB:.0f}"
            for name in ("limit_bytes", "expected_bytes", "held_bytes", "disk_bytes")
        )
        size = f"{row['height']} x {row['width']}"
        lines.append(f"| {how} | {row['frames']} | {size} | {limit} | {expected} | {held} | {on_disk} |")
    return "\n".join(lines)


def measure(options: argparse.Namespace) -> Evidence:
    """Every turn, one after another."""
    rows = []
    for turn in QUICK if options.quick else TURNS:
        rows.append(run(replace(turn, blocks=options.blocks) if options.blocks else turn))
        say(f"{turn}: held {rows[-1]['held_bytes'] / MIB:.0f} MiB")
    with Launcher() as launcher:
        described = environment_of(launcher, {})
    return Evidence(samples=pd.DataFrame(rows, columns=list(COLUMNS)), environment=described)


def render(evidence: Evidence) -> str:
    """The table, and where it comes from."""
    command = f"python -m benchmarks.{NAME} --write-docs"
    return f"{table(evidence.samples)}\n\n{source_line(evidence.environment, command)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    options = parser(__doc__, NAME)
    options.add_argument("--blocks", type=int, help="residual blocks per direction [default: 30]")
    return conduct(
        options.parse_args(arguments), NAME, columns=COLUMNS, measure=measure, render=render, page=PAGE
    )


if __name__ == "__main__":
    sys.exit(main())
