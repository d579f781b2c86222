"""The three statements that every message runs: what they return, which index serves them, and races."""

import re
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import URL, Engine, event, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.models import DEFAULT_BUSINESS_ID, Business, Conversation, WhatsappNumber
from app.models.types import InvalidValueError
from app.tenancy.queries import last_messages, record_message, route_webhook
from tests.conftest import MakeDatabase
from tests.support import OTHER_ID, add_business, engine_of, execute, wait_until

PHONE = "+573001234567"
OTHER = uuid.UUID(OTHER_ID)
WAMID = "wamid.HBgMNTczMDA"


@pytest.fixture(scope="module")
def crowded(make_lasting_database: MakeDatabase, migrated_template: URL) -> URL:
    """500 businesses with 4 numbers each and 20,000 messages, analysed."""
    url = make_lasting_database(migrated_template)
    execute(
        url,
        "INSERT INTO businesses (name) SELECT 'B' || g FROM generate_series(1, 500) g",
        "INSERT INTO whatsapp_numbers (business_id, phone_number_id, phone_number) "
        "SELECT id, 'meta-' || n, '+57300' || lpad(n::text, 7, '0') FROM ("
        "SELECT id, row_number() OVER () AS n FROM businesses, generate_series(1, 4)) AS numbered",
        "INSERT INTO conversations (business_id, whatsapp_id, message, role, whatsapp_message_id, timestamp) "
        "SELECT b.id, '57300' || g % 10, 'hola', 'user', 'wamid.' || g, timestamptz '2025-01-01' + g * interval '1 min' "
        "FROM (SELECT id FROM businesses LIMIT 20) AS b, generate_series(1, 1000) g",
        "ANALYZE",
    )
    return url


def plans(url: URL, run: Callable[[Session], object]) -> list[str]:
    """The plan of every statement that `run` sends, as it sends it."""
    sent: list[tuple[str, Any]] = []
    engine = engine_of(url)
    with Session(engine) as session:
        event.listen(session.connection(), "before_cursor_execute", lambda *args: sent.append((args[2], args[3])))
        run(session)
        session.rollback()
    with engine.connect() as connection:
        return [
            "\n".join(connection.exec_driver_sql(f"EXPLAIN {sql}", parameters).scalars()) for sql, parameters in sent
        ]


def one_of(url: URL) -> tuple[uuid.UUID, str]:
    """A business that has messages, and a customer of it."""
    with engine_of(url).connect() as connection:
        row = connection.execute(text("SELECT business_id, whatsapp_id FROM conversations LIMIT 1")).one()
    return row.business_id, row.whatsapp_id


@pytest.mark.parametrize(
    ("named", "index"),
    [
        ({"phone_number_id": "meta-77"}, "uq_whatsapp_numbers_phone_number_id"),
        ({"phone_number": "whatsapp:+57 300 0000077"}, "uq_whatsapp_numbers_phone_number_active"),
        ({"phone_number": "573000000077"}, "uq_whatsapp_numbers_phone_number_active"),
    ],
)
def test_routing_is_one_query_on_the_index_that_its_docstring_names(
    crowded: URL, named: dict[str, str], index: str
) -> None:
    plan, *more = plans(crowded, lambda session: session.execute(route_webhook(**named)).one())
    assert more == []
    assert re.search(rf"Index Scan using {index}\b", plan), plan
    assert re.search(r"Index Scan using businesses_pkey\b", plan), plan
    assert "Seq Scan" not in plan
    assert index in (route_webhook.__doc__ or "")
    assert "businesses_pkey" in (route_webhook.__doc__ or "")


def test_last_messages_reads_the_index_that_its_docstring_names(crowded: URL) -> None:
    business, customer = one_of(crowded)
    (plan,) = plans(crowded, lambda session: session.scalars(last_messages(business, customer)).all())
    index = "ix_conversations_business_id_whatsapp_id_timestamp"
    assert re.search(rf"Index Scan Backward using {index}\b", plan), plan
    assert index in (last_messages.__doc__ or "")


def test_recording_uses_the_index_that_its_docstring_names(crowded: URL) -> None:
    business, customer = one_of(crowded)
    with Session(engine_of(crowded)) as session:
        there = session.scalars(last_messages(business, customer, limit=1)).one().whatsapp_message_id
    values: dict[str, Any] = {"business_id": business, "whatsapp_id": customer, "message": "x", "role": "user"}
    insert, found = plans(crowded, lambda s: record_message(s, **values, whatsapp_message_id=there))
    index = "uq_conversations_business_id_whatsapp_message_id"
    assert f"Conflict Arbiter Indexes: {index}" in insert
    assert re.search(rf"Index Scan using {index}\b", found), found
    assert index in (record_message.__doc__ or "")


def add_number(session: Session, **values: Any) -> WhatsappNumber:
    number = WhatsappNumber(**{"business_id": DEFAULT_BUSINESS_ID, "phone_number": PHONE, **values})
    session.add(number)
    session.commit()
    return number


def test_a_webhook_finds_number_and_business(session: Session) -> None:
    number = add_number(session, phone_number_id="meta-1")
    business = session.get_one(Business, DEFAULT_BUSINESS_ID)
    for named in ({"phone_number_id": "meta-1"}, {"phone_number": "57300 1234567"}):
        assert session.execute(route_webhook(**named)).one() == (number, business)
    for named in ({"phone_number_id": "meta-2"}, {"phone_number": "+573009999999"}):
        assert session.execute(route_webhook(**named)).all() == []


def test_an_inactive_number_or_business_is_not_routed_to(session: Session) -> None:
    number = add_number(session, phone_number_id="meta-1", is_active=False)
    assert session.execute(route_webhook(phone_number_id="meta-1")).all() == []
    number.is_active = True
    session.get_one(Business, DEFAULT_BUSINESS_ID).is_active = False
    session.commit()
    assert session.execute(route_webhook(phone_number=PHONE)).all() == []


