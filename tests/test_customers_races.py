"""Webhooks of one person that race make one customer, and no message stays under an id that is no more."""

import itertools
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import URL
from sqlalchemy.orm import Session

from app.db import tenant_session
from app.models import Conversation, Customer
from app.tenancy.customers import change_user_id, find_or_create_customer
from app.tenancy.messages import Sender
from app.tenancy.queries import last_messages, record_answer, record_message
from tests.deliveries import NEW_USER_ID, PHONE, USER_ID
from tests.support import OTHER_ID, add_business, rows, wait_until

SHOP = uuid.UUID(OTHER_ID)
BOTH, BY_PHONE, BY_USER_ID = Sender(phone=PHONE, user_id=USER_ID), Sender(phone=PHONE), Sender(user_id=USER_ID)


@pytest.fixture
def shop(bot_settings: URL) -> URL:
    """A business of which customers write."""
    add_business(bot_settings)
    return bot_settings


def say(session: Session, sender: Sender, text: str = "hola") -> tuple[Customer, Conversation]:
    """A message and its customer, not committed."""
    customer = find_or_create_customer(session, SHOP, sender)
    message, _ = record_message(session, business_id=SHOP, whatsapp_id=customer.whatsapp_id, message=text, role="user")
    return customer, message


def hear(sender: Sender, text: str = "hola") -> tuple[int, Conversation]:
    """A message, as a webhook in a thread of its own."""
    with tenant_session(SHOP) as session:
        customer, message = say(session, sender, text)
        session.commit()
        return customer.id, message


def blocked(url: URL, sessions: int = 1) -> None:
    """Wait until so many sessions of the database wait for a lock."""
    wait_until(
        url,
        f"(SELECT count(*) = {sessions} FROM pg_stat_activity WHERE datname = current_database() "
        "AND wait_event_type = 'Lock')",
    )


def filed(url: URL) -> list[tuple[str, str]]:
    return rows(url, "SELECT whatsapp_id, message FROM conversations ORDER BY message")


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize(("first", "second"), [(a, b) for a in (BOTH, BY_PHONE) for b in (BOTH, BY_PHONE)] + [(BOTH, BY_USER_ID), (BY_USER_ID, BOTH)])  # fmt: skip
def test_two_webhooks_that_make_the_same_customer_make_one(
    shop: URL, first: Sender, second: Sender, commits: bool
) -> None:
    with tenant_session(SHOP) as session, ThreadPoolExecutor() as pool:
        say(session, first, "1")
        call = pool.submit(hear, second, "2")
        blocked(shop)
        session.commit() if commits else session.rollback()
        call.result(timeout=30)
    under = PHONE if PHONE in (first.phone if commits else None, second.phone) else USER_ID
    assert rows(shop, "SELECT whatsapp_id FROM customers") == [(under,)]
    assert filed(shop) == [(under, "1")] * commits + [(under, "2")]


def test_a_user_id_that_another_webhook_stores_meanwhile_is_joined(shop: URL) -> None:
    """The phone's row gets the user id while a row of the user id alone is not committed yet."""
    phone, _ = hear(BY_PHONE, "1")
    with tenant_session(SHOP) as session, ThreadPoolExecutor() as pool:
        say(session, BY_USER_ID, "2")
        call = pool.submit(hear, BOTH, "3")
        blocked(shop)
        session.commit()
        call.result(timeout=30)
    assert rows(shop, "SELECT id, whatsapp_id, whatsapp_user_id FROM customers") == [(phone, PHONE, USER_ID)]
    assert filed(shop) == [(PHONE, "1"), (PHONE, "2"), (PHONE, "3")]


def test_a_join_waits_for_a_message_that_is_being_stored(shop: URL) -> None:
    hear(BY_PHONE, "1")
    hear(BY_USER_ID, "2")
    with tenant_session(SHOP) as session, ThreadPoolExecutor() as pool:
        say(session, BY_USER_ID, "3")
        call = pool.submit(hear, BOTH, "4")
        blocked(shop)
        session.commit()
        call.result(timeout=30)
    assert filed(shop) == [(PHONE, text) for text in "1234"]


def test_a_message_waits_for_a_join(shop: URL) -> None:
    phone, _ = hear(BY_PHONE, "1")
    hear(BY_USER_ID, "2")
    with tenant_session(SHOP) as session, ThreadPoolExecutor() as pool:
        say(session, BOTH, "3")
        calls = [pool.submit(hear, BY_USER_ID, "4"), pool.submit(hear, BY_PHONE, "5")]
        blocked(shop, 2)
        session.commit()
        assert {call.result(timeout=30)[0] for call in calls} == {phone}
    assert filed(shop) == [(PHONE, text) for text in "12345"]


def test_an_answer_follows_its_message_to_the_new_id(shop: URL) -> None:
    """The phone becomes known while the model thinks."""
    _, message = hear(BY_USER_ID, "1")
    hear(BOTH, "2")
    with tenant_session(SHOP) as session:
        assert record_answer(session, message, "3 \0").whatsapp_id == PHONE
        session.commit()
    assert filed(shop) == [(PHONE, "1"), (PHONE, "2"), (PHONE, "3 \ufffd")]


@pytest.mark.parametrize("answer_first", [True, False])
def test_an_answer_that_is_stored_during_a_join_is_filed_with_it(shop: URL, answer_first: bool) -> None:
    _, message = hear(BY_USER_ID, "1")

    def answer(session: Session) -> None:
        record_answer(session, message, "2")

    def join(session: Session) -> None:
        say(session, BOTH, "3")

    first, second = (answer, join) if answer_first else (join, answer)

    def later() -> None:
        with tenant_session(SHOP) as session:
            second(session)
            session.commit()

    with tenant_session(SHOP) as session, ThreadPoolExecutor(1) as pool:
        first(session)
        call = pool.submit(later)
        blocked(shop)
        session.commit()
        call.result(timeout=30)
    assert filed(shop) == [(PHONE, "1"), (PHONE, "2"), (PHONE, "3")]


def test_an_answer_to_a_message_that_was_deleted_is_stored(shop: URL) -> None:
    _, message = hear(BOTH)
    with tenant_session(SHOP) as session:
        session.delete(session.get_one(Conversation, message.id))
        session.commit()
        record_answer(session, message, "answer")
        session.commit()
        assert [(row.role, row.message) for row in session.scalars(last_messages(SHOP, PHONE))] == [
            ("assistant", "answer")
        ]


def test_many_webhooks_of_one_person_at_once(shop: URL) -> None:
    senders = (BOTH, BY_PHONE, BY_USER_ID, BOTH)
    calls = list(zip(itertools.cycle(senders), map(str, range(48)), strict=False))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda call: hear(*call), calls))
    with tenant_session(SHOP) as session:
        change_user_id(session, SHOP, BY_USER_ID, Sender(user_id=NEW_USER_ID))
        session.commit()
    assert rows(shop, "SELECT whatsapp_id, whatsapp_user_id FROM customers") == [(PHONE, NEW_USER_ID)]
    assert sorted(filed(shop)) == sorted((PHONE, text) for _, text in calls)
