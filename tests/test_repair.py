"""`alembic check` and `python -m app.tenancy.repair` as a user runs them: lines, one sentence, exit status."""

import os
import subprocess
import sys
import threading

import pytest
from sqlalchemy import URL, text

from app.tenancy.migration import steps
from app.tenancy.migration.runner import RUNNER_LOCK
from tests.drift import lines, repaired
from tests.support import ROOT, engine_of, execute, migrate, plain, run_alembic, scalar


def run_repair(url: URL, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "app.tenancy.repair", *arguments],
        cwd=ROOT, env={**os.environ, "DATABASE_URL": plain(url)}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_the_check_says_a_line_each_and_one_sentence(database: URL) -> None:
    execute(database, "DROP TRIGGER set_updated_at ON customers", "ALTER TABLE users DROP COLUMN full_name")
    done = run_alembic(database, "check")
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "drift: column users.full_name: missing, expected a column",
        "drift: privilege of app_tenant on column users.full_name: missing, expected SELECT",
        "drift: trigger set_updated_at on customers: missing, expected CREATE TRIGGER set_updated_at BEFORE UPDATE ON customers "
        "FOR EACH ROW EXECUTE FUNCTION set_updated_at()",
        "FAILED: The database differs from the models in 3 places, named above: `python -m app.tenancy.repair` puts right what holds no "
        "data, and says what to do about the rest.",
    ]  # fmt: skip


