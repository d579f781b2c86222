"""One pooled connection, several tenants: interleaved sessions never see each other, whatever each of them does."""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import cast
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import URL, Column, Engine, Integer, MetaData, QueuePool, Table, create_engine, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db import tenant_session
from app.models import Customer
from app.models.base import TenantScopeError
from tests.conftest import MakeDatabase
from tests.support import DEFAULT_ID, OTHER_ID, add_business, execute, rows

A, B = UUID(DEFAULT_ID), UUID(OTHER_ID)
C = UUID("00000000-0000-0000-0000-0000000000c0")
WHO = text("SELECT current_user, current_setting('app.business_id', true)")
TABLE = cast(Table, Customer.__table__)


@pytest.fixture(scope="module")
def shared(make_lasting_database: MakeDatabase, migrated_template: URL) -> URL:
    url = make_lasting_database(migrated_template)
    add_business(url, OTHER_ID)
    add_business(url, str(C), "Third")
    return url


def customer(name: str) -> Customer:
    return Customer(whatsapp_id=f"57{uuid.uuid4().int % 10**10}", name=name)


@pytest.fixture(scope="module")
def one_connection(shared: URL) -> Iterator[Engine]:
    engine = create_engine(shared, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=5)
    yield engine
    engine.dispose()


STEPS = st.lists(
    st.tuples(
        st.sampled_from([A, B, C, None]),
        st.sampled_from(
            ["add", "text", "core", "undo", "savepoint", "fail", "delete", "escape", "left", "raw", "beneath", "read"]
        ),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([(A, "fail"), (B, "read"), (None, "read"), (A, "escape"), (B, "add"), (None, "read"), (A, "read")])
@given(steps=STEPS)
def test_interleaved_sessions_on_one_connection_never_see_each_other(
    one_connection: Engine, steps: list[tuple[UUID | None, str]]
) -> None:
    execute(one_connection.url, "DELETE FROM customers")
    there: dict[UUID, set[str]] = {A: set(), B: set(), C: set()}
    pids = set()
    with ExitStack() as stack:
        sessions = {b: stack.enter_context(tenant_session(b, bind=one_connection)) for b in there}
        everybody = stack.enter_context(Session(one_connection))
        for n, (business, action) in enumerate(steps):
            if business is None:  # between the tenants the login works unconfined
                assert set(everybody.scalars(select(Customer.name))) == set().union(*there.values())
                everybody.rollback()
                continue
            act(sessions[business], action, f"{business}-{n}", there[business])
            assert set(sessions[business].scalars(select(Customer.name))) == there[business]
            assert sessions[business].execute(WHO).one() == ("app_tenant", str(business))
            pids.add(sessions[business].scalar(text("SELECT pg_backend_pid()")))
            sessions[business].rollback()
    assert len(pids) <= 1
    assert {row[0] for row in rows(one_connection.url, "SELECT name FROM customers")} == set().union(*there.values())


def act(session: Session, action: str, name: str, there: set[str]) -> None:
    """One transaction of one tenant, and what should be there after it."""
    match action:
        case "add":
            session.add(customer(name))
        case "text":
            session.execute(text("INSERT INTO customers (whatsapp_id, name) VALUES (:n, :n)"), {"n": name})
        case "core":
            session.execute(insert(TABLE), [{"whatsapp_id": name, "name": name}])
        case "undo":
            session.add(customer(name))
            session.flush()
            session.rollback()
            return
        case "savepoint":
            session.add(customer(name))
            with session.begin_nested() as savepoint:
                session.execute(text("DELETE FROM customers"))
                savepoint.rollback()
        case "fail":
            with pytest.raises(DBAPIError):
                session.execute(text("SELECT 1 / 0"))
            session.rollback()
            return
        case "escape":
            with pytest.raises(TenantScopeError):
                session.execute(text("RESET ROLE"))
            session.rollback()
            return
        case "left":
            session.execute(text("CREATE TEMP TABLE IF NOT EXISTS customers AS SELECT; SET search_path = pg_temp"))
            session.commit()
            return
        case "raw":
            session.connection().connection.cursor().execute("SELECT set_config('app.business_id', '', false)")
            with pytest.raises(TenantScopeError):
                session.commit()
            session.rollback()
            return
        case "beneath":
            session.connection().commit()
            with pytest.raises(TenantScopeError):
                session.scalars(select(Customer)).all()
            session.rollback()
            return
        case "delete":
            session.execute(text("DELETE FROM customers"))
            there.clear()
        case _:
            return
    session.commit()
    if action != "delete":
        there.add(name)


def test_a_table_of_the_session_s_own_goes_too(one_connection: Engine) -> None:
    table = Table("mine", MetaData(), Column("a", Integer), prefixes=["TEMPORARY"])
    with tenant_session(A, bind=one_connection) as session:
        table.create(session.connection())
        session.commit()
        assert session.scalar(text("SELECT to_regclass('pg_temp.mine')")) is None
