"""Rounds of backends with a `transfer` or `cuda_graph` of their own, on a CPU that passes for a GPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.cautions.machine_state import machine_state
from bench.grid.backend import BUILT_IN
from bench.grid.config_measure import Measure
from bench.grid.estimate import STREAMED_CLIPS, expected_calls
from bench.grid.spans import FORWARD, TOTAL
from bench.measure import backends
from bench.records import CellRecord, Pass, Phase, Status, TelemetryReading
from tests.bench.fakes import CpuAsCuda, experiment
from tests.bench.rounds import Ran, measure, steady
from tests.vsr_model.fake_cuda import FakeCuda

CLIP, OUTPUT = (1, 2, 3, 16, 16), (1, 2, 3, 64, 64)
CUDNN = BUILT_IN["cudnn"]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> CpuAsCuda:
    made = CpuAsCuda()
    FakeCuda(monkeypatch)
    monkeypatch.setattr(backends, "device_of", lambda _: made)
    return made


@pytest.fixture
def round_of(tmp_path: Path) -> Callable[..., CellRecord]:
    def run_one(backend: dict[str, Any], **how: Any) -> CellRecord:
        one = experiment(
            grid={"frames": [2], "size": [[16, 16]]},
            backends=[{"name": "fast", "from": "cudnn", **backend}],
            measure=measure(**how),
        )
        record = Ran(one, tmp_path / ".references" / "clip.npy").record
        assert record.status is Status.OK, record.reason
        assert record.output_psnr_db is not None
        assert record.output_psnr_db > 100
        return record

    return run_one


def stages_of(record: CellRecord, phase: Phase) -> set[str]:
    return {
        item.stage for item in record.samples if (item.pass_, item.phase) == (Pass.END_TO_END, phase)
    }  # fmt: skip


@pytest.mark.parametrize(("transfer", "locked"), [("pageable", []), ("pinned", [CLIP, OUTPUT])])
def test_transfers_one_after_another(
    device: CpuAsCuda, round_of: Any, transfer: str, locked: list[tuple[int, ...]]
) -> None:
    record = round_of({"transfer": transfer})
    assert device.locked == locked
    assert stages_of(record, Phase.STEADY) == {"host_to_device", "forward", "device_to_host", "total"}


def test_overlapped_transfers_have_a_total_and_no_spans_of_their_own(
    device: CpuAsCuda, round_of: Any
) -> None:
    record = round_of({"transfer": "overlapped"})
    assert device.locked == [CLIP, OUTPUT, OUTPUT]
    assert record.settings["transfer"] == "overlapped"
    # The total is of the steady state: the first call, and those of the warm-up, have none.
    assert stages_of(record, Phase.COLD) == stages_of(record, Phase.WARMUP) == {"forward"}
    assert stages_of(record, Phase.STEADY) == {"forward", "total"}
    assert len(steady(record, Pass.END_TO_END, FORWARD)) == len(steady(record, Pass.END_TO_END, TOTAL)) == 2
    assert all(value > 0 for value in steady(record, Pass.END_TO_END, TOTAL, "device_s"))


def test_the_output_that_is_checked_is_one_that_was_streamed(
    device: CpuAsCuda, round_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[tuple[int, ...]] = []

    plain_copy = torch.Tensor.copy_

    def copy(target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
        if non_blocking:
            copied.append(tuple(source.shape))
        return plain_copy(target, source + (non_blocking and source.shape == OUTPUT))

    monkeypatch.setattr(torch.Tensor, "copy_", copy)
    with pytest.raises(AssertionError, match="fast needs 80 dB"):
        round_of({"transfer": "overlapped"})
    assert copied.count(CLIP) == copied.count(OUTPUT) == 2 * STREAMED_CLIPS


def test_streamed_clips_are_calls_that_are_expected() -> None:
    asked = Measure.model_validate({"warmup": 2, "repetitions": 7, "stages": "off", "memory": "off"})
    assert expected_calls(asked, CUDNN.replace(transfer="overlapped")).total == 3 + 7 * (1 + STREAMED_CLIPS)
    assert expected_calls(asked, CUDNN.replace(transfer="pinned")).total == 3 + 7


def test_energy_is_not_told_of_frames_that_no_sample_counts(device: CpuAsCuda, round_of: Any) -> None:
    def with_energy(record: CellRecord) -> float | None:
        readings = tuple(TelemetryReading(elapsed_s=at, energy_j=at) for at in (-5.0, 1000.0))
        samples = tuple(
            item.model_copy(update={"wall_s": 2.0}) if item.stage == TOTAL else item
            for item in record.samples
        )
        return machine_state(
            record.model_copy(update={"telemetry": readings, "samples": samples})
        ).energy_per_frame_j  # fmt: skip

    assert with_energy(round_of({"transfer": "pinned"})) is not None
    assert with_energy(round_of({"transfer": "overlapped"})) is None


# cuda_graph


def test_a_round_of_a_network_that_is_replayed(
    device: CpuAsCuda, round_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda(monkeypatch)
    record = round_of({"cuda_graph": True}, warmup=2)
    assert record.settings["cuda_graph"] == "True"
    assert (cuda.log.count("capture"), cuda.log.count("replay")) == (1, 1 + 2 + 2)
