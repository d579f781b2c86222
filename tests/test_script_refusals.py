"""What a script refuses, and where it stops: the sentence, the exit status, and a database that is as it was."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from app.tenancy.migration.runner import RUNNER_LOCK
from tests.released import SINGLE, WAYS, heads, released, run, state, way
from tests.support import check, current, engine_of, execute, migrate, paste, pipe, psql, script, wait_until

MISFITS = {
    "columns": "ALTER TABLE conversations DROP COLUMN created_at, ALTER message DROP NOT NULL",
    "type": "ALTER TABLE customers ALTER age TYPE text",
    "doubles": "DROP INDEX ix_customers_whatsapp_id; INSERT INTO customers (whatsapp_id, name, created_at, updated_at) "
    "SELECT whatsapp_id, '100%', now(), now() FROM customers LIMIT 1",
    "name taken": "CREATE TABLE users (id int)",
    "time zone": "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone TO %L', current_database(), 'Asia/Tokyo'); END $$",
    "PUBLIC": "GRANT SELECT ON customers TO PUBLIC",
}
HINDRANCES = {
    "foreign key": "CREATE TABLE of_both (b uuid, w varchar(50), CONSTRAINT of_one FOREIGN KEY (b, w) REFERENCES customers (business_id, whatsapp_id))",
    "archive": "CREATE SCHEMA multi_tenant_archive",
    "view": "CREATE VIEW whose AS SELECT business_id FROM customers",
    "memory": "DROP TABLE multi_tenant_rollback",
}


def custom(way: str, url: URL, name: str, revisions: str, *options: str) -> str:
    """Run a script that was written for the occasion."""
    single = () if way == "psql" else (SINGLE,)
    return WAYS[way][0](url, script(name, revisions, *single, *options))


def assert_refused_as_by_alembic(way: str, name: str, url: URL) -> None:
    before = state(url)
    with pytest.raises(CommandError) as refusal:
        migrate(url, *({"upgrade": ("upgrade", "head"), "rollback": ("downgrade", "-1")}[name]))
    said = run(way, name, url)
    assert str(refusal.value) == (said if said.endswith(";") else f"{said}.")
    assert state(url) == before


@way
@pytest.mark.parametrize("misfit", MISFITS)
def test_a_misfit_stops_the_upgrade_with_alembics_sentence(way: str, misfit: str, canonical: URL) -> None:
    execute(canonical, MISFITS[misfit])
    assert_refused_as_by_alembic(way, "upgrade", canonical)


@way
@pytest.mark.parametrize("hindrance", HINDRANCES)
def test_a_hindrance_stops_the_rollback_with_alembics_sentence(way: str, hindrance: str, database: URL) -> None:
    execute(database, HINDRANCES[hindrance])
    assert_refused_as_by_alembic(way, "rollback", database)


@way
@pytest.mark.parametrize(
    ("name", "revisions", "recorded", "path"),
    [
        ("upgrade", "head", "'abc123'", "from revision base to 001, but alembic_version says abc123"),
        ("downgrade", "001:000", "'002'", "from revision 001 to 000, but alembic_version says 002"),
        ("downgrade", "001:000", "'001'), ('x'", "from revision 001 to 000, but alembic_version says 001, x"),
        ("downgrade", "001:000", None, "from revision 001 to 000, but alembic_version says base"),
        ("upgrade", "000:001", None, "from revision 000 to 001, but alembic_version says base"),
    ],
)
def test_another_revision_is_left_alone(
    way: str, name: str, revisions: str, recorded: str | None, path: str, database: URL
) -> None:
    execute(database, "DELETE FROM alembic_version")
    if recorded:
        execute(database, f"INSERT INTO alembic_version VALUES ({recorded})")
    before = state(database)
    assert path in custom(way, database, name, revisions)
    assert state(database) == before


@way
def test_a_database_without_a_version_table_is_not_rolled_back(way: str, canonical: URL) -> None:
    before = state(canonical)
    assert "says base: nothing was changed" in run(way, "rollback", canonical)
    assert state(canonical) == before


@contextmanager
def held(url: URL, sql: str) -> Iterator[None]:
    """Another session's open transaction, in which the statement was run."""
    with engine_of(url).connect() as connection:
        connection.exec_driver_sql(sql)
        yield


