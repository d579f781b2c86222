"""A team with its own Alembic: its revisions are never taken for this schema's, and never changed; docs/own-alembic.md."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.documents import blocks, shell
from tests.support import ROOT, check, current, execute, migrate, paste, pg_dump, pipe, plain, rows, scalar, script

REVISION = """
import sqlalchemy as sa

from alembic import op

revision = "{revision}"
down_revision = {down!r}
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("shop_{revision}", sa.Column("id", sa.Integer, primary_key=True))


def downgrade() -> None:
    op.drop_table("shop_{revision}")
"""
ENV = """
import os

from sqlalchemy import create_engine

from alembic import context

with create_engine(os.environ["DATABASE_URL"].replace("postgresql:", "postgresql+psycopg2:")).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
INI = "[alembic]\nscript_location = %(here)s/migrations\npath_separator = os\n"
BESIDE, BRANCH = blocks("docs/own-alembic.md", "ini")


@pytest.fixture
def bot(tmp_path: Path) -> Path:
    """A bot's project with an Alembic of its own, and this schema installed beside it."""
    site = tmp_path / "site"
    shutil.copytree(ROOT / "app", site / "app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "alembic", site / "app/alembic", ignore=shutil.ignore_patterns("__pycache__"))
    versions = tmp_path / "bot/migrations/versions"
    versions.mkdir(parents=True)
    (versions.parent / "env.py").write_text(ENV)
    (tmp_path / "bot/alembic.ini").write_text(INI)
    return tmp_path / "bot"


def add_revision(bot: Path, revision: str, down: str | None = None) -> None:
    text = REVISION.format(revision=revision, down=down)
    (bot / "migrations/versions" / f"{revision}.py").write_text(text)


def run(bot: Path, url: URL, *commands: str) -> str:
    """What the commands print; they must succeed."""
    done = shell("\n".join(commands), bot, DATABASE_URL=plain(url), PYTHONPATH=str(bot.parent / "site"))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


ALEMBIC = 'alembic() { python -m alembic "$@"; }'


@pytest.mark.parametrize("held", ["007", "001", "000"])
def test_anothers_revision_is_not_mistaken_and_not_changed(held: str, canonical: URL) -> None:
    execute(
        canonical, "CREATE TABLE alembic_version (version_num varchar(32) CONSTRAINT alembic_version_pkc PRIMARY KEY)"
    )
    execute(canonical, f"INSERT INTO alembic_version VALUES ('{held}')")
    before = pg_dump(canonical)
    runs: list[Callable[[], object]] = [
        lambda: migrate(canonical),
        lambda: migrate(canonical, "downgrade", "-1"),
        lambda: migrate(canonical, "stamp", "000"),
        lambda: current(canonical),
        lambda: check(canonical),
    ]
    says = (
        f"alembic_version holds {held}, which this schema did not record: if another Alembic did, set version_table = "
    )
    for run in runs:
        with pytest.raises(CommandError, match=f"^{says}"):
            run()
    assert pipe(canonical, script())
    assert paste(canonical, script("upgrade", "head", "single-transaction=yes"))
    assert pg_dump(canonical) == before
    assert rows(canonical, "SELECT version_num FROM alembic_version") == [(held,)]


def test_anothers_001_is_not_mistaken_at_head_either(bot: Path, database: URL) -> None:
    """Where the line in alembic.ini was forgotten, in a database that has this schema beside the other Alembic."""
    execute(database, "ALTER TABLE alembic_version RENAME TO alembic_version_whatsapp")
    execute(database, "CREATE TABLE alembic_version AS SELECT '001'::varchar(32) AS version_num")
    for command, revision in (("upgrade", "head"), ("downgrade", "-1")):
        with pytest.raises(CommandError, match="alembic_version holds 001, which this schema did not record"):
            migrate(database, command, revision)


def test_a_version_table_of_its_own(bot: Path, empty: URL) -> None:
    add_revision(bot, "000")
    add_revision(bot, "001", "000")
    (bot / "schema.ini").write_text(BESIDE)
    run(bot, empty, "python -m alembic upgrade head")
    commands = blocks("docs/own-alembic.md", "bash")[0]
    run(bot, empty, ALEMBIC, commands)
    assert rows(empty, "SELECT version_num FROM alembic_version") == [("001",)]
    assert rows(empty, "SELECT version_num FROM alembic_version_whatsapp") == [("001",)]
    closed = "SELECT relrowsecurity FROM pg_class WHERE relname IN ('alembic_version', 'alembic_version_whatsapp') ORDER BY relname"
    assert rows(empty, closed) == [(False,), (True,)]
    report = "cp schema.ini alembic.ini && python -m app.tenancy.report"
    assert "state:            no migration was interrupted" in run(bot, empty, report)
    run(bot, empty, "python -m alembic -c schema.ini downgrade -1")
    assert rows(empty, "SELECT version_num FROM alembic_version") == [("001",)]
    assert rows(empty, "SELECT version_num FROM alembic_version_whatsapp") == [("000",)]
    assert rows(empty, "SELECT to_regclass('shop_001')::text, to_regclass('businesses')::text") == [("shop_001", None)]


def test_scripts_use_that_version_table(bot: Path, empty: URL) -> None:
    (bot / "schema.ini").write_text(BESIDE)
    execute(empty, "CREATE TABLE alembic_version AS SELECT '001'::varchar(32) AS version_num")
    sql = run(bot, empty, "python -m alembic -c schema.ini upgrade head --sql")
    assert pipe(empty, sql) == ""
    assert pipe(empty, sql) == ""
    assert rows(empty, "SELECT version_num FROM alembic_version_whatsapp") == [("001",)]
    assert rows(empty, "SELECT version_num FROM alembic_version") == [("001",)]
    run(bot, empty, "python -m alembic -c schema.ini check")


def test_a_branch_of_the_teams_history(bot: Path, empty: URL) -> None:
    add_revision(bot, "a1")
    run(bot, empty, "python -m alembic upgrade head")
    (bot / "alembic.ini").write_text(BRANCH)
    metadata = blocks("docs/own-alembic.md", "python")[1].strip().replace(" shop.models.Base", " sqlalchemy").replace(
        "sqlalchemy.metadata", "sqlalchemy.MetaData()"
    )  # fmt: skip
    env = (ROOT / "alembic/env.py").read_text(encoding="utf-8")
    ours = '"target_metadata": app.models.Base.metadata,'
    assert ours in env
    (bot / "migrations/env.py").write_text(
        env.replace(ours, metadata).replace("    import app.models", "    import sqlalchemy\n\n    import app.models")
    )
    add_revision(bot, "a2", "a1")
    text = (bot / "migrations/versions/a2.py").read_text()
    (bot / "migrations/versions/a2.py").write_text(
        text.replace("depends_on = None", blocks("docs/own-alembic.md", "python")[2])
    )
    upgrade, now, _down = blocks("docs/own-alembic.md", "bash")[1].splitlines()
    said = run(bot, empty, ALEMBIC, upgrade, now, "alembic check")
    assert "a2 (head)" in said
    assert scalar(empty, "SELECT to_regclass('businesses')") == "businesses"
    run(bot, empty, ALEMBIC, "alembic downgrade a1", now)
