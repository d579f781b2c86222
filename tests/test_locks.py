"""Nobody waits: what the migration does to those who use the tables while it runs, and what it says."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL, Connection, Engine, event, text
from sqlalchemy.exc import IntegrityError

from tests.conftest import MakeDatabase
from tests.support import (
    DEFAULT_ID,
    SNAPSHOT,
    alembic_process,
    check,
    engine_of,
    execute,
    load_legacy,
    migrate,
    open_transaction,
    rows,
    run_alembic,
    scalar,
    wait_until,
)

QUEUED = """EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'
                       AND relation = 'conversations'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"""


def test_the_bot_does_not_queue_behind_a_waiting_migration(canonical: URL) -> None:
    bot = engine_of(canonical)
    with (
        open_transaction(canonical, "SELECT FROM conversations LIMIT 1") as blocker,
        alembic_process(canonical, "upgrade", "head") as migration,
    ):
        for message in ("first", "second"):
            wait_until(canonical, QUEUED)
            with bot.begin() as connection:
                # Ten times the migration's own lock_timeout: without it the bot would wait until the blocker ends.
                connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
                connection.execute(text("SELECT FROM conversations WHERE whatsapp_id = '573000000001' LIMIT 10"))
                connection.execute(
                    text(
                        "INSERT INTO conversations (whatsapp_id, message, role, timestamp, created_at) VALUES ('573000000001', :message, 'user', now(), now())"
                    ),
                    {"message": message},
                )
        assert migration.poll() is None
        assert blocker.in_transaction()
        blocker.rollback()
        _, said = migration.communicate(timeout=60)
        assert migration.returncode == 0, said
    assert (
        scalar(
            canonical,
            f"SELECT count(*) FROM conversations WHERE message IN ('first', 'second') AND business_id = '{DEFAULT_ID}'",
        )
        == 2
    )
    check(canonical)


@pytest.mark.parametrize(
    ("statement", "table", "command"),
    [
        ("SELECT FROM customers", "customers", "upgrade head"),
        ("SELECT FROM conversations", "conversations", "upgrade head"),
        (SNAPSHOT, "conversations", "upgrade head"),
        ("INSERT INTO businesses (name) VALUES ('x')", "businesses", "downgrade -1"),
        ("LOCK customers IN ACCESS EXCLUSIVE MODE", "customers", "upgrade head"),
        ("LOCK customers IN ACCESS EXCLUSIVE MODE", "customers", "downgrade -1"),
    ],
    ids=[
        *("a step", "the next step", "a concurrent build", "the move of the rollback"),
        *("the checks", "the checks of the rollback"),
    ],
)
def test_giving_up_names_who_holds_the_lock(
    statement: str,
    table: str,
    command: str,
    make_database: MakeDatabase,
    legacy_templates: dict[str, URL],
    migrated_template: URL,
) -> None:
    url = make_database(legacy_templates["canonical"] if command == "upgrade head" else migrated_template)
    user = scalar(url, "SELECT current_user")
    with open_transaction(url, statement) as blocker:
        pid = blocker.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
        with pytest.raises(CommandError) as refusal:
            migrate(url, *command.split(), "lock-wait=1")
    assert re.fullmatch(
        rf"gave up after 1 s waiting for a lock on {table}: pid {pid} of user {user}, in a transaction for 00:00:\d\d, "
        r"whose query started at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; end that transaction, or wait for it, "
        r"then run the same command again \(finished steps are kept\)\.",
        str(refusal.value),
    ), str(refusal.value)
    migrate(url, *command.split())
    if command == "upgrade head":
        check(url)


GUARD = """
CREATE FUNCTION no_rewrite() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'rewrites %', pg_event_trigger_table_rewrite_oid()::regclass; END $$;
CREATE EVENT TRIGGER no_rewrite ON table_rewrite EXECUTE FUNCTION no_rewrite();
CREATE FUNCTION only_concurrently() RETURNS event_trigger LANGUAGE plpgsql AS $$
DECLARE made record;
BEGIN
    FOR made IN SELECT indexrelid::regclass FROM pg_event_trigger_ddl_commands() JOIN pg_index ON indexrelid = objid
                 WHERE indrelid IN ('customers'::regclass, 'conversations'::regclass) LOOP
        IF current_query() !~ '^CREATE (UNIQUE )?INDEX CONCURRENTLY' THEN RAISE EXCEPTION 'builds % under a lock', made; END IF;
    END LOOP;
