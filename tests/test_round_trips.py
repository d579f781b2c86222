"""How often a bot waits for the database: counted by a proxy, exactly, on a warm pool."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import URL, select, text

from app.db import SessionLocal, get_db_session, get_engine, tenant_session
from app.models import Customer
from bench.round_trips import BUSINESS, Psycopg2, handle, last, measured, record, route
from tests.proxy import Proxy


@pytest.fixture
def line(database: URL) -> Iterator[Proxy]:
    with measured(database) as (made, _):
        yield made


def counted(line: Proxy, run: Callable[[], Any]) -> int:
    """Round trips of the second run."""
    run()
    line.round_trips = 0
    run()
    return line.round_trips


def session_without_a_business() -> None:
    session = get_db_session()
    session.scalars(select(Customer)).all()
    session.commit()
    session.close()


def customer() -> None:
    with tenant_session(BUSINESS) as session:
        session.add(Customer(whatsapp_id=f"{id(session)}", name="x"))
        session.flush()


def two_transactions() -> None:
    with tenant_session(BUSINESS) as session:
        for _ in range(2):
            session.scalars(select(Customer)).all()
            session.commit()


def savepoint() -> None:
    with tenant_session(BUSINESS) as session, session.begin_nested():
        session.scalars(select(Customer)).all()


def serializable() -> None:
    with tenant_session(BUSINESS) as session:
        session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
        session.scalars(select(Customer)).all()


def written_as_text() -> None:
    with tenant_session(BUSINESS) as session:
        session.execute(text("SELECT 1"))


def nothing() -> None:
    with tenant_session(BUSINESS), SessionLocal():
        pass


BOUNDS: list[tuple[Callable[[], Any], int]] = [
    (nothing, 0),
    (route, 1),
    (session_without_a_business, 3),  # BEGIN, the statement, COMMIT
    (last, 3),
    (record, 3),
    (customer, 3),
    (two_transactions, 6),
    (serializable, 3),
    (savepoint, 5),
    (written_as_text, 4),  # one more, to see that it stayed in the business
    (handle, 9),
]


@pytest.mark.parametrize(("work", "bound"), BOUNDS, ids=lambda value: getattr(value, "__name__", ""))
def test_round_trips(line: Proxy, work: Callable[[], Any], bound: int) -> None:
    assert counted(line, work) == bound


def test_it_takes_no_more_than_the_driver_alone(line: Proxy) -> None:
    """psycopg2 with its own BEGIN, and with BEGIN and the scope sent by hand in one message."""
    for folded, way in ((True, "no more"), (False, "fewer")):
        driver = Psycopg2(line.url, folded=folded)
        for name, run in (("route", route), ("last", last), ("record", record), ("handle", handle)):
            ours, theirs = counted(line, run), counted(line, getattr(driver, name))
            assert ours == theirs if way == "no more" else ours < theirs, name
        driver.connection.close()


def test_a_new_connection_is_opened_with_few(line: Proxy) -> None:
    """Startup, a request to encrypt that this server refuses, the statement; and the end of the old connection."""
    route()
    get_engine().dispose()
    line.round_trips = 0
    route()
    assert line.round_trips <= 4
