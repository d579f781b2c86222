"""How often a bot waits for the database: counted by a proxy, exactly, on a warm pool."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import URL, select, text

from app.db import SessionLocal, get_db_session, get_engine, tenant_session
from app.models import Customer
from bench.round_trips import BUSINESS, Work, counted, measured, route
from tests.proxy import Proxy


@pytest.fixture
def measurable(database: URL) -> Iterator[tuple[Proxy, Work]]:
    with measured(database) as found:
        yield found


@pytest.fixture
def line(measurable: tuple[Proxy, Work]) -> Proxy:
    return measurable[0]


def session_without_a_business() -> None:
    session = get_db_session()
    session.scalars(select(Customer)).all()
    session.commit()
    session.close()


def added() -> None:
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


BOUNDS: list[tuple[Callable[[], None], int]] = [
    (nothing, 0),
    (session_without_a_business, 3),  # BEGIN, the statement, COMMIT
    (added, 3),
    (two_transactions, 6),
    (serializable, 3),
    (savepoint, 5),
    (written_as_text, 4),  # one more, to see that it stayed in the business
]


@pytest.mark.parametrize(("work", "bound"), BOUNDS, ids=lambda value: getattr(value, "__name__", ""))
def test_what_a_session_costs(line: Proxy, work: Callable[[], None], bound: int) -> None:
    assert counted(line, work) == bound


def test_what_each_function_and_the_readme_s_handler_cost(measurable: tuple[Proxy, Work]) -> None:
    """Alone: BEGIN with the scope, the statement, COMMIT. The handler: routing 1; BEGIN with the scope, customer,
    message, history, COMMIT; BEGIN with the scope, answer, COMMIT."""
    line, work = measurable
    assert {name: counted(line, ways["this package"]) for name, ways in work} == {
        "find the number and its business": 1,
        "find the customer": 3,
        "record a message": 3,
        "read the last messages": 3,
        "record an answer": 3,
        "the README's handler": 9,
    }


def test_it_takes_no_more_than_the_driver_alone(measurable: tuple[Proxy, Work]) -> None:
    """As many as psycopg2 with BEGIN and the scope sent by hand in one message, and fewer than with its own BEGIN."""
    line, work = measurable
    for name, ways in work:
        ours, careful, usual = (counted(line, run) for run in ways.values())
        assert ours == careful < usual, name


def test_a_new_connection_is_opened_with_few(line: Proxy) -> None:
    """Startup, a request to encrypt that this server refuses, the statement; and the end of the old connection."""
    route()
    get_engine().dispose()
    line.round_trips = 0
    route()
    assert line.round_trips <= 4
