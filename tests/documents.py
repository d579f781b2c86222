"""How tests read the documents and run what stands in them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT, pg_binary

PLACEHOLDER = "postgresql://user:password@host:5432/database"
"""The URL in the documents, in whose place tests put that of their own database."""


def documents() -> list[str]:
    """Every document, by its path in the repository."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "sql/README.md"]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def fenced(document: str) -> list[tuple[str, str]]:
    """The fenced blocks of a document, in order: language and text."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a document in a language, in order.

    Unpack them (`(first, second) = blocks(...)`), so that a block that is added fails the test until it is run.
    """
    return [text for said, text in fenced(document) if said == language]


def clone(folder: Path) -> Path:
    """What a fresh clone holds, in an empty folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def shell(command: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a block in a folder, with this Python's commands first, as in an activated environment."""
    variables = {k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "TEST_DATABASE_URL"}}
    tools = f"{Path(sys.executable).parent}:{Path(pg_binary('psql')).parent}"
    variables |= {"PATH": f"{tools}:{os.environ['PATH']}", "PIP_NO_COMPILE": "1", **env}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
