"""The README's webhook handler, as written: it stores and answers every message once, and none costs another."""

from typing import Any

import pytest
from sqlalchemy import URL
from sqlalchemy.orm import Session

from app.models import Business, Conversation, WhatsappNumber
from app.tenancy.webhooks import ANSWERED, address
from tests.deliveries import (
    CONTENT,
    NEW_PHONE,
    NEW_USER_ID,
    NUMBER,
    PHONE,
    USER_ID,
    changed_number,
    changed_user_id,
    delivery,
    from_both,
    from_phone,
    from_user_id,
    message,
    value,
)
from tests.handler import Handler
from tests.proxy import proxy
from tests.support import engine_of, environment, execute, plain, rows, scalar

MESSAGES = "SELECT whatsapp_id, role, message FROM conversations ORDER BY id"


@pytest.fixture
def handle(shop: URL) -> Handler:
    return Handler()


@pytest.fixture
def shop(bot_settings: URL) -> URL:
    """A business with a number at Meta."""
    with Session(engine_of(bot_settings)) as session:
        business = Business(name="Barbería")
        session.add(WhatsappNumber(business=business, phone_number_id=NUMBER, phone_number="+15550783881"))
        session.commit()
    return bot_settings


def text(wamid: str, body: str) -> dict[str, Any]:
    return message(wamid=wamid, text={"body": body})


def test_every_text_is_answered_once(shop: URL, handle: Handler) -> None:
    heard: list[list[str]] = []
    busy = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
    )

    def reply(history: list[Conversation]) -> str:
        heard.append([row.message for row in history])
        assert scalar(shop, busy) == 0
        return f"answer {len(heard)}"

    two = from_both(text("wamid.1", "¿Tienen cita mañana?"), text("wamid.2", "A las diez"))
    assert handle(two, reply) == ["answer 1", "answer 2"]
    assert handle(two, reply) == []
    assert heard == [["¿Tienen cita mañana?"], ["¿Tienen cita mañana?", "answer 1", "A las diez"]]
    assert [role for _, role, _ in rows(shop, MESSAGES)] == ["user", "assistant", "user", "assistant"]
    assert [(address(sender), answer) for sender, answer in handle.sent] == [
        ({"to": PHONE}, "answer 1"),
        ({"to": PHONE}, "answer 2"),
    ]


def test_a_text_of_a_known_customer_costs_nine_round_trips(shop: URL, handle: Handler) -> None:
    """Route; begin, find, record, history, commit; begin, record the answer, commit."""
    with proxy(shop) as through, environment(DATABASE_URL=plain(through.url)):
        handle(from_both(text("wamid.1", "warm"), text("wamid.2", "the pool")))
        for payload in (from_both(text("wamid.3", "a")), from_user_id(text("wamid.4", "b"), username=None)):
            through.round_trips = 0
            assert len(handle(payload)) == 1
            assert through.round_trips == 9


def test_a_customer_without_a_phone_is_served(shop: URL, handle: Handler) -> None:
    """Both ids, then only the user id, then only the phone: one customer, one conversation."""
    handle(from_both(text("wamid.1", "a")))
    handle(from_user_id(text("wamid.2", "b")))
    handle(from_phone(text("wamid.3", "c")))
    assert rows(shop, "SELECT whatsapp_id, whatsapp_user_id, username, name FROM customers") == [
        (PHONE, USER_ID, "sheena", "Sheena Nelson")
    ]
    assert {row[0] for row in rows(shop, MESSAGES)} == {PHONE}
    assert [address(sender) for sender, _ in handle.sent] == [{"to": PHONE}, {"recipient": USER_ID}, {"to": PHONE}]


@pytest.mark.parametrize("kind", CONTENT)
def test_every_kind_is_stored_and_answered_where_it_asks(shop: URL, handle: Handler, kind: str) -> None:
    for _ in range(2):
        handle(from_both(message(kind)))
    stored = rows(shop, "SELECT role, whatsapp_message_id FROM conversations ORDER BY id")
    assert stored[0] == ("system" if kind == "system" else "user", "wamid.1")
    assert len(stored) == (2 if kind in ANSWERED else 1)


