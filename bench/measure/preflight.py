"""Ask a worker what a run needs to know before its folder is made: devices, networks, media and costs.

The parent imports neither torch nor a decoder. The worker that answers measures nothing.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic
from typing import Any, Final

from bench.grid.backend import Backend
from bench.grid.config import Input, RandomInput, VideoInput
from bench.grid.config_model import Model
from bench.grid.costs import Costs
from bench.grid.plan import Cell
from bench.grid.rules import impossible, undivided
from bench.grid.yaml_source import BadPlace
from bench.process.launcher import Launcher, signal_name
from vsr_model.errors import BadField, BadInput

TIMEOUT_S: Final = 300.0
"""For opening every input, for a driver to say what devices there are, and for each traced cell."""

MENTION_INTERVAL_S: Final = 0.5
"""Between two reports of progress."""

Place = tuple[str, ...]
"""Path of a field: `model` or `input`, the item's name, and the fields from there on; or fields alone."""

TraceProgress = Callable[[int, int], None]
"""Called with the number of cells traced and the number of all."""

Send = Callable[[tuple[int, int] | str], None]
"""Sends the parent that progress, or what is about to be looked at, which may end the process."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """Everything that the cells of a run need."""

    models: tuple[Model, ...]
    inputs: tuple[tuple[Input, int], ...]  # with the frames, strides included, that its cells ask for at most
    backends: tuple[Backend, ...]
    cells: tuple[Cell, ...]
    besides: tuple[Cell, ...] = ()  # of the same networks and backends: costs are traced where they can run


@dataclass(frozen=True, kw_only=True)
class MediaSize:
    """The size of a media file, which decides which cells it can fill."""

    frames: int  # as many as could be decoded, and none beyond those asked for
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class NetworkInfo:
    """Facts of a built network."""

    title: str
    min_size: int
    min_frames: int
    arguments: dict[str, Any]  # of its constructor, defaults filled in


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The reason why a request cannot be met, and the field at fault, if any."""

    message: str
    place: Place = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer of a worker: what the machine, the files and the networks have."""

    refusal: Refusal | None = None
    networks: dict[str, NetworkInfo] = field(default_factory=dict)  # by name
    unavailable: dict[str, str] = field(default_factory=dict)  # backend name: why
    unsupported: dict[tuple[str, str], str] = field(default_factory=dict)  # network and backend: why
    media: dict[str, MediaSize] = field(default_factory=dict)  # input name: its size
    torch: dict[str, Any] = field(default_factory=dict)
    free_device_bytes: dict[str, int] = field(default_factory=dict)  # by backend's device, context made
    costs: dict[str, Costs] = field(default_factory=dict)  # by cell
    costs_missing: dict[str, str] = field(default_factory=dict)  # network: why some cells have none

    def costs_of(self, cell: Cell) -> Costs | None:
        """Return the costs of a forward by stage; None if they are unknown."""
        return self.costs.get(cell.id)


def ask(
    launcher: Launcher,
    cells: Sequence[Cell],
    *,
    besides: Sequence[Cell] = (),
    progress: TraceProgress | None = None,
) -> Answer:
    """Ask a worker for everything that the cells need, and the costs of some cells `besides`.

    Raises BadInput for a request that cannot be met, BadPlace if a field of the grid is at fault.
    """
    inputs: dict[str, tuple[Input, int]] = {}
    for cell in cells:
        known = inputs.get(cell.input.name, (cell.input, 0))
        inputs[cell.input.name] = (cell.input, max(known[1], _frames_read(cell)))
    backends = {cell.backend.name: cell.backend for cell in cells}
    for backend in backends.values():
        _check_folder(backend)
    models = {cell.model.name: cell.model for cell in cells}
    question = Question(
        models=tuple(models.values()),
        inputs=tuple(inputs.values()),
        backends=tuple(backends.values()),
        cells=tuple(cells),
        besides=tuple(besides),
    )
    answer = _ask_worker(launcher, question, progress)
    if answer.refusal is not None:
        if place := answer.refusal.place:
            raise BadPlace(place, answer.refusal.message)
        raise BadInput(answer.refusal.message)
    return answer


def _ask_worker(launcher: Launcher, question: Question, progress: TraceProgress | None) -> Answer:
    subject = "this machine"
    worker = launcher.spawn("bench.measure.preflight:main")
    answer = None
    # A worker that dies first closes the connection, or resets it where the question lies unread.
    with worker.connection as connection, suppress(EOFError, OSError):
        connection.send(question)
        while answer is None:
            if not connection.poll(TIMEOUT_S):
                launcher.kill(worker)
                launcher.exit_status(worker)
                raise BadInput(f"{subject}: not looked at within {TIMEOUT_S:.0f} s")
            message = connection.recv()
            if isinstance(message, Answer):
                answer = message
            elif isinstance(message, str):
                subject = message
            elif progress is not None:
                progress(*message)
    status = os.waitstatus_to_exitcode(launcher.exit_status(worker))
    if answer is None:
        ended = f"was killed by {signal_name(-status)}" if status < 0 else f"ended with exit status {status}"
        last_line = launcher.last_line()
        raise BadInput(
            f"{subject}: the process that looked at it {ended}" + (f" ({last_line})" if last_line else "")
        )
    return answer


def _check_folder(backend: Backend) -> None:
    """Raise BadInput if the file of a memory plan could not be made."""
    folder = None if backend.memory_plan is None else backend.memory_plan.folder
    if folder is not None and not (Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise BadInput(
            f"{folder}: not a folder that can be written to; the memory_plan of backend {backend.name!r} "
            "needs one, or no folder at all: its file is in the run's own then"
        )


def skip_reason(cell: Cell, answer: Answer) -> str | None:
    """Return why a cell cannot be run, here or at all, or None."""
    reason = (
        answer.unavailable.get(cell.backend.name)
        or answer.unsupported.get((cell.model.name, cell.backend.name))
        or _too_small(cell, answer.networks[cell.model.name])
        or undivided(cell.backend, cell.batch)
    )
    return reason or _not_filled(cell, answer)


def _not_filled(cell: Cell, answer: Answer) -> str | None:
    """Return why the cell's input cannot fill it, or None."""
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


