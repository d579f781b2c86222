"""The released scripts do what Alembic does: piped to psql, or pasted into a dashboard's editor."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.conftest import MakeDatabase
from tests.released import ARCHIVED, SCRIPTS, SINGLE, WAYS, heads, released, run, state, states, way
from tests.support import (
    LEGACY_FORMS,
    ROOT,
    check,
    current,
    engine_of,
    environment,
    execute,
    migrate,
    paste,
    pg_binary,
    pipe,
    plain,
    rows,
    scalar,
    script,
)

SQL = ROOT / "sql"


@pytest.fixture(scope="session")
def by_alembic(
    make_lasting_database: MakeDatabase, legacy_templates: dict[str, URL]
) -> Callable[[str], list[list[object]]]:
    """The states that Alembic makes of an empty database and of either legacy form."""

    @cache
    def made(start: str) -> list[list[object]]:
        url = make_lasting_database(legacy_templates.get(start))
        return states(url, migrate, lambda url: migrate(url, "downgrade", "-1"))

    return made


@way
@pytest.mark.parametrize("start", ["empty", *LEGACY_FORMS])
def test_catalogue_and_data_equal_those_after_alembic(
    way: str,
    start: str,
    make_database: MakeDatabase,
    legacy_templates: dict[str, URL],
    by_alembic: Callable[[str], list[list[object]]],
) -> None:
    url = make_database(legacy_templates.get(start))
    made = states(url, partial(run, way, "upgrade"), partial(run, way, "rollback"))
    assert made == by_alembic(start)
    check(url)


@way
def test_run_again_each_finds_nothing_to_do(way: str, legacy: URL) -> None:
    for name in ("upgrade", "rollback"):
        assert run(way, name, legacy) == ""
        before = state(legacy)
        assert run(way, name, legacy) == ""
        assert state(legacy) == before


@pytest.mark.parametrize(("start", "odd"), [("canonical", 0), ("supabase", 1)])
def test_psql_goes_on_after_a_stop_at_any_statement(
    start: str,
    odd: int,
    make_database: MakeDatabase,
    legacy_templates: dict[str, URL],
    by_alembic: Callable[[str], list[list[object]]],
) -> None:
    """Each run ends a statement or two later than the one before, and so begins with what that left."""
    url = make_database(legacy_templates[start])

    def in_pieces(name: str) -> None:
        pieces = heads(released(name))
        assert len(pieces) > 20
        for piece in (*pieces[odd:-1:2], pieces[-1]):
            assert pipe(url, piece) == ""

    made = states(url, lambda _: in_pieces("upgrade.sql"), lambda _: in_pieces("rollback.sql"))
    assert made == by_alembic(start)


@pytest.mark.parametrize("name", ["upgrade_dashboard.sql", "rollback_dashboard.sql"])
def test_dashboard_is_all_or_nothing(name: str, canonical: URL) -> None:
    if name.startswith("rollback"):
        migrate(canonical)
        execute(canonical, ARCHIVED)
    before = state(canonical)
    pieces = heads(released(name))
    for piece in (*pieces[:-1:9], pieces[-2]):
        assert paste(canonical, piece) == ""
    assert state(canonical) == before
    assert paste(canonical, pieces[-1]) == ""
    assert state(canonical) != before


@way
def test_scripts_and_alembic_take_turns(way: str, legacy: URL) -> None:
    assert run(way, "upgrade", legacy) == ""
    assert current(legacy) == "001 (head)"
    migrate(legacy, "downgrade", "-1")
    assert run(way, "upgrade", legacy) == ""
    migrate(legacy)
    assert run(way, "rollback", legacy) == ""
    assert current(legacy) == "000"
    migrate(legacy)
    check(legacy)
    assert run(way, "rollback", legacy) == ""
    assert pipe(legacy, script("upgrade", "000:001")) == ""
    assert current(legacy) == "001 (head)"
    assert pipe(legacy, script("downgrade", "001:000")) == ""
    migrate(legacy, "downgrade", "base", "drop-data=yes")
    assert current(legacy) == ""


def test_alembic_goes_on_where_psql_stopped(canonical: URL, by_alembic: Callable[[str], list[list[object]]]) -> None:
    for name, rest in (("upgrade", ("upgrade", "head")), ("rollback", ("downgrade", "-1"))):
        pieces = heads(released(f"{name}.sql"))
        assert pipe(canonical, pieces[len(pieces) // 2]) == ""
        migrate(canonical, *rest)
        if name == "upgrade":
            assert state(canonical) == by_alembic("canonical")[0]
            execute(canonical, ARCHIVED)
    assert state(canonical) == by_alembic("canonical")[1]


@pytest.mark.parametrize("name", ["upgrade_dashboard.sql", "rollback_dashboard.sql"])
def test_dashboard_leaves_the_session_as_it_was(name: str, canonical: URL) -> None:
    if name.startswith("rollback"):
        migrate(canonical)
    with engine_of(canonical, isolation_level="AUTOCOMMIT").connect() as connection:

        def ask(sql: str) -> list[tuple[object, ...]]:
            result = connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
            return [tuple(row) for row in result] if result.returns_rows else []

        ask("SET timezone = 'America/Bogota'; SET lock_timeout = '7s'; SET statement_timeout = '70s'")
        ask("SET standard_conforming_strings = off; SET client_min_messages = error")
        query = "SELECT name, setting FROM pg_settings WHERE name NOT LIKE 'plpgsql.%' ORDER BY name"
        settings = ask(query)
        moment = ask("SELECT max(extract(epoch FROM timestamp AT TIME ZONE 'UTC')) FROM conversations")
        ask(released(name))
        assert ask(query) == settings
        assert ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()") == [(0,)]
        if name.startswith("upgrade"):
            assert ask("SELECT max(extract(epoch FROM timestamp)) FROM conversations") == moment


NAMES = [
    """O'Brien & "Ñandú" 💈 100% :name :'x' :"y" %(a)s %s {0} {{name}} {{default}} {lock_wait} ; --\n\\gexec\\n\t€'""",
    "$default$ $step$ $step_$ $$ $1 /* \\",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", [*WAYS, "alembic"])
def test_default_business_has_any_name(way: str, name: str, empty: URL) -> None:
    option = f"default-business-name={name}"
    if way == "alembic":
        migrate(empty, "upgrade", "head", option)
    elif way == "psql":
        with environment(PGCLIENTENCODING="LATIN1"):
            assert pipe(empty, script("upgrade", "head", option)) == ""
    else:
        assert paste(empty, script("upgrade", "head", option, SINGLE)) == ""
    assert rows(empty, "SELECT name FROM businesses") == [(name,)]
    check(empty)


def test_a_name_with_a_backslash_survives_old_string_syntax(empty: URL) -> None:
    sql = script("upgrade", "head", "default-business-name=a\\nb", SINGLE)
    execute(empty, f"ALTER DATABASE {empty.database} SET standard_conforming_strings = off")
    assert paste(empty, sql) == ""
    assert scalar(empty, "SELECT name FROM businesses") == "a\\nb"


def shell(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a reader types it in the project's folder."""
    tools = (str(Path(sys.executable).parent), str(Path(pg_binary("psql")).parent), os.environ["PATH"])
    env = {**os.environ, "PATH": os.pathsep.join(tools), **variables}
    return subprocess.run(["bash", "-ec", command], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_released_scripts_are_up_to_date(tmp_path: Path) -> None:
    done = shell(f"sh sql/write.sh '{tmp_path}'")
    assert (done.returncode, done.stderr) == (0, "")
    for name in SCRIPTS:
        written = (tmp_path / name).read_text(encoding="utf-8")
        assert written == released(name)
        assert (SQL / name).read_text(encoding="utf-8") == written, f"{name} is stale: run sh sql/write.sh"
        assert not re.search(rf"{ROOT}|\d{{4}}-\d\d-\d\d|[^\x00-\x7f]", written)
        if "dashboard" in name:
            assert not re.search(r"^\\|\\gexec|^[A-Z ]*INDEX CONCURRENTLY", written, re.M)
            assert re.findall("^(?:BEGIN|COMMIT);", written, re.M) == ["BEGIN;", "COMMIT;"]


def test_readme_commands_run_as_written(canonical: URL, tmp_path: Path) -> None:
    readme = (SQL / "README.md").read_text(encoding="utf-8")
    assert all(name in readme for name in SCRIPTS)
    up, down, own, again = re.findall(r"```sh\n(.*?)```", readme, re.S)
    address = plain(canonical)
    for command, revision in ((up, "001 (head)"), (down, "000")):
        done = shell(command, DATABASE_URL=address)
        assert (done.returncode, current(canonical)) == (0, revision), done.stderr
    done = shell(f"{own.replace('my_upgrade.sql', str(tmp_path / 'my_upgrade.sql'))}")
    assert done.returncode == 0, done.stderr
    assert pipe(canonical, (tmp_path / "my_upgrade.sql").read_text(encoding="utf-8")) == ""
    assert scalar(canonical, "SELECT name FROM businesses") == "Barbería Zoë"
    assert again.strip() == "sh sql/write.sh"
