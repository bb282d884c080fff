"""The reproduction as one Markdown page: verdicts, figures with tables and what they say, faults. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.paper.editions import CORRECTED, FAITHFUL, PAPER, PAPER_NAMES, Edition
from bench.paper.experiments import BRIEF, FAULTS_KEY, KEYS, QUICK
from bench.paper.faults import Explanation
from bench.paper.figure_tables import markdown, tables_of
from bench.paper.lessons import LESSONS
from bench.paper.verdict import Finding, Form, Verdict
from bench.reporting.markdown import Column, escape, image, link, table, target
from vsr_model.one_line import visible

HEADINGS: Final = {
    "headline": "The headline: one clip, one call",
    "14": "Figure 14: the same clip again and again",
    "15": "Figure 15: time against the number of frames",
    "16": "Figure 16: speedup against the number of frames",
    "17": "Figure 17: host memory through a call",
    "18": "Figure 18: host memory by line of the network's forward",
    "19": "Figure 19: shares of the stages",
    "table1": "Table 1: seconds of each stage",
}

SOURCE: Final = (
    "the course paper 基于 CUDA、cuDNN 加速的 BasicVSR 视频超分设计 (*BasicVSR design based on CUDA "
    "and cuDNN acceleration*, Wuhan University, 2022-2023; "
    "github.com/gorgeousmwz/BasicVSR-based-on-CUDA-and-cuDNN)"
)

EDITIONS: Final = {
    PAPER: "what the paper published: one half of a Tesla K80 against a Xeon E5-2637 v4",
    FAITHFUL: (
        "this machine, measured as the paper's code did it: gradients recorded, nothing waits for the GPU, "
        "no warm-up, the first call counts, and cuDNN on under the name CUDA"
    ),
    CORRECTED: (
        "this machine, measured properly: no gradients, synchronised, the first call apart, processes that "
        "no other backend has used, and a backend that really has no cuDNN"
    ),
}

_BY_DESIGN: Final = " (the corrected method leaves out what the claim tells of)"

_SHORTER: Final = {
    QUICK: " A quick version: shorter clips and fewer calls than the paper's.",
    BRIEF: " A brief version: the paper's clips, and few calls of each.",
}

_SOURCES: Final = ("No source stands", "One source stands", "Two sources stand", "Three sources stand")

_MARKS: Final = {Verdict.SUPPORTED: "supported", Verdict.REFUTED: "**refuted**", Verdict.CANNOT_TELL: "open"}


@dataclass(frozen=True, kw_only=True)
class RunLine:
    """A run that the page rests on; its report's path is relative to the page."""

    name: str
    report: Path
    statuses: Mapping[str, int]  # cells by how they ended
    warnings: Mapping[str, int]  # cells by what they are warned of


