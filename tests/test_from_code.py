"""Alembic started from code: the database that code names is migrated, and no other."""

from argparse import Namespace
from collections.abc import Iterator
from io import StringIO

import pytest
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import URL, create_engine, text

from alembic import command
from tests.conftest import MakeDatabase
from tests.documents import blocks
from tests.support import ROOT, engine_of, environment, plain, rows, scalar

SETTINGS = "SELECT name, setting FROM pg_settings WHERE name ~ '_timeout$|^TimeZone$|^client_min|isolation|quote_all' ORDER BY 1"


@pytest.fixture
def production(make_database: MakeDatabase) -> Iterator[URL]:
    """What DATABASE_URL names, and nothing may touch."""
    url = make_database()
    with environment(DATABASE_URL=plain(url)):
        yield url
    assert rows(url, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []


def config(*x: str) -> Config:
    return Config(str(ROOT / "alembic.ini"), stdout=StringIO(), cmd_opts=Namespace(x=list(x)))


def version(url: URL) -> str:
    return str(scalar(url, "SELECT version_num FROM alembic_version"))


def test_the_document(production: URL, empty: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = (block for block in blocks("docs/own-alembic.md", "python") if "set_main_option" in block)
    exec(code, {"url": plain(empty)})  # noqa: S102
    assert version(empty) == "001"


def test_an_engine_and_a_wrong_url(production: URL, empty: URL) -> None:
    given = config()
    given.attributes["connection"] = engine_of(empty)
    command.upgrade(given, "head")
    assert version(empty) == "001"
    given = config()
    given.set_main_option("sqlalchemy.url", "driver://user:pass@localhost/dbname")
    with pytest.raises(CommandError, match=r"^sqlalchemy\.url names 'driver', but this schema needs PostgreSQL"):
        command.upgrade(given, "head")
    given.set_main_option("sqlalchemy.url", "postgresql://bot:s3cret@localhost:1/shop")
    with pytest.raises(
        CommandError, match=r"^Cannot connect to postgresql://bot:\*\*\*@localhost:1/shop of sqlalchemy\.url"
    ):
        command.upgrade(given, "head")


def test_a_connection_has_its_settings_back_and_no_lock(production: URL, empty: URL) -> None:
    with engine_of(empty).connect() as connection:
        connection.execute(text("SET lock_timeout = '7s'"))
        connection.commit()
        before = connection.execute(text(SETTINGS)).all()
        connection.rollback()
        given = config()
        given.attributes["connection"] = connection
        command.upgrade(given, "head")
        command.check(given)
        assert connection.execute(text(SETTINGS)).all() == before
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        assert connection.scalar(text(locks)) == 0
        connection.rollback()
        with pytest.raises(CommandError):
            command.downgrade(given, "base:000")
        assert not connection.in_transaction()


def test_a_transaction_of_the_caller_is_the_callers(production: URL, empty: URL) -> None:
    with engine_of(empty).connect() as connection, connection.begin() as transaction:
        given = config()
        given.attributes["connection"] = connection
        with pytest.raises(CommandError, match="in a transaction, which this run would have to commit"):
            command.upgrade(given, "head")
        given = config("single-transaction=yes")
        given.attributes["connection"] = connection
        command.upgrade(given, "head")
        assert connection.scalar(text("SELECT count(*) FROM businesses")) == 1
        command.downgrade(given, "-1")
        command.upgrade(given, "head")
        transaction.rollback()
    assert rows(empty, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []


def test_another_driver_is_refused(production: URL, empty: URL) -> None:
    with create_engine(empty.set(drivername="postgresql+psycopg")).connect() as connection:
        given = config()
        given.attributes["connection"] = connection
        with pytest.raises(CommandError, match="is psycopg's, but this schema migrates through psycopg2"):
            command.upgrade(given, "head")
