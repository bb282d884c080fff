"""Links of pages outside docs/ lead to committed files; MkDocs checks those inside (`make docs`)."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_pages_outside_docs_link_to_what_is_committed() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip(f"git lists no files here: {listed.stderr.strip()}")
    files = {ROOT / name for name in listed.stdout.split("\0") if name}
    known = files | {folder for file in files for folder in file.parents}
    missing = []
    for page in (file for file in files if file.suffix == ".md" and file.parent != ROOT / "docs"):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in link and (page.parent / link).resolve() not in known:
                missing.append(f"{page.relative_to(ROOT)}: {link}")
    assert missing == []
