"""The single-business bot, whatever it logs in as, works before, during and after, and reads its own business."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg2
import pytest
from sqlalchemy import URL, Engine, event

from tests.roles import give_to
from tests.support import DEFAULT_ID, execute, migrate, plain, scalar


class Bot:
    """The bot's three statements, past SQLAlchemy, with a short patience: what it waits for is a fault."""

    def __init__(self, url: URL) -> None:
        self.connection = psycopg2.connect(plain(url), options="-c lock_timeout=5s")
        self.connection.autocommit = True
        self.said = 0

    def serve(self) -> None:
        """A message of a customer: look him up or add him, store the message, read the last ten."""
        self.said += 1
        now = datetime.now(UTC).replace(tzinfo=None)
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT id, name FROM customers WHERE whatsapp_id = %s", ["573001"])
            if cursor.fetchone() is None:
                cursor.execute(
                    "INSERT INTO customers (whatsapp_id, name, created_at, updated_at) VALUES (%s, 'Ana', %s, %s) RETURNING id",
                    ["573001", now, now],
                )
            cursor.execute("UPDATE customers SET age = %s WHERE whatsapp_id = %s", [self.said, "573001"])
            assert cursor.rowcount == 1
            cursor.execute(
                "INSERT INTO conversations (whatsapp_id, message, role, timestamp, created_at) VALUES (%s, %s, 'user', %s, %s)",
                ["573001", str(self.said), now, now],
            )
            cursor.execute(
                "SELECT message FROM conversations WHERE whatsapp_id = %s ORDER BY timestamp DESC LIMIT 10", ["573001"]
            )
            expected = [str(n) for n in range(self.said, max(0, self.said - 10), -1)]
            assert [row[0] for row in cursor.fetchall()] == expected


BY_COLUMN = (
    "REVOKE ALL ON customers, conversations FROM bot",
    "GRANT SELECT, INSERT (whatsapp_id, name, created_at, updated_at), UPDATE (age) ON customers TO bot",
    "GRANT SELECT, INSERT (whatsapp_id, message, role, timestamp, created_at) ON conversations TO bot",
)
LOGINS: dict[str, Callable[[URL], URL]] = {
    "owner": lambda url: give_to(url, "owner", "CREATEROLE"),
    "owner that bypasses": lambda url: give_to(url, "owner", "CREATEROLE BYPASSRLS"),
    "plain login with grants": lambda url: with_grants(url, "LOGIN"),
    "login that bypasses": lambda url: with_grants(url, "LOGIN BYPASSRLS"),
    "member of a group with grants": lambda url: with_grants(
        url, "NOLOGIN", "CREATE ROLE worker LOGIN IN ROLE bot"
    ).set(username="worker"),
    "login with grants on columns": lambda url: with_grants(url, "LOGIN", *BY_COLUMN),
}


def with_grants(url: URL, attributes: str, *more: str) -> URL:
    execute(
        url,
        f"CREATE ROLE bot {attributes}",
        "GRANT SELECT, INSERT, UPDATE ON customers, conversations TO bot",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO bot",
        *more,
    )
    return url.set(username="bot")


@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
def test_the_bot_works_before_during_and_after(fresh: URL, login: Callable[[URL], URL]) -> None:
    bot_url = login(fresh)
    migrator = bot_url if bot_url.username == "owner" else fresh
    bot = Bot(bot_url)
    bot.serve()

    def between(connection: Any, *_: Any) -> None:
        """After each statement of the migration, where it holds no lock, the bot serves a message."""
        if connection.connection.dbapi_connection.autocommit:
            bot.serve()

    event.listen(Engine, "after_cursor_execute", between)
    try:
        migrate(migrator)
        bot.serve()
        at_head = bot.said
        assert scalar(fresh, "SELECT count(*) FROM conversations WHERE business_id = '" + DEFAULT_ID + "'") == at_head
        migrate(migrator, "downgrade", "-1")
    finally:
        event.remove(Engine, "after_cursor_execute", between)
    bot.serve()
    assert at_head > 15
    assert bot.said > at_head + 5
    assert scalar(fresh, "SELECT count(*) FROM conversations") == bot.said
