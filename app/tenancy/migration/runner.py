"""What env.py needs around a run: options, session defaults, one run at a time, errors as sentences."""

import dataclasses
import random
import re
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from alembic.util.exc import CommandError
from psycopg2 import Error as DriverError
from psycopg2.extensions import POLL_OK, POLL_READ, TRANSACTION_STATUS_INERROR, set_wait_callback
from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

from alembic import context
from app.tenancy.environment import alembic_config
from app.tenancy.errors import reason, shown
from app.tenancy.migration.names import ident
from app.tenancy.migration.planted import nothing_planted
from app.tenancy.migration.progress import say
from app.tenancy.migration.state import VERSION_TABLE
from app.tenancy.migration.steps import LOCK_TIMEOUT, Options, literal

RUNNER_LOCK = 0x77615F736368656D
"""Key of the advisory lock that one run holds in its database ("wa_schem")."""

WHO_RUNS = """
    SELECT format(' (pid %%s of user %%s, since %%s)', pid, usename, to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS TZ'))
      FROM pg_locks JOIN pg_stat_activity USING (pid)
     WHERE locktype = 'advisory' AND granted
       AND classid = (%s >> 32)::oid AND objid = (%s & 4294967295)::oid AND objsubid = 1
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""

SESSION_DEFAULTS = (
    # First, for it holds from the next transaction on: under another level a step that waited for its lock would not
    # see what was committed meanwhile.
    ("default_transaction_isolation", "read committed"),
    ("timezone", "UTC"),
    ("lock_timeout", LOCK_TIMEOUT),
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("client_min_messages", "notice"),
    ("standard_conforming_strings", "on"),
    ("quote_all_identifiers", "off"),
    ("plpgsql.extra_errors", "none"),
)
"""Name and value of what every session of a run sets."""

WHERE_KNOWN = (
    # A killed migration's backend would otherwise finish its statement, and hold its locks, without a client.
    # Not to be had on Windows.
    ("client_connection_check_interval", "500ms"),
    ("transaction_timeout", "0"),  # since PostgreSQL 17
    ("citus.multi_shard_modify_mode", "sequential"),  # takes several changes of a distributed table in a transaction
)
"""The same, of what not every server knows."""


def session_defaults(*, local: bool = False) -> str:
    """SQL statements that set the above, once nothing is planted that they could call; without the last semicolon.

    Args:
        local: for the transaction that is open, and no longer.
    """
    word, is_local = ("LOCAL ", "true") if local else ("", "false")
    first, *others = (f"SET {word}{name} = {literal(value)}" for name, value in SESSION_DEFAULTS)
    known = ", ".join(f"[{literal(name)}, {literal(value)}]" for name, value in WHERE_KNOWN)
    where_known = f"""DO $known$
DECLARE
    setting text[];
BEGIN
    FOREACH setting SLICE 1 IN ARRAY ARRAY[{known}] LOOP
        BEGIN
            IF current_setting(setting[1], true) IS NOT NULL THEN
                PERFORM set_config(setting[1], setting[2], {is_local});
            END IF;
        EXCEPTION WHEN invalid_parameter_value THEN NULL;
        END;
    END LOOP;
    -- A role that somebody set for the whole database would hide from its owner what is wrong with it.
    IF EXISTS (SELECT FROM pg_db_role_setting, unnest(setconfig) AS s WHERE setrole = 0 AND s LIKE 'role=%') THEN
        PERFORM set_config('role', 'none', {is_local});
    END IF;
END $known$"""
    return ";\n".join((first, nothing_planted(version_table()), *others, where_known))


FORMS: dict[Any, tuple[str, str]] = {
    bool: ("yes|no", "={} is not yes or no."),
    float: (r"\d{1,5}(\.\d+)?", "={} is not a number of seconds from 0 to 99999."),
    str: (r"(?=.*\S)[^\0]{1,255}", " takes a name of 1 to 255 characters."),
}
"""What a value of `-x` looks like, by the type of the option, and what is said where it does not."""


def is_command() -> bool:
    """Whether this is the `alembic` command itself, whose process ends with the run."""
    return hasattr(context.config.cmd_opts, "raiseerr")


def changes() -> bool:
    """Whether the command moves the database or records a revision; every other one only looks."""
    return _environment().get("destination_rev") is not None


def stamps() -> bool:
    """Whether the command is `alembic stamp`."""
    return isinstance(_environment().get("destination_rev"), tuple)


def compares() -> bool:
    """Whether the command compares the models with the database."""
    return "revision_context" in _environment()


def _environment() -> dict[str, Any]:
    """What the command handed to Alembic's environment."""
    return cast(dict[str, Any], cast(Any, context)._proxy.context_opts)


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


