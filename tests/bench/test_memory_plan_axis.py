"""`memory_plan` of a backend: in the YAML, in a round, and in comparisons and figures."""

import math
import os
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from bench.comparison import facets
from bench.grid import config, plan, presets
from bench.grid.backend import BUILT_IN, MemoryPlanSpec
from bench.grid.config import Experiment
from bench.grid.plan import Cell
from bench.grid.spans import FORWARD
from bench.machine import host_memory
from bench.measure import backends, output_check, preflight
from bench.process.launcher import Launcher
from bench.records import OutputCheck, Pass, Status
from bench.results import identity
from tests.bench.fakes import CpuAsCuda, experiment
from tests.bench.rounds import STAGE_NAMES, Ran, measure
from vsr_model import streaming
from vsr_model.errors import BadInput
from vsr_model.memory_plan import MemoryPlan

FRAMES = 6
TEXT = """\
name: trial
input: {name: noise, kind: random}
grid: {frames: [2], size: [16, 16]}
backends: [cpu, {name: kept, from: cpu, memory_plan: PLAN}]
measure: {}
"""


def backend(memory_plan: Any, **fields: Any) -> dict[str, Any]:
    return {"name": "kept", "from": "cpu", "memory_plan": memory_plan, **fields}


def loaded(folder: Path, memory_plan: str = "disk", *assignments: str) -> Experiment:
    path = folder / "grid.yaml"
    path.write_text(TEXT.replace("PLAN", memory_plan))
    return config.load(path, assignments)[0]


def once(**changes: Any) -> dict[str, Any]:
    return measure(**{"warmup": 0, "repetitions": 1, "stages": "off"} | changes)


def cell_of(memory_plan: Any, frames: int = FRAMES, batch: int = 1) -> tuple[Cell, Experiment]:
    one = experiment(
        backends=[backend(memory_plan)], grid={"batch": [batch], "frames": [frames], "size": [[16, 24]]}
    )
    (cell,) = plan.cells(one)
    return cell, one


# In the YAML.


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("host", MemoryPlanSpec(place="host")),
        ("recompute", MemoryPlanSpec(interval="root")),
        ("{}", MemoryPlanSpec()),
        ("{place: disk, interval: 3, chunk: 2}", MemoryPlanSpec(place="disk", interval=3, chunk=2)),
        ("null", None),
    ],
)
def test_a_plan_is_read_and_written_out(tmp_path: Path, given: str, meant: MemoryPlanSpec | None) -> None:
    one = loaded(tmp_path, given)
    assert one.backends[1].memory_plan == meant
    (tmp_path / "again.yaml").write_text(config.dump(one, tmp_path))
    assert config.load(tmp_path / "again.yaml")[0] == one
    assert config.of_plain(config.plain(one)) == one


SHOULD_BE = "should be device, host, disk or recompute, or a mapping such as {place: disk, interval: 4}, not "


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("disc", f": {SHOULD_BE}'disc' (did you mean 'disk'?)"),
        ("{place: ram}", ".place: should be 'device', 'host' or 'disk', not 'ram'"),
        ("{interval: 0}", ".interval: should be a whole number from 1 to 1,000,000, or root, not 0"),
        ("{chunk: 0}", ".chunk: should be greater than or equal to 1, not 0"),
        (
            "{intervall: 2}",
            ": unknown field 'intervall' (did you mean 'interval'?); allowed are place, interval, chunk, "
            "folder",
        ),
        ("{folder: here}", ".folder: is for place: disk alone, and place is device; leave it out"),
    ],
)
def test_a_bad_plan_is_refused(tmp_path: Path, given: str, message: str) -> None:
    with pytest.raises(BadInput) as refused:
        loaded(tmp_path, given)
    assert str(refused.value) == f"{tmp_path / 'grid.yaml'}:4: backends[1].memory_plan{message}"


