"""A round's figures of the machine, from readings of known truth."""

from typing import Any

import pytest

from bench.cautions.machine_state import MachineState, machine_state
from bench.records import CellRecord, Pass, Phase, Sample, Status, TelemetryReading

# A cold call, two steady ones of 2 s with a gap between, and a stage pass.
SAMPLES = tuple(
    Sample(pass_=pass_, phase=phase, repetition=0, stage="total", start_s=start_s, wall_s=wall_s)
    for pass_, phase, start_s, wall_s in (
        (Pass.END_TO_END, Phase.COLD, 1.0, 3.0),
        (Pass.END_TO_END, Phase.STEADY, 5.0, 2.0),
        (Pass.END_TO_END, Phase.STEADY, 8.0, 2.0),
        (Pass.STAGE_SYNC, Phase.STEADY, 12.0, 4.0),
    )
)


def state(*readings: dict[str, Any]) -> MachineState:
    return machine_state(
        CellRecord(
            cell="x", round=0, model="basicvsr", input="noise", batch=2, frames=5, height=64, width=64,
            backend="cudnn", dtype="float32", fp32_precision="ieee", memory_format="contiguous",
            status=Status.OK, samples=SAMPLES, affinity_cores=4,
            telemetry=tuple(TelemetryReading(**reading) for reading in readings),
        )
    )  # fmt: skip


def test_without_readings_nothing_is_known() -> None:
    assert state() == MachineState()
    assert state({"elapsed_s": 4.0, "busy_s": 1.0}) == MachineState()


def test_what_the_cold_call_saw_does_not_count() -> None:
    found = state(
        {"elapsed_s": 0.5, "busy_s": 0.0, "own_cpu_s": 0.0, "steal_s": 0.0, "cpu_mhz": 100.0},
        {"elapsed_s": 4.5, "busy_s": 90.0, "own_cpu_s": 1.0, "steal_s": 50.0, "cpu_mhz": 3000.0},
        {"elapsed_s": 10.5, "cpu_mhz": 2000.0},
        {"elapsed_s": 16.5, "busy_s": 120.0, "own_cpu_s": 25.0, "steal_s": 52.4, "cpu_mhz": 1000.0},
    )
    assert found.others_cores == pytest.approx((30 - 24) / 12)
    assert found.steal_share == pytest.approx(2.4 / 12 / 4)
    assert found.cpu_mhz == 2000.0


def test_energy_is_that_of_the_end_to_end_pass_over_its_frames() -> None:
    found = state(
        {"elapsed_s": 4.0, "energy_j": 100.0, "power_w": 90.0, "temperature_c": 50.0},
        {"elapsed_s": 4.9, "energy_j": 1000.0, "power_w": 95.0, "temperature_c": 60.0},
        {"elapsed_s": 7.5, "energy_j": 1300.0, "power_w": 300.0, "temperature_c": 70.0},
        {"elapsed_s": 10.1, "energy_j": 1500.0, "power_w": 310.0, "sm_clock_mhz": 1500.0},
        {"elapsed_s": 16.2, "energy_j": 9000.0, "power_w": 305.0, "temperature_c": 64.0},
    )  # fmt: skip
    assert found.energy_per_frame_j == 500.0 / (2 * 2 * 5)  # calls, clips, frames
    assert found.power_w == 302.5
    assert found.temperature_c == 70.0
    assert found.sm_clock_mhz == 1500.0


# No reading after the last call, then none before the first.
@pytest.mark.parametrize("moments", [(4.9, 9.0), (5.5, 11.0)])
def test_energy_needs_a_reading_on_both_sides(moments: tuple[float, float]) -> None:
    first, last = ({"elapsed_s": moment, "energy_j": moment} for moment in moments)
    assert state(first, last).energy_per_frame_j is None
