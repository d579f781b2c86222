"""`app.db`: which URLs it takes, what the engine is like, and what its sessions commit."""

import logging
import os
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from app.db import (
    CONNECT_ARGS,
    DatabaseUrlError,
    SessionLocal,
    database_url,
    get_db_session,
    get_engine,
    session_dependency,
    session_scope,
)
from app.models import Business
from app.tenancy.environment import Settings, get_settings
from tests.support import environment, plain, rows

POOLER_TAKES = {"user", "database", "client_encoding", "application_name"}
"""Startup parameters that PgBouncer takes as it comes; it refuses a connection over any other, such as options."""


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_three_spellings_work(database: URL, scheme: str) -> None:
    with environment(DATABASE_URL=f"  {scheme}://{plain(database).partition('://')[2]}\n"), session_scope() as session:
        assert session.connection().dialect.driver == "psycopg2"
        assert session.scalar(text("SELECT current_database()")) == database.database


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("sqlite:///bot.db", "'sqlite'"),
        ("mysql+pymysql://bot:s3cret@db.example.com/bot", "'mysql+pymysql'"),
        ("mysql://bot:s3cret@db.example.com/bot", "'mysql'"),
        ("postgresql+asyncpg://bot:s3cret@db.example.com/bot", "'postgresql+asyncpg'"),
    ],
)
def test_any_other_database_is_refused_by_name(url: str, named: str) -> None:
    with environment(DATABASE_URL=url), pytest.raises(DatabaseUrlError, match=r"needs PostgreSQL 15") as refused:
        get_engine()
    assert named in str(refused.value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["db.example.com/bot", "postgres:s3cret@host", "postgresql://u:s3cret@host:port/bot"])
def test_what_is_no_url_is_refused_without_repeating_it(url: str) -> None:
    with environment(DATABASE_URL=url), pytest.raises(DatabaseUrlError, match="not a URL of the form") as refused:
        database_url()
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("password", ["s3cr@t123", "s@3cr@t123", "s3cr@t12/3"])
def test_a_password_that_is_not_encoded_is_not_shown(password: str) -> None:
    url = f"postgresql://bot:{password}@127.0.0.1/bot"
    with environment(DATABASE_URL=url), pytest.raises(DatabaseUrlError, match="percent-encode") as refused:
        database_url()
    assert "t12" not in str(refused.value)


def test_a_parameter_that_does_not_fit_is_named() -> None:
    url = "postgresql://bot:s3cret@/shop?host=localhost&port=abc"
    with environment(DATABASE_URL=url), pytest.raises(DatabaseUrlError, match="correct host or port") as refused:
        database_url()
    assert "s3cret" not in str(refused.value)


def test_the_placeholder_of_supabase_is_named() -> None:
    url = "postgresql://postgres:[YOUR-PASSWORD]@db.example.com:5432/postgres"
    with environment(DATABASE_URL=url), pytest.raises(DatabaseUrlError, match="still has the placeholder"):
        database_url()


def test_the_url_may_be_in_a_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text('DATABASE_URL="postgres://bot:s3cret@db.example.com/bot"\nOTHER=1\n')
    monkeypatch.chdir(tmp_path)
    with environment(DATABASE_URL=None):
        assert database_url().host == "db.example.com"
        with environment(DATABASE_URL="postgres://other.example.com/bot"):
            assert database_url().host == "other.example.com"


def test_no_repr_shows_a_secret() -> None:
    with environment(DATABASE_URL="postgres://bot:s3cret@db.example.com/bot", ACCESS_TOKEN_KEYS="k3y"):
        shown = [repr(get_settings()), str(get_settings()), repr(get_engine()), repr(database_url())]
        shown.append(repr(Settings(database_url="postgres://bot:s3cret@db.example.com/bot", access_token_keys="k3y")))
    for text_ in shown:
        assert "s3cret" not in text_
        assert "k3y" not in text_


