"""Backups as pg_dump writes them, and rehearsals as a user runs them."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import URL

from tests.support import ROOT, pg_binary, plain


def dump(url: URL, folder: Path, form: str = "custom", *options: str) -> Path:
    """A backup of the database in one of pg_dump's formats."""
    path = folder / f"backup.{form}"
    kind = "plain" if form == "gzip" else form
    subprocess.run([pg_binary("pg_dump"), f"--format={kind}", f"--file={path}", *options, plain(url)], check=True)
    if form == "gzip":
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


def rehearse(*arguments: str, folder: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.tenancy.rehearse", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
