"""After a rollback the two tables are as they were before the upgrade, and a team's own columns are kept."""

import re

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.rollbacks import down, objects, up
from tests.support import (
    OTHER_ID,
    catalogue,
    check,
    engine_of,
    execute,
    load_legacy,
    migrate,
    pg_dump,
    rows,
    scalar,
    state,
)


def test_a_teams_own_columns_survive(shops: URL) -> None:
    execute(
        shops,
        "ALTER TABLE customers ADD extra json, ADD tags text[] DEFAULT '{a}', ADD twice int GENERATED ALWAYS AS (age * 2) STORED",
        """UPDATE customers SET extra = '{"b":1, "b":2}', age = 30""",
        "GRANT INSERT (extra, tags), UPDATE (extra, tags) ON customers TO app_tenant",
        "ALTER TABLE businesses ADD logo bytea",
        "UPDATE businesses SET logo = '\\x00ff'",
        """ALTER TABLE users ADD "a ""b" varchar(7)""",
        """UPDATE users SET "a ""b" = 'c'""",
    )
    before = state(shops)
    text_before = rows(shops, "SELECT id, extra::text FROM customers ORDER BY id")
    down(shops)
    execute(shops, "ALTER TABLE customers ADD between_ text DEFAULT 'later'", "ALTER TABLE conversations ADD seen bool")
    up(shops)
    assert rows(shops, "SELECT id, extra::text FROM customers ORDER BY id") == text_before
    assert rows(shops, "SELECT between_ FROM customers WHERE id = 2") == [("later",)]
    execute(shops, "ALTER TABLE customers DROP between_", "ALTER TABLE conversations DROP seen")
    assert state(shops) == before


def test_a_generated_column_is_no_change_of_a_row(shops: URL) -> None:
    execute(
        shops, "ALTER TABLE customers ADD extra json DEFAULT '{}', ADD twice int GENERATED ALWAYS AS (age * 2) STORED"
    )
    updated_at = "SELECT updated_at FROM customers WHERE id = 1"
    before = scalar(shops, updated_at)
    execute(shops, "UPDATE customers SET name = name")
    assert scalar(shops, updated_at) == before
    execute(shops, "UPDATE customers SET age = 30")
    assert scalar(shops, updated_at) > before


def test_a_column_dropped_in_between_is_named(shops: URL) -> None:
    execute(shops, "ALTER TABLE customers ADD extra text")
    down(shops)
    execute(shops, "ALTER TABLE customers DROP extra")
    with pytest.raises(CommandError, match=r"multi_tenant_archive\.customers\.extra"):
        up(shops)


OWN_INDEXES = (
    "CREATE INDEX plain ON conversations (whatsapp_id, timestamp DESC NULLS LAST)",
    "CREATE UNIQUE INDEX once ON conversations (timestamp, id)",
    "CREATE INDEX partial ON conversations (timestamp) WHERE role = 'user'",
    "CREATE INDEX lowered ON conversations (lower(role), created_at) INCLUDE (id) WITH (fillfactor = 70)",
    'CREATE INDEX "odd "" ON name %" ON customers (updated_at, created_at)',
    "CREATE INDEX brin ON customers USING brin (created_at)",
)


@pytest.mark.parametrize("zone", ["without", "with"])
def test_timestamps_come_back_as_they_were(empty: URL, zone: str) -> None:
    load_legacy(empty, "canonical", 20)
    execute(
        empty,
        "SET timezone = 'UTC'; ALTER TABLE customers "
        + ", ".join(f"ALTER {c} TYPE timestamp {zone} time zone" for c in ("created_at", "updated_at")),
        f"SET timezone = 'UTC'; ALTER TABLE conversations ALTER timestamp TYPE timestamp {zone} time zone",
        "ALTER TABLE conversations ALTER timestamp SET DEFAULT timezone('utc', now())",
        "COMMENT ON COLUMN conversations.timestamp IS 'It''s \"ours\"'",
        "COMMENT ON TABLE customers IS 'people'",
        *OWN_INDEXES,
    )
    migrate(empty, "upgrade", "000")
    before = state(empty, "customers", "conversations")
    up(empty)
    own = {key: value for key, value in before[0].items() if key[0].startswith("index ")}
    del own["index ix_customers_whatsapp_id on customers", "definition"]  # no longer unique
    assert own.items() <= catalogue(empty).items()
    execute(empty, f"INSERT INTO businesses (id, name) VALUES ('{OTHER_ID}', 'Other')")
    down(empty)
    assert state(empty, "customers", "conversations") == before
    up(empty)
    check(empty)


