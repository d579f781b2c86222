"""A scope for a whole request: every session that is opened inside it is bound to the business, by whatever code."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import URL, delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.orm import Session, sessionmaker

from app.db import (
    BusinessSession,
    SessionLocal,
    business_scope,
    get_db_session,
    get_engine,
    read_session,
    rolled_back_at_the_end,
    session_dependency,
    session_scope,
    tenant_session,
)
from app.models import Business, Customer
from app.models.base import TenantScopeError
from tests.support import DEFAULT_ID, OTHER_ID, add_business, execute, rows

A, B = UUID(DEFAULT_ID), UUID(OTHER_ID)
WHO = text("SELECT current_user, current_setting('app.business_id', true)")


@pytest.fixture
def shops(bot_settings: URL) -> Iterator[URL]:
    """Two businesses in the bot's database, with a customer each."""
    add_business(bot_settings)
    execute(
        bot_settings,
        f"INSERT INTO customers (whatsapp_id, name, business_id) VALUES ('1', 'of A', '{A}'), ('1', 'of B', '{B}')",
    )
    yield bot_settings
    get_engine().dispose()


def service(name: str = "new") -> list[str]:
    """What a bot's service does, which knows nothing of businesses."""
    session = get_db_session()
    try:
        session.add(Customer(whatsapp_id=name, name=name))
        session.commit()
        return sorted(session.scalars(select(Customer.name)))
    finally:
        session.close()


def who(session: Session) -> Any:
    with session:
        return session.execute(WHO).one()


def from_dependency() -> Any:
    return next(session.execute(WHO).one() for session in session_dependency())


def from_session_scope() -> Any:
    with session_scope() as session:
        return session.execute(WHO).one()


