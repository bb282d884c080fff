"""A tuned backend: the text of its file, and what to say where it is used elsewhere. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from shlex import quote
from typing import Any, Final

import yaml

from bench.grid.backend_spec import Backend
from bench.grid.config_backend import BackendSpec, TunedOn
from bench.tuning.answers import Gain, Verdict
from bench.tuning.format import decibels, times
from bench.tuning.search import Done
from bench.tuning.space import Candidate
from bench.units import counted, with_unit
from vsr_model.one_line import one_line

WHOLE_CLIPS: Final = ("compile", "schedule", "cuda_graph", "transfer")
"""Settings of calls on whole clips, which `upscale`, going frame by frame, does not support."""

WIDTH: Final = 118


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """The setting of the search, for the file's comments."""

    experiment: str
    clips: tuple[str, ...]
    network: str
    machine: str
    code: str
    when: str  # UTC
    within: str
    min_psnr_db: float
    tried: int
    folder: str
    used_as: str  # what a command line names the backend by: its name where that is looked up, or the file


def tuned_on(environment: Mapping[str, Any], device: str) -> TunedOn:
    """Return the facts of an environment.json that decide which backend is the fastest."""
    torch_side = environment.get("torch") or {}
    gpu = None
    if device != "cpu":
        place = int(device.partition(":")[2] or 0)
        devices = torch_side.get("devices") or []
        gpu = str(devices[place].get("name")) if place < len(devices) else None
    return TunedOn(
        processor=str(environment.get("cpu") or "unknown"),
        cores=environment.get("cpu_affinity"),
        gpu=gpu,
        torch=str(torch_side.get("torch") or "unknown"),
    )


def note(spec: BackendSpec, device: str, environment: Mapping[str, Any]) -> str | None:
    """Return a sentence if the backend was tuned on another machine or with another torch, or else None."""
    was = spec.tuned_on
    if was is None:
        return None
    here = tuned_on(environment, device)
    differing = []
    if device == "cpu":
        if was.processor != here.processor:
            differing.append(f"on {was.processor}, and this is {here.processor}")
        if was.cores != here.cores:
            differing.append(f"on {was.cores} cores, and here are {here.cores}")
    elif was.gpu != here.gpu:
        differing.append(f"on {was.gpu}, and this is {here.gpu or 'without it'}")
    if was.torch != here.torch:
        differing.append(f"with torch {was.torch}, and this is {here.torch}")
    if not differing:
        return None
    return (
        f"backend {spec.name}: tuned {'; '.join(differing)}: another may be the fastest here, and its answer "
        "is not checked here; vsr-bench tune finds it"
    )


