"""A connection that is lost before a chosen statement, and everything that a database then holds."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, event, text

from app.tenancy.migration.catalogue import catalogue as read_catalogue
from app.tenancy.report import report
from tests.support import DEFAULT_ID, OTHER_ID, contents, engine_of

OTHER_ROWS = f"""
INSERT INTO whatsapp_numbers (id, business_id, phone_number) VALUES
    ('{DEFAULT_ID}', '{DEFAULT_ID}', '+573001112233'), ('{OTHER_ID}', '{OTHER_ID}', '+573004445566');
INSERT INTO users (id, email, password_hash) VALUES ('{OTHER_ID}', 'ana@example.com', '$2b$12$' || repeat('x', 53));
INSERT INTO user_businesses (user_id, business_id) VALUES ('{OTHER_ID}', '{OTHER_ID}');
INSERT INTO customers (business_id, whatsapp_id, name) SELECT '{OTHER_ID}', whatsapp_id, 'Other ' || id FROM customers;
INSERT INTO conversations (business_id, whatsapp_number_id, whatsapp_id, message, role)
    SELECT '{OTHER_ID}', '{OTHER_ID}', whatsapp_id, message, role FROM conversations WHERE id % 3 = 0;
UPDATE conversations SET whatsapp_number_id = '{DEFAULT_ID}', whatsapp_message_id = 'wamid.' || id
    WHERE business_id = '{DEFAULT_ID}' AND id % 5 = 0"""

State = dict[str, object]


def state(url: URL) -> State:
    """Catalogue and rows of the schema and the archive; when the default business was made does not matter."""
    found: State = {}
    with engine_of(url).connect() as connection:
        for schema in ("public", "multi_tenant_archive"):
            found[schema] = read_catalogue(connection, schema)
            tables = connection.execute(
                text(
                    "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = to_regnamespace(:schema)"
                ),
                {"schema": schema},
            )
            found |= contents(connection, tables.scalars().all())
    if isinstance(kept := found.get("multi_tenant_rollback"), list):  # a number that was lost with a transaction
        found["multi_tenant_rollback"] = sorted(re.sub(r'"id": \d+, ', "", row) for row in kept)
    if not found["multi_tenant_archive"] and isinstance(businesses := found.get("businesses"), list):
        found["businesses"] = [re.sub(r'"(created|updated)_at": "[^"]+"', "", row) for row in businesses]
    return found


@contextmanager
def connection_lost_before(place: int | str, url: URL) -> Iterator[list[str]]:
    """End the migration's backend before a statement, by its number or by a part of it; yields those that came so far.

    Settings and reads do not count: a loss before one leaves what a loss before the next statement leaves.
    """
    seen: list[str] = []
    server = engine_of(url.set(database="postgres"), isolation_level="AUTOCOMMIT")

    def lose(connection: Connection, _: Any, statement: str, *__: Any) -> None:
        if connection.engine.url.database != url.database or statement.startswith(("SELECT", "SET")):
            return
        seen.append(statement)
        if (place in statement) if isinstance(place, str) else (len(seen) == place):
            pid = connection.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
            with server.connect() as other:
                assert other.scalar(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})

    event.listen(Engine, "before_cursor_execute", lose)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", lose)


def true(url: URL) -> bool:
    """Whether the report finds the recorded revision true."""
    with engine_of(url).connect() as connection:
        return not any("alembic_version" in line for line in report(connection))
