"""What a rollback gives back is in one table: it outlasts comments and dumps, and without it nothing is guessed."""

import subprocess
import uuid

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.conftest import MakeDatabase
from tests.support import (
    add_business,
    catalogue,
    check,
    execute,
    load_legacy,
    migrate,
    pg_binary,
    plain,
    psql,
    rows,
    run_alembic,
    scalar,
    state,
)

NO_COMMENTS = """
SELECT format('COMMENT ON %s %s IS NULL', upper(type), identity) FROM pg_description
 CROSS JOIN LATERAL pg_identify_object(classoid, objoid, objsubid)
 WHERE schema = 'public' OR type IN ('table column', 'table constraint', 'policy', 'trigger')"""


def without_index_comments(found: dict[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    return {key: value for key, value in found.items() if "alembic_version" not in key[0]}


def test_a_database_without_comments_is_rolled_back_as_ever(legacy: URL) -> None:
    before = without_index_comments(catalogue(legacy))
    migrate(legacy)
    add_business(legacy)
    for (statement,) in rows(legacy, NO_COMMENTS):
        execute(
            legacy,
            statement.replace("COMMENT ON TABLE COLUMN", "COMMENT ON COLUMN").replace(
                "COMMENT ON TABLE CONSTRAINT", "COMMENT ON CONSTRAINT"
            ),
        )
    assert scalar(legacy, f"SELECT count(*) FROM ({NO_COMMENTS}) AS c") == 0
    migrate(legacy, "downgrade", "-1")
    assert without_index_comments(catalogue(legacy)) == before


def test_a_restored_dump_without_comments_is_rolled_back_as_ever(legacy: URL, make_database: MakeDatabase) -> None:
    before = without_index_comments(catalogue(legacy))
    migrate(legacy)
    dump = subprocess.run(
        [pg_binary("pg_dump"), "--no-comments", plain(legacy)], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    restored = make_database()
    dump = dump.replace("SET transaction_timeout = 0;", "")  # of a newer pg_dump
    assert psql(restored, dump, "-v", "ON_ERROR_STOP=1").returncode == 0
    migrate(restored, "downgrade", "-1")
    assert without_index_comments(catalogue(restored)) == before


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ("DROP TABLE multi_tenant_rollback", "the table multi_tenant_rollback.+is missing"),
        ("DELETE FROM multi_tenant_rollback WHERE id = 3", "rows are missing in the table multi_tenant_rollback"),
        ("DELETE FROM multi_tenant_rollback WHERE kind = 'number of rows'", "rows are missing in the table"),
        ("TRUNCATE multi_tenant_rollback", "rows are missing in the table multi_tenant_rollback"),
    ],
)
def test_without_it_the_rollback_refuses_and_says_how_to_go_on(empty: URL, loss: str, says: str) -> None:
    load_legacy(empty, "canonical", 30)
    execute(empty, "ALTER TABLE customers ADD extra text DEFAULT 'theirs'")
    before = without_index_comments(catalogue(empty))
    migrate(empty)
    execute(empty, loss)
    at_head = state(empty)
    with pytest.raises(CommandError, match=says) as refusal:
        migrate(empty, "downgrade", "-1")
    assert state(empty) == at_head
    assert "alembic -x canonical=yes downgrade 000" in str(refusal.value)
    dry = run_alembic(empty, "-x", "canonical=yes", "-x", "dry-run=yes", "downgrade", "-1")
    assert (dry.returncode, state(empty)) == (0, at_head), dry.stderr
    done = run_alembic(empty, "-x", "canonical=yes", "downgrade", "-1")
    assert done.returncode == 0, done.stderr
    assert without_index_comments(catalogue(empty)) == before
    migrate(empty)
    check(empty)


def test_nobody_but_the_owner_reads_or_writes_it(empty: URL) -> None:
    reader = f"reader_{uuid.uuid4().hex[:8]}"
    execute(empty, f'CREATE ROLE "{reader}"')
    try:
        migrate(empty, "upgrade", "000")
        execute(empty, f'ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO "{reader}", PUBLIC')
        migrate(empty)
        for role in (reader, "app_tenant", "app_service"):
            for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"):
                assert not scalar(
                    empty, f"SELECT has_table_privilege('{role}', 'multi_tenant_rollback', '{privilege}')"
                )
        assert scalar(empty, "SELECT relrowsecurity FROM pg_class WHERE relname = 'multi_tenant_rollback'")
        migrate(empty, "downgrade", "-1")
        assert scalar(empty, "SELECT to_regclass('multi_tenant_rollback') IS NULL")
    finally:
        execute(empty, f'DROP OWNED BY "{reader}"', f'DROP ROLE "{reader}"')


UNIQUE = {
    "a constraint": "ALTER TABLE customers ADD CONSTRAINT once UNIQUE (whatsapp_id)",
    "a deferred constraint": "ALTER TABLE customers ADD CONSTRAINT once UNIQUE (whatsapp_id) DEFERRABLE INITIALLY DEFERRED",
    "a collation": 'CREATE UNIQUE INDEX once ON customers (whatsapp_id COLLATE "C")',
    "an operator class": "CREATE UNIQUE INDEX once ON customers (whatsapp_id varchar_pattern_ops DESC)",
    "more": "CREATE UNIQUE INDEX once ON customers (whatsapp_id) INCLUDE (name) NULLS NOT DISTINCT WITH (fillfactor = 70)",
    "a predicate": 'CREATE UNIQUE INDEX "odd "" INDEX name" ON customers (whatsapp_id) WHERE name <> \'\'',
    "a plain one beside it": "CREATE UNIQUE INDEX once ON customers (whatsapp_id); CREATE INDEX quick ON customers (whatsapp_id)",
    "two": "CREATE UNIQUE INDEX once ON customers (whatsapp_id); CREATE UNIQUE INDEX ix_customers_whatsapp_id ON customers (whatsapp_id)",
    "none": "CREATE INDEX quick ON conversations (whatsapp_id)",
}


@pytest.mark.parametrize("unique", UNIQUE)
def test_indexes_come_back_as_they_were(canonical: URL, unique: str) -> None:
    execute(
        canonical,
        "DROP INDEX ix_customers_whatsapp_id",
        "DROP INDEX ix_conversations_whatsapp_id",
        "ALTER INDEX ix_conversations_timestamp RENAME TO by_time",
        UNIQUE[unique],
    )
    before = without_index_comments(catalogue(canonical))
    migrate(canonical)
    check(canonical)
    for _ in range(2):
        migrate(canonical, "downgrade", "-1")
        assert without_index_comments(catalogue(canonical)) == before
        migrate(canonical)
    check(canonical)
