"""A widening that is killed, or held up, anywhere is finished by the same command; the bot goes on in between."""

import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL, text
from sqlalchemy.orm import Session

from app.models import DEFAULT_BUSINESS_ID, Customer
from tests.conftest import MakeDatabase
from tests.interruptions import connection_lost_before
from tests.support import alembic_process, engine_of, execute, load_legacy, migrate, paste, scalar, wait_until
from tests.widening import SCALE, TEAM, definition, leftovers, sequences, types, values, widen

INSERT = "INSERT INTO customers (whatsapp_id, name, created_at, updated_at) VALUES ('{}', 'new', now(), now())"
COPYING = "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '--%DO $copy$%')"


@pytest.fixture(scope="module")
def small(make_lasting_database: Any) -> URL:
    """A single-business database with a few rows and all that a team may add."""
    url: URL = make_lasting_database()
    load_legacy(url, messages=40)
    execute(url, TEAM.replace("1 + g % 200, 1 + g FROM generate_series(1, 300)", "1, g FROM generate_series(1, 30)"))
    return url


@pytest.fixture(scope="module")
def begun(make_lasting_database: Any, small: URL) -> URL:
    """The same, its widening ended before the first copy."""
    url: URL = make_lasting_database(small)
    with connection_lost_before("DO $copy$", url), pytest.raises(CommandError):
        widen(url)
    return url


def everything(url: URL) -> tuple[list[str], object, object]:
    return definition(url), sequences(url), values(url)


@pytest.mark.parametrize("part", range(3))
def test_a_lost_connection_before_any_statement(part: int, small: URL, make_database: MakeDatabase) -> None:
    before = everything(small)
    undisturbed = make_database(small)
    with connection_lost_before(0, undisturbed) as statements:
        widen(undisturbed)
    assert len(statements) > 20
    for place in range(1 + part, len(statements) + 1, 3):
        url = make_database(small)
        with connection_lost_before(place, url), pytest.raises(CommandError, match="run the same command again"):
            widen(url)
        # The bot, and a session in which ordinary triggers do not fire.
        execute(url, INSERT.format("between"), "UPDATE customers SET name = name || '!' WHERE id = 2")
        replica = "SET session_replication_role = replica"
        execute(url, f"{replica}; {INSERT.format('replica')}; UPDATE customers SET age = 30 WHERE id = 3")
        rows = values(url)["customers"]
        widen(url)
        assert values(url)["customers"] == rows, statements[place - 1]
        assert definition(url) == before[0], statements[place - 1]
        assert leftovers(url) == []


@pytest.mark.parametrize(
    ("opening", "held_up"),
    [
        ("SELECT FROM customers WHERE id = 2 FOR UPDATE", COPYING),
        (
            "LOCK conversations IN ROW EXCLUSIVE MODE",
            "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'DO $step%' "
            "AND wait_event_type IN ('Lock', 'Timeout'))",
        ),
        (
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1",
            "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
            "AND query LIKE 'CREATE UNIQUE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock')",
        ),
    ],
    ids=["while it copies", "in a step", "in a concurrent build"],
)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process(
    opening: str, held_up: str, how: signal.Signals, small: URL, begun: URL, make_database: MakeDatabase
) -> None:
    url = make_database(begun)
    before = everything(small)
    with engine_of(url).connect() as other:
        other.exec_driver_sql(opening)
        with alembic_process(url, *SCALE, "upgrade", "bigint") as process:
            wait_until(url, held_up)
            process.send_signal(how)
            said = process.communicate(timeout=20)[1]
        if how is signal.SIGINT:
            assert process.returncode == 130
            assert said.splitlines()[-1] == "Interrupted: finished steps are kept; run the same command again."
    widen(url)
    assert everything(url) == before
    assert leftovers(url) == []


def test_two_at_once(small: URL, make_database: MakeDatabase) -> None:
    url = make_database(small)
    before = everything(url)
    with (
        alembic_process(url, *SCALE, "upgrade", "bigint") as one,
        alembic_process(url, *SCALE, "upgrade", "bigint") as two,
    ):
        said = one.communicate(timeout=60)[1], two.communicate(timeout=60)[1]
    assert (one.returncode, two.returncode) == (0, 0), said
    assert everything(url) == before


