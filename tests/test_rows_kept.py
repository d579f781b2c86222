"""What somebody commits while a step waits, and what a team keeps beside ours, is still there afterwards."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.obstacles import clear_the_way, commands, refusal_of
from tests.support import OTHER_ID, add_business, execute, migrate, open_transaction, psql, rows, scalar, wait_until

WRITE = "INSERT INTO {} VALUES (DEFAULT, '573001', {}, now(), now())"


@pytest.mark.parametrize(("table", "values"), [("customers", "'Ana', 30"), ("conversations", "'hola', 'user'")])
def test_base_keeps_a_row_that_is_committed_while_it_waits(empty: URL, table: str, values: str) -> None:
    migrate(empty, "upgrade", "000")

    def drop() -> str:
        with pytest.raises(CommandError) as caught:
            migrate(empty, "downgrade", "base")
        return str(caught.value)

    with ThreadPoolExecutor() as pool:
        with open_transaction(empty, WRITE.format(table, values)) as bot:
            run = pool.submit(drop)
            wait_until(empty, "EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')")
            bot.commit()
        assert f"table {table} holds rows" in run.result()
    assert scalar(empty, f"SELECT count(*) FROM {table}") == 1


def test_base_does_not_drop_rows_that_it_cannot_see(empty: URL) -> None:
    migrate(empty, "upgrade", "000")
    execute(empty, "CREATE TABLE t ()", "ALTER TABLE customers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    migrate(empty, "downgrade", "base")  # a superuser sees them


def test_a_row_of_another_business_that_comes_meanwhile_is_put_aside(canonical: URL) -> None:
    execute(
        canonical,
        "ALTER TABLE conversations ADD COLUMN business_id uuid",
        f"UPDATE conversations SET business_id = '{OTHER_ID}' WHERE id < 50",
    )
    (command,) = commands(refusal_of(canonical) or "")
    copy, delete = re.split(r"(?=DELETE FROM)", command, maxsplit=1)
    late = f"INSERT INTO conversations (whatsapp_id, message, role, timestamp, created_at, business_id) VALUES ('57', 'late', 'user', now(), now(), '{OTHER_ID}')"
    with ThreadPoolExecutor() as pool:
        waits = "SELECT pg_sleep(0.01) FROM generate_series(1, 3000) WHERE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
        run = pool.submit(psql, canonical, f"{copy}{waits}; {delete}", "-v", "ON_ERROR_STOP=1")
        wait_until(canonical, "EXISTS (SELECT FROM pg_locks WHERE mode = 'ShareRowExclusiveLock' AND granted)")
        pool.submit(execute, canonical, late)
        assert run.result().returncode == 0
    found = "SELECT count(*) FROM {} WHERE message = 'late'"
    kept = scalar(canonical, found.format("conversations_before")) + scalar(canonical, found.format("conversations"))
    assert kept == 1


def test_what_a_team_keeps_in_the_archive_schema_stays(shops: URL) -> None:
    execute(shops, "UPDATE customers SET username = 'u'")
    migrate(shops, "downgrade", "-1")
    execute(
        shops,
        "CREATE TABLE multi_tenant_archive.notes AS SELECT 'keep me' AS note",
        "CREATE FUNCTION multi_tenant_archive.count_them(int) RETURNS bigint LANGUAGE sql AS 'SELECT 1::bigint'",
        "CREATE VIEW multi_tenant_archive.seen AS SELECT * FROM multi_tenant_archive.notes",
        "CREATE VIEW former AS SELECT * FROM multi_tenant_archive.default_customers",
    )
    (refusal,) = clear_the_way(shops)
    assert "view former depends on" in refusal
    assert rows(shops, "SELECT note, count_them(1) FROM seen") == [("keep me", 1)]
    assert scalar(shops, "SELECT to_regnamespace('multi_tenant_archive') IS NULL")


ANOTHERS = {
    "a table": "CREATE TABLE public.users (id serial PRIMARY KEY, login text)",
    "a function": "CREATE FUNCTION public.set_updated_at() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "an index": "CREATE TABLE public.t (whatsapp_id text); CREATE INDEX ix_conversations_business_id_whatsapp_id_timestamp ON public.t (whatsapp_id)",
    "a memory": "CREATE TABLE public.multi_tenant_rollback (id int)",
    "another rollback": "CREATE FUNCTION public.single_business_only() RETURNS int LANGUAGE sql AS 'SELECT 1'",
}


@pytest.mark.parametrize("anothers", ANOTHERS.values(), ids=ANOTHERS)
def test_what_another_application_has_in_another_schema_is_left_alone(canonical: URL, anothers: str) -> None:
    """The bot's schema comes first on search_path, public after it."""
    execute(canonical, "CREATE SCHEMA bot")
    for table in ("customers", "conversations"):
        execute(canonical, f"ALTER TABLE {table} SET SCHEMA bot")
    execute(canonical, f"ALTER DATABASE {canonical.database} SET search_path = bot, public", anothers)
    before = rows(canonical, "SELECT oid, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1")
    migrate(canonical)
    add_business(canonical)
    migrate(canonical, "downgrade", "-1")
    migrate(canonical)
    migrate(canonical, "downgrade", "-1")
    after = rows(canonical, "SELECT oid, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1")
    assert [row for row in after if "alembic_version" not in row[1]] == before


def test_one_old_table_here_and_one_there_changes_neither(canonical: URL) -> None:
    execute(
        canonical,
        "CREATE SCHEMA bot",
        "ALTER TABLE customers SET SCHEMA bot",
        f"ALTER DATABASE {canonical.database} SET search_path = bot, public",
    )
    said = refusal_of(canonical) or ""
    assert "customers is in schema bot, and conversations only in schema public" in said
    assert not said.endswith(";")
