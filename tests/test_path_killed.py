"""A run that is killed between two revisions of its path leaves a true version, and the same command goes on."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.conftest import MakeDatabase
from tests.interruptions import state, true
from tests.support import (
    ROOT,
    current,
    engine_of,
    environment,
    execute,
    migrate,
    pg_binary,
    pipe,
    plain,
    script,
    wait_until,
)

KEY = 4711
PATHS = {
    "up from nothing": ("upgrade", "head", "base:head", "CREATE TABLE multi_tenant_rollback"),
    "up from two tables": ("upgrade", "head", "base:head", "CREATE TABLE multi_tenant_rollback"),
    "down to nothing": ("downgrade", "base", "001:base", "DROP TABLE conversations"),
}
"""Command, revision and script of a path, and the first change of its second revision."""


@contextmanager
def held_before(url: URL, statement: str) -> Iterator[None]:
    """Whoever begins the step with this statement waits until the end of the block."""
    execute(
        url,
        f"""CREATE FUNCTION hold() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        IF current_query() LIKE '%{statement}%' THEN PERFORM pg_advisory_xact_lock_shared({KEY}); END IF; END $$""",
        "CREATE EVENT TRIGGER hold ON ddl_command_start EXECUTE FUNCTION hold()",
    )
    with engine_of(url).connect() as other:
        other.exec_driver_sql(f"SELECT pg_advisory_lock({KEY})")
        yield
    execute(url, "DROP EVENT TRIGGER hold", "DROP FUNCTION hold")


@pytest.mark.parametrize("way", ["alembic", "psql"])
@pytest.mark.parametrize("path", PATHS)
def test_a_process_killed_between_two_revisions(
    path: str,
    way: str,
    tmp_path: Path,
    make_database: MakeDatabase,
    migrated_template: URL,
    legacy_templates: dict[str, URL],
) -> None:
    name, revision, revisions, first = PATHS[path]
    template = {"up from two tables": legacy_templates["canonical"], "down to nothing": migrated_template}.get(path)
    undisturbed, url = make_database(template), make_database(template)
    migrate(undisturbed, name, revision)
    command = {
        "alembic": [sys.executable, "-m", "alembic", name, revision],
        "psql": [pg_binary("psql"), "-X", "-q", plain(url)],
    }[way]
    with held_before(url, first), environment(DATABASE_URL=plain(url)):
        (tmp_path / "script.sql").write_text(script(name, revisions), encoding="utf-8")
        with (
            (tmp_path / "script.sql").open(encoding="utf-8") as typed,
            subprocess.Popen(command, cwd=ROOT, stdin=typed, stderr=subprocess.DEVNULL) as process,
        ):
            ours = "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'DO $step%')"
            waits = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {KEY} AND NOT granted"
            wait_until(url, f"({waits}) > 0")
            process.send_signal(signal.SIGKILL)
        wait_until(url, f"NOT {ours}")
    assert current(url) == "000"
    assert true(url)
    if way == "alembic":
        migrate(url, name, revision)
    else:
        assert pipe(url, script(name, revisions)) == ""
    assert current(url) == current(undisturbed)
    assert state(url) == state(undisturbed)
