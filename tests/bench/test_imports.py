"""What may import what: the parent and the analysis stay free of torch, and imports point one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LIGHT = (
    "bench.cli", "bench.commands.run", "bench.commands.ci", "bench.commands.tune", "bench.commands.paper",
    "bench.messages", "bench.grid.config", "bench.grid.plan",
    "bench.grid.presets", "bench.grid.estimate", "bench.process.runner", "bench.process.launcher",
    "bench.results.tables", "bench.results.run_folder", "bench.plotting.plots", "bench.reporting.page",
    "bench.comparison.compare", "bench.export.formats",
    "bench.tuning.search", "bench.tuning.tuned", "bench.reporting.ladder",
    "vsr_model", "vsr_model.registry", "vsr_model.memory_plan",
)  # fmt: skip

ROOMS = (
    "units", "places", "figures", "errors", "stats", "grid", "records", "messages", "machine", "process",
    "measure", "upscaling", "cautions", "results", "comparison", "export", "tuning", "plotting", "reporting",
    "paper", "commands", "cli", "__main__",
)  # fmt: skip
"""Of bench, from the bottom up: each may import from those before it."""


def modules(package: str) -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((ROOT / package).rglob("*.py"))
    }


BENCH, VSR_MODEL = modules("bench"), modules("vsr_model")


def imports_of(path: Path) -> set[str]:
    """Every module that the file names in an import, wherever in it that stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


IMPORTS = {name: imports_of(path) for name, path in {**BENCH, **VSR_MODEL}.items()}


def reached_from(name: str) -> set[str]:
    """The module's own imports in this repository, and theirs."""
    reached: set[str] = set()
    left = [name]
    while left:
        for imported in IMPORTS[left.pop()] & IMPORTS.keys() - reached:
            reached.add(imported)
            left.append(imported)
    return reached


def test_the_parent_and_the_analysis_import_no_torch() -> None:
    heavy = {"torch", "av", "memory_profiler", "pyperf", "pytest_benchmark"}
    program = f"import sys, {', '.join(LIGHT)}; print(*sorted({heavy} & {{*sys.modules}}))"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=600
    )
    assert ended.stdout.strip() == ""


def test_the_list_of_commands_imports_none_and_names_those_that_there_are() -> None:
    program = (
        "import importlib, inspect, sys; from bench import cli; cli.main(['--help'])\n"
        "assert not {'pydantic', 'pandas', 'torch', 'bench.commands.run'} & {*sys.modules}\n"
        "for name in cli.COMMANDS:\n"
        "    assert inspect.getdoc(getattr(importlib.import_module(f'bench.commands.{name}'), name)), name\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=600
    )
    assert "Measure every cell of a grid" in ended.stdout


def test_the_network_knows_nothing_of_the_benchmark() -> None:
    assert {
        name for name in VSR_MODEL if any(used.split(".")[0] == "bench" for used in IMPORTS[name])
    } == set()


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    own = {name for name in BENCH if name == f"bench.{room}" or name.startswith(f"bench.{room}.")}
    used = {used for name in own for used in IMPORTS[name] & BENCH.keys() - own - {"bench"}}
    allowed = ROOMS[: ROOMS.index(room)]
    assert own
    assert {name for name in used if name.split(".")[1] not in allowed} == set()


@pytest.mark.parametrize(
    "room", ["cautions", "results", "comparison", "export", "tuning", "plotting", "reporting"]
)
def test_the_analysis_knows_nothing_of_the_measuring(room: str) -> None:
    for name in BENCH:
        if name.startswith(f"bench.{room}."):
            reached = {used.split(".")[1] for used in reached_from(name) if "." in used}
            assert not reached & {"process", "measure", "commands", "cli"}


@pytest.mark.parametrize("room", ["comparison", "export", "tuning", "plotting", "reporting"])
def test_what_shows_results_reads_tables_and_no_record(room: str) -> None:
    own = {name for name in BENCH if name.startswith(f"bench.{room}.")}
    assert {name for name in own if "bench.records.CellRecord" in IMPORTS[name]} == set()


def test_nothing_imports_the_command_line_but_the_program() -> None:
    assert {name for name in BENCH if "bench.cli" in IMPORTS[name]} == {"bench.__main__"}


def test_every_room_is_known() -> None:
    assert {name.split(".")[1] for name in BENCH if "." in name} == {*ROOMS}


def test_no_module_reaches_itself() -> None:
    assert {name for name in BENCH if name in reached_from(name)} == set()


def test_only_its_command_knows_the_course_paper() -> None:
    users = {name for name in BENCH if any(used.startswith("bench.paper.") for used in IMPORTS[name])}
    assert {name for name in users if "paper" not in name} == set()