def test_a_folder_is_relative_to_the_file_and_no_part_of_a_runs_identity(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    one = loaded(tmp_path / "configs", "{place: disk, folder: ../scratch}")
    here = one.backends[1].memory_plan
    assert here is not None
    assert here.of_clip(3).folder == Path(os.path.relpath(tmp_path / "scratch"))
    assert config.resolved(one, tmp_path / "run")["backends"][1]["memory_plan"]["folder"] == "../scratch"

    def identity_of(memory_plan: str) -> str:
        return identity.config_sha256(config.resolved(loaded(tmp_path, memory_plan), tmp_path), {})

    assert identity_of("{place: disk, folder: a}") == identity_of("disk")
    assert len({identity_of(given) for given in ("disk", "device", "recompute", "null")}) == 4


def test_a_folder_that_cannot_be_written_to_is_refused_before_a_process_starts(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "none"):
        cell, _ = cell_of({"place": "disk", "folder": str(tmp_path / name)})
        with pytest.raises(
            BadInput, match=rf"^{tmp_path / name}: not a folder that can be written to; .*'kept'"
        ):
            preflight.ask(cast(Launcher, None), [cell])


def test_the_preset_measures_every_place_and_the_plain_network_first() -> None:
    for wanted in ([], ["steady"], ["published"], ["frames_180x320"], ["cuda"]):
        one, _ = config.load(presets.find("memory"), wanted=wanted)
        assert one.backends[0].name == one.baseline == "plain"
        assert one.backends[0].memory_plan is None
        assert {"device", "disk", "recompute"} <= {item.name for item in one.backends if item.memory_plan}


# For a cell.


@pytest.mark.parametrize(("frames", "interval"), [(1, 1), (2, 2), (10, 4), (1000, 32)])
def test_recompute_keeps_at_the_root_of_the_cells_own_frames(frames: int, interval: int) -> None:
    cell, _ = cell_of("recompute", frames)
    assert cell.memory_plan() == MemoryPlan(interval=interval)  # with the defaults of a plan
    assert not cell.backend.is_reference
    held = [min(k, frames) + len(MemoryPlan(interval=k).kept_frames(frames)) for k in range(1, frames + 1)]
    assert held[interval - 1] == min(held)


def test_the_disk_is_in_the_runs_folder_unless_one_is_named() -> None:
    named, unnamed = cell_of({"place": "disk", "folder": "f"})[0], cell_of("disk")[0]
    assert named.memory_plan(Path("run")) == MemoryPlan(place="disk", folder=Path("f"))
    assert unnamed.memory_plan(Path("run")) == MemoryPlan(place="disk", folder=Path("run"))
    assert replace(unnamed, backend=BUILT_IN["cpu"]).memory_plan(Path("run")) is None


# In a round.


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Return the path of the rounds' reference."""
    return tmp_path / "references" / "clip.npy"


@pytest.fixture
def run(kept: Path) -> Callable[..., Ran]:
    def run_one(memory_plan: Any, *, of: str = "cpu", plain_bytes: int | None = None, **changes: Any) -> Ran:
        grid = {"frames": [FRAMES], "size": [[16, 24]]}
        its = [backend(memory_plan, **{"from": of})]
        one = experiment(backends=its, **{"grid": grid, "measure": once()} | changes)
        return Ran(one, kept, plain_peak_bytes=plain_bytes)

    return run_one


@pytest.mark.parametrize("memory_plan", ["recompute", {"place": "disk", "interval": 2, "chunk": 1}])
def test_a_round_is_measured_as_any_and_its_output_is_that_of_the_plain_network(
    run: Callable[..., Ran], kept: Path, memory_plan: Any
) -> None:
    ran = run(memory_plan, grid={"batch": [2], "frames": [FRAMES], "size": [[16, 24]]},
              measure=once(stages="sync", memory="curve"))  # fmt: skip
    record = ran.record
    assert (record.status, record.reason, record.warnings) == (Status.OK, "", ())
    assert record.output_check is OutputCheck.COMPARED
    assert record.output_max_abs_error is not None
    assert record.output_max_abs_error <= 1e-5
    assert {sample.stage for sample in record.samples if sample.pass_ is Pass.END_TO_END} == {
        FORWARD,
        "total",
    }
    staged = {sample.stage for sample in record.samples if sample.pass_ is Pass.STAGE_SYNC}
    assert staged == {*STAGE_NAMES, "other", FORWARD, "forward_unprobed"}
    assert all(sample.wall_s > 0 for sample in record.samples if sample.stage in STAGE_NAMES)
    assert record.memory
    assert [item.name for item in kept.parent.iterdir()] == [kept.name]


def test_flow_in_one_call_gives_the_plain_networks_bits(run: Callable[..., Ran]) -> None:
    record = run({"place": "disk", "chunk": FRAMES - 1}).record
    assert (record.output_max_abs_error, record.output_psnr_db) == (0.0, math.inf)
    assert record.settings["memory_plan"] == "place disk, interval 1, chunk 5"
    assert "memory_plan" not in run(None).record.settings


def test_an_output_that_differs_is_inaccurate(run: Callable[..., Ran], kept: Path) -> None:
    run("device")
    expected = output_check.kept(kept)
    assert expected is not None
    output_check.keep(expected + 2**-4, kept)
    record = run("device").record
    assert record.status is Status.INACCURATE
    assert record.output_max_abs_error == pytest.approx(2**-4, abs=1e-5)
    assert record.reason.endswith("dB against the CPU float32 result; kept needs 80 dB")


class Outputs:
    """Stands for the network in bounded memory: knows how many of its outputs are alive."""

    def __init__(self) -> None:
        self.alive = self.most = self.calls = 0
        self.fails_at = math.inf

    def __call__(self, *_: object) -> Iterator[Tensor]:
        self.calls += 1
        return self._frames()

    def _frames(self) -> Iterator[Tensor]:
        if self.calls >= self.fails_at:
            raise OSError(28, "No space left on device")
        for _ in range(FRAMES):
            output = torch.zeros(1, 3, 64, 96)
            self.alive += 1
            self.most = max(self.most, self.alive)
            weakref.finalize(output, self._gone)
            yield output
            del output

    def _gone(self) -> None:
        self.alive -= 1


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> Outputs:
    made = Outputs()
    monkeypatch.setattr(streaming, "upscale_frames", made)
    return made


def test_no_output_is_kept(run: Callable[..., Ran], outputs: Outputs) -> None:
    ran = run("device", measure=measure(memory="curve"))
    assert outputs.most <= 2  # one at its receiver while the next is made
    assert outputs.alive == 0
    assert ran.progress[0].total == 1 + 1 + 2 + 2 * 2 + 2 + 1
    assert outputs.calls == ran.progress[0].total


def test_a_check_that_fails_costs_no_figures(run: Callable[..., Ran], outputs: Outputs) -> None:
    outputs.fails_at = 2 + 1
    record = run("device", measure=once()).record
    assert record.status is Status.OK
    assert record.samples
    assert record.output_check is OutputCheck.NOT_DONE
    assert record.warnings == ("output not checked: OSError: [Errno 28] No space left on device",)


def test_a_plain_result_that_does_not_fit_is_not_tried(
    run: Callable[..., Ran], kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as scarce:
        scarce.setattr(host_memory, "available_bytes", lambda: 2**20)
        record = run("disk", plain_bytes=2**24).record
        assert (record.status, record.output_check) == (Status.OK, OutputCheck.NOT_DONE)
        (warning,) = record.warnings
        assert warning.startswith("output not checked: MemoryError: the plain network's tensors take about ")
        assert not kept.exists()
        forced = run("disk", plain_bytes=2**24, measure=once(memory_check="force")).record
        assert forced.output_check is OutputCheck.COMPARED
        assert run("disk", plain_bytes=2**24).record.output_check is OutputCheck.COMPARED  # by what is kept


def test_on_a_gpu_the_call_itself_brings_frames(
    run: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = CpuAsCuda()
    monkeypatch.setattr(backends, "device_of", lambda _: device)
    record = run("disk", of="cudnn", measure=once()).record
    assert record.status is Status.OK, record.reason
    spans = {sample.stage for sample in record.samples if sample.pass_ is Pass.END_TO_END}
    assert spans == {FORWARD, "total"}
    assert record.output_check is OutputCheck.COMPARED


# In comparisons.


def test_a_comparison_tells_the_places_apart() -> None:
    def of(memory_plan: Any) -> facets.Facets:
        cell, one = cell_of(memory_plan)
        return facets.facets_of(cell, [], experiment=one, files={}, environment={})

    assert facets.differing(of("disk"), of({"place": "disk", "folder": "elsewhere"})) == {}
    assert facets.differing(of(None), of("disk")) == {"backend": "memory_plan none, disk"}
    assert facets.differing(of("device"), of("recompute")) == {"backend": "memory_plan.interval 1, root"}
