"""A pooled connection that died costs no message, and one that lives costs no question."""

from collections.abc import Iterator

import pytest
from sqlalchemy import URL, Engine, text
from sqlalchemy.exc import OperationalError

from app.db import CONNECT_ARGS, make_engine, read_session, tenant_session
from app.models import Business, Customer
from app.tenancy import pool
from tests.proxy import Proxy, proxy
from tests.support import DEFAULT_ID, execute, scalar

PID = text("SELECT pg_backend_pid()")


@pytest.fixture
def through(database: URL) -> Iterator[Proxy]:
    """A proxy before the test's database."""
    with proxy(database) as made:
        yield made


@pytest.fixture
def engine(through: Proxy) -> Iterator[Engine]:
    engine = make_engine(through.url, pool_size=2, max_overflow=0, pool_timeout=5)
    yield engine
    engine.dispose()


def read(engine: Engine) -> int:
    with read_session(bind=engine) as session:
        assert session.get(Business, DEFAULT_ID) is not None
        return int(session.execute(PID).scalar_one())


def test_a_connection_used_a_moment_ago_is_not_asked(engine: Engine, through: Proxy) -> None:
    pid = read(engine)
    through.round_trips = 0
    assert read(engine) == pid
    assert through.round_trips == 2


def test_one_that_rested_is_asked(engine: Engine, through: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = read(engine)
    monkeypatch.setattr(pool, "RESTED", -1.0)
    through.round_trips = 0
    assert read(engine) == pid
    assert through.round_trips == 3


def test_one_whose_socket_is_closed_is_replaced(engine: Engine, through: Proxy) -> None:
    pid = read(engine)
    through.hang_up()
    assert read(engine) != pid


def test_all_that_were_terminated_are_replaced(engine: Engine, database: URL) -> None:
    with engine.connect() as one, engine.connect() as two:
        pids = {one.execute(PID).scalar_one(), two.execute(PID).scalar_one()}
    for pid in pids:
        assert scalar(database, f"SELECT pg_terminate_backend({pid}, 30000)")
    with engine.connect() as one, engine.connect() as two:
        assert not {one.execute(PID).scalar_one(), two.execute(PID).scalar_one()} & pids


def test_one_that_forwards_nothing_any_more_is_given_up(
    engine: Engine, through: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall that forgot the connection answers nothing: only patience ends the wait."""
    pid = read(engine)
    monkeypatch.setattr(pool, "RESTED", -1.0)
    monkeypatch.setattr(pool, "PATIENCE", 0.2)
    through.silence()
    assert read(engine) != pid


def test_a_tenant_session_begins_on_a_new_one_where_the_first_message_finds_it_dead(
    engine: Engine, through: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the server hangs up between the look at the socket and the message."""
    pid = read(engine)
    monkeypatch.setattr(pool, "_has_news", lambda _: False)
    through.hang_up()
    with tenant_session(DEFAULT_ID, bind=engine) as session:
        assert session.scalar(PID) != pid
        session.add(Customer(whatsapp_id="1", name="kept"))
        session.commit()
    with tenant_session(DEFAULT_ID, bind=engine) as session:
        session.scalar(PID)
        through.hang_up()
        session.add(Customer(whatsapp_id="2", name="lost"))
        with pytest.raises(OperationalError, match="closed the connection"):
            session.commit()
        session.rollback()
        assert session.query(Customer).count() == 1


def test_a_server_that_is_gone_is_an_error_and_not_a_wait(through: Proxy) -> None:
    engine = make_engine(through.url)
    read(engine)
    through.refuse()
    with pytest.raises(OperationalError, match=r"Connection refused|closed the connection"):
        read(engine)
    engine.dispose()


def test_what_the_network_swallows_while_a_statement_runs_ends_in_ten_seconds() -> None:
    assert CONNECT_ARGS["tcp_user_timeout"] == 10_000
    assert CONNECT_ARGS["keepalives"] == 1


def test_a_connection_with_a_notice_waiting_is_kept(engine: Engine, database: URL) -> None:
    with engine.connect() as connection:
        pid = connection.execute(PID).scalar_one()
        connection.execute(text("LISTEN news"))
        connection.commit()
    execute(database, "NOTIFY news")
    assert read(engine) == pid