def _too_small(cell: Cell, network: NetworkInfo) -> str | None:
    if min(cell.height, cell.width) < network.min_size:
        return (
            f"{network.title} needs a height and a width of at least {network.min_size}, and this is "
            f"{cell.height}x{cell.width}"
        )
    if cell.frames < network.min_frames:
        return f"{network.title} needs at least {network.min_frames} frames, and here are {cell.frames}"
    return None


def _stride(item: Input) -> int:
    return item.stride if isinstance(item, VideoInput) else 1


def _frames_read(cell: Cell) -> int:
    """Return how many frames of its input a cell spans, strides included."""
    return (cell.frames - 1) * _stride(cell.input) + 1


def main(connection: Connection) -> None:
    """Answer one question, in a worker."""
    question: Question = connection.recv()
    try:
        answer = _answer(question, connection.send)
    except BadPlace as error:
        answer = Answer(refusal=Refusal(message=error.message, place=tuple(error.place)))
    except BadInput as error:
        answer = Answer(refusal=Refusal(message=str(error)))
    connection.send(answer)


def _answer(question: Question, send: Send) -> Answer:
    from bench.measure import backends  # noqa: PLC0415 - torch, in a worker only
    from bench.measure.costs import CostTracer  # noqa: PLC0415

    media = _media_sizes(question.inputs, send)
    send("this machine's devices")
    reasons = {backend.name: backends.unavailable(backend) for backend in question.backends}
    networks = {model.name: _built(model, send) for model in question.models}
    answer = Answer(
        networks={model.name: _info(model, networks[model.name]) for model in question.models},
        unavailable={name: reason for name, reason in reasons.items() if reason},
        media=media,
        torch=backends.describe_devices(),
    )
    _check_sizes(question, answer)
    tracer = CostTracer(networks)
    _trace(question, answer, tracer, send)
    devices = {backend.device for backend in question.backends if not reasons[backend.name]}
    send("this machine's devices")
    for device in sorted(devices):
        if (free := backends.free_bytes(device)) is not None:
            answer.free_device_bytes[device] = free
    return answer


