"""The notebook: executed whole, and kept with the outputs that a repository's page shows."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "notebooks" / "reproduce_paper.ipynb"
REPRODUCTION = ROOT / "results" / "paper-quick-cpu"


def shown(notebook: Any) -> tuple[int, str]:
    """The number of pictures, and all text."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not any(output.output_type == "error" for output in outputs)
    data = [output.get("data", {}) for output in outputs]
    pictures = sum("image/png" in item for item in data)
    return pictures, "\n".join(str(item.get("text/markdown") or item.get("text/plain")) for item in data)


def test_its_outputs_are_every_figure_of_the_paper_and_those_of_a_run_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = nbformat.read(NOTEBOOK, 4)
    pictures, text = shown(kept)
    assert pictures == len([*(REPRODUCTION / "figures").glob("*.png")])
    for heading in ("The headline", *(f"Figure {number}:" for number in range(14, 20)), "Table 1"):
        assert f"## {heading}" in text
    for private in (ROOT, Path.home()):
        assert str(private) not in NOTEBOOK.read_text(encoding="utf-8")

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("VSR_BENCH_PAPER", str(REPRODUCTION))
    for cell in kept.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(kept, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    # Tables and sentences are the same to the last digit: they come from the committed runs alone.
    assert shown(kept) == (pictures, text)
