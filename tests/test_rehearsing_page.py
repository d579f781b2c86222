"""docs/rehearsing.md is executed, on a database of the canonical form."""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import URL

from tests.documents import PLACEHOLDER, blocks, shell
from tests.support import ROOT, plain, scalar


def test_the_commands(canonical: URL, make_database: Callable[[], URL], tmp_path: Path) -> None:
    own_server, staging = blocks("docs/rehearsing.md", "bash")
    path = {"PYTHONPATH": str(ROOT)}
    done = shell(own_server, tmp_path, DATABASE_URL=plain(canonical), **path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "It would work" in (tmp_path / "rehearsal.md").read_text()
    assert scalar(canonical, "SELECT to_regclass('alembic_version') IS NULL")
    target = make_database()
    done = shell(staging.replace(PLACEHOLDER, f"'{plain(target)}'"), tmp_path, **path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert scalar(target, "SELECT version_num FROM alembic_version") == "001"