@way
def test_one_script_at_a_time(way: str, canonical: URL) -> None:
    before = state(canonical)
    with held(canonical, f"SELECT pg_advisory_lock({RUNNER_LOCK})"):
        assert run(way, "upgrade", canonical).startswith("another migration of this database is running")
    assert state(canonical) == before
    assert run(way, "upgrade", canonical) == ""


@way
def test_a_lock_that_is_not_given_back_is_named_and_the_script_goes_on_later(way: str, canonical: URL) -> None:
    before = state(canonical)
    with held(canonical, "LOCK TABLE customers IN ACCESS SHARE MODE"):
        refused = custom(way, canonical, "upgrade", "head", "lock-wait=0.3")
    kept = "finished steps are kept" if way == "psql" else "nothing was changed"
    assert refused.startswith("gave up after 0.3 s waiting for a lock on customers: pid ")
    assert kept in refused
    if way == "dashboard":
        assert state(canonical) == before
    assert run(way, "upgrade", canonical) == ""
    check(canonical)


@way
def test_a_lock_that_is_given_back_is_waited_for(way: str, canonical: URL) -> None:
    with ThreadPoolExecutor(1) as thread:
        with held(canonical, "LOCK TABLE customers IN ACCESS SHARE MODE"):
            result = thread.submit(run, way, "upgrade", canonical)
            pauses = "datname = current_database() AND wait_event = 'PgSleep'"
            wait_until(canonical, f"EXISTS (SELECT FROM pg_stat_activity WHERE {pauses})")
        assert result.result() == ""
    check(canonical)


def test_psql_stops_at_an_index_that_fails_and_goes_on_later(canonical: URL) -> None:
    execute(
        canonical,
        """CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        IF current_query() LIKE '%CONCURRENTLY ix_conversations_business_id_whatsapp_number_id%' THEN
            RAISE 'not now'; END IF; END $$""",
        "CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION refuse()",
    )
    for _ in range(2):
        assert run("psql", "upgrade", canonical) == "not now"
        assert current(canonical) == "000"
    execute(canonical, "DROP EVENT TRIGGER refuse", "DROP FUNCTION refuse")
    assert run("psql", "upgrade", canonical) == ""
    check(canonical)


@way
def test_neither_way_crosses_an_interrupted_one(way: str, canonical: URL) -> None:
    for name, other, where in (("upgrade", "rollback", "an upgrade"), ("rollback", "upgrade", "a rollback")):
        pieces = heads(released(f"{name}.sql"))
        assert pipe(canonical, pieces[len(pieces) // 2]) == ""
        before = state(canonical)
        assert run(way, other, canonical).startswith(f"{where} of this database was interrupted: finish it")
        assert state(canonical) == before
        assert pipe(canonical, pieces[-1]) == ""


@way
def test_a_dry_run_is_the_checks_alone(way: str, canonical: URL) -> None:
    before = state(canonical)
    assert script("upgrade", "head", "dry-run=yes").rstrip().endswith("ROLLBACK;")
    assert custom(way, canonical, "upgrade", "head", "dry-run=yes") == ""
    assert state(canonical) == before
    execute(canonical, MISFITS["name taken"])
    assert "the name users is taken by a table" in custom(way, canonical, "upgrade", "head", "dry-run=yes")


def test_psqls_script_in_a_dashboard_changes_nothing(canonical: URL) -> None:
    before = state(canonical)
    assert paste(canonical, released("upgrade.sql")).startswith("syntax error")
    assert state(canonical) == before


def test_the_dashboards_script_is_all_or_nothing_in_psql_too(canonical: URL) -> None:
    """Without ON_ERROR_STOP psql runs on after the refusal, to a COMMIT that rolls back."""
    execute(canonical, MISFITS["name taken"])
    before = state(canonical)
    done = psql(canonical, released("upgrade_dashboard.sql"))
    assert "the name users is taken by a table" in done.stderr
    assert state(canonical) == before
