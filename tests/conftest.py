"""A real server for the whole run, and databases cloned from templates that were migrated once."""

import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pytest_postgresql.janitor import DatabaseJanitor
from sqlalchemy import URL, Engine, make_url, text
from sqlalchemy.orm import Session

from app.embedded import embedded_url
from tests.support import FORMS, engine_of, environment, execute, load_legacy, migrate, plain

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as nohup and some CI start us: Ctrl-C is tested, too
    signal.signal(signal.SIGINT, signal.default_int_handler)

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
    with tempfile.TemporaryDirectory(prefix="schema-tests-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        url = embedded_url(Path(folder) / "data")
        # Databases come and go by the hundred, and none outlives the run: nothing needs to reach the disk.
        settings = ("fsync", "full_page_writes", "synchronous_commit")
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


class _database:  # noqa: N801
    def __init__(self, server: URL, template: URL | None) -> None:
        host = server.query.get("host", server.host)
        self.url = server.set(database=f"test_{uuid.uuid4().hex[:12]}")
        assert isinstance(host, str)
        self.janitor = DatabaseJanitor(
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
    urls = {form: make_lasting_database() for form in FORMS}
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


@pytest.fixture(params=FORMS)
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
