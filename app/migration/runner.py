"""What env.py needs around a run: options, session defaults, one run at a time, errors as sentences."""

import dataclasses
import random
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from alembic.util.exc import CommandError
from psycopg2.extensions import set_wait_callback
from psycopg2.extras import wait_select
from sqlalchemy import URL, Column, Connection, Integer, String
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from alembic import context
from app.migration.steps import LOCK_TIMEOUT, Options

RUNNER_LOCK = 0x77615F736368656D
"""Key of the advisory lock that one run holds in its database ("wa_schem")."""

SESSION_DEFAULTS = (
    # First, for it holds from the next transaction on: under another level a step that waited for its lock would not
    # see what was committed meanwhile.
    "SET default_transaction_isolation = 'read committed'",
    "SET timezone = 'UTC'",
    f"SET lock_timeout = '{LOCK_TIMEOUT}'",
    "SET statement_timeout = 0",
    "SET idle_in_transaction_session_timeout = 0",
    # A killed migration's backend would otherwise finish its statement, and hold its locks, without a client.
    # Not to be had on Windows.
    "DO $$ BEGIN PERFORM set_config('client_connection_check_interval', '500ms', false); "
    "EXCEPTION WHEN invalid_parameter_value THEN NULL; END $$",
    "SET client_min_messages = notice",
    "SET standard_conforming_strings = on",
    "SET quote_all_identifiers = off",
    "SET plpgsql.extra_errors = 'none'",
    # Not known before PostgreSQL 17.
    "DO $$ BEGIN PERFORM set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'; END $$",
)

FORMS: dict[Any, tuple[str, str]] = {
    bool: ("yes|no", "={} is not yes or no."),
    float: (r"\d{1,5}(\.\d+)?", "={} is not a number of seconds from 0 to 99999."),
    str: (r"(?=.*\S)[^\0]{1,255}", " takes a name of 1 to 255 characters."),
}
"""What a value of `-x` looks like, by the type of the option, and what is said where it does not."""

HEADER = """DO $head$
DECLARE
    recorded text;
    attempts int := 20;
BEGIN
    -- Not waited for long: the other run's concurrent index builds would wait for this one's snapshot.
    WHILE NOT pg_try_advisory{scope}_lock({key}) LOOP
        attempts := attempts - 1;
        IF attempts = 0 THEN
            RAISE EXCEPTION 'another migration of this database is running: wait for it, then run this again';
        END IF;
        PERFORM pg_sleep(0.1);
    END LOOP;
    IF to_regclass('alembic_version') IS NOT NULL THEN
        SELECT string_agg(version_num, ', ' ORDER BY version_num) INTO recorded FROM alembic_version;
    END IF;
    recorded := coalesce(recorded, 'base');
    IF recorded NOT IN ({known}) THEN
        RAISE EXCEPTION 'this script leads from revision {first} to {last}, but alembic_version says %: nothing was changed; bring the database to {first} first', recorded;
    END IF;
END $head$;"""


def is_command() -> bool:
    """Whether this is the `alembic` command itself, whose process ends with the run."""
    return hasattr(context.config.cmd_opts, "raiseerr")


def refusal(sentence: str) -> CommandError:
    """The error that ends the run; the alembic command writes it to stdout, where a script goes: here to stderr."""
    if is_command():
        sys.stdout = sys.stderr
    return CommandError(sentence)


def parse_options(arguments: dict[str, str]) -> Options:
    """The `-x key=value` arguments as `Options`.

    Raises:
        CommandError: a key is not known, or a value does not fit.
    """
    fields = {f.name.replace("_", "-"): f for f in dataclasses.fields(Options)}
    values: dict[str, Any] = {}
    for key, value in arguments.items():
        if (field := fields.get(key)) is None:
            raise refusal(f"-x {key} is not an option of this schema: the options are {', '.join(fields)}.")
        pattern, fault = FORMS[field.type]
        if not re.fullmatch(pattern, value, re.DOTALL):
            raise refusal(f"-x {key}" + fault.format(value))
        values[field.name] = value == "yes" if field.type is bool else cast(Any, field.type)(value)
    return Options(**values)


def refuse_pooler(url: URL) -> None:
    """Stop where the URL goes through Supabase's transaction pooler, in which session state is lost.

    Raises:
        CommandError: it does.
    """
    if url.port == 6543 and "supabase" in (url.host or ""):
        raise refusal(
            "DATABASE_URL goes through Supabase's transaction pooler (port 6543), where a migration is not safe: use "
            "the direct connection (db.<project>.supabase.co:5432) or the session pooler (port 5432 of the same host)."
        )


class _Notices(list[str]):
    """What psycopg2 hands notices to: they go to stderr as they come."""

    def append(self, notice: str) -> None:
        if notice.startswith("NOTICE:"):
            print(" ", notice.removeprefix("NOTICE:").strip(), file=sys.stderr, flush=True)


def set_session_defaults(connection: Any, _: object) -> None:
    """Settings of every connection that a run makes; with SET, for a session pooler refuses startup options."""
    connection.notices = _Notices()
    with connection.cursor() as cursor:
        cursor.execute("; ".join(SESSION_DEFAULTS))
    connection.commit()