def test_all_entries_are_handled_and_statuses_cost_nothing(shop: URL, handle: Handler) -> None:
    payload = from_both(text("wamid.1", "a"))
    payload["entry"] += from_both(text("wamid.2", "b"))["entry"] + from_user_id(text("wamid.3", "c"))["entry"]
    payload["entry"] += delivery(value(statuses=[{"id": "wamid.0", "status": "read", "recipient_id": PHONE}]))["entry"]
    assert handle(payload) == ["re: a", "re: b", "re: c"]
    assert handle(delivery(value(statuses=[{"id": "wamid.0", "status": "read", "recipient_id": PHONE}]))) == []
    assert handle(delivery(value(text("wamid.4", "of another number"), number="107"))) == []
    assert len(rows(shop, MESSAGES)) == 6


def test_a_message_that_cannot_be_stored_costs_no_other(shop: URL, handle: Handler) -> None:
    """It raises at the end, so that Meta delivers again; then only what failed is handled."""
    execute(shop, "ALTER TABLE conversations ADD CONSTRAINT no_b CHECK (message <> 'b')")
    three = from_both(text("wamid.1", "a"), text("wamid.2", "b"), text("wamid.3", "c"))
    with pytest.raises(ExceptionGroup, match="status 500") as failed:
        handle(three)
    assert len(failed.value.exceptions) == 1
    assert [answer for _, answer in handle.sent] == ["re: a", "re: c"]
    execute(shop, "ALTER TABLE conversations DROP CONSTRAINT no_b")
    assert handle(three) == ["re: b"]


def test_what_names_nobody_is_logged(shop: URL, handle: Handler, caplog: pytest.LogCaptureFixture) -> None:
    assert handle(delivery(value(message(sender=None), text("wamid.2", "a")))) == ["re: a"]
    assert caplog.messages == ["WhatsApp: text message wamid.1 has no wa_id and user_id"]


def test_a_delivery_after_one_that_failed_is_answered(shop: URL, handle: Handler) -> None:
    def fail(_: list[Conversation]) -> str:
        raise TimeoutError

    with pytest.raises(ExceptionGroup) as failed:
        handle(from_both(text("wamid.1", "Hola")), fail)
    assert failed.group_contains(TimeoutError)
    assert handle(from_both(text("wamid.1", "Hola")), lambda history: f"{len(history)}") == ["1"]


def test_a_message_that_came_while_another_was_answered_is_answered(shop: URL, handle: Handler) -> None:
    """The answer to an earlier message, stored after this one, is not taken for the answer to this one."""
    last_messages = handle.names["last_messages"]

    def late(business: object, customer: str, **options: object) -> object:
        answer = "INSERT INTO conversations (business_id, whatsapp_id, message, role) "
        execute(shop, f"{answer} VALUES ('{business}', '{customer}', 'to the one before', 'assistant')")
        return last_messages(business, customer, **options)

    handle.names["last_messages"] = late
    assert handle(from_both(text("wamid.1", "Hola")), lambda _: "to this") == ["to this"]


@pytest.mark.parametrize(
    ("before", "change", "after", "ids"),
    [
        (from_both, changed_number(), {"phone": NEW_PHONE, "user_id": NEW_USER_ID}, (NEW_PHONE, NEW_USER_ID)),
        (from_both, changed_user_id(), {"user_id": NEW_USER_ID}, (PHONE, NEW_USER_ID)),
        (from_user_id, changed_user_id(), {"user_id": NEW_USER_ID}, (NEW_USER_ID, NEW_USER_ID)),
    ],
)
def test_a_customer_who_changed_goes_on_in_the_same_conversation(
    shop: URL, handle: Handler, before: Any, change: dict[str, Any], after: dict[str, str], ids: tuple[str, str]
) -> None:
    heard: list[str] = []
    handle(before(text("wamid.1", "a")))
    for _ in range(2):
        assert handle(change) == []
    now = {"from": after.get("phone"), "from_user_id": after["user_id"]}

    def reply(history: list[Conversation]) -> str:
        heard.extend(row.role for row in history)
        return "ok"

    handle(delivery(value({**text("wamid.2", "b"), **now})), reply)
    assert rows(shop, "SELECT whatsapp_id, whatsapp_user_id FROM customers") == [ids]
    assert {row[0] for row in rows(shop, MESSAGES)} == {ids[0]}
    assert heard == ["user", "assistant", "system", "user"]
