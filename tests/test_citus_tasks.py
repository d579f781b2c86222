"""On three nodes each statement of a tenant session goes to one shard, whatever form of the ORM it has."""

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest
from sqlalchemy import URL, delete, insert, select, text, update
from sqlalchemy.orm import selectinload

from app.db import BusinessSession, get_engine, tenant_session
from app.models import Business, Conversation, Customer, User, WhatsappNumber
from app.tenancy.queries import last_messages, record_answer, record_message, route_webhook
from tests.citus import citus_database, distribute, fill
from tests.support import OTHER_ID, engine_of, environment, execute, plain, rows

pytestmark = pytest.mark.citus


@pytest.fixture(scope="module")
def spread() -> Iterator[URL]:
    """Two businesses on three nodes."""
    with citus_database() as url:
        fill(url)
        distribute(url)
        yield url


@pytest.fixture
def bot(spread: URL) -> Iterator[URL]:
    with environment(DATABASE_URL=plain(spread)):
        yield spread
        get_engine().dispose()


def first(session: BusinessSession) -> Customer:
    return session.scalars(select(Customer).order_by(Customer.id).limit(1)).one()


def changed(session: BusinessSession) -> None:
    first(session).name = "changed"
    session.flush()


def removed(session: BusinessSession) -> None:
    session.delete(first(session))
    session.flush()


def added(session: BusinessSession) -> None:
    session.add(Customer(whatsapp_id="new", name="n"))
    session.flush()


def several(session: BusinessSession) -> None:
    for n, row in enumerate(session.scalars(select(Customer).limit(3)).all()):
        row.name = f"changed {n}"
    session.flush()


def answered(session: BusinessSession) -> None:
    message = session.scalars(select(Conversation).limit(1)).one()
    assert record_answer(session, message, "hola").whatsapp_id == message.whatsapp_id


FORMS: dict[str, Callable[[BusinessSession], object]] = {
    "select": lambda s: s.scalars(select(Conversation).limit(3)).all(),
    "join": lambda s: s.execute(select(Customer, Conversation).join(Customer.conversations).limit(3)).all(),
    "exists": lambda s: s.scalars(select(Customer).where(Customer.conversations.any())).all(),
    "subquery": lambda s: s.scalars(select(Customer).where(Customer.whatsapp_id.in_(select(Conversation.whatsapp_id)))).all(),
    "join of a reference table": lambda s: s.execute(select(Conversation, WhatsappNumber).join(Conversation.whatsapp_number)).all(),
    "get": lambda s: s.get(Customer, 1),
    "refresh": lambda s: s.refresh(first(s)),
    "lazy": lambda s: first(s).conversations,
    "selectin": lambda s: s.scalars(select(Customer).options(selectinload(Customer.conversations))).all(),
    "lock": lambda s: s.scalars(select(Customer).with_for_update()).all(),
    "insert": added,
    "bulk insert": lambda s: s.execute(insert(Customer), [{"whatsapp_id": f"bulk {n}", "name": "n"} for n in range(3)]),
    "update of a row": changed,
    "update of rows": several,
    "delete of a row": removed,
    "bulk update": lambda s: s.execute(update(Customer).values(name="x")),
    "bulk delete": lambda s: s.execute(delete(Customer).where(Customer.name == "x")),
    "businesses": lambda s: s.scalars(select(Business)).all(),
    "numbers": lambda s: s.scalars(select(WhatsappNumber)).all(),
    "users": lambda s: s.execute(select(User.id, User.email)).all(),
    "last_messages": lambda s: s.scalars(last_messages(UUID(OTHER_ID), "573000000001")).all(),
    "record_answer": answered,
    "record_message": lambda s: record_message(s, business_id=UUID(OTHER_ID), whatsapp_id="573000000001", message="hola", role="user", whatsapp_message_id="wamid.one"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_statement_of_a_tenant_goes_to_one_shard(form: str, bot: URL) -> None:
    counted = text("SELECT query_execution_single_shard, query_execution_multi_shard FROM citus_stat_counters WHERE name = current_database()")  # fmt: skip
    with engine_of(bot).connect() as connection:
        before = connection.execute(counted).one()
    with tenant_session(OTHER_ID) as session:
        FORMS[form](session)
        session.rollback()
    with engine_of(bot).connect() as connection:
        single, multi = (now - then for now, then in zip(connection.execute(counted).one(), before, strict=True))
    assert multi == 0
    assert single > 0


def test_routing_and_a_number_that_goes(bot: URL) -> None:
    with engine_of(bot).connect() as connection:
        found = connection.execute(route_webhook(phone_number="573004445566")).one()
    assert str(found.business_id) == OTHER_ID
    execute(
        bot,
        f"INSERT INTO whatsapp_numbers (id, business_id, phone_number) VALUES (gen_random_uuid(), '{OTHER_ID}', '+573009990000')",
    )
    with tenant_session(OTHER_ID) as session:
        number = session.scalars(select(WhatsappNumber).where(WhatsappNumber.phone_number == "+573009990000")).one()
        session.add(Conversation(whatsapp_id="1", message="m", role="user", whatsapp_number_id=number.id))
        session.commit()
        session.delete(number)
        session.commit()
    assert rows(bot, "SELECT whatsapp_number_id FROM conversations WHERE message = 'm'") == [(None,)]
