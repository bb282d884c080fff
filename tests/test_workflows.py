"""The workflows, held by their linters and by what docs/ci.md promises of them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
GITHUB: Final = ROOT / ".github"
WORKFLOWS: Final = sorted((GITHUB / "workflows").glob("*.y*ml"))
SCRIPTS: Final = sorted((GITHUB / "scripts").iterdir())
PROGRAMS: Final = Path(sys.executable).parent

PINNED: Final = re.compile(r"[\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
EXPRESSION: Final = re.compile(r"\$\{\{.*?\}\}", re.DOTALL)

Step = dict[str, Any]

every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def test_all_of_them_are_looked_at() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "gpu-comment.yml", "gpu.yml"]
    assert [path.name for path in SCRIPTS] == ["runner_gate.sh"]


def test_zizmor_finds_nothing() -> None:
    ended = _zizmor(GITHUB)
    assert ended.returncode == 0, ended.stdout


def test_zizmor_would_find_what_is_dangerous(tmp_path: Path) -> None:
    text = (GITHUB / "workflows" / "gpu-comment.yml").read_text(encoding="utf-8")
    opened = text.replace("# zizmor: ignore[dangerous-triggers]", "#")
    assert opened != text
    path = tmp_path / "gpu-comment.yml"
    path.write_text(opened, encoding="utf-8")
    ended = _zizmor(path)
    assert ended.returncode != 0
    assert "dangerous-triggers" in ended.stdout


def test_only_the_comment_is_excepted_from_a_rule() -> None:
    exceptions = [path.name for path in WORKFLOWS if "zizmor: ignore" in path.read_text(encoding="utf-8")]
    assert exceptions == ["gpu-comment.yml"]


def test_they_have_the_form_that_github_takes() -> None:
    _passes("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, WORKFLOWS))
    _passes("check-jsonschema", "--builtin-schema", "vendor.dependabot", str(GITHUB / "dependabot.yml"))


@every_workflow
def test_every_action_is_pinned_by_commit_with_its_version(path: Path) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    for line in lines:
        assert PINNED.fullmatch(line.partition("uses:")[2].strip()), line
    assert len(lines) == sum("uses" in step for step in _steps(path))  # none is written in another way


def test_an_action_has_one_version() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    pins = set(re.findall(r"uses: (\S+)@(\S+)", text))
    assert len(pins) == len({action for action, _ in pins}) == 3


@every_workflow
def test_a_job_may_do_what_it_needs(path: Path) -> None:
    workflow = _load(path)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    granted = [job.get("permissions", {}) for job in workflow["jobs"].values()]
    writes = {name for permissions in granted for name, access in permissions.items() if access == "write"}
    assert writes == ({"pull-requests"} if path.name == "gpu-comment.yml" else set())


@every_workflow
def test_a_job_ends(path: Path) -> None:
    for job in _load(path)["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 60


@every_workflow
def test_what_others_write_is_never_part_of_a_script(path: Path) -> None:
    """Nor is anything else: a script gets it by its environment."""
    for step in _steps(path):
        assert not EXPRESSION.search(step.get("run", ""))


@every_workflow
def test_a_checkout_leaves_no_token_behind(path: Path) -> None:
    checkouts = [step for step in _steps(path) if step.get("uses", "").startswith("actions/checkout@")]
    for step in checkouts:
        assert step["with"]["persist-credentials"] is False


@every_workflow
def test_no_trigger_gives_a_fork_more_than_it_has(path: Path) -> None:
    triggers = _load(path)["on"]
    assert "pull_request_target" not in triggers
    assert "issue_comment" not in triggers
    assert ("workflow_run" in triggers) == (path.name == "gpu-comment.yml")


def test_a_pull_request_is_measured_only_as_it_was_labelled() -> None:
    workflow = _load(GITHUB / "workflows" / "gpu.yml")
    measure = workflow["jobs"]["measure"]
    assert workflow["on"]["pull_request"] == {"types": ["labeled"]}  # a later push has no run
    assert measure["if"] == "github.event_name != 'pull_request' || github.event.label.name == 'gpu'"
    ref = measure["steps"][0]["with"]["ref"]
    assert ref == "${{ github.event.pull_request.head.sha || inputs.head || github.sha }}"
    assert measure["environment"] == "${{ github.event_name == 'pull_request' && 'gpu' || 'gpu-main' }}"


def test_what_measures_is_neither_cancelled_nor_dropped() -> None:
    measure = _load(GITHUB / "workflows" / "gpu.yml")["jobs"]["measure"]
    assert measure["concurrency"] == {"group": "gpu", "cancel-in-progress": False, "queue": "max"}


def test_only_one_job_runs_on_a_machine_of_ones_own() -> None:
    places = {
        (path.name, name): job["runs-on"] for path in WORKFLOWS for name, job in _load(path)["jobs"].items()
    }
    assert [place for place, runner in places.items() if "self-hosted" in runner] == [("gpu.yml", "measure")]


def test_the_comment_follows_the_measuring_and_uses_nothing_of_it() -> None:
    comment = _load(GITHUB / "workflows" / "gpu-comment.yml")
    assert comment["on"]["workflow_run"]["workflows"] == [_load(GITHUB / "workflows" / "gpu.yml")["name"]]
    [step] = comment["jobs"]["comment"]["steps"]
    assert "download" not in step["run"]


@every_workflow
def test_the_shell_parts_are_right(path: Path) -> None:
    for step in _steps(path):
        if "run" in step:
            _passes("shellcheck", "--shell=bash", "-", given=step["run"])
            subprocess.run(["bash", "-n"], check=True, input=step["run"], text=True)


def test_shell_scripts_are_right() -> None:
    scripts = [str(path) for path in SCRIPTS if path.suffix == ".sh"]
    assert scripts
    _passes("shellcheck", *scripts)


def test_shellcheck_would_find_what_is_wrong() -> None:
    with pytest.raises(AssertionError, match="SC2086"):
        _passes("shellcheck", "--shell=bash", "-", given='rm "$1"\nrm $1\n')


def test_the_targets_that_steps_call_are_there() -> None:
    text = "\n".join(step["run"] for path in WORKFLOWS for step in _steps(path) if "run" in step)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"make (\w+)", text)
    assert targets == ["lint", "types", "docs", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_the_commands_of_steps_and_of_the_guide_are_there() -> None:
    steps = "\n".join(step["run"] for path in WORKFLOWS for step in _steps(path) if "run" in step)
    guide = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    used: dict[str, set[str]] = {}
    for command, rest in re.findall(r"vsr-bench ([a-z]+)((?: [^\n`#|]*)?)", steps + "\n" + guide):
        used.setdefault(command, set()).update(re.findall(r"--[a-z][a-z-]*", rest))
    assert {"ci", "env"} <= used.keys()
    for command, options in used.items():
        assert options <= _options(command), command


def _options(command: str) -> set[str]:
    """Those that its help tells."""
    program = [sys.executable, "-m", "bench", command, "--help"]
    colours = {"GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS"}
    environment = {name: value for name, value in os.environ.items() if name not in colours}
    ended = subprocess.run(program, check=True, capture_output=True, text=True, cwd=ROOT, env=environment)
    return set(re.findall(r"--[a-z][a-z-]*", ended.stdout))


def _zizmor(path: Path) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAMS / "zizmor"), "--offline", "--no-config", "--no-progress", "--quiet", str(path)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def _passes(program: str, *arguments: str, given: str = "") -> None:
    command = [str(PROGRAMS / program), *arguments]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, input=given)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def _load(path: Path) -> dict[str, Any]:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    workflow["on"] = workflow.pop(True)  # what YAML 1.1 takes `on` for
    return dict(workflow)


def _steps(path: Path) -> Iterator[Step]:
    for job in _load(path)["jobs"].values():
        yield from job["steps"]