def notes(specs: Iterable[tuple[BackendSpec, str]], environment: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the notes on all of a run's backends, each with its device."""
    found = (note(spec, device, environment) for spec, device in specs)
    return tuple(text for text in found if text is not None)


def frame_by_frame(backend: Backend) -> tuple[Backend, str | None]:
    """Return the backend without what needs whole clips, and a sentence on what was left out, if anything."""
    plain = Backend(name=backend.name, device=backend.device)
    left = {
        name: getattr(plain, name) for name in WHOLE_CLIPS if getattr(backend, name) != getattr(plain, name)
    }
    if not left:
        return backend, None
    settings = ", ".join(f"{name}: {_yaml(getattr(backend, name))}" for name in left)
    return replace(backend, **left), (
        f"backend {backend.name}: without {settings}, which is for whole clips in memory; frames come one by "
        "one here"
    )


def file_text(
    name: str, verdict: Verdict, found_on: TunedOn, circumstances: Circumstances, done: Sequence[Done]
) -> str:
    """Return the YAML file of the backend, with the measurements as comments, ending in a newline."""
    entry = {
        **verdict.chosen.entry(name, circumstances.min_psnr_db),
        "tuned_on": found_on.model_dump(exclude_none=True),
    }
    body = yaml.safe_dump({"backends": [entry]}, sort_keys=False, allow_unicode=True, width=WIDTH)
    lines = [f"# {one_line(line)}".rstrip() for line in _comments(name, verdict, circumstances, done)]
    return "\n".join(lines) + "\n" + body


def format_verdict(verdict: Verdict) -> str:
    """Format the gain that the confirmation shows."""
    if verdict.gain is None:
        return "the plain network"
    gain = verdict.gain
    return (
        f"{times(gain.ratio)} as fast as the plain network{_between(gain)}, confirmed in "
        f"{counted(gain.rounds, 'round')} of its own"
    )


def format_runner_up_gain(gain: Gain) -> str:
    """Format the gain over the runner-up, whether that is sure or not."""
    return f"{times(gain.ratio)} as fast{_between(gain)}"


def _between(gain: Gain) -> str:
    """Format the interval in brackets, with its kind."""
    if gain.low is None or gain.high is None:
        return f" (no interval: {counted(gain.rounds, 'round')})"
    kind = ", Student's" if gain.assumed else ""
    return f" ({times(gain.low)} to {times(gain.high)}{kind})"


def _comments(name: str, verdict: Verdict, of: Circumstances, done: Sequence[Done]) -> Iterable[str]:
    yield f"The fastest backend that vsr-bench tune found, {of.when}: {format_verdict(verdict)}"
    if verdict.psnr_db is not None:
        yield (
            f"Output: {decibels(verdict.psnr_db)} against the CPU float32 result; "
            f"{of.min_psnr_db:g} dB were asked for"
        )
    if verdict.gain is not None and len(verdict.gain.by_clip) > 1:
        each = ", ".join(f"{clip} {times(ratio)}" for clip, ratio in verdict.gain.by_clip.items())
        yield f"By clip: {each}"
    if verdict.over_runner_up is not None:
        yield f"Beside the runner-up: {format_runner_up_gain(verdict.over_runner_up)}"
    for text in verdict.notes:
        yield f"Note: {text}"
    yield f"Machine: {of.machine}"
    yield f"Code: {of.code}"
    yield f"For {of.network}, clips {', '.join(of.clips)} of {of.experiment}, within {of.within}"
    yield f"Tried: {counted(of.tried, 'backend')}; what was measured is in {of.folder}"
    for line in _standings(done):
        yield f"  {line}"
    yield f"Use: vsr-bench upscale --backend {quote(of.used_as)} INPUT OUTPUT"
    yield f"  or {_in_a_grid(name, of.used_as)}"


def _in_a_grid(name: str, used_as: str) -> str:
    """Format the backend's entry in a grid, whose paths start at the grid's folder."""
    if used_as == name:
        return f"in a grid {{name: {name}, from: {name}}}"
    return f"in a grid beside this file {{name: {name}, from: {_yaml(PurePath(used_as).name)}}}"


def _standings(done: Sequence[Done]) -> Iterable[str]:
    for one in done:
        plain = next((candidate for candidate in one.answers if candidate.is_plain), None)
        if plain is None:
            continue
        for candidate in one.answers:
            if not candidate.is_plain:
                yield f"{one.stage.name:<12} {candidate.name:<44} {standing(one, candidate, plain)}"


def standing(one: Done, candidate: Candidate, plain: Candidate) -> str:
    """Return how a candidate did in a stage: its speed, or why it has none."""
    answer, ratio = one.answers[candidate], one.ratio(candidate, plain)
    if ratio is None:
        return f"{answer.status}: {answer.reason}" if answer.reason else answer.status
    return " ".join(filter(None, (times(1 / ratio), decibels(answer.psnr_db))))


def _yaml(value: Any) -> str:
    """Format a value in a line of YAML."""
    text = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=math.inf)
    return text.strip().removeprefix("[").removesuffix("]")


def format_budget(seconds: float) -> str:
    """Format a time budget, rounded."""
    return f"{seconds / 60:g} min" if seconds >= 60 else with_unit(seconds)
