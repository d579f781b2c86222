"""`python -m app.tenancy.manage` as a maintainer runs it; it never prints a secret."""

import os
import subprocess
import sys

from sqlalchemy import URL

from tests.support import ROOT, plain

TOKEN, PASSWORD = "EAAG-very-secret", "correct horse battery"
HASH = "$2b$12$" + "x" * 53


def manage(url: URL, *arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a maintainer does."""
    return subprocess.run(
        [sys.executable, "-m", "app.tenancy.manage", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": plain(url), **env},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def done(url: URL, *arguments: str, stdin: str = "", **env: str) -> str:
    """The output of a command that succeeds and prints no secret."""
    ran = manage(url, *arguments, stdin=stdin, **env)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr
    assert not [secret for secret in (TOKEN, PASSWORD, "$argon2", "gAAAA") if secret in ran.stdout]
    return ran.stdout


def refused(url: URL, *arguments: str, stdin: str = "", **env: str) -> str:
    """The sentence of a command that is refused."""
    ran = manage(url, *arguments, stdin=stdin, **env)
    assert (ran.returncode, len(ran.stderr.splitlines())) == (1, 1), ran.stderr
    assert not [secret for secret in (TOKEN, PASSWORD, "$argon2", "gAAAA", "Traceback") if secret in ran.stderr]
    return ran.stderr.strip()
