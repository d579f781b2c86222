"""Several migrations of one database at once: one works, the others find nothing to do."""

from contextlib import ExitStack

from sqlalchemy import URL, text

from app.tenancy.migration.runner import RUNNER_LOCK
from tests.support import alembic_process, check, engine_of, psql, rows, scalar, script


def test_eight_upgrades_at_once(canonical: URL) -> None:
    before = rows(canonical, "SELECT count(*), sum(id) FROM conversations")
    with ExitStack() as stack:
        processes = [stack.enter_context(alembic_process(canonical, "upgrade", "head")) for _ in range(8)]
        said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, said
    worked = [text for text in said if "validate fk_conversations_businesses" in text]
    assert len(worked) == 1
    assert rows(canonical, "SELECT count(*), sum(id) FROM conversations") == before
    assert scalar(canonical, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
    check(canonical)


def test_a_script_refuses_while_a_migration_runs(canonical: URL) -> None:
    emitted = script()
    with engine_of(canonical).connect() as other:
        other.execute(text("SELECT pg_advisory_lock(:key)"), {"key": RUNNER_LOCK})
        done = psql(canonical, emitted)
        assert done.returncode != 0
        assert "another migration of this database is running: wait for it, then run this again" in done.stderr
        assert scalar(canonical, "SELECT to_regclass('alembic_version') IS NULL")
    assert psql(canonical, emitted).returncode == 0
    check(canonical)


def test_a_migration_waits_without_holding_a_snapshot(canonical: URL) -> None:
    with engine_of(canonical).connect() as other:
        other.execute(text("SELECT pg_advisory_lock(:key)"), {"key": RUNNER_LOCK})
        with alembic_process(canonical, "upgrade", "head") as process:
            assert process.stderr is not None
            said = iter(process.stderr.readline, "")
            pid = other.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
            who = f"Another migration of this database is running (pid {pid} of user {canonical.username}, since "
            assert any(line.startswith(who) for line in said)
            # A concurrent build would wait for it, if its poll were a transaction that stays open.
            other.commit()
            build = other.execution_options(isolation_level="AUTOCOMMIT")
            build.exec_driver_sql("SET lock_timeout = '30s'")
            build.exec_driver_sql("CREATE INDEX CONCURRENTLY team_own ON conversations (role)")
            assert process.poll() is None
            other.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": RUNNER_LOCK})
            assert process.wait(60) == 0
    check(canonical)