def test_a_locked_row_makes_nobody_wait(begun: URL, make_database: MakeDatabase) -> None:
    """The copy passes over it, holds nothing while it waits, and says who has it when it gives up."""
    url = make_database(begun)
    with ThreadPoolExecutor(1) as pool, engine_of(url).connect() as other:
        other.exec_driver_sql("SELECT FROM customers WHERE id = 2 FOR UPDATE")
        done = pool.submit(widen, url)
        wait_until(url, COPYING)
        execute(url, "SET lock_timeout = '100ms'; UPDATE customers SET age = 40 WHERE id <> 2")
        other.rollback()
        done.result()
    assert types(url) == ["bigint", "bigint"]
    url = make_database(begun)
    with engine_of(url).connect() as other:
        other.exec_driver_sql("SELECT FROM customers WHERE id = 2 FOR UPDATE")
        with pytest.raises(
            CommandError, match=r"^gave up after 0.2 s waiting for a lock on customers: pid \d+ of user"
        ):
            widen(url, "upgrade", "bigint", "lock-wait=0.2")
    widen(url)
    assert types(url) == ["bigint", "bigint"]


def test_the_bot_goes_on(make_database: MakeDatabase, legacy_templates: dict[str, URL]) -> None:
    """Its inserts, its ORM with RETURNING, its updates and its SELECT * run all the time, and each row has its id."""
    url = make_database(legacy_templates["canonical"])
    migrate(url)
    finished = Event()

    def bot(name: str) -> list[int]:
        ids: list[int] = []
        with Session(engine_of(url)) as session:
            while not finished.is_set():
                customer = Customer(business_id=DEFAULT_BUSINESS_ID, whatsapp_id=f"{name}{len(ids)}", name="new")
                session.add(customer)
                session.commit()
                ids.append(customer.id)
                session.execute(
                    text("UPDATE customers SET name = name || '.' WHERE id = :id"), {"id": 1 + len(ids) % 200}
                )
                session.execute(text("SELECT * FROM conversations ORDER BY timestamp DESC LIMIT 3"))
                session.commit()
        return ids

    with ThreadPoolExecutor(2) as pool:
        bots = [pool.submit(bot, name) for name in ("a", "b")]
        try:
            widen(url)
        finally:
            finished.set()
        ids = [number for each in bots for number in each.result()]
    assert len(ids) > 20
    assert len(set(ids)) == len(ids)
    assert scalar(url, "SELECT count(*) FROM customers WHERE name = 'new' OR name LIKE 'new.%'") == len(ids)
    assert types(url) == ["bigint", "bigint"]


def test_nobody_gains_a_right_on_the_way(small: URL, make_database: MakeDatabase) -> None:
    """What is granted on the wide column while it is beside the narrow one does not outlive it."""
    url = make_database(small)
    privileges = "SELECT attacl::text FROM pg_attribute WHERE attrelid = 'customers'::regclass AND attname = 'id'"
    execute(url, "GRANT SELECT (id), INSERT (id) ON customers TO PUBLIC")
    granted = scalar(url, privileges)
    with connection_lost_before("DO $copy$", url), pytest.raises(CommandError):
        widen(url)
    wide = privileges.replace("'id'", "'id_widened'")
    assert scalar(url, wide) == granted
    execute(url, "GRANT UPDATE (id_widened) ON customers TO PUBLIC", "REVOKE INSERT (id) ON customers FROM PUBLIC")
    granted = scalar(url, privileges)
    widen(url)
    assert scalar(url, privileges) == granted


def test_what_is_added_meanwhile_comes_along(small: URL, make_database: MakeDatabase) -> None:
    url = make_database(small)
    with connection_lost_before(14, url), pytest.raises(CommandError):
        widen(url)
    execute(url, "CREATE INDEX late ON conversations (id, role)", "CREATE TABLE notes (of bigint REFERENCES customers)")
    before = everything(url)
    widen(url)
    after = everything(url)
    assert [line for line in after[0] if "late" in line or "notes" in line] == [
        line for line in before[0] if "late" in line or "notes" in line
    ]
    assert paste(url, "INSERT INTO notes VALUES (0)").startswith("insert or update on table")
