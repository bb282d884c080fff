"""What must be known before a run's folder is made, and needs torch or a decoder: asked of a worker.

The parent imports neither. Runs once per run, in a worker that the first measured one does not share.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from bench.grid.backend_spec import Backend
from bench.grid.config import Input, Model, RandomInput, VideoInput
from bench.grid.impossible import undivided
from bench.grid.plan import Cell
from bench.process.launcher import Launcher
from vsr_model.errors import BadInput

TIMEOUT_S: Final = 300.0
"""For opening every input, and for a driver to say what devices there are."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the run will need."""

    model: Model
    inputs: tuple[tuple[Input, int], ...]  # with the frames, strides included, that its cells ask for at most
    backends: tuple[Backend, ...]


@dataclass(frozen=True, kw_only=True)
class MediaSize:
    """What of a media file decides which cells it can fill."""

    frames: int  # as many as could be decoded, and none beyond those asked for
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the machine and the files have; `refusal` is the sentence for a request that cannot be met."""

    refusal: str | None = None
    unavailable: dict[str, str] = field(default_factory=dict)  # backend name: why
    media: dict[str, MediaSize] = field(default_factory=dict)  # input name: its size
    torch: dict[str, Any] = field(default_factory=dict)
    free_device_bytes: dict[str, int] = field(default_factory=dict)  # by backend's device, context made


def ask(launcher: Launcher, model: Model, cells: Sequence[Cell]) -> Answer:
    """Have a worker look at everything the cells need. Raises BadInput for what cannot be met."""
    inputs: dict[str, tuple[Input, int]] = {}
    for cell in cells:
        known = inputs.get(cell.input.name, (cell.input, 0))
        inputs[cell.input.name] = (cell.input, max(known[1], _frames_read(cell)))
    backends = {cell.backend.name: cell.backend for cell in cells}
    for backend in backends.values():
        _check_folder(backend)
    question = Question(model=model, inputs=tuple(inputs.values()), backends=tuple(backends.values()))
    paths = [item.path for item, _ in inputs.values() if not isinstance(item, RandomInput)]
    subject = ", ".join([*paths, *filter(None, [model.checkpoint]), "this machine's devices"])
    worker = launcher.spawn("bench.measure.preflight:main")
    answer = None
    # A worker that dies first closes the connection, or resets it where the question lies unread.
    with worker.connection as connection, suppress(EOFError, OSError):
        connection.send(question)
        if connection.poll(TIMEOUT_S):
            answer = connection.recv()
        else:
            launcher.kill(worker)
            launcher.exit_status(worker)
            raise BadInput(f"{subject}: not looked at within {TIMEOUT_S:.0f} s; one of them hangs")
    status = os.waitstatus_to_exitcode(launcher.exit_status(worker))
    if answer is None:
        words = launcher.last_words()
        raise BadInput(
            f"{subject}: the process that looks at them ended with exit status {status}"
            + (f" ({words})" if words else "")
        )
    assert isinstance(answer, Answer)
    if answer.refusal is not None:
        raise BadInput(answer.refusal)
    return answer


def _check_folder(backend: Backend) -> None:
    """Raises BadInput where the file of a memory plan could not be made."""
    folder = None if backend.memory_plan is None else backend.memory_plan.folder
    if folder is not None and not (Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise BadInput(
            f"{folder}: not a folder that can be written to; the memory_plan of backend {backend.name!r} "
            "needs one, or no folder at all: its file is in the run's own then"
        )


def skip_reason(cell: Cell, answer: Answer) -> str | None:
    """Why a cell cannot be run on this machine or filled from its input, or None."""
    if cell.backend.name in answer.unavailable:
        return answer.unavailable[cell.backend.name]
    if reason := undivided(cell.backend, cell.batch):
        return reason
    size = answer.media.get(cell.input.name)
    if size is None or isinstance(cell.input, RandomInput):
        return None
    if _frames_read(cell) > size.frames:
        stride = _stride(cell.input)
        with_stride = f" with a stride of {stride}" if stride > 1 else ""
        return f"{cell.input.name} has {size.frames} frames; {cell.frames}{with_stride} are asked for"
    if cell.input.fit == "crop" and (cell.height > size.height or cell.width > size.width):
        return (
            f"{cell.input.name} is {size.height}x{size.width}; a crop of {cell.height}x{cell.width} is larger"
        )
    return None


def _stride(item: Input) -> int:
    return item.stride if isinstance(item, VideoInput) else 1


def _frames_read(cell: Cell) -> int:
    """How many of its input's frames a cell reaches over."""
    return (cell.frames - 1) * _stride(cell.input) + 1


def main(connection: Connection) -> None:
    """In a worker: answer one question."""
    connection.send(_answer(connection.recv()))


def _answer(question: Question) -> Answer:
    from bench.measure import backends, workload  # noqa: PLC0415 - torch, in a worker only

    try:
        media = _media_sizes(question.inputs)
        if question.model.checkpoint is not None:
            workload.build_model(question.model)
    except BadInput as refusal:
        return Answer(refusal=str(refusal))
    reasons = {backend.name: backends.unavailable(backend) for backend in question.backends}
    devices = {backend.device for backend in question.backends if not reasons[backend.name]}
    free = {device: backends.free_bytes(device) for device in sorted(devices)}
    return Answer(
        unavailable={name: reason for name, reason in reasons.items() if reason},
        media=media,
        torch=backends.describe_devices(),
        free_device_bytes={device: size for device, size in free.items() if size is not None},
    )


def _media_sizes(inputs: Sequence[tuple[Input, int]]) -> dict[str, MediaSize]:
    from vsr_model import video  # noqa: PLC0415 - torch and a decoder, in a worker only

    sizes = {}
    for item, frames_read in inputs:
        if isinstance(item, RandomInput):
            continue
        info = video.inspect(item.path)
        if info.kind != item.kind:
            raise BadInput(
                f"{item.path} is {'an image' if info.kind == 'image' else 'a video'}, and the input "
                f"{item.name!r} has kind: {item.kind}"
            )
        # Decoded, since a container may state no count, or a wrong one.
        frames = sum(1 for _ in video.iterate_frames(item.path, limit=frames_read))
        sizes[item.name] = MediaSize(frames=frames, height=info.height, width=info.width)
    return sizes
