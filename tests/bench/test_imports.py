"""What may import what: the parent and the analysis stay free of torch, and imports point one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LIGHT = (
    "bench.config", "bench.plan", "bench.runner", "bench.run", "bench.launcher", "bench.analysis",
    "bench.plots", "bench.report", "bench.run_folder", "bench.presets", "bench.estimate",
    "bench.progress", "bench.messages", "bench.cli", "vsr_model", "vsr_model.registry", "vsr_model.cost",
)  # fmt: skip


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
    heavy = {"torch", "av", "memory_profiler"}
    program = f"import sys, {', '.join(LIGHT)}; print(*sorted({heavy} & {{*sys.modules}}))"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert ended.stdout.strip() == ""


def test_the_network_knows_nothing_of_the_benchmark() -> None:
    assert {
        name for name in VSR_MODEL if any(used.split(".")[0] == "bench" for used in IMPORTS[name])
    } == set()


@pytest.mark.parametrize("name", ["plots", "report", "analysis", "stats", "records"])
def test_the_analysis_knows_nothing_of_the_measuring(name: str) -> None:
    measuring = {
        f"bench.{module}" for module in ("runner", "run", "launcher", "server", "worker", "timing", "cli")
    }
    assert reached_from(f"bench.{name}") & measuring == set()


def test_nothing_imports_the_command_line_but_the_program() -> None:
    assert {name for name in BENCH if "bench.cli" in IMPORTS[name]} == {"bench.__main__"}


def test_no_module_reaches_itself() -> None:
    assert {name for name in BENCH if name in reached_from(name)} == set()
