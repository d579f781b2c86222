"""Behind PgBouncer in transaction mode, on one server connection, two tenants' sessions never see each other."""

import os
import pwd
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from uuid import UUID

import pytest
from sqlalchemy import URL, Engine, select, text

from app.db import make_engine, tenant_session
from app.models import Conversation, Customer
from app.models.base import TenantScopeError
from app.tenancy.queries import record_message
from tests.support import DEFAULT_ID, OTHER_ID, add_business, execute

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed (Debian: apt install pgbouncer)")
A, B = UUID(DEFAULT_ID), UUID(OTHER_ID)
WHO = text("SELECT current_user, current_setting('app.business_id', true)")
CONFIG = """
[databases]
shop = {server} dbname={database} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 1
"""


@pytest.fixture
def login(database: URL) -> Iterator[str]:
    """The recommended login: it owns nothing and is a member of both roles."""
    name = f"bot_{uuid.uuid4().hex[:8]}"
    execute(
        database,
        f"CREATE ROLE {name} LOGIN PASSWORD 'bot'",
        f"GRANT app_tenant, app_service TO {name}",
        f"GRANT CONNECT ON DATABASE {database.database} TO {name}",
    )
    yield name
    execute(database, f"REASSIGN OWNED BY {name} TO CURRENT_USER", f"DROP OWNED BY {name}", f"DROP ROLE {name}")


@pytest.fixture
def pooled(database: URL, login: str, tmp_path: Path) -> Iterator[Engine]:
    """An engine on a pooler of the test's own, which has one connection to the server."""
    add_business(database)
    directory = database.query.get("host", "")
    server = f"host={directory or database.host} port={database.port or 5432} password=bot"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "pgbouncer.ini"
    config.write_text(CONFIG.format(server=server, database=database.database, user=login, port=port))
    command = [str(PGBOUNCER), str(config)]
    if os.geteuid() == 0:  # it refuses to run as root, and the server's socket may be its owner's alone
        owner = pwd.getpwuid(Path(str(directory)).stat().st_uid).pw_name if directory else "nobody"
        command[1:1] = ["-u", "nobody" if owner == "root" else owner]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "process up" in line:
                break
        else:
            pytest.fail("pgbouncer did not start: " + "".join(said))
        drain = Thread(target=process.stderr.read, daemon=True)
        drain.start()
        url = URL.create("postgresql+psycopg2", "anybody", host="127.0.0.1", port=port, database="shop")
        engine = make_engine(url, pool_size=2, max_overflow=0)
        yield engine
        engine.dispose()
        process.terminate()
        drain.join()


def test_both_clients_are_on_one_server_connection(pooled: Engine) -> None:
    """What the other tests rely on: here a session-level setting reaches the other client."""
    with pooled.connect() as one, pooled.connect() as two:
        assert one.connection.dbapi_connection is not two.connection.dbapi_connection
        pid = one.execute(text("SELECT pg_backend_pid()")).scalar()
        one.execute(text("SELECT set_config('app.business_id', 'of one', false)"))
        one.commit()
        assert two.execute(text("SELECT pg_backend_pid()")).scalar() == pid
        assert two.execute(WHO).one()[1] == "of one"
        two.execute(text("RESET ALL"))
        two.commit()


def test_interleaved_sessions_never_see_each_other(pooled: Engine) -> None:
    with tenant_session(A, bind=pooled) as a, tenant_session(B, bind=pooled) as b:
        for n in range(3):
            for session, name in ((a, "of A"), (b, "of B")):
                session.add(Customer(whatsapp_id=f"{n}", name=name))
                session.commit()
                assert {c.name for c in session.scalars(select(Customer))} == {name}
                session.execute(text("UPDATE customers SET age = :n"), {"n": n})
                session.rollback()
                assert session.execute(WHO).one()[0] == "app_tenant"
                with pytest.raises(TenantScopeError):
                    session.execute(text("RESET ROLE"))
                session.rollback()
        with pooled.connect() as neither:  # the login itself is unconfined again, and no scope is left
            assert neither.execute(WHO).one()[1] == ""
            assert neither.execute(text("SELECT count(*) FROM customers WHERE age IS NULL")).scalar() == 6


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
@pytest.mark.parametrize(
    ("statement", "left"),
    [
        ("SET statement_timeout = 77000", "SELECT 1 WHERE current_setting('statement_timeout') = '77s'"),
        ("CREATE TEMP TABLE customers (a int)", "SELECT 1 WHERE to_regclass('pg_temp.customers') IS NOT NULL"),
        ("PREPARE p AS SELECT 1", "SELECT 1 FROM pg_prepared_statements"),
        ("SELECT pg_advisory_lock(1)", "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"),
    ],
)
def test_what_text_leaves_goes_before_the_pooler_gives_the_connection_away(
    pooled: Engine, statement: str, left: str, end: str
) -> None:
    """With the end of the transaction in one message: after it, the server's connection is another client's."""
    with tenant_session(A, bind=pooled) as a, pooled.connect() as other:
        a.execute(text(statement))
        getattr(a, end)()
        assert other.execute(text(left)).all() == []


def test_a_scope_of_one_client_ends_with_its_transaction(pooled: Engine) -> None:
    with tenant_session(A, bind=pooled) as a, pooled.connect() as other:
        a.add(Customer(whatsapp_id="1", name="of A"))
        a.flush()
        with pytest.raises(TenantScopeError):
            a.execute(text("COMMIT; SET ROLE app_service"))
        a.rollback()
        assert other.execute(WHO).one()[0] != "app_service"


def test_two_threads_never_see_each_other(pooled: Engine) -> None:
    faults: list[str] = []

    def work(business: UUID) -> None:
        try:
            for n in range(30):
                with tenant_session(business, bind=pooled) as session:
                    record_message(
                        session,
                        business_id=business,
                        whatsapp_id="573001234567",
                        message=str(business),
                        role="user",
                        whatsapp_message_id=f"wamid.{n}",
                    )
                    session.commit()
                    seen = session.scalars(select(Conversation.message)).all()
                    if set(seen) != {str(business)} or len(seen) != n + 1:
                        faults.append(f"{business} saw {seen}")
        except Exception as error:
            faults.append(repr(error))

    threads = [Thread(target=work, args=(business,)) for business in (A, B)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
