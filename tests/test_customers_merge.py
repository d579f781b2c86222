"""Two rows that become one lose nothing: what refers to the customer moves along, or an error names it."""

import logging
import re
import uuid

import pytest
from sqlalchemy import URL
from sqlalchemy.orm import Session

from app.db import tenant_session
from app.tenancy.customers import find_or_create_customer
from app.tenancy.messages import Sender
from app.tenancy.queries import record_message
from tests.deliveries import PHONE, USER_ID
from tests.support import OTHER_ID, add_business, execute, rows

SHOP = uuid.UUID(OTHER_ID)
BOTH, BY_PHONE, BY_USER_ID = Sender(phone=PHONE, user_id=USER_ID), Sender(phone=PHONE), Sender(user_id=USER_ID)


def hear(session: Session, sender: Sender) -> int:
    customer = find_or_create_customer(session, SHOP, sender)
    record_message(session, business_id=SHOP, whatsapp_id=customer.whatsapp_id, message="hola", role="user")
    session.commit()
    return customer.id


@pytest.fixture
def two(bot_settings: URL) -> tuple[URL, int, int]:
    """Two rows of one person: that of the phone, and that of the user id."""
    add_business(bot_settings)
    with tenant_session(SHOP) as session:
        return bot_settings, hear(session, BY_PHONE), hear(session, BY_USER_ID)


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged as an error, as its `messages`."""
    caplog.set_level(logging.ERROR, "app.tenancy.customers")
    return caplog


def both(url: URL) -> list[int]:
    """A message that shows that the two are one, and the customers after it; nobody's message is lost in any case."""
    messages = "SELECT count(*) FROM conversations"
    (before,) = rows(url, messages)
    with tenant_session(SHOP) as session:
        hear(session, BOTH)
    assert rows(url, messages) == [(before[0] + 1,)]
    return [row[0] for row in rows(url, "SELECT id FROM customers ORDER BY id")]


def commands(sentence: str) -> list[str]:
    """The SQL that a sentence names."""
    (sql,) = re.findall(r"(?:run|by) ((?:UPDATE|GRANT) .*?)(?:; the next|\.$)", sentence)
    return str(sql).split("; ")


GRANT = "GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO app_tenant"


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "RESTRICT", "NO ACTION"])
@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("bookings", "customer integer REFERENCES customers (id) ON DELETE {}"),
        ('"Team Bookings"', '"for" bigint REFERENCES customers (id) ON DELETE {}'),
        ("team.bookings", "customer bigint REFERENCES customers ON DELETE {}"),
        (
            "bookings",
            "business_id uuid, customer bigint, FOREIGN KEY (business_id, customer) REFERENCES customers (business_id, id) "
            "ON DELETE {}",
        ),
        (
            "bookings",
            "business_id uuid, customer varchar, FOREIGN KEY (customer, business_id) "
            "REFERENCES customers (whatsapp_id, business_id) ON DELETE {}",
        ),
    ],
)
def test_rows_that_refer_to_the_customer_move_along(
    two: tuple[URL, int, int], errors: pytest.LogCaptureFixture, table: str, key: str, action: str
) -> None:
    url, phone, _ = two
    column = '"for"' if '"for"' in key else "customer"
    value = "whatsapp_id" if "whatsapp_id" in key else "id"
    scope, of_scope = ("business_id, ", f"'{OTHER_ID}', ") if "business_id" in key else ("", "")
    execute(
        url,
        "CREATE SCHEMA team",
        "GRANT USAGE ON SCHEMA team TO app_tenant",
        "CREATE UNIQUE INDEX ON customers (business_id, id)",
        "CREATE UNIQUE INDEX ON customers (whatsapp_id, business_id)",
        f"CREATE TABLE {table} (at date, {key.format(action)})",
        GRANT.format(table),
        f"INSERT INTO {table} (at, {scope}{column}) SELECT now(), {of_scope}{value} FROM customers ORDER BY id",
    )
    assert both(url) == [phone]
    assert errors.messages == []
    joined = f"SELECT count(*) FROM {table} JOIN customers c ON c.{value}::text = {column}::text WHERE c.id = {phone}"
    assert rows(url, joined) == [(2,)]


