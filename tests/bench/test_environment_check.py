"""What would spoil a measurement: findings from made-up machines, and one real look."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from bench import cli
from bench.cautions.environment_check import Finding, Now, Weight, findings, in_short, look
from bench.commands import env as environment_check
from bench.commands import exits
from bench.machine import timer
from bench.machine.telemetry_nvidia import NOT_INSTALLED, GpuState
from bench.machine.timer import Timer
from bench.records import OtherProcess

TIMER = Timer(cost_s=50e-9, resolution_s=1e-9)
GOOD: dict[str, Any] = {
    "cpu_affinity": 8, "cpu_logical_cores": 8, "cpu_governor": "performance", "clocksource": "tsc",
    "cpu_smt": False, "cpu_turbo": False, "hypervisor": False, "cgroup": {"cpu_quota_cores": None},
    "inherited_environment": {},
    "nvidia_gpus": [{"power_limit_w": 700, "power_limit_default_w": 700, "persistence_mode": True}],
    "torch": {"devices": [{"name": "Fast GPU"}]},
}  # fmt: skip
QUIET = {
    "timer": TIMER, "others_cores": 0.1, "steal_share": 0.0, "free_memory_share": 0.8,
    "gpus": (GpuState(index=0, throttle_reasons=("idle",)),),
}  # fmt: skip


def found(described: Mapping[str, Any] | None = None, **now: Any) -> tuple[Finding, ...]:
    return findings({**GOOD, **(described or {})}, Now(**{**QUIET, **now}))


def inherited(**variables: str) -> dict[str, Any]:
    return {"inherited_environment": variables}


def gpu(**settings: Any) -> dict[str, Any]:
    return {"nvidia_gpus": [{**GOOD["nvidia_gpus"][0], **settings}]}


def test_a_good_machine_has_nothing_to_say():
    assert found() == ()
    assert in_short((), Now(timer=TIMER)) == (
        "nothing found that would spoil a measurement, 0 to note; asking the timer costs 50 ns"
    )


@pytest.mark.parametrize(
    ("weight", "words", "described", "now"),
    [
        (Weight.SPOILS, "governor powersave", {"cpu_governor": "powersave"}, {}),
        (Weight.SPOILS, "others keep 1.5 of 8 cores busy", {}, {"others_cores": 1.5}),
        (
            Weight.SPOILS,
            "among them cc1plus (pid 9) 1.4",
            {},
            {"others_cores": 1.5, "others": (OtherProcess(pid=9, name="cc1plus", cores=1.4),)},
        ),
        (Weight.SPOILS, "gives 5 % of the cores' time to others", {}, {"steal_share": 0.05}),
        (Weight.SPOILS, "5 % of the memory is free", {}, {"free_memory_share": 0.05}),
        (Weight.SPOILS, "12 pages went to or came from swap", {}, {"swap_pages": 12}),
        (Weight.SPOILS, "battery", {}, {"on_battery": True}),
        (Weight.SPOILS, "allows the time of 2.5 cores", {"cgroup": {"cpu_quota_cores": 2.5}}, {}),
        (Weight.SPOILS, "its source: hpet", {"clocksource": "hpet"}, {}),
        (Weight.SPOILS, "costs 2 µs a call", {}, {"timer": Timer(cost_s=2e-6, resolution_s=1e-9)}),
        (Weight.SPOILS, "NVIDIA_TF32_OVERRIDE=0 is set", inherited(NVIDIA_TF32_OVERRIDE="0"), {}),
        (Weight.SPOILS, "CUDA_LAUNCH_BLOCKING=1 is set", inherited(CUDA_LAUNCH_BLOCKING="1"), {}),
        (
            Weight.SPOILS,
            "GPU 1 is open in 2 processes: train (pid 3), ? (pid 4)",
            {},
            {
                "gpus": (
                    GpuState(
                        index=1, processes=(OtherProcess(pid=3, name="train"), OtherProcess(pid=4, name="?"))
                    ),
                )
            },
        ),
        (
            Weight.SPOILS,
            "GPU 0 holds its clocks back (heat)",
            {},
            {"gpus": (GpuState(index=0, throttle_reasons=("heat", "idle")),)},
        ),
        (Weight.NOTE, "may use 4 of 8 cores", {"cpu_affinity": 4}, {}),
        (Weight.NOTE, "SMT", {"cpu_smt": True}, {}),
        (Weight.NOTE, "turbo", {"cpu_turbo": True}, {}),
        (Weight.NOTE, "virtual machine", {"hypervisor": True}, {}),
        (Weight.NOTE, "OMP_NUM_THREADS=3 is set", inherited(OMP_NUM_THREADS="3"), {}),
        (Weight.NOTE, "LD_PRELOAD=", inherited(LD_PRELOAD="~/lib/libtcmalloc.so"), {}),
        (Weight.NOTE, "may take 500 W of its usual 700 W", gpu(power_limit_w=500), {}),
        (Weight.NOTE, "shut down while no process has it open", gpu(persistence_mode=False), {}),
        (Weight.NOTE, NOT_INSTALLED, {}, {"notes": (NOT_INSTALLED,)}),
    ],
)
def test_each_finding_alone(weight, words, described, now):
    (finding,) = found(described, **now)
    assert finding.weight is weight
    assert words in finding.seen
    assert finding.remedy
    assert "\n" not in finding.seen + finding.remedy


@pytest.mark.parametrize(
    ("described", "now"),
    [
        ({"cpu_governor": "powersave", "cpu_energy_preference": "performance"}, {}),
        ({"cgroup": {"cpu_quota_cores": 8.0}}, {}),
        ({"cgroup": None}, {}),
        ({"clocksource": None}, {}),
        ({"clocksource": "kvm-clock"}, {}),
        (inherited(CUDA_LAUNCH_BLOCKING="0", CUDA_VISIBLE_DEVICES="1"), {}),
        ({"torch": {"devices": []}}, {"notes": (NOT_INSTALLED,)}),
        ({"nvidia_gpus": None}, {}),
        ({"nvidia_gpus": [{}]}, {}),
        ({}, {"others_cores": None, "steal_share": None, "free_memory_share": None}),
        ({}, {"others_cores": 0.4, "steal_share": 0.01}),
    ],
)
def test_what_is_no_finding(described, now):
    assert found(described, **now) == ()


def test_an_empty_description_is_no_error():
    assert findings({}, Now(timer=TIMER)) == ()


def test_what_spoils_comes_first():
    both = found({"hypervisor": True}, on_battery=True)
    assert [finding.weight for finding in both] == [Weight.SPOILS, Weight.NOTE]
    assert in_short(both, Now(timer=TIMER)).startswith("1 found that would spoil a measurement, 1 to note")


def test_a_real_look_ends_and_says_something():
    now = look()
    assert now.timer.cost_s > 0
    assert now.free_memory_share is not None
    assert 0 < now.free_memory_share <= 1
    for finding in findings({}, now):
        assert finding.remedy


@pytest.fixture
def _known_machine(monkeypatch) -> None:
    monkeypatch.setattr(environment_check, "here", lambda: GOOD)
    monkeypatch.setattr(environment_check, "look", lambda: Now(**QUIET))


@pytest.mark.usefixtures("_known_machine")
def test_env_prints_what_environment_json_would_hold(capsys):
    assert cli.main(["env"]) == exits.OK
    assert json.loads(capsys.readouterr().out) == GOOD


@pytest.mark.usefixtures("_known_machine")
def test_env_check_ends_well_where_nothing_spoils(capsys, monkeypatch):
    assert cli.main(["env", "--check"]) == exits.OK
    assert capsys.readouterr().out.startswith("nothing found")
    monkeypatch.setattr(environment_check, "here", lambda: {**GOOD, "hypervisor": True})
    assert cli.main(["env", "--check"]) == exits.OK
    assert capsys.readouterr().out.startswith("note: this is a virtual machine")


@pytest.mark.usefixtures("_known_machine")
def test_env_check_tells_a_script_that_something_spoils(capsys, monkeypatch):
    monkeypatch.setattr(environment_check, "look", lambda: Now(**{**QUIET, "on_battery": True}))
    assert cli.main(["env", "--check"]) == exits.FOUND
    assert "spoils: the machine runs on its battery\n  plug it in\n" in capsys.readouterr().out
    assert cli.main(["env", "--check", "--json"]) == exits.FOUND
    assert json.loads(capsys.readouterr().out) == [
        {"weight": "spoils", "seen": "the machine runs on its battery", "remedy": "plug it in"}
    ]


def test_here_is_what_a_run_would_record():
    described = environment_check.here()
    assert described["torch"]["torch"]
    assert described["workers_environment"]
    assert json.loads(json.dumps(described)) == described


def test_the_timer_on_a_clock_of_known_cost():
    ticks = iter(range(10**9))
    found = timer.measure(lambda: next(ticks) * 2e-6)
    assert found.cost_s == pytest.approx(2e-6)
    assert found.resolution_s == pytest.approx(2e-6)


def test_a_coarse_timer_shows_its_step():
    ticks = iter(range(10**9))
    found = timer.measure(lambda: (next(ticks) // 100) * 1e-3)
    assert found.resolution_s == pytest.approx(1e-3)
    assert found.cost_s == pytest.approx(1e-5, rel=0.1)  # the ends of a batch fall anywhere in a step
