"""Nothing is stuck midway: what cannot be made again is found out on an empty copy, before any change."""

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.obstacles import commands, named_and_cleared, refusal_of
from tests.support import OTHER_ID, add_business, check, execute, load_legacy, migrate, run_alembic, scalar, state

BRIN = 'CREATE INDEX by_time ON conversations USING brin ("timestamp" {}_minmax_multi_ops)'
"""An index whose operator class takes one type only."""


def rollback_refusal(url: URL) -> str:
    """What the rollback refuses, with nothing changed."""
    before = state(url)
    with pytest.raises(CommandError) as refused:
        migrate(url, "downgrade", "-1")
    assert state(url) == before
    return str(refused.value)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (BRIN.format("timestamp"), "the index by_time cannot be built again when its times of conversations become"),
        (
            'CREATE INDEX odd ON conversations USING brin (created_at timestamp_bloom_ops, "timestamp") WHERE id > 0',
            "the index odd cannot be built again when its times of conversations become",
        ),
        (
            "CREATE UNIQUE INDEX once ON conversations (whatsapp_id, timestamp) WHERE role = 'tool'",
            "index once depends on conversations.timestamp, whose type changes, and without it doubles could come in",
        ),
        (
            "CREATE UNIQUE INDEX once ON customers (whatsapp_id) INCLUDE (created_at)",
            "index once depends on customers.created_at, whose type changes, and without it doubles could come in",
        ),
    ],
)
def test_an_index_that_could_not_be_built_again_is_named(made: str, says: str, canonical: URL) -> None:
    named_and_cleared(canonical, made, says)
    migrate(canonical, "downgrade", "-1")


def test_an_index_that_can_be_built_again_is_no_obstacle(canonical: URL) -> None:
    execute(canonical, 'CREATE INDEX " USING odd" ON conversations USING brin ("timestamp") WITH (pages_per_range = 8)')
    migrate(canonical)
    migrate(canonical, "downgrade", "-1")
    assert "pages_per_range" in scalar(canonical, "SELECT indexdef FROM pg_indexes WHERE indexname = ' USING odd'")


@pytest.mark.parametrize("options", [(), ("-x", "canonical=yes")])
def test_an_index_that_a_rollback_could_not_build_again_is_named(options: tuple[str, ...], canonical: URL) -> None:
    migrate(canonical)
    execute(canonical, BRIN.format("timestamptz"))
    done = run_alembic(canonical, *options, "-x", "dry-run=yes", "downgrade", "-1")
    assert done.returncode != 0
    (command,) = commands(done.stderr.strip().splitlines()[-1])
    assert command == "DROP INDEX IF EXISTS by_time;"
    execute(canonical, command)
    migrate(canonical, "downgrade", "-1")
    migrate(canonical)
    check(canonical)


@pytest.fixture
def archived(canonical: URL) -> URL:
    """A rolled-back database whose archive holds a customer of another business, with a column of the team's."""
    execute(canonical, "ALTER TABLE customers ADD COLUMN town text")
    migrate(canonical)
    add_business(canonical)
    execute(
        canonical,
        f"INSERT INTO customers (business_id, whatsapp_id, name, town) VALUES ('{OTHER_ID}', '57', 'Ana', '12')",
        "UPDATE customers SET username = 'u' WHERE id = 1",
    )
    migrate(canonical, "downgrade", "-1")
    return canonical


def upgrades_after_its_commands(url: URL, says: str) -> None:
    refusal = refusal_of(url, "dry-run=yes")
    assert refusal is not None
    assert says in refusal
    execute(url, *commands(refusal))
    migrate(url)
    check(url)
    assert scalar(url, f"SELECT name FROM customers WHERE business_id = '{OTHER_ID}'") == "Ana"


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (
            "CREATE VIEW former AS SELECT * FROM multi_tenant_archive.customers; CREATE VIEW more AS SELECT * FROM former",
            "view former depends on the archive",
        ),
        (
            "CREATE MATERIALIZED VIEW former AS SELECT * FROM multi_tenant_archive.default_customers",
            "materialized view former depends on the archive",
        ),
        (
            "CREATE FUNCTION former() RETURNS SETOF multi_tenant_archive.customers LANGUAGE sql AS 'SELECT NULL'",
            "function former() depends on the archive",
        ),
        (
            "ALTER TABLE customers ALTER COLUMN town TYPE integer USING town::int",
            "the column town of customers is integer, and was text when a rollback archived rows of it",
        ),
    ],
)
def test_what_keeps_the_archive_from_coming_back_is_named(made: str, says: str, archived: URL) -> None:
    execute(archived, f"SET check_function_bodies = off; {made}")
    upgrades_after_its_commands(archived, says)


@pytest.mark.parametrize(
    ("made", "fix"),
    [
        (
            "ALTER TABLE customers ADD CONSTRAINT towns CHECK (town <> '12')",
            "UPDATE multi_tenant_archive.customers SET town = '13'",
        ),
        (
            "ALTER TABLE customers ADD COLUMN nit text NOT NULL DEFAULT 'x'; ALTER TABLE customers ALTER nit DROP DEFAULT",
            "ALTER TABLE customers ALTER nit SET DEFAULT ''",
        ),
        (
            "ALTER TABLE customers ALTER COLUMN town TYPE varchar(1)",
            "UPDATE multi_tenant_archive.customers SET town = '1'",
        ),
    ],
)
def test_an_archived_row_that_does_not_fit_any_more_is_named(made: str, fix: str, archived: URL) -> None:
    execute(archived, made)
    refusal = refusal_of(archived, "dry-run=yes")
    assert "a row of customers in the archive does not fit the table any more" in (refusal or "")
    execute(archived, fix)
    migrate(archived)
    assert scalar(archived, f"SELECT name FROM customers WHERE business_id = '{OTHER_ID}'") == "Ana"


@pytest.mark.parametrize(
    ("numbers", "given", "following"),
    [
        ("ALTER SEQUENCE customers_id_seq MAXVALUE 1000", 5000, 201),
        ("ALTER SEQUENCE customers_id_seq MAXVALUE 1000", 1000, 201),
        ("ALTER SEQUENCE customers_id_seq MAXVALUE 1000", 999, 1000),
        (
            "UPDATE customers SET id = -id; ALTER SEQUENCE customers_id_seq INCREMENT -1 MINVALUE -9000 MAXVALUE -1 "
            "START -1 RESTART -201",
            -300,
            -301,
        ),
    ],
)
def test_a_rollback_leaves_the_bot_an_id(empty: URL, numbers: str, given: int, following: int) -> None:
    load_legacy(empty, messages=2000)
    execute(empty, numbers)
    migrate(empty)
    add_business(empty)
    execute(
        empty, f"INSERT INTO customers (id, business_id, whatsapp_id, name) VALUES ({given}, '{OTHER_ID}', '5', 'Ana')"
    )
    migrate(empty, "downgrade", "-1")
    execute(empty, "INSERT INTO customers (whatsapp_id, name, created_at, updated_at) VALUES ('6', 'n', now(), now())")
    assert scalar(empty, "SELECT id FROM customers WHERE whatsapp_id = '6'") == following
    migrate(empty)
    assert scalar(empty, f"SELECT id FROM customers WHERE business_id = '{OTHER_ID}'") == given
