"""A run that is killed on its way to or from three nodes is finished by the same command; the bot goes on meanwhile."""

import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from app.db import get_engine, tenant_session
from app.tenancy.queries import last_messages, record_message
from tests.citus import citus_database, distribute, everything, fill, undistribute
from tests.interruptions import connection_lost_before
from tests.support import OTHER_ID, alembic_process, check, environment, plain, rows, scalar, wait_until
from tests.widening import SCALE, widen

pytestmark = pytest.mark.citus

OTHER = UUID(OTHER_ID)
SLOTS = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"


@pytest.fixture(scope="module")
def ready() -> Iterator[URL]:
    """One database for the whole file, on one server in the form that Citus takes; each test brings it back to that."""
    with citus_database(shards=2) as url:
        fill(url)
        widen(url, "upgrade", "distributable")
        yield url


def places(url: URL, direction: tuple[str, ...]) -> list[str]:
    """The statements of an undisturbed run."""
    with connection_lost_before(0, url) as statements:
        widen(url, *direction)
    return [*statements]


THERE, BACK = ("upgrade", "citus"), ("downgrade", "distributable", "writers-wait=yes")


@pytest.mark.parametrize("direction", [THERE, BACK], ids=["there", "back"])
def test_a_lost_connection_before_any_statement(direction: tuple[str, ...], ready: URL) -> None:
    """Each place of the way once, one after the other, on one database: what a run left, the next one finds."""
    before = everything(ready)
    if direction == BACK:
        widen(ready, *THERE)
    statements = places(ready, direction)
    widen(ready, *(BACK if direction == THERE else THERE))
    assert len(statements) > 15
    for place in range(1, len(statements) + 1):
        with connection_lost_before(place, ready) as seen, suppress(CommandError):
            widen(ready, *direction)
        assert everything(ready) == before, seen[-1]
    widen(ready, *direction)
    assert everything(ready) == before
    check(ready)
    assert scalar(ready, SLOTS) == 0
    if direction == THERE:
        widen(ready, *BACK)


@pytest.mark.parametrize("call", ["create_reference_table", "create_distributed_table_concurrently('customers'", "create_distributed_table_concurrently('conversations'", "undistribute_table('conversations'"])  # fmt: skip
@pytest.mark.parametrize("how", ["kill -9", "terminated"])
def test_killed_while_a_table_moves(call: str, how: str, ready: URL) -> None:
    before = everything(ready)
    back = call.startswith("undistribute")
    if back:
        widen(ready, *THERE)
    arguments = ("-x", "writers-wait=yes", "downgrade", "distributable") if back else ("upgrade", "citus")
    quoted = call.replace("'", "''")
    moving = f"EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active' AND query LIKE '%{quoted}%')"
    with alembic_process(ready, *SCALE, *arguments) as process:
        wait_until(ready, moving)
        if how == "kill -9":
            process.send_signal(signal.SIGKILL)
        else:
            rows(ready, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND query LIKE '%{quoted}%'")  # fmt: skip
        process.wait(60)
    wait_until(ready, f"NOT {moving}")
    assert everything(ready) == before
    widen(ready, *(BACK if back else THERE))
    assert everything(ready) == before
    check(ready)
    assert scalar(ready, SLOTS) == 0
    if not back:
        widen(ready, *BACK)


def test_the_bot_goes_on(ready: URL) -> None:
    """Tenant sessions of an engine whose connections are older than the command read and write all the while."""
    stop, failures, written = threading.Event(), list[BaseException](), list[str]()

    def bot(name: int) -> None:
        try:
            while not stop.is_set():
                with tenant_session(OTHER_ID, bind=engine) as session:
                    message = f"wamid.{name}.{len(written)}.{threading.get_ident()}"
                    row, new = record_message(session, business_id=OTHER, whatsapp_id=f"1{name}", message="m", role="user", whatsapp_message_id=message)  # fmt: skip
                    session.commit()
                    assert new
                    assert row.id in {m.id for m in session.scalars(last_messages(OTHER, f"1{name}"))}
                    written.append(message)
        except BaseException as failure:
            failures.append(failure)

    with environment(DATABASE_URL=plain(ready)):
        engine = get_engine()
    threads = [threading.Thread(target=bot, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        distribute(ready)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        engine.dispose()
    assert failures == []
    assert len(written) > 20
    kept = {
        found
        for (found,) in rows(ready, "SELECT whatsapp_message_id FROM conversations WHERE whatsapp_id ~ '^1[0-9]$'")
    }
    assert kept >= set(written)
    undistribute(ready)
    widen(ready, "upgrade", "distributable")
