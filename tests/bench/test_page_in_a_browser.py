"""Pages in a real browser: they fit a phone and a desk, and load nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from bench.figures import FIGURES
from bench.plotting.plots import write_plots
from bench.records import CellRecord, Status
from bench.reporting.page import unfinished, write
from bench.reporting.runs import ReportedRun, together
from bench.results.tables import tables_of
from tests.bench import synthetic
from tests.bench.synthetic import BASELINE
from tests.browser import PROGRAMS, VARIABLE, Browser, find

LONG: Final = "a-name/without_end." * 20
HOSTILE: Final = (
    "<script>document.title='x'</script>\" onerror=alert(1) ](javascript:alert(1)) \u202e" + "w" * 400
)

LEAST_FIGURE_TEXT_PX: Final = 8.0
"""Tick labels on a phone. Figures are drawn 6.8 inches wide, with labels of 8.5 points."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find()
    if program is None:
        pytest.skip(f"no browser here: none of {', '.join(PROGRAMS)}, and {VARIABLE} names none")
    with Browser(program) as found:
        yield found


def run_of(folder: Path, name: str) -> ReportedRun:
    """Return a run with long names, whose last cell fails for a reason that no one would write."""
    records: list[CellRecord] = synthetic.run(synthetic.LONG_NAMES, frames=(1, 4, 7), rounds=3)
    records = [*records[:-1], synthetic.ended(records[-1], Status.ERROR, HOSTILE)]
    (folder / "summary.csv").touch()
    return ReportedRun(
        name=name, experiment=LONG, baseline=BASELINE, tables=tables_of(records, BASELINE),
        environment={"cpu": name, LONG: HOSTILE}, files=[folder / "summary.csv"], note=str(unfinished(3)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a run's page, and one of three runs side by side."""
    folder = tmp_path_factory.mktemp("single")
    run = run_of(folder, "run")
    plots = write_plots(run.tables, baseline=BASELINE, kinds=FIGURES, folder=folder / "plots").images
    several = tmp_path_factory.mktemp("several")
    runs = [run_of(several, name) for name in ("a", "b" * 60, HOSTILE[:90])]
    return {
        "single": write(folder, together([run]), plots=plots).html,
        "several": write(several, together(runs), plots=plots).html,
    }


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", ["single", "several"])
def test_a_page_fits_and_loads_nothing(
    browser: Browser, pages: dict[str, Path], name: str, width: int
) -> None:
    browser.open(pages[name], width=width)
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.scrollingElement.scrollWidth") <= width
    assert browser.errors() == []
    assert browser.requests() == [pages[name].resolve().as_uri()]
    images = browser.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.width])")
    assert len(images) >= 5
    assert all(complete and natural > 0 for complete, natural, _ in images)
    drawn_px = 6.8 * 96
    assert all(8.5 / 72 * 96 * shown / drawn_px >= LEAST_FIGURE_TEXT_PX for _, _, shown in images)
    assert browser.evaluate(
        "[...document.querySelectorAll('nav a')].every(a => document.getElementById("
        "decodeURIComponent(a.hash.slice(1))))"
    )


def test_the_checks_find_what_is_wrong(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "wrong.html"
    page.write_text(
        "<!doctype html><meta name=viewport content='width=device-width'>"
        "<div style='width: 900px'>wide</div><img src=missing.png><script>nothing.here()</script>"
    )
    browser.open(page, width=360)
    assert browser.evaluate("document.scrollingElement.scrollWidth") > 360
    assert browser.evaluate("document.images[0].naturalWidth") == 0
    assert len(browser.errors()) == 2
    assert [Path(url).name for url in browser.requests()] == ["wrong.html", "missing.png"]
