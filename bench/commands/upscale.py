"""`vsr-bench upscale`."""

import re
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from bench.commands.progress import ProgressConsole
from bench.grid import config
from bench.grid.backend import Backend
from bench.grid.backend_file import find
from bench.grid.yaml_source import value_of
from bench.machine import environment
from bench.measure.backends import describe_devices
from bench.tuning.tuned import frame_by_frame
from bench.tuning.tuned import note as note_of
from bench.units import BYTES, counted, size_bytes, with_unit
from bench.upscaling import upscale as upscaling
from bench.upscaling.memory import give_back_at_once
from bench.upscaling.progress import FileDisplay
from bench.upscaling.request import Request, identity_of, output_of
from bench.upscaling.upscale import Upscaled
from vsr_model.errors import BadInput
from vsr_model.one_line import one_line

_A_RATE = re.compile(r"[0-9]{1,9}([./][0-9]{1,9})?")
_RATES = (Fraction(1, 1000), Fraction(1000))  # which every container can hold

_in_files = partial(typer.Option, show_default=False, rich_help_panel="Input and output")
_in_memory = partial(typer.Option, show_default=False, rich_help_panel="Memory")


def _refuse_tiles(given: str | None) -> None:
    if given is not None:
        raise BadInput(
            "--tile is no longer there, as tiles change the result near their seams; a backend with"
            " dtype: bfloat16 halves what a frame takes."
        )


def upscale(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="An image, a video, a folder of frames or a pattern of them (`in/%08d.png`).",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUT",
            help="An image of an image, else a video, a new folder (`out/`) or a pattern (`out/%08d.png`).",
            show_default=False,
        ),
    ],
    checkpoint: Annotated[
        str | None, typer.Option(help="Weights: a .pth or .safetensors file.", show_default=False)
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Run without a checkpoint; the output is noise.")
    ] = False,
    backend: Annotated[
        str,
        typer.Option(
            help="cpu, cuda, cudnn, cudnn_autotune, as in a grid: '{from: cpu, threads: 1}', or what"
            " `vsr-bench tune` found, by its name or file."
        ),
    ] = "cpu",
    mid_channels: Annotated[int, typer.Option(help="As in the checkpoint's network.")] = 64,
    num_blocks: Annotated[int, typer.Option(help="As in the checkpoint's network.")] = 30,
    frames: Annotated[int | None, _in_files(help="Take only the first N frames.")] = None,
    frame_rate: Annotated[
        str | None,
        _in_files(
            metavar="RATE",
            help="Frames per second of a video made of frames in files, such as `24` or `30000/1001`."
            " [default: 25]",
        ),
    ] = None,
    no_sound: Annotated[bool, _in_files("--no-sound", help="Leave a video's sound out.")] = False,
    memory_limit: Annotated[
        str | None,
        _in_memory(
            metavar="SIZE",
            help="Memory that the process may take beyond its start, such as `1.5GiB`."
            " [default: most of what is free]",
        ),
    ] = None,
    device_memory_limit: Annotated[
        str | None,
        _in_memory(metavar="SIZE", help="The same for a GPU. [default: most of its memory]"),
    ] = None,
    memory_plan: Annotated[
        str | None,
        _in_memory(
            metavar="PLAN",
            help="Where features wait: `device`, `host`, `disk` or `recompute`."
            " [default: the first that keeps to the limits]",
        ),
    ] = None,
    scratch: Annotated[
        Path | None,
        _in_memory(
            metavar="DIR", help="Folder for intermediate results on disk. [default: the output's folder]"
        ),
    ] = None,
    _tile: Annotated[
        str | None, typer.Option("--tile", "--tile-overlap", hidden=True, callback=_refuse_tiles)
    ] = None,
) -> None:
    """Run the network on a file: four times the height and width, the same frame rate and sound.

    Every frame draws on the whole clip, however long: what does not fit into memory waits on disk or is
    computed again, with the same result (docs/upscale.md). The output appears once it is whole; an
    interrupted command leaves nothing behind.
    """
    chosen, notes = _of_a_file(config.backend_of(backend), backend)
    if chosen.memory_plan is not None:
        raise BadInput(f"--backend is {backend!r}, and memory_plan is --memory-plan here.")
    limit = _size("--memory-limit", memory_limit)
    if limit is not None:
        give_back_at_once()
    path, frame_folder = output_of(output)
    request = Request(
        source=source,
        output=path,
        frame_folder=frame_folder,
        model=config.model_of(checkpoint=checkpoint, mid_channels=mid_channels, num_blocks=num_blocks),
        backend=chosen,
        random_weights=random_weights,
        frames=frames,
        frame_rate=_rate(frame_rate),
        memory_limit_bytes=limit,
        device_memory_limit_bytes=_size("--device-memory-limit", device_memory_limit),
        place=memory_plan,
        scratch=scratch,
        sound=not no_sound,
    )
    for note in notes:
        typer.echo(one_line(note), err=True)
    before = identity_of(path)
    try:
        display = FileDisplay(ProgressConsole())
        with display.bar:
            done = upscaling.upscale(request, display)
    except KeyboardInterrupt:
        written = "is written" if identity_of(path) != before else "was not written"
        typer.echo(f"interrupted; {one_line(str(output))} {written}", err=True)
        raise
    _print(done)


def _of_a_file(backend: Backend, given: str) -> tuple[Backend, list[str]]:
    """Return a backend without what only whole clips can have, if it comes from a file, and notes on it."""
    value = value_of(given, "--backend")
    origin = value.get("from", value.get("name")) if isinstance(value, dict) else given
    if backend.tuned_on is None and (not isinstance(origin, str) or find(origin) is None):
        return backend, []

    elsewhere = note_of(backend, environment.collect(describe_devices(), {}))
    usable, left_out = frame_by_frame(backend)
    return usable, [text for text in (elsewhere, left_out) if text is not None]


def _size(option: str, text: str | None) -> int | None:
    if text is None:
        return None
    size = size_bytes(text)
    if size is None:
        raise BadInput(f"{option} is {text!r}, and a size such as 1.5GiB or 800M is allowed.")
    return size


def _rate(text: str | None) -> Fraction | None:
    if text is None:
        return None
    least, most = _RATES
    with suppress(ZeroDivisionError):
        if _A_RATE.fullmatch(text) and least <= (rate := Fraction(text)) <= most:
            return rate
    raise BadInput(
        f"--frame-rate is {text!r}, and {float(least):g} to {most} frames per second are allowed, such as 25"
        " or 30000/1001."
    )


def _print(done: Upscaled) -> None:
    rate = f" at {float(done.frame_rate):.4g} frames per second" if done.frame_rate else ""
    plan, needs = done.plan, done.needs
    where = {"device": "the device", "host": "host memory", "disk": "disk"}[plan.place]
    again = plan.recomputed_frames(done.frames)
    sizes = (
        (needs.host_bytes, "of host memory"),
        (needs.device_bytes, "on the device"),
        (needs.disk_bytes, "on disk"),
    )
    for line in (
        f"{one_line(str(done.output))}: {counted(done.frames, 'frame')} of {done.width}x{done.height}{rate}",
        f"time    {done.took_s:.1f} s",
        f"memory  features wait on {where}"
        + (f", those of {again} frames were computed again" if again else "")
        + "; at most about "
        + ", ".join(f"{with_unit(size, BYTES)} {what}" for size, what in sizes if size),
        *map(one_line, done.notes),
    ):
        typer.echo(line)
