"""A real server for the whole run, and databases cloned from templates that were migrated once."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from psycopg.sql import SQL, Composed
from pytest_postgresql.janitor import DatabaseJanitor
from sqlalchemy import URL, Engine, make_url, text
from sqlalchemy.orm import Session

from app.tenancy.embedded import embedded_url
from tests.rollbacks import SHOPS
from tests.support import (
    DEFAULT_ID,
    LEGACY_FORMS,
    engine_of,
    environment,
    execute,
    load_legacy,
    migrate,
    plain,
    rows,
    scalar,
)
from tests.widening import widen

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as nohup and some CI start us: Ctrl-C is tested, too
    signal.signal(signal.SIGINT, signal.default_int_handler)

MEMORY = Path("/dev/shm")  # noqa: S108
FAST = str(MEMORY) if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 << 30 else None
"""Where servers of the tests keep their data: in memory, where there is enough, for databases come and go by the hundred."""

TOKEN_KEY = "q5Fl-zYCrtZ5ZZzyoyO0NsOk9BNmfh6PTpQGqA3FSRk="


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """Neither DATABASE_URL nor keys of whoever runs the tests reach them."""
    with environment(DATABASE_URL=None, ACCESS_TOKEN_KEYS=TOKEN_KEY):
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[URL]:
    """The server under test: TEST_DATABASE_URL, which names a superuser, or an embedded one of this run."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield make_url(given).set(drivername="postgresql+psycopg2")
        return
    with tempfile.TemporaryDirectory(prefix="schema-tests-", dir=FAST, ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        url = embedded_url(Path(folder) / "data")
        # No database outlives the run: nothing needs to reach the disk.
        settings = ("fsync", "full_page_writes", "synchronous_commit", "jit")
        execute(url, *(f"ALTER SYSTEM SET {name} = off" for name in settings), "SELECT pg_reload_conf()")
        yield url


MakeDatabase = Callable[..., URL]


@pytest.fixture(scope="session")
def make_lasting_database(server: URL) -> Iterator[MakeDatabase]:
    """Makes databases that last until the end of the run, empty or cloned from a template."""
    with ExitStack() as stack:
        yield lambda template=None: stack.enter_context(_database(server, template))


@pytest.fixture
def make_database(server: URL) -> Iterator[MakeDatabase]:
    """Makes databases that last until the end of the test, empty or cloned from a template."""
    with ExitStack() as stack:
        yield lambda template=None: stack.enter_context(_database(server, template))


class _Janitor(DatabaseJanitor):
    def _build_create_database_sql(self) -> Composed:
        return super()._build_create_database_sql() + SQL(" STRATEGY FILE_COPY")  # three times as fast, in memory


class _database:  # noqa: N801
    def __init__(self, server: URL, template: URL | None) -> None:
        host = server.query.get("host", server.host)
        self.url = server.set(database=f"test_{uuid.uuid4().hex[:12]}")
        assert isinstance(host, str)
        self.janitor = _Janitor(
            user=server.username or "postgres",
            host=host,
            port=server.port or 5432,
            dbname=self.url.database or "",
            template_dbname=template.database if template else None,
            password=server.password,
        )

    def __enter__(self) -> URL:
        self.janitor.init()
        engine = engine_of(self.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {self.url.database} SET timezone TO 'UTC'"))
            # Else a member of app_tenant that one test makes would stand in the way of another's upgrade.
            connection.execute(text(f"REVOKE CONNECT ON DATABASE {self.url.database} FROM PUBLIC"))
        return self.url

    def __exit__(self, *_: object) -> None:
        self.janitor.drop()


@pytest.fixture(scope="session")
def migrated_template(make_lasting_database: MakeDatabase) -> URL:
    """A fresh database at head."""
    url = make_lasting_database()
    migrate(url)
    return url


@pytest.fixture(scope="session")
def legacy_templates(make_lasting_database: MakeDatabase) -> dict[str, URL]:
    """Both forms of the single-business database, with 2,000 messages each."""
    urls = {form: make_lasting_database() for form in LEGACY_FORMS}
    for form, url in urls.items():
        load_legacy(url, form, 2000)
    return urls


@pytest.fixture
def database(make_database: MakeDatabase, migrated_template: URL) -> URL:
    """A database at head of the test's own."""
    return make_database(migrated_template)


@pytest.fixture
def empty(make_database: MakeDatabase) -> URL:
    """An empty database of the test's own."""
    return make_database()


@pytest.fixture(params=LEGACY_FORMS)
def legacy(request: pytest.FixtureRequest, make_database: MakeDatabase, legacy_templates: dict[str, URL]) -> URL:
    """A single-business database of the test's own, in either form."""
    return make_database(legacy_templates[request.param])


@pytest.fixture
def canonical(make_database: MakeDatabase, legacy_templates: dict[str, URL]) -> URL:
    """A single-business database of the test's own, in the canonical form."""
    return make_database(legacy_templates["canonical"])


@pytest.fixture
def engine(database: URL) -> Engine:
    """An engine on the test's database, at head, as its owner."""
    return engine_of(database)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A session on the test's database, at head, as its owner."""
    with Session(engine) as session:
        yield session


@pytest.fixture
def bot_settings(database: URL) -> Iterator[URL]:
    """The test's database as the one that `app.db` uses."""
    with environment(DATABASE_URL=plain(database)):
        yield database


@pytest.fixture(scope="module")
def own_server(server: URL) -> Iterator[URL]:
    """Another server of the kind under test."""
    with tempfile.TemporaryDirectory(prefix="roles-tests-", dir=FAST, ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        if "TEST_DATABASE_URL" not in os.environ:
            yield embedded_url(Path(folder) / "data")
            return
        binaries = Path(scalar(server, "SELECT setting FROM pg_config WHERE name = 'BINDIR'"))
        if not (binaries / "initdb").exists():
            pytest.skip(
                "the server of TEST_DATABASE_URL is elsewhere, and a second one of its kind cannot be started here"
            )
        user = "postgres" if os.geteuid() == 0 else None
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data, options = f"{folder}/data", f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"

        def run(name: str, *arguments: str) -> None:
            command = [str(binaries / name), "-D", data, *arguments]
            subprocess.run(command, check=True, user=user, cwd="/", stdout=subprocess.DEVNULL, timeout=120)

        run("initdb", "-U", "postgres", "-A", "trust", "-N", "--no-locale", "-E", "UTF8")
        run("pg_ctl", "-w", "-l", f"{folder}/log", "-o", options, "start")
        yield URL.create("postgresql+psycopg2", "postgres", database="postgres", query={"host": folder})
        run("pg_ctl", "-w", "-m", "immediate", "stop")


@pytest.fixture
def make_fresh(own_server: URL) -> Iterator[MakeDatabase]:
    """Makes single-business databases, owned by the superuser, on a server without roles of anybody."""
    names = []

    def make(name: str = "") -> URL:
        names.append(name or f"test_{uuid.uuid4().hex[:8]}")
        execute(own_server, f"CREATE DATABASE {names[-1]}", f"ALTER DATABASE {names[-1]} SET timezone TO 'UTC'")
        url = own_server.set(database=names[-1])
        load_legacy(url)
        return url

    yield make
    for name in names:
        execute(own_server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    for (role,) in rows(own_server, "SELECT quote_ident(rolname) FROM pg_roles WHERE oid >= 16384"):
        execute(own_server, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.fixture
def fresh(make_fresh: MakeDatabase) -> URL:
    """A single-business database on a server without roles of anybody."""
    return make_fresh()


@pytest.fixture
def shops(database: URL) -> URL:
    """Two businesses, each with a number, a customer of the same WhatsApp id, and a message (ids 1 and 2)."""
    execute(database, SHOPS)
    return database


@pytest.fixture(scope="module")
def ready(make_lasting_database: MakeDatabase, migrated_template: URL) -> URL:
    """At head with bigint ids, and nothing in the way but Citus."""
    url = make_lasting_database(migrated_template)
    execute(url, f"INSERT INTO customers (business_id, whatsapp_id, name) VALUES ('{DEFAULT_ID}', '1', 'a')")
    widen(url)
    return url