def render(
    editions: Mapping[str, Edition],
    findings: Sequence[Finding],
    explanations: Sequence[Explanation],
    *,
    figures: Sequence[str],
    pictures: Mapping[str, Path],
    files: Sequence[Path],
    runs: Sequence[RunLine],
    note: str | None,
) -> str:
    """The page, ending in a newline. `figures` are keys of experiments.KEYS, `pictures` the images of those
    that have one; they, `files` and the runs' folders are relative to the page."""
    shown = [key for key in KEYS if key in figures and key in HEADINGS]
    sections = [
        "# BasicVSR on CPU, CUDA and cuDNN: a course paper reproduced",
        f"> {escape(note)}" if note else "",
        _summary(editions, findings, files),
        _verdicts(findings, editions),
        *(figure_section(key, editions, pictures.get(key)) for key in shown),
        _faults(explanations) if FAULTS_KEY in figures else "",
        _details(findings),
        _runs(runs),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _summary(editions: Mapping[str, Edition], findings: Sequence[Finding], files: Sequence[Path]) -> str:
    lines = [
        f"Figures and claims of {SOURCE}, beside this machine's. {_SOURCES[len(editions)]} side by side:",
        "",
    ]
    for name, edition in editions.items():
        thin = _SHORTER.get(edition.version, "")
        machine = f" On {escape(edition.machine)}." if edition.machine and name != PAPER else ""
        lines.append(f"* **{name}**: {EDITIONS[name]}.{machine}{thin}")
    lines += ["", "What they come to:", ""]
    for (name, form), found in _counts(findings).items():
        refuted = [
            f"{escape(finding.claim)} {escape(finding.title)}{_BY_DESIGN * finding.negated_by_correction}"
            for finding in findings
            if (finding.edition, finding.form, finding.verdict) == (name, form, Verdict.REFUTED)
        ]
        lines.append(f"* {_whose(name, form)}: {_tally(found)}." + (" Refuted:" if refuted else ""))
        lines += [f"    * {title}" for title in refuted]
    if files:
        lines += ["", f"Tables: {', '.join(link(path) for path in files)}."]
    return "\n".join(lines)


def in_short(findings: Sequence[Finding]) -> list[str]:
    """The verdicts' counts, a line for each source."""
    return [f"{_whose(name, form)}: {_tally(found)}" for (name, form), found in _counts(findings).items()]


def _counts(findings: Sequence[Finding]) -> dict[tuple[str, Form], Counter[Verdict]]:
    found: dict[tuple[str, Form], Counter[Verdict]] = {}
    for finding in findings:
        found.setdefault((finding.edition, finding.form), Counter())[finding.verdict] += 1
    return found


def _whose(edition: str, form: Form) -> str:
    if edition != PAPER:
        return f"Claims on this machine, {edition}"
    return "The paper's claims by its own numbers" if form is Form.PAPER else "The same in their general form"


def _tally(found: Counter[Verdict]) -> str:
    return ", ".join(f"{found[verdict]} {_word(verdict)}" for verdict in Verdict if found[verdict])


def _word(verdict: Verdict) -> str:
    return str(verdict) if verdict is not Verdict.CANNOT_TELL else "cannot be told"


def _verdicts(findings: Sequence[Finding], editions: Mapping[str, Edition]) -> str:
    """A row per claim and form, a column per source."""
    names = ", ".join(f"its {name} is `{role}`" for role, name in PAPER_NAMES.items() if name != "CPU")
    return "\n\n".join(
        (
            "## Verdicts",
            "*Open*: it cannot be told; why, stands under *Each verdict*, with the figures it rests on. "
            f"The paper's names mean what its code did: {names} here.",
            "**In the paper's words**, by its own numbers, taken at their word:",
            _verdict_table(findings, Form.PAPER, [PAPER]),
            "**In general**, with tolerances that mean something on any machine, by each source; a single "
            "sample, and a time that nothing waited for, leave a claim open:",
            _verdict_table(findings, Form.GENERAL, list(editions)),
        )
    )


def _verdict_table(findings: Sequence[Finding], form: Form, sources: Sequence[str]) -> str:
    own = {(item.claim, item.edition): item for item in findings if item.form is form}
    titles = {item.claim: item.title for item in own.values()}
    columns = [
        Column(title="claim", cells=[f"{escape(claim)} {escape(title)}" for claim, title in titles.items()]),
        *(
            Column(
                title=name,
                cells=[
                    _MARKS[found.verdict] if (found := own.get((claim, name))) else "–" for claim in titles
                ],
            )
            for name in sources
        ),
    ]
    return table(columns)


def figure_section(key: str, editions: Mapping[str, Edition], picture: Path | None = None) -> str:
    """A figure or table of the paper with its numbers, what they say, and what changed and why."""
    parts = [f"## {HEADINGS[key]}"]
    if picture is not None:
        parts.append(image(picture))
    shown = tables_of(key, editions)
    for item in shown:
        if text := markdown(item):
            parts += [f"*{escape(item.title)}*", text] if len(shown) > 1 else [text]
        if item.notes:
            parts.append(" ".join(escape(note) for note in item.notes))
    said = LESSONS[key](editions) if key in LESSONS else ()
    if said:
        parts += ["**What it says, and what changed:**", _list(said)]
    if not shown and not said:
        parts.append("No cell of it has been measured.")
    return "\n\n".join(parts)


def _list(sentences: Sequence[str]) -> str:
    return "\n".join(f"* {_prose(sentence)}" for sentence in sentences)


def _prose(sentence: str) -> str:
    """A sentence whose `options` and source lines stand between backticks."""
    return "".join(
        f"`{visible(part)}`" if place % 2 else _around(part) for place, part in enumerate(sentence.split("`"))
    )


def _around(text: str) -> str:
    """Escaped, with the blanks that part it from its neighbours."""
    stripped = escape(text)
    return f"{' ' * text.startswith(' ')}{stripped}{' ' * (text.endswith(' ') and bool(stripped))}"


def _faults(explanations: Sequence[Explanation]) -> str:
    """What each fault does by itself."""
    parts = [
        "## One fault at a time",
        "What the paper's method did to its figures, measured: each experiment once without a fault and once "
        "with it.",
    ]
    for found in explanations:
        parts += [f"### {escape(found.title)}", f"*{escape(found.question)}*"]
        if found.skipped:
            parts.append(f"Skipped: {escape(found.skipped)}.")
            continue
        parts.append(_list(found.sentences))
        columns = zip(found.columns, zip(*found.rows, strict=True), strict=True) if found.rows else ()
        parts.append(
            table(
                [
                    Column(title=escape(title), cells=[escape(cell) for cell in cells])
                    for title, cells in columns
                ]
            )
        )
    return "\n\n".join(part for part in parts if part)


def _details(findings: Sequence[Finding]) -> str:
    """Every verdict with its statement, its figures, or what is missing."""
    parts = ["## Each verdict"]
    claims = list(dict.fromkeys(finding.claim for finding in findings))
    for claim in claims:
        own = [finding for finding in findings if finding.claim == claim]
        lines = [f"**{escape(claim)}** ({escape(own[0].source)})", ""]
        for form in Form:
            of_form = [finding for finding in own if finding.form is form]
            if not of_form:
                continue
            stated = of_form[0]
            lines.append(f"* {_form(form)}: *{escape(stated.title)}*. {escape(stated.statement)}")
            lines += [f"    * {_told(finding)}" for finding in of_form]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) if claims else ""


def _form(form: Form) -> str:
    return "In its words" if form is Form.PAPER else "In general"


def _told(finding: Finding) -> str:
    evidence = "; ".join(escape(str(figure)) for figure in finding.evidence)
    missing = f" {escape(finding.missing)}." if finding.missing else ""
    said = f" {evidence}." if evidence else ""
    by_design = _BY_DESIGN * finding.negated_by_correction
    return f"{escape(finding.edition)}: **{finding.verdict}**{by_design}.{missing}{said}"


def _runs(runs: Sequence[RunLine]) -> str:
    if not runs:
        return ""
    columns = [
        Column(title="run", cells=[f"[{escape(run.name)}]({target(run.report)})" for run in runs]),
        Column(title="cells", cells=[_named(run.statuses) for run in runs]),
        Column(title="warned of", cells=[_named(run.warnings) for run in runs]),
    ]
    return (
        "## The runs behind it\n\nEach is a run like any other, with its raw samples, its environment and a "
        f"report of its own that says what its warnings mean.\n\n{table(columns)}"
    )


def _named(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {escape(name)}" for name, number in counts.items())