def version_table() -> str:
    """The name of the version table: `version_table` in its section of alembic.ini, else `alembic_version`.

    Outside of a run of Alembic it is that of the project's alembic.ini.

    Raises:
        CommandError: it is not a plain name.
    """
    config = context.config if cast(Any, context)._proxy is not None else alembic_config()
    name = str(config.get_main_option("version_table", VERSION_TABLE))
    if not re.fullmatch("[a-z_][a-z0-9_]{0,62}", name):
        raise refusal(f"version_table = {name} in alembic.ini is not a plain name: use small letters, digits and _.")
    return name


def refuse_pooler(url: URL, source: str) -> None:
    """Stop where the URL goes through Supabase's transaction pooler, in which session state is lost.

    Args:
        url: where the run would connect to.
        source: the setting that holds the URL.

    Raises:
        CommandError: it does.
    """
    if url.port == 6543 and "supabase" in (url.host or ""):
        raise refusal(
            f"{source} goes through Supabase's transaction pooler (port 6543), where a migration is not safe: use "
            "the direct connection (db.<project>.supabase.co:5432) or the session pooler (port 5432 of the same host)."
        )


class _Notices(list[str]):
    """What psycopg2 hands notices to: they go to stderr as they come."""

    def append(self, notice: str) -> None:
        if notice.startswith("NOTICE:"):
            say("  " + " ".join(notice.removeprefix("NOTICE:").strip().splitlines()))


def set_session_defaults(connection: Any, _: object = None, *, commit: bool = True) -> None:
    """Settings of every connection of a run; with SET, for a session pooler refuses startup options."""
    connection.notices = _Notices()
    with connection.cursor() as cursor:
        cursor.execute(session_defaults())
    if commit:
        connection.commit()


@contextmanager
def as_a_run(connection: Connection, single_transaction: bool) -> Iterator[None]:
    """Give a connection that code handed over the settings of a run, and in the end those that it had.

    Raises:
        CommandError: it is not psycopg2's, or it is in a transaction that the run would have to commit.
    """
    if connection.dialect.driver != "psycopg2":
        raise refusal(
            f"The connection that was handed over is {connection.dialect.driver}'s, but this schema migrates through "
            "psycopg2: hand over one of create_engine('postgresql+psycopg2://...')."
        )
    begun = connection.in_transaction()
    if begun and changes() and not single_transaction:
        raise refusal(
            "The connection that was handed over is in a transaction, which this run would have to commit: hand over "
            "one that is in none, or migrate in that one transaction with -x single-transaction=yes."
        )
    raw: Any = connection.connection.dbapi_connection
    notices = raw.notices
    before: tuple[list[str], list[str | None]] = ([], [])
    try:
        with _errors_as_sqlalchemys(connection, raw), raw.cursor() as cursor:
            names = [name for name, _ in (*SESSION_DEFAULTS, *WHERE_KNOWN)]
            cursor.execute(_ASK_SETTINGS, [[*names, "role"]])
            before = cursor.fetchone()
            set_session_defaults(raw, commit=not begun)
        yield
    finally:
        raw.notices = notices
        if not begun and not raw.closed:
            connection.rollback()
            raw.rollback()  # of what SQLAlchemy does not know of
        if not raw.closed and raw.info.transaction_status != TRANSACTION_STATUS_INERROR:
            with _errors_as_sqlalchemys(connection, raw), raw.cursor() as cursor:
                cursor.execute(_RESTORE_SETTINGS, before)
                if not begun:
                    cursor.execute("SELECT pg_advisory_unlock_all()")
                    raw.commit()


_ASK_SETTINGS = """
    SELECT array_agg(name), array_agg(pg_catalog.current_setting(name, true))
      FROM pg_catalog.unnest(%s::text[]) AS name"""
_RESTORE_SETTINGS = """
    SELECT pg_catalog.set_config(name, value, false)
      FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])) AS s (name, value)
     WHERE pg_catalog.current_setting(name, true) IS DISTINCT FROM value"""


@contextmanager
def _errors_as_sqlalchemys(connection: Connection, raw: Any) -> Iterator[None]:
    """Raise an error of a raw cursor as SQLAlchemy would, which `sentence` and whoever called this run know."""
    try:
        yield
    except DriverError as error:
        if lost := bool(raw.closed):
            connection.invalidate(error)
        raise DBAPIError.instance(
            None, None, error, DriverError, hide_parameters=True, connection_invalidated=lost
        ) from error


