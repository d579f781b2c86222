"""After a lost connection before any statement, or a killed process, the same command finishes the job."""

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from app.tenancy.migration import runner
from app.tenancy.migration.runner import RUNNER_LOCK
from app.tenancy.report import report
from tests.conftest import MakeDatabase
from tests.interruptions import OTHER_ROWS, connection_lost_before, state
from tests.support import (
    add_business,
    alembic_process,
    check,
    engine_of,
    execute,
    load_legacy,
    migrate,
    paste,
    pipe,
    scalar,
    script,
    wait_until,
)


@pytest.fixture(scope="module")
def legacy_small(make_lasting_database: Any) -> URL:
    """A single-business database with a few rows."""
    url: URL = make_lasting_database()
    load_legacy(url, messages=30)
    return url


@pytest.fixture(scope="module")
def many_businesses(make_lasting_database: Any, legacy_small: URL) -> URL:
    """At head, with rows of another business and links of own messages."""
    url: URL = make_lasting_database(legacy_small)
    migrate(url)
    add_business(url)
    execute(url, OTHER_ROWS)
    return url


@pytest.fixture(scope="module")
def archived(make_lasting_database: Any, many_businesses: URL) -> URL:
    """Rolled back to one business, with the archive beside it."""
    url: URL = make_lasting_database(many_businesses)
    migrate(url, "downgrade", "-1")
    return url


@pytest.mark.parametrize(
    ("start", "command", "revision"),
    [("legacy_small", "upgrade", "head"), ("archived", "upgrade", "head"), ("many_businesses", "downgrade", "000")],
    ids=["upgrade", "upgrade with an archive", "downgrade to an archive"],
)
def test_lost_connection_before_any_statement(
    start: str, command: str, revision: str, request: pytest.FixtureRequest, make_database: MakeDatabase
) -> None:
    template: URL = request.getfixturevalue(start)
    undisturbed = make_database(template)
    with connection_lost_before(0, undisturbed) as statements:
        migrate(undisturbed, command, revision)
    expected = state(undisturbed)
    assert len(statements) > 8
    for place in range(1, len(statements) + 1):
        url = make_database(template)
        with connection_lost_before(place, url) as seen, pytest.raises(CommandError) as refusal:
            migrate(url, command, revision)
        assert len(seen) == place
        assert "\n" not in str(refusal.value)
        assert "run the same command again" in str(refusal.value)
        migrate(url, command, revision)
        assert state(url) == expected, seen[-1]


@pytest.mark.parametrize(
    ("opening", "held_up"),
    [
        ("SELECT FROM conversations", "query LIKE 'DO $step$%' AND wait_event_type IN ('Lock', 'Timeout')"),
        (
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1",
            "query LIKE 'CREATE INDEX CONC%' AND wait_event_type = 'Lock'",
        ),
    ],
    ids=["in a step", "in a concurrent build"],
)
def test_killed_process(opening: str, held_up: str, legacy_small: URL, make_database: MakeDatabase) -> None:
    undisturbed, url = make_database(legacy_small), make_database(legacy_small)
    migrate(undisturbed)
    ours = "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND {})"
    with engine_of(url).connect() as other:
        other.exec_driver_sql(opening)
        with alembic_process(url, "upgrade", "head") as process:
            wait_until(url, ours.format(held_up))
            process.send_signal(signal.SIGKILL)
        # The other transaction is still open: what was killed does not go on when it ends.
        wait_until(url, "NOT " + ours.format("(query LIKE 'DO $step$%' OR query LIKE 'CREATE INDEX%')"))
    migrate(url)
    assert state(url) == state(undisturbed)


@pytest.mark.parametrize(
    ("opening", "held_up"),
    [
        ("LOCK conversations IN SHARE MODE", "query LIKE 'DO $step$%' AND wait_event_type IN ('Lock', 'Timeout')"),
        (
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1",
            "query LIKE 'CREATE INDEX CONC%' AND wait_event_type = 'Lock'",
        ),
        (f"SELECT pg_advisory_lock({RUNNER_LOCK})", "query LIKE 'SELECT pg_try_advisory_lock%'"),
    ],
    ids=["in a step", "in a concurrent build", "behind another migration"],
)
def test_ctrl_c_ends_the_run_with_a_sentence(
    opening: str, held_up: str, legacy_small: URL, make_database: MakeDatabase
) -> None:
    url = make_database(legacy_small)
    with engine_of(url).connect() as other:
        other.exec_driver_sql(opening)
        with alembic_process(url, "upgrade", "head") as process:
            wait_until(url, f"EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND {held_up})")
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=10)[1]
    assert process.returncode == 130
    assert said.splitlines()[-1] == "Interrupted: finished steps are kept; run the same command again."
    assert "Traceback" not in said
    migrate(url)
    check(url)


def test_an_interrupted_upgrade_is_finished_before_it_is_rolled_back(
    legacy_small: URL, make_database: MakeDatabase
) -> None:
    url = make_database(legacy_small)

    def says(line: str) -> bool:
        with engine_of(url).connect() as connection:
            return f"state:            {line}" in report(connection)

    with engine_of(url).connect() as other:
        other.exec_driver_sql("LOCK conversations IN SHARE MODE")
        with pytest.raises(CommandError, match="gave up"):
            migrate(url, "upgrade", "head", "lock-wait=0.1")
    assert says("an upgrade was interrupted: finish it with alembic upgrade head")
    before = state(url)
    for target, *options in (("-1",), ("base",), ("base", "drop-data=yes")):
        with pytest.raises(
            CommandError, match=r"^an upgrade .+ finish it with alembic upgrade head, then roll back\.$"
        ):
            migrate(url, "downgrade", target, *options)
    assert state(url) == before
    migrate(url)
    assert says("no migration was interrupted")
    with connection_lost_before(11, url), pytest.raises(CommandError):
        migrate(url, "downgrade", "-1")
    assert says("a rollback was interrupted: finish it with alembic downgrade 000")
    migrate(url, "downgrade", "-1")
    assert says("no migration was interrupted")


def test_settings_of_a_database_do_not_end_the_run(legacy_small: URL, make_database: MakeDatabase) -> None:
    settings = {"quote_all_identifiers": "on", "plpgsql.extra_errors": "all"}
    if scalar(legacy_small, "SELECT EXISTS (SELECT FROM pg_settings WHERE name = 'transaction_timeout')"):
        settings["transaction_timeout"] = "300ms"
    runs: list[Callable[[URL], object]] = [
        migrate,
        lambda url: pipe(url, script("upgrade", "head", "lock-wait=5")),
        lambda url: paste(url, script("upgrade", "head", "single-transaction=yes")),
    ]
    for run in runs:
        url = make_database(legacy_small)
        alter = f"ALTER DATABASE {url.database} SET {{}} TO '{{}}'"
        execute(url, *(alter.format(*setting) for setting in settings.items()))
        with ThreadPoolExecutor(1) as pool:
            with engine_of(url).connect() as other:
                other.exec_driver_sql(
                    "SELECT set_config(name, '0', false) FROM pg_settings WHERE name ~ '^trans.*_timeout'"
                )
                other.commit()
                other.exec_driver_sql("LOCK customers IN SHARE MODE")
                done = pool.submit(run, url)
                time.sleep(1)
            assert not done.result()
        check(url)


def test_ctrl_c_in_a_process_that_runs_alembic_is_its_own(empty: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bot that migrates when it starts is not ended by the migration: it hears the interrupt itself."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "refuse_pooler", interrupt)
    with pytest.raises(KeyboardInterrupt):
        migrate(empty)
