"""docs/backup.md, step by step: a backup goes to a new server, with its roles and without, and the check is clean."""

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.conftest import MakeDatabase
from tests.documents import PLACEHOLDER, blocks, clone, shell
from tests.drift import lines
from tests.support import add_business, execute, load_legacy, migrate, plain, rows, scalar

OLD = Path("/usr/lib/postgresql/15/bin")
PAGE = "docs/backup.md"


@pytest.fixture(scope="module")
def old_server() -> Iterator[URL]:
    """PostgreSQL 15, without roles of anybody."""
    if not (OLD / "initdb").exists():
        pytest.skip("PostgreSQL 15 is not installed")
    with tempfile.TemporaryDirectory(prefix="backup-tests-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        user = "postgres" if os.geteuid() == 0 else None
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"

        def run(name: str, *arguments: str) -> None:
            command = [str(OLD / name), "-D", f"{folder}/data", *arguments]
            subprocess.run(command, check=True, user=user, cwd="/", stdout=subprocess.DEVNULL, timeout=120)

        run("initdb", "-U", "postgres", "-A", "trust", "-N", "--no-locale", "-E", "UTF8")
        run("pg_ctl", "-w", "-l", f"{folder}/log", "-o", options, "start")
        yield URL.create("postgresql+psycopg2", "postgres", database="postgres", query={"host": folder})
        run("pg_ctl", "-w", "-m", "immediate", "stop")


@pytest.fixture(scope="module")
def old(old_server: URL) -> URL:
    """A database at head on PostgreSQL 15, with two businesses and a bot that worked there before."""
    execute(old_server, "CREATE DATABASE shops", "ALTER DATABASE shops SET timezone TO 'UTC'")
    return filled(old_server.set(database="shops"))


def filled(url: URL) -> URL:
    """At head, with the rows of two businesses and a bot that worked there before."""
    load_legacy(url, "canonical", 200)
    execute(
        url,
        "DO $$ BEGIN CREATE ROLE old_bot LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "GRANT SELECT, INSERT ON customers, conversations TO old_bot",
    )
    migrate(url)
    add_business(url)
    return url


def emptied(server: URL, name: str) -> URL:
    """An empty database on a server."""
    execute(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name}")
    return server.set(database=name)


def count(url: URL) -> list[tuple[int, ...]]:
    return rows(
        url,
        "SELECT (SELECT count(*) FROM conversations), (SELECT count(*) FROM customers), (SELECT count(*) FROM businesses)",
    )


def restored(tmp_path: Path, source: URL, target: URL, *, without: str = "") -> subprocess.CompletedProcess[str]:
    """What the page says, from the first block to the last; `without` is a line that is left out."""
    backup, restore = blocks(PAGE, "bash")
    folder = clone(tmp_path)
    made = shell(backup, folder, DATABASE_URL=plain(source))
    assert made.returncode == 0, made.stderr
    script = "\n".join(line for line in restore.splitlines() if not (without and without in line))
    return shell(script.replace(PLACEHOLDER, plain(target)), folder)


@pytest.mark.parametrize("road", ["15 to 15", "15 to the server under test"])
def test_restored_with_its_roles_nothing_is_to_be_repaired(
    road: str, tmp_path: Path, old: URL, old_server: URL, own_server: URL
) -> None:
    target = emptied(old_server if road == "15 to 15" else own_server, "restored")
    done = restored(tmp_path, old, target)
    assert done.returncode == 0, done.stderr
    assert "Nothing to repair." in done.stdout
    assert "No new upgrade operations detected" in done.stdout
    assert count(target) == count(old)


def test_restored_without_roles_repair_brings_them_back(
    tmp_path: Path, canonical: URL, make_database: MakeDatabase, own_server: URL
) -> None:
    """The server under test to another of its kind; psql tells of the missing roles and goes on."""
    for (role,) in rows(own_server, "SELECT quote_ident(rolname) FROM pg_roles WHERE oid >= 16384"):
        emptied(own_server, "restored")
        execute(own_server, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
    source, target = filled(make_database()), emptied(own_server, "restored")
    done = restored(tmp_path, source, target, without="roles.sql")
    assert done.returncode == 0, done.stderr
    assert 'role "app_tenant" does not exist' in done.stderr
    assert "fixed: role app_tenant: missing" in done.stdout
    assert "fixed: policy app_tenant on customers: missing" in done.stdout
    assert count(target) == count(source)
    execute(target, "CREATE ROLE old_bot LOGIN", "GRANT SELECT, INSERT ON customers, conversations TO old_bot")
    assert lines(target) == [
        f"policy single_business on {table}: missing, expected permissive for all to old_bot" for table in ("conversations", "customers")
    ]  # fmt: skip
    again = shell("python -m app.tenancy.repair && alembic check", tmp_path, DATABASE_URL=plain(target))
    assert again.returncode == 0, again.stderr
    migrate(target, "downgrade", "-1")
    assert scalar(target, "SELECT count(*) FROM conversations") == scalar(source, "SELECT count(*) FROM conversations")


def test_the_roles_of_a_managed_server(own_server: URL) -> None:
    """The page's SQL makes both roles where there are none."""
    (sql,) = blocks(PAGE, "sql")
    for role in ("app_tenant", "app_service"):
        emptied(own_server, "restored")
        execute(own_server, f"DROP ROLE IF EXISTS {role}")
    execute(own_server, *filter(str.strip, sql.split(";")))
    assert rows(own_server, "SELECT rolname FROM pg_roles WHERE rolname LIKE 'app\\_%' AND NOT rolcanlogin ORDER BY 1") == [
        ("app_service",), ("app_tenant",)
    ]  # fmt: skip


def test_who_can_make_a_backup_and_load_rows(tmp_path: Path, database: URL) -> None:
    login = f"backup_{database.database}"
    execute(database, f"CREATE ROLE {login} LOGIN", f"GRANT CONNECT ON DATABASE {database.database} TO {login}")
    for kind in ("SELECT, INSERT ON ALL TABLES", "SELECT ON ALL SEQUENCES"):
        execute(database, f"GRANT {kind} IN SCHEMA public TO {login}")
    try:
        reader = database.set(username=login)
        dump = f"pg_dump '{plain(reader)}' > dump.sql"
        assert "query would be affected by row-level security policy" in shell(dump, tmp_path).stderr
        load = f"psql '{plain(reader)}' -c '\\copy customers (whatsapp_id, name) from /dev/null'"
        assert "COPY FROM not supported with row-level security" in shell(load, tmp_path).stderr
        execute(database, f"ALTER ROLE {login} BYPASSRLS", f"GRANT pg_read_all_data TO {login}")
        assert shell(dump, tmp_path).returncode == 0
    finally:
        execute(database, f"DROP OWNED BY {login}", f"DROP ROLE {login}")
