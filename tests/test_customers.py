"""One person is one customer of a business, whichever ids a webhook brings, and nothing of it is lost."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import URL, event, select
from sqlalchemy.orm import Session

from app.db import get_engine, tenant_session
from app.models import Conversation, Customer
from app.models.types import InvalidValueError
from app.tenancy.customers import change_number, change_user_id, find_or_create_customer
from app.tenancy.messages import Sender
from app.tenancy.queries import last_messages, record_message
from tests.deliveries import NEW_PHONE, NEW_USER_ID, PHONE, USER_ID
from tests.support import DEFAULT_ID, OTHER_ID, add_business, execute, rows, scalar

SHOP = uuid.UUID(OTHER_ID)
BOTH = Sender(phone=PHONE, user_id=USER_ID, name="Sheena Nelson", username="sheena")
BY_PHONE, BY_USER_ID = Sender(phone=PHONE), Sender(user_id=USER_ID)


@pytest.fixture
def shop(bot_settings: URL) -> URL:
    """A business beside the default one; the bot's sessions are confined to it."""
    add_business(bot_settings)
    return bot_settings


@pytest.fixture
def bot(shop: URL) -> Iterator[Session]:
    """The bot's session: app_tenant, one business, row level security."""
    with tenant_session(SHOP) as session:
        yield session


def hear(session: Session, sender: Sender, text: str = "hola", business: uuid.UUID = SHOP) -> Customer:
    """What the handler does with a message."""
    customer = find_or_create_customer(session, business, sender)
    record_message(session, business_id=business, whatsapp_id=customer.whatsapp_id, message=text, role="user")
    session.commit()
    return customer


def customers(url: URL, *columns: str) -> list[tuple[Any, ...]]:
    """Columns of the customers of the shop, by id."""
    return rows(url, f"SELECT {', '.join(columns)} FROM customers WHERE business_id = '{OTHER_ID}' ORDER BY id")


def filed(url: URL, business: str = OTHER_ID) -> list[tuple[str, str]]:
    """Ids and texts of the messages of a business."""
    return rows(url, f"SELECT whatsapp_id, message FROM conversations WHERE business_id = '{business}' ORDER BY id")


IDS = ("whatsapp_id", "whatsapp_user_id", "username", "name")


@pytest.mark.parametrize(
    ("sender", "row"),
    [
        (BY_PHONE, (PHONE, None, None, PHONE)),
        (BY_USER_ID, (USER_ID, USER_ID, None, USER_ID)),
        (BOTH, (PHONE, USER_ID, "sheena", "Sheena Nelson")),
        (Sender(user_id=USER_ID, username="sheena"), (USER_ID, USER_ID, "sheena", "sheena")),
        (Sender(phone=PHONE, name="a\0" + "é" * 200), (PHONE, None, None, "a\ufffd" + "é" * 98)),
    ],
)
def test_a_sender_becomes_a_customer(shop: URL, bot: Session, sender: Sender, row: tuple[str, ...]) -> None:
    assert hear(bot, sender).id == hear(bot, sender).id
    assert customers(shop, *IDS) == [row]
    assert filed(shop) == [(row[0], "hola")] * 2


def test_both_then_only_the_user_id_then_only_the_phone_is_one_customer(shop: URL, bot: Session) -> None:
    known = {hear(bot, sender, text).id for sender, text in ((BOTH, "1"), (BY_USER_ID, "2"), (BY_PHONE, "3"))}
    assert customers(shop, "id", *IDS) == [(known.pop(), PHONE, USER_ID, "sheena", "Sheena Nelson")]
    assert filed(shop) == [(PHONE, "1"), (PHONE, "2"), (PHONE, "3")]


def test_a_customer_of_old_gets_the_user_id(shop: URL, bot: Session) -> None:
    """Every customer of a live database is known by phone only."""
    execute(
        shop, f"INSERT INTO customers (business_id, whatsapp_id, name, age) VALUES ('{OTHER_ID}', '{PHONE}', 'Ana', 40)"
    )
    hear(bot, BOTH)
    assert customers(shop, *IDS, "age") == [(PHONE, USER_ID, "sheena", "Ana", 40)]


def test_the_phone_that_becomes_known_gets_the_messages(shop: URL, bot: Session) -> None:
    first = hear(bot, BY_USER_ID, "1")
    assert hear(bot, BOTH, "2").id == first.id
    assert customers(shop, *IDS) == [(PHONE, USER_ID, "sheena", "Sheena Nelson")]
    assert filed(shop) == [(PHONE, "1"), (PHONE, "2")]