@contextmanager
def only_one(connection: Connection) -> Iterator[None]:
    """Let one run at a time change the database; the others wait, then find nothing to do, and who looks goes on.

    The lock belongs to the connection that works, so that it lasts as long as the work, and is polled below
    SQLAlchemy in autocommit: Alembic would take an open transaction for somebody else's, and a session that
    waits inside pg_advisory_lock would hold a snapshot, for which the other's CREATE INDEX CONCURRENTLY waits.
    """
    if not changes():
        yield
        return
    raw: Any = connection.connection.dbapi_connection
    begun = connection.in_transaction()
    with _errors_as_sqlalchemys(connection, raw), raw.cursor() as cursor:
        if not begun:
            raw.autocommit = True
        said = False
        take = f"SELECT pg_try_advisory{'_xact' if begun else ''}_lock(%s)"
        while cursor.execute(take, [RUNNER_LOCK]) or not cursor.fetchone()[0]:
            if not said:
                cursor.execute(WHO_RUNS, [RUNNER_LOCK, RUNNER_LOCK])
                who = cursor.fetchone()
                say(f"Another migration of this database is running{who[0] if who else ''}: waiting for it.")
                said = True
            time.sleep(0.2 + random.random() * 0.3)  # noqa: S311
        if not begun:
            raw.autocommit = False
    if not is_command():
        yield
        return
    # libpq would not hear Ctrl-C; not set before, for one is lost on a statement that ends meanwhile.
    set_wait_callback(_wait)
    try:
        yield
    finally:
        set_wait_callback(None)  # COPY does not bear it, in a process that goes on


_interrupts: list[KeyboardInterrupt] = []


def _wait(connection: Any) -> None:
    """Wait for the server as psycopg2's `wait_select` does, and keep in mind that Ctrl-C cancelled a statement."""
    while True:
        try:
            if (state := connection.poll()) == POLL_OK:
                return
            reads, writes = ([connection], []) if state == POLL_READ else ([], [connection])
            select.select(reads, writes, [])
        except KeyboardInterrupt as interrupt:
            _interrupts.append(interrupt)
            connection.cancel()  # the server then ends the statement with an error


def was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C ended the run: as Python says it or, while it waited for the server, as a cancelled statement."""
    here = bool(_interrupts) or isinstance(error, KeyboardInterrupt)
    return here or (error is not None and was_interrupted(error.__context__))


def sentence(error: BaseException, url: URL, source: str = "DATABASE_URL") -> str:
    """A database error as one sentence, without statement, parameters or password.

    Args:
        error: what ended the run.
        url: where the run connected.
        source: what named that URL.
    """
    if not isinstance(error, DBAPIError):  # Alembic's block ended over a connection that was lost
        error = cast(DBAPIError, error.__context__)
    original: Any = error.orig
    message = reason(error)
    code = getattr(original, "pgcode", None)
    if code == "P0001":
        said = str(original.diag.message_primary)
        several = re.match(r"\d+ things stand in the way:\n- ", said)
        said = "\n- ".join(map(shown, said.split("\n- "))) if several else shown(said)
        return said if said.endswith(";") else f"{said}."
    if code == "55P03" and message.startswith("gave up"):
        return f"{message}."
    if code is None and error.connection_invalidated is False and "server closed" not in message:
        place = url.set(drivername="postgresql", query={}).render_as_string()
        return f"Cannot connect to {place} of {source}: {message}."
    if code == "42501" and (denied := re.fullmatch("permission denied for (schema|database) (.+)", message)):
        kind, name = denied.groups()
        privileges = "USAGE, CREATE" if kind == "schema" else "CREATE"
        return (
            f"Role {url.username} may not use {kind} {name}, or not create anything in it: as its owner run "
            f"GRANT {privileges} ON {kind.upper()} {ident(name)} TO {ident(url.username or '')}."
        )
    if code == "25006":
        return (
            f"The database is read-only here ({message}): connect to its primary server, or run ALTER DATABASE "
            f"{ident(url.database or '')} RESET default_transaction_read_only (or ALTER ROLE, where the role sets it)."
        )
    if code == "3F000":
        return (
            "The search_path of this role names no schema that is there: create that schema, or run ALTER DATABASE "
            f"{ident(url.database or '')} RESET search_path (or ALTER ROLE, where the role sets it)."
        )
    if not changes():
        return f"The database refused to answer ({message}): fix the cause and run the same command again."
    again = "finished steps are kept: fix the cause and run the same command again"
    return f"The database refused a step ({message}); {again}."
