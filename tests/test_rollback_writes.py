"""While rows move to the archive only the single-business bot writes."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from tests.rollbacks import down, up
from tests.support import OTHER_ID, engine_of, execute, migrate, rows


@contextmanager
def half_rolled_back(url: URL) -> Iterator[None]:
    """Inside, a rollback has moved the rows and given up where a concurrent build waits for an old snapshot."""
    with engine_of(url).connect() as reader:
        reader.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        with pytest.raises(CommandError, match="gave up"):
            down(url, "lock-wait=0")
        reader.rollback()
        yield


MULTI_TENANT_WRITES = (
    "INSERT INTO businesses (name) VALUES ('New')",
    "UPDATE businesses SET name = 'Changed'",
    "DELETE FROM businesses",
    "UPDATE whatsapp_numbers SET is_active = false",
    "DELETE FROM user_businesses",
    "INSERT INTO users (email, password_hash) VALUES ('a@b', '$2b$12$' || repeat('x', 53))",
    f"INSERT INTO customers (whatsapp_id, name, business_id) VALUES ('59', '', '{OTHER_ID}')",
    f"INSERT INTO conversations (whatsapp_id, message, role, business_id) VALUES ('59', '', '', '{OTHER_ID}')",
    "INSERT INTO conversations (whatsapp_id, message, role, whatsapp_message_id) VALUES ('59', '', '', 'wamid.2')",
    "UPDATE conversations SET whatsapp_message_id = 'wamid.2'",
    f"UPDATE conversations SET business_id = '{OTHER_ID}'",
)

OLD_BOT_WRITES = (
    "INSERT INTO customers (whatsapp_id, name, created_at, updated_at) VALUES ('58', 'Eva', now(), now())",
    "INSERT INTO conversations (whatsapp_id, message, role, timestamp, created_at) VALUES ('58', 'hi', 'user', now(), now())",
    "UPDATE customers SET name = 'Ana María' WHERE whatsapp_id = '57300'",
    "UPDATE conversations SET message = 'buenas' WHERE id = 1",
)


def test_after_the_move_only_the_old_bot_writes(shops: URL) -> None:
    before = {table: rows(shops, f"SELECT * FROM {table}") for table in ("users", "whatsapp_numbers", "businesses")}
    with half_rolled_back(shops):
        for write in MULTI_TENANT_WRITES:
            with pytest.raises(DBAPIError, match="is being rolled back to one business"):
                execute(shops, write)
        execute(shops, *OLD_BOT_WRITES)
        for head in ("head", "heads"):
            with pytest.raises(
                CommandError, match=r"^a rollback .+ interrupted: finish it with alembic downgrade 000,"
            ):
                migrate(shops, "upgrade", head)
        down(shops)
    assert rows(shops, "SELECT name FROM customers ORDER BY id") == [("Ana María",), ("Eva",)]
    up(shops)
    for table, kept in before.items():
        assert sorted(rows(shops, f"SELECT * FROM {table}")) == sorted(kept)
    assert rows(shops, "SELECT message, whatsapp_message_id FROM conversations ORDER BY id") == [
        ("buenas", "wamid.1"),
        ("hola", "wamid.1"),
        ("hi", None),
    ]
