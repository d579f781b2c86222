"""Code that hands a connection over gets it back as it was, also where the run ends with an error."""

import re
import threading
from argparse import Namespace
from collections.abc import Iterator
from io import StringIO

import pytest
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import URL, Connection, text

from alembic import command
from app.tenancy.migration.runner import RUNNER_LOCK, WHO_RUNS
from tests.conftest import MakeDatabase
from tests.support import ROOT, engine_of, execute, load_legacy, migrate, wait_until

PLANTED = "CREATE FUNCTION length(varchar) RETURNS int LANGUAGE sql AS 'SELECT 0'"
OTHERS = "datname = current_database() AND pid <> pg_backend_pid()"
WAITS = f"EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%pg_try_advisory_lock%' AND {OTHERS})"


def settings(connection: Connection) -> set[tuple[str, str]]:
    """Every setting of the session; that of a library is there once the library is loaded."""
    found = connection.execute(text("SELECT name, setting FROM pg_settings")).all()
    role = connection.scalar(text("SHOW role"))
    connection.rollback()
    return {(name, value) for name, value in found} | {("role", role)}


def config(connection: Connection) -> Config:
    given = Config(str(ROOT / "alembic.ini"), stdout=StringIO(), cmd_opts=Namespace(x=[]))
    given.attributes["connection"] = connection
    return given


@pytest.fixture
def locked(empty: URL) -> Iterator[Connection]:
    """Another run has the lock of the empty database."""
    with engine_of(empty).connect() as other:
        other.execute(text(f"SELECT pg_advisory_lock({RUNNER_LOCK})"))
        yield other


def test_a_connection_has_every_setting_back(empty: URL) -> None:
    execute(empty, "CREATE ROLE of_the_caller") if not _has_role(empty) else None
    with engine_of(empty).connect() as connection:
        connection.execute(text("SET plpgsql.extra_errors = 'too_many_rows'; SET plpgsql.extra_warnings = 'all'"))
        connection.execute(text("SET role = of_the_caller"))
        connection.commit()
        before = settings(connection)
        command.current(config(connection))
        assert before - settings(connection) == set()


def _has_role(url: URL) -> bool:
    with engine_of(url).connect() as connection:
        return bool(connection.scalar(text("SELECT to_regrole('of_the_caller') IS NOT NULL")))


def test_a_planted_function_is_a_sentence_and_the_connection_goes_on(empty: URL) -> None:
    """What the session defaults refuse, before Alembic is asked anything."""
    load_legacy(empty)
    execute(
        empty,
        "DO $$ BEGIN CREATE ROLE somebody; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "GRANT CREATE ON SCHEMA public TO somebody; SET ROLE somebody",
    )
    execute(empty, f"SET ROLE somebody; {PLANTED}")
    with engine_of(empty).connect() as connection:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        notices, before = raw.notices, settings(connection)
        with pytest.raises(CommandError, match=r"run DROP ROUTINE .*length\(character varying\)"):
            command.upgrade(config(connection), "head")
        assert raw.notices is notices
        assert before - settings(connection) == set()
    execute(empty, "DROP FUNCTION length(varchar)", "REVOKE CREATE ON SCHEMA public FROM somebody")


@pytest.mark.parametrize("handed_over", [True, False])
def test_a_server_that_ends_while_a_run_waits_is_a_sentence(handed_over: bool, empty: URL, locked: Connection) -> None:
    said: list[BaseException] = []

    def run() -> None:
        try:
            if not handed_over:
                migrate(empty)
                return
            with engine_of(empty).connect() as connection:
                command.upgrade(config(connection), "head")
        except BaseException as error:
            said.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(empty, WAITS)
    locked.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OTHERS}"))
    thread.join(timeout=60)
    (error,) = said
    assert isinstance(error, CommandError)
    assert re.match(r"The database refused a step \((terminating connection|server closed the connection)", str(error))


def test_who_waits_is_told_of_a_run_of_this_database(empty: URL, make_database: MakeDatabase) -> None:
    asked = WHO_RUNS.replace("%%s", "%s")
    with engine_of(make_database()).connect() as elsewhere, engine_of(empty).connect() as here:
        elsewhere.execute(text(f"SELECT pg_advisory_lock({RUNNER_LOCK})"))
        high, low = RUNNER_LOCK >> 32, RUNNER_LOCK & 0xFFFFFFFF
        here.execute(text(f"SELECT pg_advisory_lock({high}, {low})"))  # a lock of two keys is another one
        query = asked.replace("(%s >>", f"({RUNNER_LOCK} >>").replace("(%s &", f"({RUNNER_LOCK} &")
        assert here.exec_driver_sql(query, execution_options={"no_parameters": True}).all() == []
        here.execute(text(f"SELECT pg_advisory_lock({RUNNER_LOCK})"))
        assert len(here.exec_driver_sql(query, execution_options={"no_parameters": True}).all()) == 1
