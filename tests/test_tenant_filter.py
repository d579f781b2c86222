"""In a tenant session the ORM names the business in every statement, so that the planner and a sharded database see it."""

from collections.abc import Callable, Iterator
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import (
    URL,
    CursorResult,
    Engine,
    QueuePool,
    Table,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session, aliased, joinedload, selectinload, subqueryload

from app.db import SessionLocal, tenant_session
from app.models import Business, Conversation, Customer, TenantOwned, WhatsappNumber
from app.tenancy.queries import last_messages, record_message
from tests.conftest import MakeDatabase
from tests.support import DEFAULT_ID, OTHER_ID, add_business, execute

A, B = UUID(DEFAULT_ID), UUID(OTHER_ID)
Other = aliased(Customer)
TENANT_TABLES = {m.class_.__name__ for m in Customer.registry.mappers if issubclass(m.class_, TenantOwned)}


@pytest.fixture(scope="module")
def engine(make_lasting_database: MakeDatabase, migrated_template: URL) -> Iterator[Engine]:
    """Two businesses with a customer, a message and a number each, without row level security: only the ORM is asked."""
    url = make_lasting_database(migrated_template)
    add_business(url)
    for n, business in enumerate((A, B)):
        execute(
            url,
            f"INSERT INTO customers (whatsapp_id, name, business_id) VALUES ('1', 'c', '{business}')",
            f"INSERT INTO whatsapp_numbers (phone_number, business_id) VALUES ('+5730000000{n}', '{business}')",
            "INSERT INTO conversations (whatsapp_id, message, role, business_id, whatsapp_number_id) "
            f"SELECT '1', 'm', 'user', business_id, id FROM whatsapp_numbers WHERE business_id = '{business}'",
        )
    for table in ("customers", "conversations", "whatsapp_numbers", "user_businesses"):
        execute(url, f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    engine = create_engine(url, poolclass=QueuePool)
    yield engine
    engine.dispose()


@pytest.fixture
def statements(engine: Engine) -> Iterator[list[str]]:
    """What is sent, without the beginnings of transactions."""
    seen: list[str] = []

    def note(*args: Any) -> None:
        if not args[2].startswith("BEGIN"):
            seen.append(args[2])

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def mine(session: Session) -> Customer:
    return session.scalars(select(Customer)).one()


def expired(session: Session) -> Any:
    row = mine(session)
    session.expire(row)
    return row.name


def refreshed(session: Session) -> int:
    session.refresh(mine(session))
    return 1


def changed(session: Session, statement: Any, **options: Any) -> int:
    return cast(CursorResult[Any], session.execute(statement, execution_options=options)).rowcount


READS: dict[str, Callable[[Session], Any]] = {
    "select": lambda s: len(s.scalars(select(Customer)).all()),
    "columns": lambda s: len(s.execute(select(Customer.id, Customer.name)).all()),
    "alias": lambda s: len(s.scalars(select(Other)).all()),
    "join": lambda s: len(s.execute(select(Customer, Other).join(Other, Other.whatsapp_id == Customer.whatsapp_id)).all()),
    "outer join": lambda s: len(
        s.execute(
            select(Customer, Conversation).outerjoin(Conversation, Conversation.whatsapp_id == Customer.whatsapp_id)
        ).all()
    ),
    "subquery": lambda s: len(s.scalars(select(Customer).where(Customer.id.in_(select(Other.id)))).all()),
    "count": lambda s: s.scalar(select(func.count()).select_from(Customer)),
    "union": lambda s: len(s.execute(select(Customer.name).union_all(select(Conversation.message))).all()) / 2,
    "query": lambda s: s.query(Customer).count(),
    "for update": lambda s: len(s.scalars(select(Customer).with_for_update()).all()),
    "get": lambda s: len([n for n in s.connection().scalars(select(Customer.__table__.c.id)) if s.get(Customer, n)]),
    "last messages": lambda s: len(s.scalars(last_messages(A, "1")).all()),
    "lazy load": lambda s: len(mine(s).conversations),
    "lazy load of one": lambda s: len([s.scalars(select(Conversation)).one().whatsapp_number]),
    "joined": lambda s: len(s.scalars(select(Customer).options(joinedload(Customer.conversations))).unique().one().conversations),
    "select in": lambda s: len(s.scalars(select(Customer).options(selectinload(Customer.conversations))).one().conversations),
    "subquery load": lambda s: len(s.scalars(select(Customer).options(subqueryload(Customer.conversations))).one().conversations),
    "from the business": lambda s: len(s.get_one(Business, A).customers),
    "refresh": refreshed,
    "expired": lambda s: len([expired(s)]),
    "update": lambda s: changed(s, update(Customer).values(age=3)),
    "update returning": lambda s: len(s.scalars(update(Customer).values(age=4).returning(Customer.id)).all()),
    "update, synchronised": lambda s: changed(s, update(Customer).values(age=mine(s).id), synchronize_session="fetch"),
    "delete": lambda s: changed(s, delete(Customer)),
}  # fmt: skip


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_the_business_is_named(engine: Engine, statements: list[str], read: Callable[[Session], Any]) -> None:
    """Row level security is off here: what comes back is what the ORM asked for."""
    with tenant_session(A, bind=engine) as session:
        assert read(session) == 1
        session.rollback()
    for statement in statements:
        named = "business_id = %(business_" in statement
        if "SELECT customers.id \nFROM customers" not in statement:  # the Core statement of "get"
            assert named or "FROM businesses" in statement, statement


def test_the_form_of_the_condition(engine: Engine, statements: list[str]) -> None:
    with tenant_session(A, bind=engine) as session:
        session.scalars(select(Customer.name)).all()
    assert statements == ["SELECT customers.name \nFROM customers \nWHERE customers.business_id = %(business_1)s::UUID"]


def test_each_session_has_its_own_business_and_statements_are_compiled_once(engine: Engine) -> None:
    compiled = set()

    def note(*args: Any) -> None:
        if args[4].compiled:
            compiled.add(args[4].compiled)

    event.listen(engine, "before_cursor_execute", note)
    for business in (A, B, A, B):
        with tenant_session(business, bind=engine) as session:
            assert [c.business_id for c in session.scalars(select(Customer))] == [business]
    event.remove(engine, "before_cursor_execute", note)
    assert len(compiled) == 1


def test_bulk_statements_work(engine: Engine) -> None:
    with tenant_session(A, bind=engine) as session:
        ids = session.scalars(insert(Customer).returning(Customer.id), [{"whatsapp_id": f"b{n}", "name": "x"} for n in range(3)]).all()  # fmt: skip
        session.execute(update(Customer), [{"id": n, "name": "y"} for n in ids])
        assert session.scalars(select(Customer.name).where(Customer.id.in_(ids))).all() == ["y"] * 3
        message, new = record_message(session, business_id=A, whatsapp_id="1", message="x", role="user")
        assert new
        assert session.get(Conversation, message.id) is message
        session.rollback()


def test_other_sessions_ask_for_every_business(engine: Engine, statements: list[str]) -> None:
    with SessionLocal(bind=engine) as session:
        assert len(session.scalars(select(Customer)).all()) == 2
        session.execute(text("SELECT 1"))
    assert "WHERE" not in statements[0]


def test_every_tenant_table_is_meant(engine: Engine, statements: list[str]) -> None:
    with tenant_session(A, bind=engine) as session:
        for mapper in Customer.registry.mappers:
            if issubclass(mapper.class_, TenantOwned):
                session.scalars(select(mapper.class_.business_id)).all()
    assert len(statements) == len(TENANT_TABLES) >= 4
    assert all("WHERE" in statement for statement in statements)
    assert isinstance(WhatsappNumber.__table__, Table)
    assert "business_id" not in str(select(Business.id).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
