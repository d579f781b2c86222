"""Pytest fixtures for a bot's tests: `pytest_plugins = ["app.tenancy.testing"]` in conftest.py, then use `schema_database`."""

import os
import tempfile
import uuid
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, make_url

from alembic import command
from app.db import command_engine, get_engine
from app.tenancy.embedded import embedded_url
from app.tenancy.environment import alembic_config, get_settings

HERE = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def schema_server() -> Iterator[URL]:
    """The server of TEST_DATABASE_URL, or an embedded one of this test run; never that of DATABASE_URL."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield make_url(given).set(drivername="postgresql+psycopg2")
        return
    with tempfile.TemporaryDirectory(prefix="schema-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # as root, the server runs as another system user
        yield embedded_url(Path(folder) / "data")


@pytest.fixture(scope="session")
def schema_template(schema_server: URL) -> Iterator[URL]:
    """A database that is migrated once, for others to be cloned from."""
    with _database(schema_server) as url:
        config = _history()
        engine = command_engine(url)
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "heads")
        yield url


@pytest.fixture
def schema_database(schema_server: URL, schema_template: URL) -> Iterator[URL]:
    """A database at head of the test's own, which is DATABASE_URL while the test runs."""
    with _database(schema_server, schema_template.database) as url, pytest.MonkeyPatch.context() as patch:
        plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
        patch.setenv("DATABASE_URL", plain)
        _forget_settings()
        yield url
        get_engine().dispose()
    _forget_settings()


def _history() -> Config:
    """The revisions of the project's `alembic.ini`, your own too; those of this package where it runs other ones."""
    first = next(file for folder in (HERE, HERE.parent) for file in folder.glob("*/versions/001_multi_tenant.py"))
    ours = first.parents[1]
    config = alembic_config()
    if Path(ScriptDirectory.from_config(config).dir).resolve() == ours:
        return config
    config = Config(cmd_opts=Namespace(x=[]))
    config.set_main_option("script_location", str(ours).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _forget_settings() -> None:
    get_settings.cache_clear()
    get_engine.cache_clear()


@contextmanager
def _database(server: URL, template: str | None = None) -> Iterator[URL]:
    """A database that is there while the block runs; in UTC, as revision 001 wants it."""
    name = f"schema_{uuid.uuid4().hex[:12]}"
    engine = command_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template or 'template0'}")
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET timezone TO 'UTC'")
        try:
            yield server.set(database=name)
        finally:
            connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
