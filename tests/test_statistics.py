"""The planner knows the columns of both tables at every moment of an upgrade and a rollback, so that no query turns slow."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import URL, Connection, Engine, event

from tests.drift import repaired
from tests.support import engine_of, execute, migrate, rows

KNOWN = "SELECT tablename || '.' || attname FROM pg_stats WHERE schemaname = 'public' AND tablename IN ('customers', 'conversations')"
GATHERED = (
    "SELECT tablename FROM pg_stats WHERE tablename IN ('customers', 'conversations') AND attname = 'whatsapp_id' "
    "AND greatest(cardinality(histogram_bounds::text::text[]), cardinality(most_common_freqs)) > 10 ORDER BY 1"
)
"""Tables of which more than the quick sample is known."""
LAST = "EXPLAIN SELECT message FROM conversations WHERE whatsapp_id = '573000000017' ORDER BY timestamp DESC LIMIT 10"


@contextmanager
def seen_before_each_statement(url: URL, query: str) -> Iterator[list[set[Any]]]:
    """What others see before each statement of a run."""
    seen: list[set[Any]] = []

    def look(connection: Connection, _: Any, statement: str, *__: Any) -> None:
        if connection.engine.url.database == url.database and statement.startswith(("DO", "CREATE", "ALTER")):
            with engine_of(url).connect() as other:
                seen.append(set(other.exec_driver_sql(query).scalars()))

    event.listen(Engine, "before_cursor_execute", look)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", look)


def test_no_column_is_ever_without_statistics(legacy: URL) -> None:
    execute(legacy, "ALTER TABLE conversations ALTER whatsapp_id SET STATISTICS 500", "ANALYZE")
    before = {column for (column,) in rows(legacy, KNOWN)}
    assert len(before) >= 10
    for name, revision in (("upgrade", "head"), ("downgrade", "-1")):
        with seen_before_each_statement(legacy, f"SELECT * FROM ({KNOWN}) AS k") as seen:
            migrate(legacy, name, revision)
        assert len(seen) > 10
        assert [before - known for known in seen if before - known] == []
        assert before <= {column for (column,) in rows(legacy, KNOWN)}
        assert rows(legacy, GATHERED) == [("conversations",), ("customers",)]
    target = (
        "SELECT attstattarget FROM pg_attribute WHERE attrelid = 'conversations'::regclass AND attname = 'whatsapp_id'"
    )
    assert rows(legacy, target) == [(500,)]


@pytest.mark.parametrize("revision", ["001", "000"])
def test_the_last_messages_of_a_customer_are_found_by_customer(legacy: URL, revision: str) -> None:
    """Not by reading everybody's from the newest on, which the planner does where it knows nothing of whatsapp_id."""
    execute(legacy, "ANALYZE")
    migrate(legacy)
    if revision == "000":
        migrate(legacy, "downgrade", "-1")
    plan = "\n".join(line for (line,) in rows(legacy, LAST))
    assert re.search(r"Index Cond: .*whatsapp_id", plan), plan


def test_a_repair_of_a_type_gathers_them(database: URL) -> None:
    execute(
        database,
        "INSERT INTO customers (whatsapp_id, name) SELECT g::text, 'n' FROM generate_series(1, 500) AS g",
        "ALTER TABLE customers ALTER whatsapp_id TYPE varchar(20)",
        "ANALYZE customers",
    )
    assert repaired(database)[0] == 0
    assert ("customers.whatsapp_id",) in rows(database, KNOWN)
