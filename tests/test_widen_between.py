"""What was interrupted ends before something else begins: widening the ids, upgrade and rollback."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.conftest import MakeDatabase
from tests.interruptions import connection_lost_before
from tests.support import OTHER_ID, add_business, engine_of, execute, load_legacy, migrate, pipe, rows, script
from tests.widening import TEAM, definition, leftovers, types, values, widen

OTHERS = f"""
INSERT INTO customers (business_id, whatsapp_id, name) SELECT '{OTHER_ID}', whatsapp_id, 'Other' FROM customers WHERE id < 9;
INSERT INTO conversations (business_id, whatsapp_id, message, role, whatsapp_message_id)
    SELECT '{OTHER_ID}', whatsapp_id, message, role, 'wamid.' || id FROM conversations WHERE id < 9;
UPDATE conversations SET whatsapp_message_id = 'wamid.' || id WHERE business_id <> '{OTHER_ID}' AND id < 5
"""
MESSAGES = "SELECT id, business_id::text, whatsapp_id, message, whatsapp_message_id FROM conversations ORDER BY id"
CUSTOMERS = "SELECT id, business_id::text, whatsapp_id, name FROM customers ORDER BY id"


@pytest.fixture(scope="module")
def small(make_lasting_database: Any) -> URL:
    """A single-business database with a few rows and what a team may add."""
    url: URL = make_lasting_database()
    load_legacy(url, messages=40)
    execute(url, TEAM.replace("1 + g % 200, 1 + g FROM generate_series(1, 300)", "1, g FROM generate_series(1, 30)"))
    # What stops an upgrade: policies for all, and a replica identity of whatsapp_id.
    execute(url, "DROP POLICY writers ON customers", "DROP POLICY readers ON customers")
    execute(url, "ALTER TABLE customers REPLICA IDENTITY FULL")
    return url


@pytest.fixture(scope="module")
def two_businesses(make_lasting_database: Any, small: URL) -> URL:
    """The same at head, with rows of another business."""
    url: URL = make_lasting_database(small)
    migrate(url)
    add_business(url)
    execute(url, OTHERS)
    return url


def interrupted(template: URL, undisturbed: URL, make_database: MakeDatabase) -> Iterator[URL]:
    """Databases whose widening lost its connection: before its first column, beside it, between the two tables, later."""
    with connection_lost_before(0, undisturbed) as statements:
        widen(undisturbed)
    assert len(statements) > 20
    for place in range(1, len(statements) + 1, 4):
        url = make_database(template)
        with connection_lost_before(place, url), pytest.raises(CommandError, match="run the same command again"):
            widen(url)
        yield url


def begun(url: URL) -> bool:
    """Whether a wide column is beside the narrow one."""
    return bool(rows(url, "SELECT FROM pg_attribute WHERE attname = 'id_widened'"))


def assert_refused(url: URL, name: str, revision: str, revisions: str) -> None:
    """By Alembic and by the script, with a command that goes on, and with nothing changed."""
    says = (
        r"^the widening of (customers|conversations)\.id was interrupted: finish it .* alembic -n scale upgrade bigint"
    )
    before = definition(url), values(url)
    with pytest.raises(CommandError, match=says):
        migrate(url, name, revision)
    assert re.match(says, pipe(url, script(name, revisions)))
    assert (definition(url), values(url)) == before
    widen(url)


def test_a_widening_ends_before_an_upgrade(small: URL, make_database: MakeDatabase) -> None:
    undisturbed, refused = make_database(small), []
    for url in interrupted(small, undisturbed, make_database):
        refused.append(begun(url))
        if refused[-1]:
            assert_refused(url, "upgrade", "head", "base:head")
        migrate(url)
        widen(url)
        if len(refused) == 1:
            migrate(undisturbed)
        assert definition(url) == definition(undisturbed)
        assert leftovers(url) == []
        assert rows(url, CUSTOMERS) == rows(undisturbed, CUSTOMERS)
        assert rows(url, MESSAGES) == rows(undisturbed, MESSAGES)
    assert set(refused) == {True, False}


def test_a_widening_ends_before_a_rollback(two_businesses: URL, make_database: MakeDatabase) -> None:
    expected = rows(two_businesses, CUSTOMERS), rows(two_businesses, MESSAGES)
    refused = []
    for url in interrupted(two_businesses, make_database(two_businesses), make_database):
        refused.append(begun(url))
        if refused[-1]:
            assert_refused(url, "downgrade", "-1", "001:000")
        migrate(url, "downgrade", "-1")
        widen(url)
        migrate(url)
        assert (rows(url, CUSTOMERS), rows(url, MESSAGES)) == expected
        assert types(url) == ["bigint", "bigint"]
        assert leftovers(url) == []
    assert set(refused) == {True, False}


@pytest.mark.parametrize(
    ("name", "revision", "says"),
    [
        ("upgrade", "head", "an upgrade of this database was interrupted: finish it with alembic upgrade head"),
        ("downgrade", "-1", "a rollback of this database was interrupted: finish it with alembic downgrade 000"),
    ],
)
def test_an_upgrade_and_a_rollback_end_before_a_widening(
    name: str, revision: str, says: str, two_businesses: URL, small: URL, make_database: MakeDatabase
) -> None:
    url = make_database(small if name == "upgrade" else two_businesses)
    with engine_of(url).connect() as other:
        other.exec_driver_sql("LOCK TABLE conversations IN ACCESS SHARE MODE")
        with pytest.raises(CommandError, match="gave up"):
            migrate(url, name, revision, "lock-wait=0.1")
    with pytest.raises(CommandError, match=says):
        widen(url)
    migrate(url, name, revision)
    widen(url)
    assert types(url) == ["bigint", "bigint"]