def test_a_retired_number_may_be_given_to_another_business(database: URL, session: Session) -> None:
    add_business(database)
    retired = add_number(session, is_active=False)
    number = add_number(session, business_id=OTHER)
    assert session.execute(route_webhook(phone_number=PHONE)).one()[0] is number
    retired.is_active = True
    with pytest.raises(IntegrityError, match="uq_whatsapp_numbers_phone_number_active"):
        session.commit()


@pytest.mark.parametrize("named", [{}, {"phone_number_id": "meta-1", "phone_number": PHONE}, {"phone_number": "hola"}])
def test_routing_takes_exactly_one_name(named: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"one of phone_number_id and phone_number|E\.164"):
        route_webhook(**named)


def test_last_messages_are_the_newest_of_the_customer_of_the_business(database: URL, session: Session) -> None:
    add_business(database)
    start = datetime(2025, 6, 1, tzinfo=UTC)
    for n in range(12):  # two of a second each, so that the key decides
        for business, customer in ((DEFAULT_BUSINESS_ID, "1"), (DEFAULT_BUSINESS_ID, "2"), (OTHER, "1")):
            record_message(
                session,
                business_id=business,
                whatsapp_id=customer,
                message=f"{business} {customer} {n}",
                role="user",
                timestamp=start + timedelta(seconds=n // 2),
            )
    found = session.scalars(last_messages(DEFAULT_BUSINESS_ID, "1")).all()
    assert [row.message for row in found] == [f"{DEFAULT_BUSINESS_ID} 1 {n}" for n in range(11, 1, -1)]
    assert len(session.scalars(last_messages(OTHER, "1", limit=3)).all()) == 3
    assert session.scalars(last_messages(OTHER, "2")).all() == []


def record(session: Session, message_id: str | None = WAMID, **values: Any) -> tuple[Conversation, bool]:
    values = {"business_id": DEFAULT_BUSINESS_ID, "whatsapp_id": "1", "message": "hola", "role": "user", **values}
    return record_message(session, whatsapp_message_id=message_id, **values)


def test_a_message_is_recorded_once_for_a_business(database: URL, session: Session) -> None:
    add_business(database)
    first, new = record(session)
    assert new
    assert first.timestamp.tzinfo
    session.commit()
    again, new = record(session, message="changed")
    assert not new
    assert again is first
    assert again.message == "hola"
    other, new = record(session, business_id=OTHER)
    assert new
    assert other.id != first.id


@pytest.mark.parametrize("message_id", [None, ""])
def test_messages_without_an_id_are_all_recorded(session: Session, message_id: str | None) -> None:
    assert record(session, message_id)[1]
    assert record(session, message_id)[1]


def test_what_cannot_be_stored_of_a_message_is_replaced(session: Session) -> None:
    assert record(session, message="a\0b\ud83d 💈")[0].message == "a\ufffdb\ufffd 💈"


def test_a_timestamp_without_zone_is_refused(session: Session) -> None:
    naive = datetime(2025, 6, 1, 9)
    with pytest.raises(InvalidValueError, match="has no time zone"):
        record(session, timestamp=naive)
    session.add(
        Conversation(business_id=DEFAULT_BUSINESS_ID, whatsapp_id="1", message="x", role="user", timestamp=naive)
    )
    with pytest.raises(InvalidValueError, match="has no time zone"):
        session.flush()
    session.rollback()
    with pytest.raises(InvalidValueError, match="has no time zone"):
        session.scalars(select(Conversation).where(Conversation.timestamp > naive)).all()
    row, _ = record(session, timestamp=naive.replace(tzinfo=UTC))
    day = timedelta(days=1)
    assert session.execute(select(Conversation.timestamp - day, Conversation.timestamp - func.now() < day)).one() == (
        row.timestamp - day,
        True,
    )


def test_what_else_is_wrong_with_a_message_is_said(database: URL, session: Session) -> None:
    number = add_number(session)
    add_business(database)
    with pytest.raises(IntegrityError, match="fk_conversations_whatsapp_numbers"):
        record(session, business_id=OTHER, whatsapp_number_id=number.id)
    session.rollback()
    with pytest.raises(IntegrityError, match="fk_conversations_businesses"):
        record(session, business_id=uuid.uuid4())


@pytest.mark.parametrize("first_commits", [True, False])
def test_of_two_racing_webhooks_the_later_waits_for_the_earlier(
    database: URL, engine: Engine, first_commits: bool
) -> None:
    with Session(engine) as first, Session(engine) as second, ThreadPoolExecutor(1) as thread:
        earlier, new = record(first)
        assert new
        key = earlier.id
        pid = second.connection().connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
        waiting = thread.submit(record, second)
        wait_until(database, f"cardinality(pg_blocking_pids({pid})) = 1")
        assert not waiting.done()
        first.commit() if first_commits else first.rollback()
        later, new = waiting.result(timeout=30)
        second.commit()
        assert new is not first_commits
        assert (later.id == key) is first_commits
        assert [row.id for row in first.scalars(last_messages(DEFAULT_BUSINESS_ID, "1"))] == [later.id]


def test_a_message_that_a_trigger_swallows_is_an_error(database: URL, session: Session) -> None:
    execute(
        database,
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
        "CREATE TRIGGER swallow BEFORE INSERT ON conversations FOR EACH ROW EXECUTE FUNCTION swallow()",
    )
    with pytest.raises(RuntimeError, match="was not stored"):
        record_message(session, business_id=DEFAULT_BUSINESS_ID, whatsapp_id="1", message="x", role="user")
