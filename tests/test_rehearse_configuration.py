"""A rehearsal runs the revisions that the team runs, its own too, and never on the database that a file names."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.rehearsals import dump, rehearse
from tests.support import ROOT, plain, rows, scalar

SCHEMA = f"""
[alembic]
script_location = {ROOT}/alembic
version_locations =
    {ROOT}/alembic/versions
    %(here)s/migrations
path_separator = newline
prepend_sys_path = {ROOT}
version_table = alembic_version_whatsapp
sqlalchemy.url = postgresql://bot@127.0.0.1:1/live
"""
LATER = """
from alembic import op

revision = "002"
down_revision = "001"


def upgrade() -> None:
    op.execute("CREATE TABLE later (id int)")


def downgrade() -> None:
    op.execute("DROP TABLE later")
"""
OF_THE_TEAM = """
[alembic]
script_location = %(here)s/team
path_separator = os
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a revision of the team's, beside an Alembic of the team's own."""
    for folder in ("migrations", "team/versions"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "migrations/002_later.py").write_text(LATER)
    (tmp_path / "team/env.py").write_text("raise SystemExit('it ran')")
    (tmp_path / "alembic.ini").write_text(SCHEMA)
    return tmp_path


def test_the_teams_own_revision_and_version_table_are_rehearsed(
    project: Path, canonical: URL, make_database: Callable[[], URL]
) -> None:
    target = make_database()
    done = rehearse(str(dump(canonical, project)), "--url", plain(target), folder=project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "It would work" in done.stdout
    assert "gives back differently" not in done.stdout
    assert rows(target, "SELECT version_num FROM alembic_version_whatsapp") == [("002",)]
    assert scalar(target, "SELECT to_regclass('alembic_version')") is None
    assert scalar(target, "SELECT to_regclass('later')") == "later"


def test_another_alembic_is_refused_and_the_file_can_be_named(
    project: Path, canonical: URL, make_database: Callable[[], URL]
) -> None:
    (project / "alembic.ini").rename(project / "schema.ini")
    (project / "alembic.ini").write_text(OF_THE_TEAM)
    backup = str(dump(canonical, project))
    done = rehearse(backup, "--url", plain(make_database()), folder=project)
    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        [
            f"The rehearsal could not be done: {project}/alembic.ini is the configuration of another Alembic, which this "
            "rehearsal does not run: name the file with which you upgrade this schema, with --config."
        ],
    )
    done = rehearse(backup, "--url", plain(make_database()), "--config", "schema.ini", folder=project)
    assert done.returncode == 0, done.stdout + done.stderr