def test_a_clean_check_says_so(database: URL) -> None:
    done = run_alembic(database, "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "No new upgrade operations detected" in done.stdout


def test_repair_says_what_it_did_and_what_it_did_not(database: URL) -> None:
    execute(database, "DROP TRIGGER set_updated_at ON customers", "ALTER TABLE users ALTER full_name TYPE text")
    done = run_repair(database)
    assert done.returncode == 1
    assert [line.split(":")[0] + ":" + line.split(":")[1] for line in done.stdout.splitlines()] == [
        "fixed: trigger set_updated_at on customers", "not fixed: column users.full_name",
    ]  # fmt: skip
    assert done.stdout.rstrip().endswith(
        'ALTER TABLE users ALTER COLUMN "full_name" TYPE character varying(255), which can rewrite the table: in a quiet hour'
    )
    execute(database, 'ALTER TABLE users ALTER COLUMN "full_name" TYPE character varying(255)')
    again = run_repair(database)
    assert (again.returncode, again.stdout) == (0, "Nothing to repair.\n")


def test_a_dry_run_changes_nothing(database: URL) -> None:
    execute(database, "DROP POLICY app_tenant ON customers", "ALTER TABLE users ALTER full_name TYPE text")
    before = lines(database)
    status, said = repaired(database, "--dry-run")
    assert status == 1
    assert [line.split(": ")[0] for line in said.splitlines()] == ["would fix", "not fixed"]
    assert lines(database) == before


def test_everything_at_once(database: URL) -> None:
    """What create_all and a restore without roles leave: tables, and nothing that protects them."""
    execute(
        database,
        "DROP FUNCTION current_business_id() CASCADE",
        "DROP FUNCTION set_updated_at() CASCADE",
        "DO $$ DECLARE t text; BEGIN FOR t IN SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace LOOP "
        "EXECUTE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY; REVOKE ALL ON %1$I FROM app_tenant, app_service; GRANT ALL ON %1$I TO PUBLIC', t); "
        "END LOOP; FOR t IN SELECT format('DROP POLICY %I ON %s', polname, polrelid::regclass) FROM pg_policy LOOP EXECUTE t; END LOOP; "
        "FOR t IN SELECT format('DROP INDEX %s', indexrelid::regclass) FROM pg_index JOIN pg_class ON oid = indrelid WHERE relnamespace = "
        "'public'::regnamespace AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid) LOOP EXECUTE t; END LOOP; END $$",
    )
    status, said = repaired(database)
    assert (status, lines(database)) == (0, []), said


def test_repair_waits_for_a_migration_and_for_locks(database: URL) -> None:
    """The runner's lock first, then the table's: the bot's transaction is neither ended nor made to wait."""
    execute(database, "ALTER TABLE customers DISABLE ROW LEVEL SECURITY")
    outcome: list[tuple[int, str]] = []
    with engine_of(database).connect() as other, engine_of(database).connect() as bot:
        other.execute(text(f"SELECT pg_advisory_lock({RUNNER_LOCK})"))
        bot.execute(text("SELECT * FROM customers"))
        thread = threading.Thread(target=lambda: outcome.append(repaired(database)))
        thread.start()
        other.execute(text(f"SELECT pg_advisory_unlock({RUNNER_LOCK})"))
        other.commit()
        bot.execute(text("INSERT INTO customers (whatsapp_id, name) VALUES ('1', 'Ana')"))
        bot.commit()
        thread.join(timeout=60)
    assert outcome[0][0] == 0, outcome
    assert lines(database) == []
    assert scalar(database, "SELECT count(*) FROM customers") == 1


def test_a_lock_that_is_not_to_be_had_is_named(database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(database, "ALTER TABLE customers DISABLE ROW LEVEL SECURITY", "COMMENT ON TABLE users IS NULL")
    monkeypatch.setattr(steps, "LOCK_TIMEOUT", "20ms")
    with engine_of(database).connect() as bot:
        bot.execute(text("LOCK TABLE customers IN ROW EXCLUSIVE MODE"))
        status, said = repaired(database, "--lock-wait", "0.1")
    assert status == 1
    assert "fixed: table users: comment expected" in said
    assert (
        "not fixed: table customers: row level security expected on, found off; gave up after 0.1 s waiting for a lock on customers"
        in said
    )


def test_only_the_newest_revision_is_repaired(canonical: URL) -> None:
    migrate(canonical, "upgrade", "000")
    status, said = repaired(canonical)
    assert (status, said) == (
        1, "The database is at 000, and only the newest revision is repaired: run alembic upgrade head first.\n"
    )  # fmt: skip
    migrate(canonical)
    assert repaired(canonical) == (0, "Nothing to repair.\n")


def test_two_checks_at_once_do_not_disturb_each_other(database: URL) -> None:
    from app.tenancy.declared import declared
    from app.tenancy.migration import drift

    engine = engine_of(database)
    with engine.connect() as first, engine.connect() as second:
        assert drift.find_drift(first, declared()).drifts == []
        assert drift.find_drift(second, declared()).drifts == []  # while the first is in its transaction


def test_the_check_leaves_nothing_behind(database: URL) -> None:
    schemas = (
        "SELECT string_agg(nspname || nspowner || coalesce(nspacl::text, ''), ',' ORDER BY nspname) FROM pg_namespace"
    )
    before = scalar(database, schemas)
    assert run_alembic(database, "check").returncode == 0
    assert scalar(database, schemas) == before


NEW_IN_18 = {
    "ALTER TABLE customers ALTER name DROP NOT NULL, ADD CONSTRAINT n NOT NULL name NOT VALID": "column customers.name: nullability "
    "expected NOT NULL, found NOT NULL, not valid",
    "ALTER TABLE customers ALTER CONSTRAINT fk_customers_businesses NOT ENFORCED": "constraint fk_customers_businesses on customers: "
    "definition expected FOREIGN KEY",
    "ALTER TABLE users DROP CONSTRAINT ck_users_password_hash_is_a_hash, ADD CONSTRAINT ck_users_password_hash_is_a_hash "
    "CHECK (password_hash <> '') NOT ENFORCED": "constraint ck_users_password_hash_is_a_hash on users: definition expected CHECK",
}


@pytest.mark.parametrize("statement", NEW_IN_18)
def test_what_postgresql_18_can_leave_unproved(statement: str, database: URL) -> None:
    if scalar(database, "SHOW server_version_num") < "180000":
        pytest.skip("from PostgreSQL 18 on")
    execute(database, statement)
    assert [line for line in lines(database) if line.startswith(NEW_IN_18[statement])], lines(database)
    assert repaired(database)[0] == 0
    assert lines(database) == []
