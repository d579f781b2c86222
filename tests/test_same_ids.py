"""Where an id is unique within a business only, what is done to one business leaves the rows of another alone."""

import logging

import pytest
from sqlalchemy import URL

from app.db import SessionLocal
from app.models import Customer
from app.tenancy import personal_data
from app.tenancy.customers import find_or_create_customer
from app.tenancy.messages import Sender
from tests.deliveries import PHONE, USER_ID
from tests.support import DEFAULT_ID, OTHER_ID, add_business, engine_of, execute, rows

BOTH = Sender(phone=PHONE, user_id=USER_ID, name="Zoë", username="zoe")
TABLES = ("customers", "conversations")


@pytest.fixture
def twins(bot_settings: URL) -> URL:
    """The key of Citus's form, (id, business_id), and two businesses whose rows have the same ids."""
    add_business(bot_settings)
    for table in TABLES:
        execute(bot_settings, f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey, ADD PRIMARY KEY (id, business_id)")
    for business in (DEFAULT_ID, OTHER_ID):
        ids = {1: PHONE, 2: USER_ID} if business == OTHER_ID else {1: "57301", 2: "57302"}
        for id_, whatsapp_id in ids.items():
            user_id = f"'{USER_ID}'" if whatsapp_id == USER_ID else "NULL"
            execute(
                bot_settings,
                "INSERT INTO customers (id, business_id, whatsapp_id, name, whatsapp_user_id) "
                f"OVERRIDING SYSTEM VALUE VALUES ({id_}, '{business}', '{whatsapp_id}', '{id_}', {user_id})",
                "INSERT INTO conversations (id, business_id, whatsapp_id, message, role) "
                f"OVERRIDING SYSTEM VALUE VALUES ({id_}, '{business}', '{whatsapp_id}', 'hola', 'user')",
            )
    return bot_settings


def of_default(url: URL) -> list[list[tuple[object, ...]]]:
    return [rows(url, f"SELECT * FROM {table} WHERE business_id = '{DEFAULT_ID}' ORDER BY id") for table in TABLES]


def test_a_business_is_erased_and_no_message_of_another(twins: URL) -> None:
    before = of_default(twins)
    assert personal_data.erase_business(engine_of(twins), OTHER_ID)["conversations"] == 2
    assert of_default(twins) == before


def test_old_messages_of_a_business_are_purged_and_none_of_another(twins: URL) -> None:
    execute(
        twins,
        "UPDATE conversations SET timestamp = '2020-01-01Z'",
        f"""UPDATE businesses SET settings = '{{"retention_days": 9}}' WHERE id = '{OTHER_ID}'""",
    )
    before = of_default(twins)
    assert list(personal_data.purge_messages(engine_of(twins))) == [("Other", 2)]
    assert of_default(twins) == before


def test_two_customers_become_one_and_none_of_another(twins: URL, caplog: pytest.LogCaptureFixture) -> None:
    """In a session that sees every business, too."""
    caplog.set_level(logging.ERROR)
    execute(
        twins,
        "CREATE TABLE bookings (customer bigint, business_id uuid, "
        "FOREIGN KEY (customer, business_id) REFERENCES customers ON DELETE CASCADE)",
        "INSERT INTO bookings SELECT id, business_id FROM customers",
        f"UPDATE customers SET age = 40 WHERE id = 2 AND business_id = '{OTHER_ID}'",
    )
    before = of_default(twins)
    with SessionLocal() as session:
        customer = find_or_create_customer(session, OTHER_ID, BOTH)
        assert isinstance(customer, Customer)
        assert (customer.id, customer.age, customer.name, customer.username) == (1, 40, "Zoë", "zoe")
        session.commit()
    assert caplog.messages == []
    assert of_default(twins) == before
    mine = f"FROM customers WHERE business_id = '{OTHER_ID}'"
    assert rows(twins, f"SELECT id, whatsapp_id, whatsapp_user_id, name, age {mine}") == [
        (1, PHONE, USER_ID, "Zoë", 40)
    ]
    assert rows(twins, "SELECT business_id::text, customer FROM bookings ORDER BY 1, 2") == [
        (DEFAULT_ID, 1), (DEFAULT_ID, 2), (OTHER_ID, 1), (OTHER_ID, 1),
    ]  # fmt: skip