def test_a_customer_who_brought_another_one_still_did(two: tuple[URL, int, int]) -> None:
    url, phone, user = two
    execute(
        url,
        "ALTER TABLE customers ADD COLUMN brought_by bigint REFERENCES customers ON DELETE SET NULL",
        "GRANT UPDATE (brought_by) ON customers TO app_tenant",
        f"INSERT INTO customers (business_id, whatsapp_id, name, brought_by) VALUES ('{OTHER_ID}', '1', 'x', {user})",
    )
    assert both(url)[0] == phone
    assert rows(url, "SELECT brought_by FROM customers WHERE whatsapp_id = '1'") == [(phone,)]


def test_a_partitioned_table_moves_along(two: tuple[URL, int, int]) -> None:
    url, phone, user = two
    execute(
        url,
        "CREATE TABLE visits (customer bigint REFERENCES customers ON DELETE CASCADE, at int) PARTITION BY RANGE (at)",
        "CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (0) TO (10)",
        GRANT.format("visits"),
        f"INSERT INTO visits VALUES ({user}, 1)",
    )
    assert both(url) == [phone]
    assert rows(url, "SELECT customer FROM visits") == [(phone,)]


@pytest.mark.parametrize(
    "values",
    [
        "notes text, '💈 allergic', NULL",
        "points numeric(30,10), 12345678901234567890.0123456789, NULL",
        "seen timestamptz, '2025-06-01 09:00:00.123456+00', NULL",
        """tags jsonb, '{"a": [1.10, null]}', NULL""",
        "card text UNIQUE, 'C-1', NULL",
        "colours text[], '{red,\"dark blue\"}', '{red,\"dark blue\"}'",
        "\"Of Team\" bytea, '\\x00ff', NULL",
    ],
)
def test_a_column_of_the_teams_own_is_taken_over(
    two: tuple[URL, int, int], errors: pytest.LogCaptureFixture, values: str
) -> None:
    url, phone, user = two
    column = values.split(", ")[0]
    name = '"Of Team"' if column.startswith('"') else column.split()[0]
    of_user, of_phone = (
        value.strip() for value in re.findall(r" ('(?:[^'])*'|[\d.]+|NULL)", values.removeprefix(column))
    )
    execute(
        url,
        f"ALTER TABLE customers ADD COLUMN {column}, ADD COLUMN twice int GENERATED ALWAYS AS (age * 2) STORED",
        f"GRANT UPDATE ({name}) ON customers TO app_tenant",
        f"UPDATE customers SET {name} = {of_user}, age = 40 WHERE id = {user}",
        f"UPDATE customers SET {name} = {of_phone} WHERE id = {phone}",
    )
    before = rows(url, f"SELECT {name}::text, age, twice FROM customers WHERE id = {user}")
    assert both(url) == [phone]
    assert errors.messages == []
    assert rows(url, f"SELECT {name}::text, age, twice FROM customers") == before


def test_columns_that_differ_keep_the_rows_apart_until_somebody_decides(
    two: tuple[URL, int, int], errors: pytest.LogCaptureFixture
) -> None:
    url, phone, user = two
    execute(url, f"UPDATE customers SET age = id + 20 WHERE id IN ({phone}, {user})")
    assert both(url) == [phone, user]
    (sentence,) = errors.messages
    assert sentence.startswith(f"Customers {phone} and {user} are one person, but differ in age")
    execute(url, *commands(sentence))
    assert both(url) == [phone]
    assert rows(url, "SELECT DISTINCT whatsapp_id FROM conversations") == [(PHONE,)]


@pytest.mark.parametrize(
    "keep",
    [
        f"NEW.whatsapp_id := CASE WHEN NEW.whatsapp_id = '{PHONE}' THEN '{USER_ID}' ELSE NEW.whatsapp_id END; RETURN NEW",
        "RETURN NULL",
    ],
)
def test_messages_that_a_trigger_keeps_are_named_and_not_parted_from_their_customer(
    two: tuple[URL, int, int], errors: pytest.LogCaptureFixture, keep: str
) -> None:
    url, phone, user = two
    execute(
        url,
        f"CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {keep.replace(chr(39), chr(39) * 2)}; END'",
        "CREATE TRIGGER keep BEFORE UPDATE ON conversations FOR EACH ROW EXECUTE FUNCTION keep()",
    )
    assert both(url) == [phone, user]
    assert errors.messages[0].startswith(f"Messages of customer {phone} of business {SHOP} stay under a former")
    assert PHONE not in errors.messages[0]
    assert ("hola", USER_ID) in rows(url, "SELECT message, whatsapp_id FROM conversations")
    execute(url, "DROP TRIGGER keep ON conversations")
    assert both(url) == [phone]
    assert rows(url, "SELECT DISTINCT whatsapp_id FROM conversations") == [(PHONE,)]


