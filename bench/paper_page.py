"""The reproduction's page from the runs that are there: figures, claims.csv, report.md and report.html."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench.grid import config
from bench.machine.environment import in_short
from bench.paper import page, published
from bench.paper.claims import findings
from bench.paper.editions import CORRECTED, PAPER, Edition, Role
from bench.paper.experiments import FAULTS, FULL, METHODS, Request, fault_folder, steps
from bench.paper.faults import explain
from bench.paper.figures import FIGURES, figure
from bench.paper.method import Method
from bench.paper.reading import RunOfPaper, edition_of
from bench.paper.verdict import Finding, Form, Verdict, claims_table
from bench.paper_run import alone, is_done, runs_of
from bench.plotting.plots import FORMATS, save
from bench.reporting.html_files import relative, write_pages
from bench.results.analysis import Tables, tables_of
from bench.results.run_folder import RunFolder, to_csv
from bench.results.whole_file import write_whole

CLAIMS_NAME: Final = "claims.csv"
FIGURES_NAME: Final = "figures"
TITLE: Final = "A course paper reproduced"


@dataclass(frozen=True, kw_only=True)
class Written:
    """Where the page is, and what it came to."""

    markdown: Path
    html: Path
    claims: Path
    verdicts: tuple[str, ...]  # counts in words
    refuted: tuple[str, ...]  # claims that this machine refutes, by the best method that was run


def write(folder: Path, wanted: Request) -> Written:
    """Make the page, its figures and claims.csv anew from the folder's runs, whole or begun.

    Raises BadInput where another process is at them.
    """
    with alone(folder):
        return _write(folder, wanted)


def _write(folder: Path, wanted: Request) -> Written:
    read = {step.folder: _of_paper(run) for step, run in runs_of(folder, wanted)}
    editions = _editions(read, wanted)
    faults = _faults(read)
    found = findings(editions.values(), faults)
    pictures = _draw(editions, wanted, folder / FIGURES_NAME)
    claims = folder / CLAIMS_NAME
    write_whole(claims, to_csv(claims_table(found)))
    missing = sum(not is_done(folder / step.folder) for step in steps(wanted))
    text = page.render(
        editions,
        found,
        [explain(name, off, on) for name, (off, on) in faults.items()],
        figures=wanted.figures,
        pictures={key: relative(path, folder) for key, path in pictures.items()},
        files=[relative(claims, folder)],
        runs=[_line(name, run.tables) for name, run in read.items()],
        note=f"{missing} of the runs are not done yet." if missing else None,
    )
    pages = write_pages(folder, text, title=TITLE, pictures=list(pictures.values()))
    return Written(
        markdown=pages.markdown,
        html=pages.html,
        claims=claims,
        verdicts=tuple(page.in_short(found)),
        refuted=_refuted(found, wanted),
    )


def editions_of(folder: Path, wanted: Request) -> dict[str, Edition]:
    """The paper's edition, and those of the methods whose runs are in the folder."""
    return _editions({step.folder: _of_paper(run) for step, run in runs_of(folder, wanted)}, wanted)


def findings_of(folder: Path, wanted: Request) -> tuple[Finding, ...]:
    """The verdicts on each claim, as the page has them."""
    read = {step.folder: _of_paper(run) for step, run in runs_of(folder, wanted)}
    return findings(_editions(read, wanted).values(), _faults(read))


def paper_edition() -> Edition:
    """What the paper published."""
    return edition_of(PAPER, [_of_paper(RunFolder.open(published.folder()))], version=FULL)


def _editions(read: dict[str, RunOfPaper], wanted: Request) -> dict[str, Edition]:
    editions = {PAPER: paper_edition()}
    for method in METHODS[::-1]:
        own = [run for name, run in read.items() if name.startswith(f"{method}/")]
        if own:
            editions[method] = edition_of(method, own, version=wanted.version)
    return editions


def _of_paper(folder: RunFolder) -> RunOfPaper:
    method = Method.of(folder.environment.get("method"))
    return RunOfPaper(
        tables=tables_of(folder.records(), folder.baseline, folder.environment),
        roles={spec.name: Role(spec.from_ or spec.name) for spec in folder.experiment.backends},
        machine=in_short(folder.environment),
        baseline=folder.baseline,
        configuration={**config.plain(folder.experiment), "script": asdict(method or Method())},
        method=method,
    )


def _draw(editions: dict[str, Edition], wanted: Request, folder: Path) -> dict[str, Path]:
    """The figures that there is something to draw for, as files; the .png of each."""
    folder.mkdir(exist_ok=True)
    drawn = {}
    for key in FIGURES:
        name = f"figure-{key}" if key.isdecimal() else key
        paths = [folder / f"{name}.{ending}" for ending in FORMATS]
        made = figure(key, editions) if key in wanted.figures else None
        if made is None:
            for path in paths:
                path.unlink(missing_ok=True)
            continue
        save(made, paths)
        drawn[key] = next(path for path in paths if path.suffix == ".png")
    return drawn


def _faults(read: dict[str, RunOfPaper]) -> dict[str, tuple[RunOfPaper, RunOfPaper]]:
    """The experiments on faults whose two runs are there: with the fault off, and on."""
    pairs = {name: (fault_folder(name, on=False), fault_folder(name, on=True)) for name in FAULTS}
    return {name: (read[off], read[on]) for name, (off, on) in pairs.items() if {off, on} <= read.keys()}


def _refuted(found: Sequence[Finding], wanted: Request) -> tuple[str, ...]:
    own = CORRECTED if CORRECTED in wanted.methods else wanted.methods[0]
    return tuple(
        finding.claim
        for finding in found
        if (finding.edition, finding.form, finding.verdict) == (own, Form.GENERAL, Verdict.REFUTED)
        and not finding.negated_by_correction  # its refutation is the method's, and no news of the machine
    )


def _line(name: str, tables: Tables) -> page.RunLine:
    cells = tables.summary.drop_duplicates("cell")
    return page.RunLine(
        name=name,
        report=Path(name) / "report.md",
        statuses=dict(Counter(map(str, cells["status"]))),
        warnings=dict(Counter(map(str, tables.warnings["code"]))),
    )