def test_two_rows_become_the_phones(shop: URL, bot: Session) -> None:
    by_user_id, by_phone = (
        hear(bot, Sender(user_id=USER_ID, name="Sheena", username="sheena"), "1"),
        hear(bot, BY_PHONE, "2"),
    )
    assert by_user_id.id != by_phone.id
    assert hear(bot, Sender(phone=PHONE, user_id=USER_ID), "3").id == by_phone.id
    assert customers(shop, "id", "whatsapp_id", "whatsapp_user_id") == [(by_phone.id, PHONE, USER_ID)]
    assert filed(shop) == [(PHONE, "1"), (PHONE, "2"), (PHONE, "3")]
    assert [row.message for row in bot.scalars(last_messages(SHOP, PHONE))] == ["3", "2", "1"]


def test_a_row_that_the_old_bot_filed_under_the_user_id_is_found(shop: URL, bot: Session) -> None:
    """It knows of no user ids, and took what came as whatsapp_id; a customer row it need not have made."""
    execute(shop, f"INSERT INTO customers (business_id, whatsapp_id, name) VALUES ('{OTHER_ID}', '{USER_ID}', 'Ana')")
    assert hear(bot, BY_USER_ID, "1").name == "Ana"
    record_message(bot, business_id=SHOP, whatsapp_id=NEW_USER_ID, message="2", role="user")
    hear(bot, Sender(phone=NEW_PHONE, user_id=NEW_USER_ID), "3")
    assert customers(shop, "whatsapp_id", "whatsapp_user_id") == [(USER_ID, USER_ID), (NEW_PHONE, NEW_USER_ID)]
    assert filed(shop) == [(USER_ID, "1"), (NEW_PHONE, "2"), (NEW_PHONE, "3")]


def test_what_is_new_is_filled_in_and_what_was_asked_for_is_kept(shop: URL, bot: Session) -> None:
    customer = hear(bot, BY_PHONE)
    assert hear(bot, Sender(phone=PHONE, name="Profile")).name == "Profile"
    customer.name = "Don Pablo"
    bot.commit()
    hear(bot, Sender(phone=PHONE, name="Other profile", username="pablo"))
    hear(bot, Sender(phone=PHONE, username="pablo.1"))
    hear(bot, BY_PHONE)
    assert customers(shop, *IDS) == [(PHONE, None, "pablo.1", "Don Pablo")]


def test_another_user_id_of_the_phone_is_the_same_customer(shop: URL, bot: Session) -> None:
    hear(bot, BOTH)
    hear(bot, Sender(phone=PHONE, user_id=NEW_USER_ID))
    assert customers(shop, "whatsapp_id", "whatsapp_user_id") == [(PHONE, NEW_USER_ID)]


def test_another_phone_of_the_user_id_is_the_same_customer(shop: URL, bot: Session) -> None:
    hear(bot, BOTH, "1")
    hear(bot, Sender(phone=NEW_PHONE, user_id=USER_ID), "2")
    assert customers(shop, "whatsapp_id", "whatsapp_user_id") == [(NEW_PHONE, USER_ID)]
    assert filed(shop) == [(NEW_PHONE, "1"), (NEW_PHONE, "2")]


FORMS = [("525512345678", "5215512345678"), ("541123456789", "5491123456789"), ("556187654321", "5561987654321")]


@pytest.mark.parametrize("forms", [*FORMS, *((b, a) for a, b in FORMS)])
def test_a_phone_in_both_forms_is_one_customer(shop: URL, bot: Session, forms: tuple[str, str]) -> None:
    known = {hear(bot, Sender(phone=form)).id for form in (*forms, *forms)}
    assert len(known) == 1
    assert customers(shop, "whatsapp_id") == [(forms[0],)]
    assert filed(shop) == [(forms[0], "hola")] * 4


def test_two_rows_of_both_forms_become_the_older(shop: URL, bot: Session) -> None:
    for form in FORMS[0]:
        execute(
            shop, f"INSERT INTO customers (business_id, whatsapp_id, name) VALUES ('{OTHER_ID}', '{form}', '{form}')"
        )
        record_message(bot, business_id=SHOP, whatsapp_id=form, message=form, role="user")
    bot.commit()
    hear(bot, Sender(phone=FORMS[0][1]), "new")
    assert customers(shop, "whatsapp_id") == [(FORMS[0][0],)]
    assert filed(shop) == [(FORMS[0][0], text) for text in (*FORMS[0], "new")]


def test_a_landline_of_brazil_is_no_mobile_number(shop: URL, bot: Session) -> None:
    assert hear(bot, Sender(phone="551133334444")).id != hear(bot, Sender(phone="5511933334444")).id


OLD, NEW = Sender(phone=PHONE, user_id=USER_ID), Sender(phone=NEW_PHONE, user_id=NEW_USER_ID)