def test_a_table_that_may_not_be_changed_is_named(two: tuple[URL, int, int], errors: pytest.LogCaptureFixture) -> None:
    url, phone, user = two
    execute(
        url,
        "CREATE TABLE notes (customer bigint REFERENCES customers ON DELETE CASCADE)",
        f"INSERT INTO notes VALUES ({user})",
    )
    assert both(url) == [phone, user]
    assert "notes refers to the second, and app_tenant may not move its rows" in errors.messages[0]
    execute(url, *commands(errors.messages[0]))
    assert both(url) == [phone]
    assert rows(url, "SELECT customer FROM notes") == [(phone,)]


def test_rows_that_row_level_security_hides_are_not_deleted_with_the_customer(
    two: tuple[URL, int, int], errors: pytest.LogCaptureFixture
) -> None:
    url, phone, user = two
    execute(
        url,
        "CREATE TABLE notes (customer bigint REFERENCES customers ON DELETE CASCADE)",
        "ALTER TABLE notes ENABLE ROW LEVEL SECURITY",
        GRANT.format("notes"),
        f"INSERT INTO notes VALUES ({user})",
    )
    assert both(url) == [phone, user]
    assert "row level security hides its rows from app_tenant" in errors.messages[0]
    execute(url, *commands(errors.messages[0]))
    assert both(url) == [phone]
    assert rows(url, "SELECT customer FROM notes") == [(phone,)]
    assert rows(url, "SELECT DISTINCT whatsapp_id FROM conversations") == [(PHONE,)]


def test_rows_of_which_a_customer_has_one_are_named(
    two: tuple[URL, int, int], errors: pytest.LogCaptureFixture
) -> None:
    url, phone, user = two
    execute(
        url,
        "CREATE TABLE cards (customer bigint PRIMARY KEY REFERENCES customers ON DELETE CASCADE, stamps int)",
        GRANT.format("cards"),
        f"INSERT INTO cards VALUES ({phone}, 3), ({user}, 5)",
    )
    assert both(url) == [phone, user]
    assert "cards refers to the second, and its rows cannot be moved" in errors.messages[0]
    assert "cards_pkey" in errors.messages[0]
    assert PHONE not in errors.messages[0]
    assert rows(url, "SELECT sum(stamps) FROM cards") == [(8,)]
    execute(url, f"UPDATE cards SET stamps = 8 WHERE customer = {phone}", f"DELETE FROM cards WHERE customer = {user}")
    assert both(url) == [phone]


def test_a_key_on_the_filing_id_that_does_not_follow_keeps_the_id(
    bot_settings: URL, errors: pytest.LogCaptureFixture
) -> None:
    add_business(bot_settings)
    with tenant_session(SHOP) as session:
        customer = hear(session, BY_USER_ID)
    execute(
        bot_settings,
        "CREATE TABLE notes (business_id uuid, customer varchar, "
        "FOREIGN KEY (business_id, customer) REFERENCES customers (business_id, whatsapp_id))",
        f"INSERT INTO notes VALUES ('{OTHER_ID}', '{USER_ID}')",
    )
    assert both(bot_settings) == [customer]
    assert f"Customers [{customer}] stay as they are" in errors.messages[0]
    assert 'on table "notes"' in errors.messages[0]
    assert rows(bot_settings, "SELECT DISTINCT whatsapp_id FROM conversations") == [(USER_ID,)]
    execute(
        bot_settings,
        "ALTER TABLE notes DROP CONSTRAINT notes_business_id_customer_fkey, ADD FOREIGN KEY (business_id, customer) "
        "REFERENCES customers (business_id, whatsapp_id) ON UPDATE CASCADE",
    )
    assert both(bot_settings) == [customer]
    assert rows(bot_settings, "SELECT customer FROM notes") == [(PHONE,)]
