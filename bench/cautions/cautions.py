"""The table of all cautions, and those who read it: a run's warnings, and `env --check` before a run.

Pure: a rebuild makes the warnings anew from the journal and environment.json. docs/measurement.md explains
each code that a run can have.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from bench.cautions import machine_looks as machine
from bench.cautions import samples
from bench.cautions.caution import Caution, Cell, Environment, Machine, Notice, Round, Run, Seen
from bench.cautions.machine_state import around_steady
from bench.records import CellRecord, Status

CAUTIONS: Final = (
    Caution("clocks_sagged", in_readings=machine.clocks_sagged,
            remedy="let the machine cool, and fix its clocks below what it holds "
            "(`nvidia-smi --lock-gpu-clocks`, `cpupower frequency-set --max`)"),
    Caution("clocks_throttled", in_readings=machine.clocks_throttled, before=machine.gpus_throttled,
            remedy="cool it, raise its power limit, or fix its clocks below what it holds "
            "(`nvidia-smi --lock-gpu-clocks`)"),
    Caution("device_shared", in_round=machine.device_shared, before=machine.gpus_shared,
            remedy="end the other process, or measure on another GPU (`device: cuda:1`)"),
    Caution("cores_busy", in_round=machine.cores_busy, before=machine.cores_busy_before,
            remedy="end what else is running, or measure with fewer `threads` than there are cores"),
    Caution("steal", in_readings=machine.steal,
            remedy="measure on a host that is not overcommitted (a dedicated or bare-metal machine)"),
    Caution("cpu_quota", in_readings=machine.cpu_quota, before=machine.quota_below_cores,
            remedy="raise the container's CPU limit, or set `threads` to no more than it allows"),
    Caution("preempted", in_round=machine.preempted,
            remedy="end what else is running, use fewer `threads`, or raise the priority with `nice`"),
    Caution("affinity_narrow", in_round=machine.affinity_narrow,
            remedy="set `threads` to the cores that may be used, or allow more (taskset, the container's "
            "limit)"),
    Caution("spread_wide", in_cell=samples.spread_wide,
            remedy="quiet the machine, or ask for more `repetitions` (`{min, max, target}`)"),
    Caution("first_outlier", in_cell=samples.first_outlier,
            remedy="ask for more `warmup`, or for `warmup: auto`"),
    Caution("drift", in_run=samples.drift_of_run, in_cell=samples.drift,
            remedy="let the machine cool, and look at its clocks"),
    Caution("bimodal", in_cell=samples.bimodal,
            remedy="look at samples.csv for what alternates (clocks, another process, memory that is freed "
            "in turn), and ask for more `rounds`"),
    Caution("few_samples", in_cell=samples.few_samples,
            remedy="ask for at least 6 `repetitions`, or for 6 `rounds`"),
    Caution("power_saving", in_run=machine.power_saving, before=machine.power_saving,
            remedy="set another with `sudo cpupower frequency-set --governor performance`"),
    Caution("variable_kept", in_run=machine.variables_kept, before=machine.variables_kept,
            remedy="unset it"),
    Caution("swapped", in_readings=machine.swapped,
            remedy="free memory or measure smaller cells, and run `sudo swapoff --all` before"),
    Caution("page_faults", in_round=machine.page_faults,
            remedy="use `allocator: retain` (`measure`), which keeps freed memory, or warm up longer"),
    Caution("timer_coarse", in_cell=samples.timer_coarse, before=machine.timer_slow,
            remedy="measure a larger `size`, more `frames` or a larger `batch`"),
    # From here on before a run only.
    Caution("memory_low", before=machine.memory_low, remedy="end what holds the rest"),
    Caution("on_battery", before=machine.on_battery, remedy="plug it in"),
    Caution("variable_dropped", before=machine.variables_dropped, spoils=False,
            remedy="ask for it in the YAML where it has a field (`threads`, `fp32_precision`, `allocator`)"),
    Caution("cores_withheld", before=machine.cores_withheld, spoils=False,
            remedy="start it without taskset or a cpuset to have all"),
    Caution("turbo", before=machine.turbo, spoils=False,
            remedy="for steadier, slower figures write 1 to /sys/devices/system/cpu/intel_pstate/no_turbo, "
            "or 0 to /sys/devices/system/cpu/cpufreq/boost"),
    Caution("virtual_machine", before=machine.virtual_machine, spoils=False,
            remedy="repeat in more `rounds` and at other hours, or measure on bare metal"),
    Caution("gpu_power_limited", before=machine.gpu_power_limited, spoils=False,
            remedy="raise its limit with `sudo nvidia-smi --power-limit`"),
    Caution("gpu_unreadable", before=machine.gpu_unreadable, spoils=False,
            remedy="install a driver that nvidia-ml-py knows"),
)  # fmt: skip


def cautions(records: Sequence[CellRecord], environment: Environment) -> tuple[Notice, ...]:
    """Return every caution about a run: the whole run's first, then cell by cell in the order of the records.

    A caution stands once for a cell, with the round that shows it most. What a record or environment.json
    does not hold, as those of older runs, gives none.
    """
    by_cell: dict[str, list[CellRecord]] = {}
    for record in records:
        if record.status in (Status.OK, Status.INACCURATE):
            by_cell.setdefault(record.cell, []).append(record)
    cells = []
    for rounds in by_cell.values():
        values = [found for record in rounds if (found := samples.forward_s(record))]
        cells.append(Cell(records=rounds, samples=values, environment=environment))
    run = Run(cells=cells, environment=environment)
    of_run = [_notice(row, seen) for row in CAUTIONS if cells and row.in_run for seen in row.in_run(run)]
    return (*of_run, *(notice for cell in cells for notice in _of_cell(cell)))


def check(of: Machine) -> tuple[Notice, ...]:
    """Return what is wrong with a machine before a run: what spoils first, then what is worth knowing."""
    found = []
    for row in CAUTIONS:
        if row.in_readings and (seen := row.in_readings(of.now.readings)):
            found.append(_notice(row, seen))
        found += [_notice(row, seen) for seen in (row.before(of) if row.before else ())]
    return tuple(sorted(found, key=lambda notice: not notice.spoils))


def _of_cell(cell: Cell) -> Iterator[Notice]:
    """Yield what is to be said of a cell, of whose rounds the telemetry around the steady calls counts."""
    name = cell.records[0].cell
    rounds = [
        Round(record=record, readings=around_steady(record), environment=cell.environment)
        for record in cell.records
    ]
    for row in CAUTIONS:
        seen = [(looked, of.record.round) for of in rounds if (looked := _in_round(row, of))]
        if seen:
            worst, number = max(seen, key=lambda item: item[0].size)
            often = f" (in {len(seen)} of {len(rounds)} rounds, round {number} the most)"
            yield _notice(row, worst, name, number, often if rounds[1:] else "")
        if cell.samples and row.in_cell and (found := row.in_cell(cell)):
            yield _notice(row, found, name)


def _in_round(row: Caution, of: Round) -> Seen | None:
    if row.in_readings:
        return row.in_readings(of.readings)
    return row.in_round(of) if row.in_round else None


def _notice(row: Caution, seen: Seen, cell: str = "", number: int | None = None, often: str = "") -> Notice:
    return Notice(
        code=row.code,
        cell=cell,
        round=number,
        seen=seen.text + often,
        remedy=seen.remedy or row.remedy,
        spoils=row.spoils,
    )