@contextmanager
def only_one(connection: Connection) -> Iterator[Any]:
    """Let one run at a time change the database; the others wait, then find nothing to do, and who looks goes on.

    Yields the revision that is asked for, None where none is.

    The lock belongs to the connection that works, so that it lasts as long as the work, and is polled below
    SQLAlchemy in autocommit: Alembic would take an open transaction for somebody else's, and a session that
    waits inside pg_advisory_lock would hold a snapshot, for which the other's CREATE INDEX CONCURRENTLY waits.
    """
    try:
        target = context.get_revision_argument()
    except KeyError:  # a command that only looks
        yield None
        return
    raw: Any = connection.connection.dbapi_connection
    raw.autocommit = True
    with raw.cursor() as cursor:
        said = False
        while cursor.execute("SELECT pg_try_advisory_lock(%s)", [RUNNER_LOCK]) or not cursor.fetchone()[0]:
            if not said:
                print("Another migration of this database is running: waiting for it.", file=sys.stderr, flush=True)
                said = True
            time.sleep(0.2 + random.random() * 0.3)  # noqa: S311
        # Half rolled back, the database still says that it is at head, and an upgrade would find nothing to do.
        cursor.execute("SELECT to_regprocedure('single_business_only()') IS NOT NULL")
        if cursor.fetchone()[0] and target in {(head := context.get_head_revision()), (head,)}:
            raise refusal(
                "A rollback of this database was interrupted: finish it with `alembic downgrade -1`, then upgrade."
            )
    raw.autocommit = False
    if is_command():  # libpq would not hear Ctrl-C; not set before, for one is lost on a statement that ends meanwhile
        set_wait_callback(wait_select)
    yield target


def write_header() -> None:
    """The head of a script: session defaults, one run at a time, and the revisions that it is for.

    For psql also: stop at the first error. In a single transaction nothing outlives that.
    """
    migrations = context.get_context()
    write = migrations.impl.static_output
    single = migrations.opts["schema_options"].single_transaction
    local, scope, is_local = ("LOCAL ", "_xact", "true") if single else ("", "", "false")
    write("SET TRANSACTION ISOLATION LEVEL READ COMMITTED;")  # of the transaction that has begun: before any query
    if not local:
        write("\\set ON_ERROR_STOP on\n\\set AUTOCOMMIT on\n\\set SHOW_CONTEXT never\nSET client_encoding = 'UTF8';")
    write("\n".join(f"{s.replace('SET ', f'SET {local}').replace('false', is_local)};" for s in SESSION_DEFAULTS))
    steps = list(migrations._migrations_fn(migrations.get_current_heads(), migrations))  # type: ignore[misc]
    moves = [(i.source_revision_ids, i.destination_revision_ids) for i in (s.info for s in steps) if not i.is_stamp]
    path = [", ".join(revisions) or "base" for move in moves for revisions in move]
    known = ", ".join(f"'{revision}'" for revision in dict.fromkeys(path))
    if path:
        write(HEADER.format(scope=scope, key=RUNNER_LOCK, known=known, first=path[0], last=path[-1]))


def same_type(
    _: object, column: Column[Any], __: object, found: TypeEngine[Any], declared: TypeEngine[Any]
) -> bool | None:
    """For Alembic's compare_type: False where an adopted column's type does what the model's does."""
    alike = any(isinstance(found, family) and isinstance(declared, family) for family in (Integer, String))
    return False if alike and str(column.table) in {"customers", "conversations"} else None


def include_object(item: SchemaItem, name: str | None, kind: str, reflected: bool, compare_to: object) -> bool:
    """A team's own tables, and its own columns and indexes on the adopted tables, are not drift."""
    table = getattr(item, "table", None)
    return not (reflected and compare_to is None and (kind == "table" or str(table) in {"customers", "conversations"}))


def was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C ended the run: as Python says it or, while it waited for the server, as a cancelled statement."""
    here = isinstance(error, KeyboardInterrupt) or getattr(error, "pgcode", None) == "57014"
    return here or (error is not None and was_interrupted(error.__context__))


def sentence(error: BaseException, url: URL) -> str:
    """A database error as one sentence, without statement, parameters or password."""
    if not isinstance(error, DBAPIError):  # Alembic's block ended over a connection that was lost
        error = cast(DBAPIError, error.__context__)
    original: Any = error.orig
    diag = getattr(original, "diag", None)
    lines = (getattr(diag, "message_primary", None) or str(original)).splitlines()
    # Of a failed connection libpq writes a line for each address, and a question after it.
    message = "; ".join(" ".join(line.split()) for line in lines if line.strip() and not line.endswith("?"))
    code = getattr(original, "pgcode", None)
    if code == "P0001" or (code == "55P03" and message.startswith("gave up")):
        return f"{message}."
    if code is None and error.connection_invalidated is False and "server closed" not in message:
        place = url.set(drivername="postgresql", query={}).render_as_string()
        return f"Cannot connect to {place} of DATABASE_URL: {message}."
    if code == "42501" and (denied := re.fullmatch("permission denied for (schema|database) (.+)", message)):
        kind, name = denied.groups()
        return (
            f"Role {url.username} may not create tables in {kind} {name}: as its owner run "
            f"GRANT CREATE ON {kind.upper()} {name} TO {url.username}."
        )
    if code == "25006":
        return (
            f"The database is read-only here ({message}): connect to its primary server, or run ALTER DATABASE "
            f"{url.database} RESET default_transaction_read_only (or ALTER ROLE, where the role sets it)."
        )
    again = "finished steps are kept: mend the cause and run the same command again"
    return f"The database refused a step ({message}); {again}."
