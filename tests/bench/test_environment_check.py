"""What would spoil a measurement: notices about made-up machines, and one real look."""

import json
from typing import Any

import pytest

from bench import cli
from bench.cautions.caution import Machine, Notice
from bench.cautions.cautions import check
from bench.commands import env, exits
from bench.machine import now, timer
from bench.machine.gpu import GpuState
from bench.machine.now import Now
from bench.machine.timer import Timer
from bench.records import OtherProcess, TelemetryReading

TIMER = Timer(cost_s=50e-9, resolution_s=1e-9)
GPU = {"power_limit_w": 700, "power_limit_default_w": 700, "persistence_mode": True}
GOOD: dict[str, Any] = {
    "cpu_affinity": 8, "cpu_logical_cores": 8, "cpu_governor": "performance", "clocksource": "tsc",
    "cpu_turbo": False, "hypervisor": False, "cgroup": {"cpu_quota_cores": None},
    "inherited_environment": {}, "nvidia_gpus": [GPU], "torch": {"devices": [{"name": "Fast GPU"}]},
}  # fmt: skip


def readings(**grown: float) -> dict[str, Any]:
    """Two readings, a second apart, between which counters grew."""
    counters = {"busy_s": 0.1, "own_cpu_s": 0.0, "steal_s": 0.0, "swap_pages": 0, **grown}
    first = dict.fromkeys(counters, 5)
    last = {name: 5 + value for name, value in counters.items()}
    both = ({"elapsed_s": 0.0, **first}, {"elapsed_s": 1.0, **last})
    return {"readings": tuple(TelemetryReading.model_validate(values) for values in both)}


QUIET = {
    "timer": TIMER, "free_memory_share": 0.8, "gpus": (GpuState(index=0, throttle_reasons=("idle",)),),
    **readings(),
}  # fmt: skip


def found(described: dict[str, Any], now: dict[str, Any]) -> tuple[Notice, ...]:
    return check(Machine(environment={**GOOD, **described}, now=Now(**{**QUIET, **now})))


def inherited(**variables: str) -> dict[str, Any]:
    return {"inherited_environment": variables}


def gpu(**state: Any) -> dict[str, Any]:
    return {"gpus": (GpuState(index=1, **state),)}


NAMED = {"others": (OtherProcess(pid=9, name="cc1plus", cores=1.4),)}
TWO = (OtherProcess(pid=3, name="train"), OtherProcess(pid=4, name="?"))


@pytest.mark.parametrize(
    ("code", "words", "described", "now"),
    [
        ("power_saving", "governor powersave", {"cpu_governor": "powersave"}, {}),
        ("cores_busy", "others kept 1.5 of 8 cores busy", {}, readings(busy_s=1.5)),
        ("cores_busy", "busy, among them cc1plus (pid 9) 1.4", {}, {**readings(busy_s=1.5), **NAMED}),
        ("steal", "gave 50 % of the cores' time to others", {}, readings(steal_s=0.1)),
        ("memory_low", "5 % of the memory is free", {}, {"free_memory_share": 0.05}),
        ("swapped", "300 pages went to or came from swap in 1 s", {}, readings(swap_pages=300)),
        ("on_battery", "battery", {}, {"on_battery": True}),
        ("cpu_quota", "allows the time of 2.5 cores", {"cgroup": {"cpu_quota_cores": 2.5}}, {}),
        ("cpu_quota", "ran out 3 times", {}, readings(throttled_periods=3)),
        ("timer_coarse", "its source: hpet", {"clocksource": "hpet"}, {}),
        ("timer_coarse", "costs 2 µs a call", {}, {"timer": Timer(cost_s=2e-6, resolution_s=1e-9)}),
        ("variable_kept", "LD_PRELOAD=libmine.so is set: another", inherited(LD_PRELOAD="libmine.so"), {}),
        ("device_shared", "GPU 1 is open in 2 processes, among them train (pid 3), ? (pid 4)", {},
         gpu(processes=TWO)),
        ("clocks_throttled", "GPU 1 holds its clocks back (heat)", {}, gpu(throttle_reasons=("heat",))),
        ("clocks_throttled", "the processor held its clock back", {}, readings(cpu_throttle_events=2)),
        ("cores_withheld", "may use 4 of 8 cores", {"cpu_affinity": 4}, {}),
        ("turbo", "turbo clocks are on", {"cpu_turbo": True}, {}),
        ("virtual_machine", "virtual machine", {"hypervisor": True}, {}),
        ("variable_dropped", "KMP_BLOCKTIME=3 is set", {"dropped_environment": {"KMP_BLOCKTIME": "3"}}, {}),
        ("gpu_power_limited", "500 W of its usual 700", {"nvidia_gpus": [GPU | {"power_limit_w": 500}]}, {}),
        ("gpu_unreadable", "no driver", {}, {"gpu_note": "no driver"}),
    ],
)  # fmt: skip
def test_each_alone(code, words, described, now):
    (notice,) = found(described, now)
    assert notice.code == code
    assert words in notice.seen
    assert notice.remedy
    assert "\n" not in notice.sentence