WAYS: dict[str, Callable[[], Any]] = {
    "SessionLocal": lambda: who(SessionLocal()),
    "get_db_session": lambda: who(get_db_session()),
    "session_scope": from_session_scope,
    "dependency": from_dependency,
    "a sessionmaker of the bot's": lambda: who(sessionmaker(class_=BusinessSession, bind=get_engine())()),
    "a class of the bot's": lambda: who(type("Own", (BusinessSession,), {})()),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_session_inside_is_bound(shops: URL, way: Callable[[], Any]) -> None:
    with business_scope(OTHER_ID):
        assert way() == ("app_tenant", OTHER_ID)
    assert way()[0] == shops.username


def test_services_that_know_nothing_of_businesses_work_on_one(shops: URL) -> None:
    with business_scope(B):
        assert service() == ["new", "of B"]
    assert rows(shops, "SELECT name FROM customers WHERE business_id <> :b".replace(":b", f"'{B}'")) == [("of A",)]
    with pytest.raises(TenantScopeError, match=r"no business is in scope: .* app.db.business_scope\(business_id\)"):
        service()


def test_scopes_nest_and_end_with_an_error_too(shops: URL) -> None:
    with business_scope(A):
        with business_scope(B):
            assert who(SessionLocal())[1] == str(B)
            with business_scope(None):
                assert who(SessionLocal())[0] == shops.username
        assert who(SessionLocal())[1] == str(A)
        with pytest.raises(KeyError), business_scope(B):
            raise KeyError
        assert who(SessionLocal())[1] == str(A)
        assert who(tenant_session(B))[1] == str(B)
    with pytest.raises(ValueError, match="business_id of a tenant session is not a UUID"), business_scope("no uuid"):
        pass


def test_a_session_keeps_its_business(shops: URL) -> None:
    with business_scope(A):
        inside = SessionLocal()
    with business_scope(B), inside:
        assert inside.execute(WHO).one() == ("app_tenant", str(A))


def test_tasks_and_threads_have_scopes_of_their_own(shops: URL) -> None:
    meet = asyncio.Event()

    async def handle(business: UUID) -> list[str]:
        with business_scope(business):
            if business == A:
                await meet.wait()  # B's task runs meanwhile
            meet.set()
            return [*service("inline"), *await asyncio.to_thread(service, "thread")]

    async def both() -> list[list[str]]:
        return list(await asyncio.gather(handle(A), handle(B)))

    of_a, of_b = asyncio.run(both())
    assert of_a == ["inline", "of A", "inline", "of A", "thread"]
    assert of_b == ["inline", "of B", "inline", "of B", "thread"]
    with ThreadPoolExecutor(1) as pool, business_scope(A):
        assert pool.submit(who, SessionLocal()).result()[1] == str(A)
        with pytest.raises(TenantScopeError):  # a bare thread is told nothing
            pool.submit(service, "bare").result()
        assert pool.submit(copy_context().run, service, "told").result() == ["inline", "of A", "thread", "told"]


def test_reading_beyond_one_business_is_for_reading(shops: URL) -> None:
    with business_scope(A), read_session() as session:
        assert set(session.scalars(select(Customer.name))) == {"of A", "of B"}
        session.add(Business(name="New"))
        with pytest.raises(TenantScopeError, match="read_session only reads"):
            session.commit()


WRITES: dict[str, Any] = {
    "update": lambda: update(Customer).values(age=3),
    "delete": lambda: delete(Customer),
    "insert": lambda: insert(Customer).values(whatsapp_id="9", name="x", business_id=A),
    "rows": lambda: insert(Customer).values([{"whatsapp_id": "9", "name": "x", "business_id": A}]),
    "text": lambda: text("DELETE FROM customers"),
    "text with parameters": lambda: text("DELETE FROM customers WHERE name = :name").bindparams(name="of A"),
    "within": lambda: select(delete(Customer).returning(Customer.id).cte("gone")),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_the_server_lets_it_write_nothing(shops: URL, write: Callable[[], Any]) -> None:
    before = rows(shops, "SELECT * FROM customers ORDER BY id")
    with read_session() as session:
        for _ in range(2):
            with pytest.raises(DBAPIError, match=r"cannot execute [A-Z]+ in a read-only transaction"):
                session.execute(write())
        session.rollback()
        assert session.scalar(text("SELECT count(*) FROM customers WHERE name <> :name").bindparams(name="x")) == 2
        with pytest.raises(StatementError, match="in which rows could be streamed"):
            session.scalars(select(Customer).execution_options(yield_per=1)).all()
    assert rows(shops, "SELECT * FROM customers ORDER BY id") == before
    with SessionLocal() as session:  # on the same connection
        session.add(Business(name="New"))
        session.commit()


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("begun", [True, False])
def test_on_a_connection_of_the_callers_it_writes_nothing_either(
    shops: URL, write: Callable[[], Any], begun: bool
) -> None:
    """Nor do sessions after it on the same connection lose the right to write."""
    with get_engine().connect() as connection:
        if begun:
            connection.begin()
        with read_session(bind=connection) as session:
            assert set(session.scalars(select(Customer.name))) == {"of A", "of B"}
            with pytest.raises(DBAPIError, match=r"cannot execute [A-Z]+ in a read-only transaction"):
                session.execute(write())
        with SessionLocal(bind=connection) as session:
            session.add(Business(name="New"))
            session.commit()
        assert connection.scalar(select(func.count()).select_from(Business)) == 3


def test_on_a_connection_in_autocommit_it_is_refused(shops: URL) -> None:
    with (
        get_engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        read_session(bind=connection) as session,
        pytest.raises(TenantScopeError, match="read_session on a connection in AUTOCOMMIT could write"),
    ):
        session.execute(text("DELETE FROM customers"))


def test_the_testing_block_undoes_what_sessions_commit(shops: URL) -> None:
    for _ in range(2):
        with rolled_back_at_the_end() as connection:
            with session_scope() as session:
                session.add(Business(name="Third"))
            with tenant_session(A) as session:
                session.add(Customer(whatsapp_id="2", name="new of A"))
                session.commit()
                session.add(Customer(whatsapp_id="3", name="lost"))
                session.flush()
                session.rollback()
                assert set(session.scalars(select(Customer.name))) == {"of A", "new of A"}
            with business_scope(B):
                assert service("new of B") == ["new of B", "of B"]
            with closing(get_db_session()) as session:
                assert session.scalar(select(func.count()).select_from(Customer)) == 4
            with read_session() as session:
                assert session.scalar(select(func.count()).select_from(Business)) == 3
            assert connection.execute(WHO).one()[0] == shops.username
        assert rows(shops, "SELECT name FROM customers ORDER BY name") == [("of A",), ("of B",)]
        assert rows(shops, "SELECT count(*) FROM businesses") == [(2,)]