@pytest.fixture
def public_roles(database: URL) -> None:
    """The roles that a Supabase database has."""
    for role in ("anon", "authenticated"):
        execute(
            database,
            f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
        )


@pytest.mark.usefixtures("public_roles")
def test_row_level_security_policies_and_grants_come_back(canonical: URL) -> None:
    execute(
        canonical,
        "ALTER TABLE customers ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY readers ON customers FOR SELECT TO anon USING (age > 18)",
        "GRANT SELECT, UPDATE ON customers TO anon WITH GRANT OPTION",
        "GRANT INSERT (whatsapp_id, message), SELECT (id) ON conversations TO authenticated",
        "GRANT USAGE ON SEQUENCE customers_id_seq, conversations_id_seq TO authenticated",
    )
    migrate(canonical, "upgrade", "000")
    before = catalogue(canonical), objects(canonical)
    up(canonical)
    closed = [k for k in catalogue(canonical) if re.match("privilege of (anon|authenticated)", k[0])]
    assert closed == []
    down(canonical)
    assert (catalogue(canonical), objects(canonical)) == before


def test_what_another_type_resets_and_what_an_index_carries_are_there_before_and_after(empty: URL) -> None:
    """Storage, compression, targets, comments, CLUSTER mark: at 001 as after the rollback, as pg_dump writes them."""
    load_legacy(empty, "canonical", 20)
    execute(
        empty,
        "ALTER TABLE customers ALTER whatsapp_id SET STORAGE MAIN, ALTER whatsapp_id SET COMPRESSION pglz",
        "ALTER TABLE conversations ALTER whatsapp_id SET STORAGE EXTERNAL, ALTER whatsapp_id SET STATISTICS 1000",
        "ALTER TABLE conversations ALTER whatsapp_id SET (n_distinct = -0.1), ALTER timestamp SET STATISTICS 777",
        "CREATE STATISTICS st ON whatsapp_id, timestamp FROM conversations; COMMENT ON STATISTICS st IS 'x'",
        "ALTER STATISTICS st SET STATISTICS 500",
        """CREATE INDEX "my index" ON conversations ((lower(role)), timestamp); COMMENT ON INDEX "my index" IS 'mine'""",
        'ALTER INDEX "my index" ALTER COLUMN 1 SET STATISTICS 321; ALTER TABLE conversations CLUSTER ON "my index"',
        "DROP INDEX ix_customers_whatsapp_id; ALTER TABLE customers ADD CONSTRAINT uq UNIQUE (whatsapp_id)",
        "COMMENT ON CONSTRAINT uq ON customers IS 'one each'; COMMENT ON INDEX uq IS 'of them'",
        "ALTER TABLE customers CLUSTER ON uq",
    )
    before = pg_dump(empty, "-s")
    marks = [
        line for line in before if re.search("STORAGE|COMPRESSION|STATISTICS|CLUSTER|COMMENT ON (INDEX|STAT)", line)
    ]
    assert len(marks) > 10
    migrate(empty)
    assert [line for line in marks if line not in pg_dump(empty, "-s") and "uq" not in line] == []
    migrate(empty, "downgrade", "-1")
    assert pg_dump(empty, "-s") == before


def test_an_index_stays_in_its_tablespace(empty: URL) -> None:
    load_legacy(empty, "canonical", 20)
    with engine_of(empty, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql("SET allow_in_place_tablespaces = on")
        connection.exec_driver_sql("CREATE TABLESPACE beside LOCATION ''")
    try:
        execute(
            empty,
            "CREATE INDEX placed ON conversations (timestamp) TABLESPACE beside WHERE role = 'user'",
            "DROP INDEX ix_customers_whatsapp_id",
            "CREATE UNIQUE INDEX u ON customers (whatsapp_id) TABLESPACE beside",
        )
        places = "SELECT indexname, tablespace FROM pg_indexes WHERE tablespace = 'beside' ORDER BY 1"
        migrate(empty)
        assert rows(empty, places) == [("placed", "beside")]
        migrate(empty, "downgrade", "-1")
        assert rows(empty, places) == [("placed", "beside"), ("u", "beside")]
    finally:
        execute(empty, "DROP TABLE customers, conversations CASCADE", "DROP TABLESPACE beside")
