"""Hashes that are the same for the same, and the facts that differ where it is not."""

import subprocess
import sys
from pathlib import Path

from bench.grid import config
from bench.results import identity
from tests.bench.fakes import experiment

CLIP = {"name": "clip", "kind": "video", "path": "media/clip.mp4"}


def config_hash(folder: Path, files: dict[str, str], **changes: object) -> str:
    return identity.config_sha256(config.resolved(experiment(**changes), folder), files)


def test_a_configuration_is_what_it_says_and_what_its_files_hold() -> None:
    here, files = config_hash(Path("a"), {"clip": "1"}, input=CLIP), {"clip": "1"}
    assert config_hash(Path("elsewhere/deep"), files, input=CLIP) == here
    assert config_hash(Path("a"), files, input={**CLIP, "path": "copy.mp4"}) == here
    assert config_hash(Path("a"), {"clip": "2"}, input=CLIP) != here
    assert config_hash(Path("a"), files, input={**CLIP, "stride": 2}) != here
    assert config_hash(Path("a"), files, input=CLIP, name="other") != here


def test_an_environment_is_the_machine_and_what_is_installed() -> None:
    machine = {"cpu": "Fast", "packages": {"torch": "2.13"}, "memory_bytes": 5, "git_commit": "a"}
    same = {"packages": {"torch": "2.13"}, "cpu": "Fast", "memory_bytes": 6, "host_name": "x"}
    assert identity.environment_sha256(machine) == identity.environment_sha256(same)
    assert identity.environment_sha256({**machine, "cpu": "Slow"}) != identity.environment_sha256(machine)


def test_the_code_is_its_source() -> None:
    clean, dirty, outside = map(identity.code_version, ("a" * 40, "a" * 40 + "-dirty", None))
    assert (clean.git_commit, clean.dirty) == ("a" * 40, False)
    assert (dirty.git_commit, dirty.dirty) == ("a" * 40, True)
    assert (outside.git_commit, outside.dirty) == (None, None)
    assert clean.source_sha256 == dirty.source_sha256 == outside.source_sha256
    assert "commit aaaaaaaaaaaa and changes, source " in dirty.in_short
    assert "commit" not in outside.in_short


def test_the_code_is_all_its_files_but_caches(tmp_path: Path) -> None:
    def now() -> str:
        return identity.code_version(None, tmp_path).source_sha256

    kernels = tmp_path / "vsr_model" / "kernels"
    kernels.mkdir(parents=True)
    known = [now()]
    for name, text in (("net.py", "A = 1"), ("sizes.json", "[1]"), ("warp.cu", "//"), ("sizes.json", "[2]")):
        (kernels / name).write_text(text)
        known.append(now())
    assert len(set(known)) == len(known)
    (kernels / "__pycache__").mkdir()
    (kernels / "__pycache__" / "net.cpython-311.pyc").touch()
    (kernels / "__pycache__" / "notes").touch()
    (kernels / "net.pyc").touch()
    (tmp_path / "README.md").touch()
    assert now() == known[-1]


def test_hashes_are_the_same_in_every_process() -> None:
    program = (
        "from bench.results import identity;"
        "print(identity.environment_sha256({'b': [1, 2.5], 'a': {'ä': None}}))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program], cwd=Path(__file__).parents[2], env={"PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True, timeout=600,
        ).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert told == {identity.environment_sha256({"a": {"ä": None}, "b": [1, 2.5]})}


def test_facts_that_differ_are_named_by_their_place() -> None:
    was = {"a": 1, "b": {"c": [{"d": 2}, {"d": 2}], "e": [1]}, "gone": True, "same": [0], "but": 1}
    now = {"a": 1.5, "b": {"c": [{"d": 2}, {"d": 3}], "e": [1, 2]}, "same": [0], "new": "", "none": None}
    assert identity.differing_facts([identity.facts(side, but=["but"]) for side in (was, now)]) == {
        "a": ("1", "1.5"),
        "b.c.1.d": ("2", "3"),
        "b.e": ("1", "1, 2"),
        "gone": ("True", None),
        "new": (None, ""),
    }