def test_the_pool_replaces_what_a_pooler_may_have_dropped() -> None:
    with environment(DATABASE_URL="postgresql://db.example.com/bot"):
        pool = get_engine().pool
        assert get_engine() is get_engine()
    assert isinstance(pool, QueuePool)
    assert pool._recycle == 180
    expected = {"connect_timeout": 10, "keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10}
    assert (expected | {"keepalives_count": 3, "tcp_user_timeout": 10_000}).items() <= CONNECT_ARGS.items()


def test_the_connection_has_keepalives_timeout_and_a_name(bot_settings: URL) -> None:
    with get_engine().connect() as connection:
        parameters = connection.connection.driver_connection.get_dsn_parameters()  # type: ignore[union-attr]
        assert parameters.items() >= {key: str(value) for key, value in CONNECT_ARGS.items()}.items()
        assert connection.scalar(text("SHOW application_name")) == "whatsapp-bot-schema"
    get_engine().dispose()


@contextmanager
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A port on which one client's startup packet is taken down, and then the line is cut."""
    packets: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)

        def serve() -> None:
            client, _ = server.accept()
            with client, client.makefile("rwb") as line:
                while True:
                    packet = line.read(int.from_bytes(line.read(4)) - 4)
                    if int.from_bytes(packet[:4]) == 196608:  # protocol 3.0; before it come requests to encrypt
                        packets.append(packet[4:])
                        return
                    line.write(b"N")
                    line.flush()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], packets
        finally:
            thread.join(30)


def test_a_connection_asks_for_nothing_that_a_transaction_pooler_refuses() -> None:
    with (
        listener() as (port, packets),
        environment(DATABASE_URL=f"postgresql://bot@127.0.0.1:{port}/bot"),
        pytest.raises(OperationalError),
    ):
        get_engine().connect()
    words = [word.decode() for word in packets[0].split(b"\x00")[:-2]]
    sent = dict(zip(words[::2], words[1::2], strict=True))
    assert sent["application_name"] == "whatsapp-bot-schema"
    assert sent.keys() <= POOLER_TAKES


NAMES = "SELECT name FROM businesses ORDER BY name"


def test_the_context_manager_commits(bot_settings: URL) -> None:
    with session_scope() as session:
        session.add(Business(name="New"))
    assert rows(bot_settings, NAMES) == [("Default business",), ("New",)]
    get_engine().dispose()


class _Stop(BaseException):
    pass


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, _Stop])
def test_the_context_manager_rolls_back_on_any_exception(bot_settings: URL, error: type[BaseException]) -> None:
    def fail() -> None:
        with session_scope() as session:
            session.add(Business(name="New"))
            session.flush()
            raise error

    with pytest.raises(error):
        fail()
    assert rows(bot_settings, NAMES) == [("Default business",)]
    assert isinstance(pool := get_engine().pool, QueuePool)
    assert pool.checkedout() == 0
    get_engine().dispose()


def test_a_bot_opens_commits_and_closes_a_session(bot_settings: URL) -> None:
    session = get_db_session()
    assert isinstance(session, Session)
    session.add(Business(name="Committed"))
    session.commit()
    session.add(Business(name="Forgotten"))
    session.flush()
    session.close()
    assert rows(bot_settings, NAMES) == [("Committed",), ("Default business",)]
    assert isinstance(pool := get_engine().pool, QueuePool)
    assert pool.checkedout() == 0
    get_engine().dispose()


def test_a_dependency_yields_a_session_whose_caller_commits(bot_settings: URL) -> None:
    dependency = session_dependency()
    session = next(dependency)
    session.add(Business(name="Committed"))
    session.commit()
    session.add(Business(name="Forgotten"))
    session.flush()
    with pytest.raises(StopIteration):
        next(dependency)
    assert rows(bot_settings, NAMES) == [("Committed",), ("Default business",)]
    assert isinstance(pool := get_engine().pool, QueuePool)
    assert pool.checkedout() == 0
    get_engine().dispose()


def test_a_forked_child_has_connections_of_its_own(bot_settings: URL) -> None:
    with session_scope() as session:
        parent = session.scalar(text("SELECT pg_backend_pid()"))
    reader, writer = os.pipe()
    with warnings.catch_warnings(action="ignore"):
        child = os.fork()
    if child == 0:  # pragma: no cover
        with session_scope() as session:
            os.write(writer, str(session.scalar(text("SELECT pg_backend_pid()"))).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(reader, 20)) != parent
    with session_scope() as session:
        assert session.scalar(text("SELECT pg_backend_pid()")) == parent
    get_engine().dispose()


def test_rows_can_be_read_after_the_commit(bot_settings: URL) -> None:
    with SessionLocal() as session:
        business = Business(name="New")
        session.add(business)
        session.commit()
    assert business.name == "New"
    get_engine().dispose()


def test_neither_log_nor_error_repeats_the_row(bot_settings: URL, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sqlalchemy.engine")
    statement = text("INSERT INTO users (email, password_hash) VALUES (:email, :secret)")
    with pytest.raises(IntegrityError) as refused, session_scope() as session:
        session.execute(statement, {"email": "ana@example.com", "secret": "hunter2"})
    assert "password_hash_is_a_hash" in str(refused.value)
    assert "hunter2" not in str(refused.value) + str(refused.value.orig) + caplog.text
    get_engine().dispose()
