"""Up and down: every row is there, and the single-business bot gets exactly its database back."""

import pytest
from sqlalchemy import URL

from tests.conftest import MakeDatabase
from tests.support import (
    DEFAULT_ID,
    OTHER_ID,
    add_business,
    catalogue,
    check,
    execute,
    load_legacy,
    migrate,
    pg_dump,
    rows,
    scalar,
    state,
)

OLD_COLUMNS = {
    "customers": "id, whatsapp_id, name, age, created_at::timestamptz, updated_at::timestamptz",
    "conversations": "id, whatsapp_id, message, role, timestamp::timestamptz, created_at::timestamptz",
}


def fingerprint(url: URL, table: str) -> object:
    columns = OLD_COLUMNS[table]
    return rows(url, f"SELECT count(*), md5(string_agg(md5(({columns})::text), '' ORDER BY id)) FROM {table}")


def test_001_every_row_is_there_and_belongs_to_the_default_business(legacy: URL) -> None:
    before = {table: fingerprint(legacy, table) for table in OLD_COLUMNS}
    migrate(legacy)
    assert {table: fingerprint(legacy, table) for table in OLD_COLUMNS} == before
    for table in OLD_COLUMNS:
        assert rows(legacy, f"SELECT DISTINCT business_id::text FROM {table}") == [(DEFAULT_ID,)]
    check(legacy)


def test_canonical_comes_back_as_pg_dump_wrote_it_down(make_database: MakeDatabase) -> None:
    url = make_database()
    load_legacy(url, "canonical", 20_000)
    before = pg_dump(url)
    migrate(url)
    migrate(url, "downgrade", "-1")
    assert pg_dump(url) == before


def test_supabase_comes_back_but_for_index_names(make_database: MakeDatabase) -> None:
    url = make_database()
    load_legacy(url, "supabase", 20_000)
    before, data = catalogue(url), pg_dump(url, "--data-only")
    migrate(url)
    migrate(url, "downgrade", "-1")
    after = catalogue(url)
    kept = ("table ", "column ", "function ", "privilege ", "policy ", "trigger ")
    ignored = "alembic_version"
    assert {k: v for k, v in after.items() if k[0].startswith(kept) and ignored not in k[0]} == {
        k: v for k, v in before.items() if k[0].startswith(kept)
    }
    assert pg_dump(url, "--data-only") == data
    assert scalar(url, "SELECT data_type FROM information_schema.columns WHERE column_name = 'timestamp'") == (
        "timestamp with time zone"
    )


@pytest.mark.parametrize("times", [1, 2])
def test_check_is_clean_after_up_down_up(legacy: URL, times: int) -> None:
    migrate(legacy)
    for _ in range(times):
        migrate(legacy, "downgrade", "-1")
        migrate(legacy)
    check(legacy)


def test_000_adopts_a_live_database_as_it_is(legacy: URL) -> None:
    before, data = catalogue(legacy), pg_dump(legacy, "--data-only")
    migrate(legacy, "upgrade", "000")
    assert {k: v for k, v in catalogue(legacy).items() if "alembic_version" not in k[0]} == before
    assert pg_dump(legacy, "--data-only") == data


def test_fresh_database_goes_up_and_down_without_a_trace(empty: URL) -> None:
    migrate(empty, "upgrade", "000")
    before = pg_dump(empty)
    migrate(empty)
    check(empty)
    migrate(empty, "downgrade", "-1")
    assert pg_dump(empty) == before
    migrate(empty, "downgrade", "base")
    assert {name for name, _ in catalogue(empty) if "alembic_version" not in name} == set()


@pytest.mark.parametrize(
    ("command", "revision", "x"),
    [("upgrade", "000", ()), ("upgrade", "head", ()), ("downgrade", "base", ("drop-data=yes",)), ("stamp", "base", ())],
)
def test_a_dry_run_changes_nothing(canonical: URL, command: str, revision: str, x: tuple[str, ...]) -> None:
    if command != "upgrade":
        migrate(canonical, "upgrade", "000")
    before = state(canonical, *OLD_COLUMNS)
    migrate(canonical, command, revision, "dry-run=yes", *x)
    assert state(canonical, *OLD_COLUMNS) == before


@pytest.mark.parametrize(
    "unique",
    [
        "CREATE UNIQUE INDEX own ON customers (whatsapp_id) INCLUDE (name)",
        "ALTER TABLE customers ADD UNIQUE (whatsapp_id)",
    ],
)
def test_any_unique_key_on_whatsapp_id_makes_way_for_one_per_business(canonical: URL, unique: str) -> None:
    execute(canonical, unique)
    migrate(canonical)
    add_business(canonical)
    execute(
        canonical,
        f"INSERT INTO customers (business_id, whatsapp_id, name) SELECT '{OTHER_ID}', whatsapp_id, name FROM customers",
    )
    migrate(canonical, "downgrade", "-1")
    migrate(canonical)
    check(canonical)
