"""A rollback sees what was committed while it waited, whatever isolation level the database or the client asks for."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.support import (
    DEFAULT_ID,
    OTHER_ID,
    add_business,
    engine_of,
    environment,
    execute,
    migrate,
    paste,
    pipe,
    rows,
    scalar,
    script,
    wait_until,
)

WAYS: dict[str, Callable[[URL], object]] = {
    "alembic": lambda url: migrate(url, "downgrade", "-1"),
    "psql": lambda url: pipe(url, script("downgrade", "001:000")),
    "dashboard": lambda url: paste(url, script("downgrade", "001:000", "single-transaction=yes")),
}
LATE = f"""
    INSERT INTO businesses (id, name) VALUES ('{OTHER_ID[:-1]}1', 'Late');
    INSERT INTO users (id, email, password_hash) VALUES ('{OTHER_ID}', 'late@example.com', '$2b$12$' || repeat('x', 53));
    INSERT INTO customers (whatsapp_id, name, business_id) VALUES ('57', 'Late', '{OTHER_ID}');
    INSERT INTO conversations (whatsapp_id, message, role, business_id) VALUES ('57', 'late', 'user', '{OTHER_ID}');
    INSERT INTO conversations (whatsapp_id, message, role, whatsapp_message_id) VALUES ('58', 'mine', 'user', 'wamid.late');
"""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("level", ["repeatable read", "serializable", "PGOPTIONS"])
def test_what_is_committed_while_the_rollback_waits_is_kept(database: URL, level: str, way: str) -> None:
    add_business(database)
    options = None
    if level == "PGOPTIONS":
        options = "-c default_transaction_isolation=serializable"
    else:
        execute(database, f"ALTER DATABASE {database.database} SET default_transaction_isolation TO '{level}'")
    with engine_of(database).connect() as writer, ThreadPoolExecutor(1) as pool, environment(PGOPTIONS=options):
        writer.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        writer.exec_driver_sql(LATE)
        rollback = pool.submit(WAYS[way], database)
        pauses = "datname = current_database() AND wait_event = 'PgSleep'"
        wait_until(database, f"EXISTS (SELECT FROM pg_stat_activity WHERE {pauses})")
        writer.commit()
        assert not rollback.result()
    assert rows(database, "SELECT whatsapp_id FROM customers") == []
    assert rows(database, "SELECT message FROM conversations") == [("mine",)]
    assert scalar(database, "SELECT name FROM multi_tenant_archive.customers") == "Late"
    execute(database, f"ALTER DATABASE {database.database} RESET default_transaction_isolation")
    migrate(database)
    assert rows(database, "SELECT message, business_id::text, whatsapp_message_id FROM conversations ORDER BY 1") == [
        ("late", OTHER_ID, None),
        ("mine", DEFAULT_ID, "wamid.late"),
    ]
    assert rows(database, "SELECT name FROM businesses ORDER BY 1") == [("Default business",), ("Late",), ("Other",)]
    assert scalar(database, "SELECT email FROM users") == "late@example.com"


def test_a_stale_transaction_of_whoever_runs_the_script_is_refused(database: URL) -> None:
    add_business(database)
    sql = script("downgrade", "001:000", "single-transaction=yes")
    stale = sql.replace("BEGIN;", "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;", 1)
    assert "must be called before any query" in paste(database, stale)
    without = stale.replace("SET TRANSACTION ISOLATION LEVEL READ COMMITTED;", "")
    assert paste(database, without).startswith("this transaction is REPEATABLE READ")
    assert scalar(database, "SELECT count(*) FROM businesses") == 2
    migrate(database, "downgrade", "-1")


def test_a_trigger_of_a_team_takes_no_row_to_another_business(database: URL) -> None:
    """Whatever a trigger that is sorted later does to a row, the CHECK and the AFTER triggers see it as it is stored."""
    add_business(database)
    execute(
        database,
        "INSERT INTO conversations (whatsapp_id, message, role, whatsapp_message_id) VALUES ('57', 'old', '', 'wamid.1')",
    )
    with engine_of(database).connect() as other:
        other.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        with pytest.raises(CommandError, match="gave up"):
            migrate(database, "downgrade", "-1", "lock-wait=0")
        for change, table in (
            (f"NEW.business_id := '{OTHER_ID}'", "customers"),
            (f"NEW.business_id := '{OTHER_ID}'", "conversations"),
            ("NEW.username := 'ana'", "customers"),
            ("NEW.whatsapp_message_id := 'wamid.2'", "conversations"),
        ):
            execute(
                database,
                f"CREATE OR REPLACE FUNCTION route() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {change}; RETURN NEW; END $$",
                f"CREATE TRIGGER zzz BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION route()",
            )
            insert = {
                "customers": "INSERT INTO customers (whatsapp_id, name) VALUES ('58', '')",
                "conversations": "INSERT INTO conversations (whatsapp_id, message, role) VALUES ('58', '', '')",
            }[table]
            assert "this database is being rolled back to one business" in paste(database, insert)
            if table == "conversations":
                assert "this database is being rolled back to one business" in paste(
                    database, "UPDATE conversations SET message = 'new'"
                )
            execute(database, f"DROP TRIGGER zzz ON {table}")
    migrate(database, "downgrade", "-1")
    assert rows(database, "SELECT message FROM conversations") == [("old",)]


def test_default_writers_do_not_wait_while_rows_move(database: URL) -> None:
    add_business(database)
    execute(
        database,
        f"INSERT INTO customers (whatsapp_id, name, business_id) VALUES ('57', 'theirs', '{OTHER_ID}')",
        "INSERT INTO customers (whatsapp_id, name) VALUES ('57', 'ours')",
    )
    frozen, _ = script("downgrade", "001:000").split("-- move what one business cannot hold", 1)
    assert pipe(database, frozen) == ""
    with engine_of(database).connect() as tenant, ThreadPoolExecutor(1) as pool:
        tenant.exec_driver_sql("SELECT FROM customers WHERE name = 'theirs' FOR UPDATE")
        rollback = pool.submit(migrate, database, "downgrade", "-1")
        moving = "query LIKE 'DO $step$%' AND wait_event_type = 'Lock'"
        wait_until(
            database,
            f"EXISTS (SELECT FROM pg_stat_activity JOIN pg_locks AS l USING (pid) WHERE {moving} "
            "AND l.relation = 'customers'::regclass AND mode = 'RowExclusiveLock')",
        )
        execute(
            database,
            "SET lock_timeout = '50ms'; UPDATE customers SET age = 30 WHERE name = 'ours'",
            "SET lock_timeout = '50ms'; INSERT INTO customers (whatsapp_id, name) VALUES ('58', 'new')",
            "SET lock_timeout = '50ms'; INSERT INTO conversations (whatsapp_id, message, role) VALUES ('58', 'hi', 'user')",
        )
        tenant.rollback()
        rollback.result()
    assert rows(database, "SELECT name, age FROM customers ORDER BY 1") == [("new", None), ("ours", 30)]
