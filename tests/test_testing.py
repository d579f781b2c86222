"""The pytest fixture for a bot's tests, as docs/own-alembic.md shows it."""

import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import URL

from tests.documents import blocks
from tests.support import plain, rows


def test_a_bots_tests_run_on_clones_of_a_migrated_database(tmp_path: Path, server: URL) -> None:
    """Beside a production .env that nothing may reach."""
    *_, plugins, test = blocks("docs/own-alembic.md", "python")
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://bot@127.0.0.1:1/production\n")
    (tmp_path / "conftest.py").write_text(plugins)
    imports, body = test.split("\n\n\n")
    (tmp_path / "test_bot.py").write_text(f"{imports}\n\n{body}\n\n{body.replace('test_customer', 'test_again')}")
    before = rows(server, "SELECT datname FROM pg_database WHERE datname LIKE 'schema\\_%'")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "TEST_DATABASE_URL": plain(server)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert rows(server, "SELECT datname FROM pg_database WHERE datname LIKE 'schema\\_%'") == before
