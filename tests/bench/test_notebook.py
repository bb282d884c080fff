"""The notebook: executed whole, and kept with the outputs that a repository's page shows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "reproduce_paper.ipynb"


def outputs(notebook: Any) -> Iterator[Any]:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            yield from cell.outputs


def shown(notebook: Any) -> tuple[int, str]:
    """How many pictures there are, and all text."""
    data = [output.get("data", {}) for output in outputs(notebook)]
    pictures = sum("image/png" in item for item in data)
    return pictures, "\n".join(str(item.get("text/markdown") or item.get("text/plain")) for item in data)


@pytest.fixture(scope="module")
def kept() -> Any:
    return nbformat.read(NOTEBOOK, 4)


def test_it_shows_every_figure_of_the_paper(kept: Any) -> None:
    assert [output for output in outputs(kept) if output.output_type == "error"] == []
    assert all(cell.outputs or cell.execution_count for cell in kept.cells if cell.cell_type == "code")
    pictures, text = shown(kept)
    assert pictures == len([*(ROOT / "results" / "paper-quick-cpu" / "figures").glob("*.png")])
    for heading in ("The headline", *(f"Figure {number}:" for number in range(14, 20)), "Table 1"):
        assert f"## {heading}" in text


def test_it_names_no_ones_folders(kept: Any) -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert str(Path.home()) not in text


def test_it_runs(tmp_path: Path, kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("VSR_BENCH_PAPER", str(ROOT / "results" / "paper-quick-cpu"))
    before = shown(kept)
    made = nbformat.from_dict(kept)
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(made, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert shown(made)[0] == before[0]
    # Tables and sentences are the same to the last digit: they come from the committed runs alone.
    assert shown(made)[1] == before[1]