def _built(model: Model, send: Send) -> Any:
    from bench.measure import networks  # noqa: PLC0415

    send(f"network {model.name}, as it is built from {model.import_ or model.checkpoint or 'its arguments'}")
    with _of_model(model):
        return networks.build(model)


@contextmanager
def _of_model(model: Model) -> Iterator[None]:
    """Refuse a bad field in the block as a field of this network."""
    try:
        yield
    except BadField as error:
        raise BadPlace(("model", model.name, error.field), error.reason) from None


def _info(model: Model, network: Any) -> NetworkInfo:
    from vsr_model.registry import resolve  # noqa: PLC0415

    facts = network.facts
    return NetworkInfo(
        title=facts.title,
        min_size=facts.min_size,
        min_frames=facts.min_frames,
        arguments=resolve(model.registered, model.parameters)
        if model.import_ is None
        else dict(model.arguments),
    )


def _check_sizes(question: Question, answer: Answer) -> None:
    """Refuse a size that no network accepts; if some accept it, the others' cells are skipped."""
    least = min((network.min_size for network in answer.networks.values()), default=0)
    for cell in question.cells:
        if min(cell.height, cell.width) < least:
            titles = " or ".join(network.title for network in answer.networks.values())
            if cell.model.grid is not None and cell.model.grid.size is not None:
                owner: tuple[str, ...] = ("model", cell.model.name)
            else:
                owner = () if cell.input.grid.size is None else ("input", cell.input.name)
            raise BadPlace(
                (*owner, "grid", "size"),
                f"[{cell.height}, {cell.width}] is too small for {titles}; at least {least} is allowed",
            )


def _trace(question: Question, answer: Answer, tracer: Any, send: Send) -> None:
    """Add each cell's costs to the answer, and the backends that a network cannot have."""
    from bench.measure.costs import Untraceable  # noqa: PLC0415
    from bench.measure.workload import Unsupported  # noqa: PLC0415

    longest: dict[str, Cell] = {}
    reported_s = monotonic()
    every = (*question.cells, *question.besides)
    for done, cell in enumerate(every):
        if monotonic() - reported_s > MENTION_INTERVAL_S:
            reported_s = monotonic()
            send((done, len(every)))
        pair = (cell.model.name, cell.backend.name)
        if (
            pair in answer.unsupported
            or impossible(cell.backend) is not None
            or _too_small(cell, answer.networks[cell.model.name])
        ):
            continue
        send(f"network {cell.model.name}, as it is called for cell {cell.id}")
        try:
            with _of_model(cell.model):
                answer.costs[cell.id] = tracer.costs(cell)
            if cell.backend.memory_plan is not None:  # its output is checked against the plain network's
                answer.costs[cell.reference.id] = tracer.costs(cell.reference)
        except Unsupported as reason:
            answer.unsupported[pair] = str(reason)
            continue
        except Untraceable as reason:
            answer.costs_missing.setdefault(cell.model.name, str(reason))
        longest[cell.model.name] = max(cell, longest.get(cell.model.name, cell), key=lambda item: item.frames)
    for cell in longest.values():
        send(f"network {cell.model.name}, as it is called for longer clips")
        if (pattern := tracer.uncalled(cell)) is not None:
            raise BadPlace(
                ("model", cell.model.name, "stages"),
                f"{pattern!r} is not called in a forward pass, so that there is nothing to time",
            )


def _media_sizes(inputs: Sequence[tuple[Input, int]], send: Send) -> dict[str, MediaSize]:
    sizes = {}
    for item, frames_read in inputs:
        if isinstance(item, RandomInput):
            continue
        # A revision of the network that is measured by this program may not have it yet.
        from vsr_model import media  # noqa: PLC0415

        send(item.path)
        info = media.inspect(item.path)
        if info.kind != item.kind:
            raise BadInput(
                f"{item.path} is read as kind: {info.kind}, and the input {item.name!r} has kind: {item.kind}"
            )
        # Decoded, since a container may state no count, or a wrong one.
        frames = sum(1 for _ in media.iterate_frames(item.path, limit=frames_read))
        sizes[item.name] = MediaSize(frames=frames, height=info.height, width=info.width)
    return sizes