END $$;
CREATE EVENT TRIGGER only_concurrently ON ddl_command_end WHEN TAG IN ('CREATE INDEX', 'ALTER TABLE') EXECUTE FUNCTION only_concurrently();
ALTER FUNCTION no_rewrite() SET search_path = pg_catalog"""
FILES = "SELECT relname, relfilenode FROM pg_class WHERE relname IN ('customers', 'conversations') ORDER BY 1"


@contextmanager
def rows_read_under_locks(url: URL) -> Iterator[dict[str, int]]:
    """How many rows of customers and conversations each step of a migration in this process reads."""
    found: dict[str, int] = {}
    reads = text(
        "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables WHERE relname IN ('customers', 'conversations')"
    )

    def count(connection: Connection) -> int:
        with connection.connection.dbapi_connection.cursor() as cursor:  # type: ignore[union-attr]
            cursor.execute("SELECT pg_stat_force_next_flush()")
        with engine_of(url.set(database=url.database)).connect() as other:
            return int(other.scalar(reads) or 0)

    def before(connection: Connection, _: Any, statement: str, *__: Any) -> None:
        if statement.startswith("DO $step$"):
            connection.info["rows read"] = count(connection)

    def after(connection: Connection, _: Any, statement: str, *__: Any) -> None:
        if statement.startswith("DO $step$"):
            found[statement] = count(connection) - connection.info["rows read"]

    event.listen(Engine, "before_cursor_execute", before)
    event.listen(Engine, "after_cursor_execute", after)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", before)
        event.remove(Engine, "after_cursor_execute", after)


LARGE = """
INSERT INTO customers (whatsapp_id, name, created_at, updated_at)
    SELECT 'large ' || n, repeat('x', 100), now(), now() FROM generate_series(1, 60000) AS n;
INSERT INTO conversations (whatsapp_id, message, role, timestamp, created_at)
    SELECT 'large', repeat('x', 1900), 'user', now(), now() FROM generate_series(1, 5000)"""


def test_no_step_scans_sorts_or_rewrites_under_a_lock(legacy: URL) -> None:
    """A rollback narrows whatsapp_id of a table that is written anew in a moment: these are larger."""
    execute(legacy, LARGE, GUARD)
    before = rows(legacy, FILES)
    with rows_read_under_locks(legacy) as read:
        migrate(legacy)
        migrate(legacy, "downgrade", "-1")
    assert rows(legacy, FILES) == before
    moves = {step for step in read if "DELETE FROM conversations" in step}
    assert len(moves) == 1
    # Less than before is the count of an index that went.
    assert {step: n for step, n in read.items() if n > 0 and step not in moves} == {}
    assert len(read) > 8


def test_an_autovacuum_is_sent_away(make_database: MakeDatabase) -> None:
    url = make_database()
    load_legacy(url, messages=20_000)
    execute(
        url,
        "ALTER TABLE conversations SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_threshold = 1)",
        "UPDATE conversations SET role = role",
        "ALTER SYSTEM SET autovacuum_naptime = '1s'",
        "SELECT pg_reload_conf()",
    )
    try:
        wait_until(url, "EXISTS (SELECT FROM pg_stat_progress_vacuum WHERE relid = 'conversations'::regclass)")
        migrate(url, "upgrade", "head", "lock-wait=10")
    finally:
        execute(url, "ALTER SYSTEM RESET autovacuum_naptime", "SELECT pg_reload_conf()")


def test_the_old_bot_after_the_upgrade(legacy: URL) -> None:
    migrate(legacy)
    now = datetime.now(UTC).replace(tzinfo=None)
    customer = text(
        "INSERT INTO customers (whatsapp_id, name, created_at, updated_at) VALUES ('573009999999', 'Ana', :now, :now)"
    )
    message = text(
        "INSERT INTO conversations (whatsapp_id, message, role, timestamp, created_at) VALUES ('573009999999', 'hola', 'user', :now, :now)"
    )
    bot = engine_of(legacy)
    with bot.begin() as connection:
        connection.execute(customer, {"now": now})
        connection.execute(message, {"now": now})
    with pytest.raises(IntegrityError, match="uq_customers_business_id_whatsapp_id"), bot.begin() as connection:
        connection.execute(customer, {"now": now})
    found = rows(
        legacy,
        "SELECT business_id::text, timestamp AT TIME ZONE 'UTC' FROM conversations WHERE whatsapp_id = '573009999999'",
    )
    assert found == [(DEFAULT_ID, now)]
    assert scalar(legacy, "SELECT business_id::text FROM customers WHERE whatsapp_id = '573009999999'") == DEFAULT_ID


def test_supabase_transaction_pooler_is_refused() -> None:
    url = "postgresql://postgres.abc:secret@aws-0-eu-west-1.pooler.supabase.com:6543/postgres"
    done = run_alembic(url, "upgrade", "head")
    assert done.returncode != 0
    assert "port 5432" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "secret" not in done.stderr