@pytest.mark.parametrize("old", [OLD, BY_PHONE])
def test_a_changed_number_takes_its_messages_along(shop: URL, bot: Session, old: Sender) -> None:
    before = hear(bot, old, "1")
    for _ in range(2):  # delivered again
        assert change_number(bot, SHOP, OLD, NEW).id == before.id
        bot.commit()
    hear(bot, NEW, "2")
    assert customers(shop, "id", "whatsapp_id", "whatsapp_user_id") == [(before.id, NEW_PHONE, NEW_USER_ID)]
    assert filed(shop) == [(NEW_PHONE, "1"), (NEW_PHONE, "2")]


def test_a_changed_number_that_wrote_before_the_news_is_joined(shop: URL, bot: Session) -> None:
    before = hear(bot, OLD, "1")
    hear(bot, NEW, "2")
    change_number(bot, SHOP, OLD, NEW)
    bot.commit()
    assert customers(shop, "id", "whatsapp_id", "whatsapp_user_id") == [(before.id, NEW_PHONE, NEW_USER_ID)]
    assert filed(shop) == [(NEW_PHONE, "1"), (NEW_PHONE, "2")]


def test_who_got_the_old_number_since_is_left_alone(shop: URL, bot: Session) -> None:
    hear(bot, OLD, "1")
    change_number(bot, SHOP, OLD, NEW)
    hear(bot, Sender(phone=PHONE, user_id="US.3"), "3")
    change_number(bot, SHOP, OLD, NEW)  # delivered again, late
    bot.commit()
    assert customers(shop, "whatsapp_id", "whatsapp_user_id") == [(NEW_PHONE, NEW_USER_ID), (PHONE, "US.3")]
    assert filed(shop) == [(NEW_PHONE, "1"), (PHONE, "3")]


@pytest.mark.parametrize("known", [OLD, BY_USER_ID])
def test_a_changed_user_id_is_the_same_customer(shop: URL, bot: Session, known: Sender) -> None:
    before = hear(bot, known, "1")
    now = Sender(user_id=NEW_USER_ID)
    for _ in range(2):
        change_user_id(bot, SHOP, BY_USER_ID, now)
        bot.commit()
    hear(bot, now, "2")
    under = PHONE if known.phone else NEW_USER_ID
    assert customers(shop, "id", "whatsapp_id", "whatsapp_user_id") == [(before.id, under, NEW_USER_ID)]
    assert filed(shop) == [(under, "1"), (under, "2")]


def test_a_change_of_somebody_unknown_is_a_new_customer(shop: URL, bot: Session) -> None:
    record_message(bot, business_id=SHOP, whatsapp_id=PHONE, message="1", role="user")  # of a bot without customers
    change_number(bot, SHOP, OLD, NEW)
    bot.commit()
    assert customers(shop, "whatsapp_id", "whatsapp_user_id") == [(NEW_PHONE, NEW_USER_ID)]
    assert filed(shop) == [(NEW_PHONE, "1")]


def test_each_business_has_its_own_customer(shop: URL, bot: Session) -> None:
    default = uuid.UUID(DEFAULT_ID)
    hear(bot, BY_USER_ID, "1")
    with tenant_session(default) as other:
        hear(other, BY_PHONE, "2", default)
        hear(other, BY_USER_ID, "3", default)
    hear(bot, BOTH, "4")
    assert filed(shop) == [(PHONE, "1"), (PHONE, "4")]
    assert filed(shop, DEFAULT_ID) == [(PHONE, "2"), (USER_ID, "3")]


def test_a_customer_who_is_known_costs_one_statement(shop: URL, bot: Session) -> None:
    sent: list[str] = []
    for sender in (BOTH, BY_PHONE, BY_USER_ID):
        hear(bot, sender)
    event.listen(get_engine(), "before_cursor_execute", lambda *args: sent.append(args[2]))
    with tenant_session(SHOP) as session:
        session.scalars(select(Conversation)).first()
        for sender in (BOTH, BY_PHONE, BY_USER_ID):
            sent.clear()
            find_or_create_customer(session, SHOP, sender)
            assert len(sent) == 1


def test_a_user_id_that_cannot_be_one_is_refused(bot: Session) -> None:
    with pytest.raises(InvalidValueError, match="take user_id of the webhook as it is"):
        Customer(whatsapp_user_id="573001234567")


def test_a_customer_whom_a_trigger_swallows_is_an_error(shop: URL, bot: Session) -> None:
    execute(
        shop,
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
        "CREATE TRIGGER swallow BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION swallow()",
    )
    with pytest.raises(RuntimeError, match="The customer was not stored"):
        find_or_create_customer(bot, SHOP, BOTH)
    assert scalar(shop, "SELECT count(*) FROM customers") == 0