@pytest.mark.parametrize(
    ("described", "now"),
    [
        ({}, {}),
        ({"cpu_governor": "powersave", "cpu_energy_preference": "performance"}, {}),
        ({"cgroup": {"cpu_quota_cores": 8.0}}, {}),
        ({"cgroup": None, "clocksource": None, "nvidia_gpus": None}, {}),
        ({"clocksource": "kvm-clock", "nvidia_gpus": [{}]}, {}),
        (inherited(CUDA_VISIBLE_DEVICES="1"), {}),
        ({"torch": {"devices": []}}, {"gpu_note": "no driver"}),
        ({}, {"readings": (), "free_memory_share": None}),
        ({}, readings(busy_s=0.39, steal_s=0.003, swap_pages=255)),
        (dict.fromkeys(GOOD), {}),
    ],
)
def test_what_is_nothing_to_say(described, now):
    assert found(described, now) == ()


def test_a_real_look_says_what_is_always_known(monkeypatch):
    monkeypatch.setattr(now, "LOOK_S", 0.01)
    seen = now.look()
    assert seen.timer.cost_s > 0
    assert 0 < seen.free_memory_share <= 1
    assert seen.readings[0].elapsed_s < seen.readings[1].elapsed_s


@pytest.mark.parametrize(
    ("described", "now", "status", "text"),
    [
        ({}, {}, exits.OK, ""),
        ({"cpu_affinity": 4}, {"on_battery": True}, exits.FOUND,
         "spoils: the machine runs on its battery\n  plug it in\nnote: this process may use 4 of 8 cores\n"
         "  start it without taskset or a cpuset to have all\n"),
        ({"cpu_affinity": 4}, {}, exits.OK,
         "note: this process may use 4 of 8 cores\n  start it without taskset or a cpuset to have all\n"),
    ],
)  # fmt: skip
def test_env_check(capsys, monkeypatch, described, now, status, text):
    monkeypatch.setattr(env, "here", lambda: {**GOOD, **described})
    monkeypatch.setattr(env, "look", lambda: Now(**{**QUIET, **now}))
    assert cli.main(["env"]) == exits.OK
    assert json.loads(capsys.readouterr().out) == {**GOOD, **described}
    assert cli.main(["env", "--check"]) == status
    spoiling, notes = text.count("spoils: "), text.count("note: ")
    assert capsys.readouterr().out == (
        f"{text}{spoiling or 'nothing'} found that would spoil a measurement, {notes} to note; "
        "asking the timer costs 50 ns\n"
    )
    assert cli.main(["env", "--check", "--json"]) == status
    listed = json.loads(capsys.readouterr().out)
    assert "".join(f"{row['weight']}: {row['seen']}\n  {row['remedy']}\n" for row in listed) == text


def test_here_is_what_a_run_would_record():
    described = env.here()
    assert described["torch"]["torch"]
    assert described["workers_environment"]
    assert json.loads(json.dumps(described)) == described


@pytest.mark.parametrize(
    ("step", "calls", "cost_s"),
    [(2e-6, 1, 2e-6), (1e-3, 100, 1e-5)],  # the second clock steps every 100 calls
)
def test_the_timer_on_a_clock_of_known_cost(step, calls, cost_s):
    ticks = iter(range(10**9))
    found = timer.measure(lambda: next(ticks) // calls * step)
    assert found.resolution_s == pytest.approx(step)
    assert found.cost_s == pytest.approx(cost_s, rel=0.1)  # the ends of a batch fall anywhere in a step
