"""After a rollback the two tables are as they were before the upgrade, and a team's own columns are kept."""

import re

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.rollbacks import down, objects, up
from tests.support import OTHER_ID, catalogue, check, execute, load_legacy, migrate, rows, scalar, state


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
