"""What confines a connection to one business: where a transaction begins, before each statement, and at the end.

A connection with the execution option `SCOPE` is confined wherever a transaction begins on it. Row level security
protects; what is here keeps the connection in the role and the business that row level security counts on.

Importing this module makes `TenantConnection` the class of every psycopg2 connection that SQLAlchemy opens in the
process: those of `app.db`, of Alembic and of any engine of the bot's own. Without the option it is psycopg2's own
connection in all that it does. An engine that names a `connection_factory` keeps that.
"""

from collections.abc import Callable
from functools import cache
from typing import Any
from uuid import UUID
from weakref import WeakSet

from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INTRANS
from psycopg2.extensions import connection as PlainConnection  # noqa: N812
from psycopg2.extensions import cursor as PlainCursor  # noqa: N812
from sqlalchemy import Connection, Delete, Engine, Table, Update, event, func, select
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DBAPIError

from app.models.base import TenantScopeError
from app.tenancy.statements import is_text, may_write

SCOPE = "app_scope"
"""Execution option: the `Confinement` that every transaction of the connection is confined to."""

STATEMENTS = "app_statements"
"""Execution option: True where no transaction is opened, and every statement is one by itself that only reads."""

READ_ONLY = "SET LOCAL transaction_read_only = on"
"""In a message with another statement: the server refuses to write. A construct that can only read needs it not."""

CLEAN = (
    "CLOSE ALL; RESET ROLE; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; DEALLOCATE ALL; UNLISTEN *; "
    "SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES"
)
"""What DISCARD ALL does, in a form that may share a message with COMMIT: a pooler gives the connection away after it."""

ASK_CITUS = "; SELECT pg_catalog.current_setting('citus.version', true)"
"""Follows the first beginning of a connection, in the same message."""

NOT_CONFINED = (
    "The transaction is not confined to the tenant session's business, for it was ended beneath the session: "
    "roll back, and use the session's own commit and rollback."
)
LEFT_SCOPE = (
    "SQL that was written as text left the business that the tenant session is bound to: roll back, and use a session "
    "of SessionLocal for work beyond one business."
)
CANNOT_JOIN = (
    "A tenant session cannot join a transaction that it did not begin: commit or roll back what the connection is in, "
    'or leave out join_transaction_mode, or set it to "create_savepoint".'
)


class Confinement:
    """One business, as what its transactions begin with; every tenant session has one of its own."""

    def __init__(self, business_id: UUID) -> None:
        self.business_id = business_id
        self.sql = (
            # Citus passes the business on to its workers only then; elsewhere it is a name that nobody reads.
            "SET LOCAL citus.propagate_set_commands = local; "
            f"SET LOCAL ROLE app_tenant; SET LOCAL app.business_id = '{business_id}'"
        )
        self.connections_begun: WeakSet[Connection] = WeakSet()
        """Where the session's transaction runs: one more that begins there began beneath the session."""


class WatchedCursor(PlainCursor):
    """A cursor that tells its connection when it is used in a scope without SQLAlchemy."""

    connection: "TenantConnection"

    def execute(self, query: Any, vars: Any = None) -> None:
        self.connection.watch(self)
        super().execute(query, vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        self.connection.watch(self)
        super().executemany(query, vars_list)

    def callproc(self, procname: Any, parameters: Any = None) -> None:
        self.connection.watch(self)
        super().callproc(procname, parameters)

    def copy_expert(self, *args: Any, **kwargs: Any) -> None:
        self.connection.watch(self)
        super().copy_expert(*args, **kwargs)

    def copy_from(self, *args: Any, **kwargs: Any) -> None:
        self.connection.watch(self)
        super().copy_from(*args, **kwargs)

    def copy_to(self, *args: Any, **kwargs: Any) -> None:
        self.connection.watch(self)
        super().copy_to(*args, **kwargs)


@cache
def _watched(factory: type[PlainCursor]) -> type[PlainCursor]:
    """The class of cursors, or one like it that tells its connection when it is used."""
    if issubclass(factory, WatchedCursor):
        return factory
    return WatchedCursor if factory is PlainCursor else type(factory.__name__, (WatchedCursor, factory), {})


class StreamCursor(WatchedCursor):
    """A server-side cursor: psycopg2's own refuses a transaction that psycopg2 did not begin."""

    def __init__(self, connection: "TenantConnection", name: str) -> None:
        super().__init__(connection)
        self.quoted = '"' + name.replace('"', '""') + '"'
        self.declared = False

    def execute(self, query: Any, vars: Any = None) -> None:
        super().execute(f"DECLARE {self.quoted} CURSOR FOR {query}", vars)
        self.declared = True

    def fetchone(self) -> tuple[Any, ...] | None:
        return next(iter(self._fetch("1")), None)

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        return self._fetch(str(size or self.arraysize))

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._fetch("ALL")

    def _fetch(self, count: str) -> list[tuple[Any, ...]]:
        PlainCursor.execute(self, f"FETCH FORWARD {count} FROM {self.quoted}")
        return super().fetchall()

    def close(self) -> None:
        if self.declared and self.connection.get_transaction_status() == TRANSACTION_STATUS_INTRANS:
            PlainCursor.execute(self, f"CLOSE {self.quoted}")
        self.declared = False
        super().close()


ISOLATION_LEVELS = {1: "READ COMMITTED", 2: "REPEATABLE READ", 3: "SERIALIZABLE", 4: "READ UNCOMMITTED"}
"""By psycopg2's numbers."""


class TenantConnection(PlainConnection):
    """psycopg2's connection, which can begin a transaction in one message with what belongs to the beginning.

    psycopg2 sends BEGIN by itself, a round trip of its own. After `begin` it runs in autocommit, BEGIN is sent as
    a statement, and `commit` or `rollback` send the end and put everything back.
    """

    scope: Confinement | None = None
    """What the open transaction is confined to."""
    unverified = False
    """Whether SQL written as text ran since role and business were last looked at."""
    unclean = False
    """Whether SQL written as text ran in this transaction: what it may have left goes with the end."""
    citus: bool | None = None
    """Whether the server is Citus's, once the first transaction of a scope has asked."""
    opening = ""
    """The statement that begins a transaction, where it is a message by itself."""
    known: PlainCursor | None = None
    """The cursor that SQLAlchemy is about to use."""
    _modes: tuple[Any, ...] | None = None
    """Isolation level and the like, while psycopg2 runs in autocommit; None while it begins transactions itself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cursor_factory = WatchedCursor

    def cursor(
        self, name: Any = None, cursor_factory: Any = None, withhold: bool = False, scrollable: Any = None
    ) -> Any:
        if name is not None and self._modes is not None:
            if self.scope is None:
                raise TenantScopeError(
                    "read_session opens no transaction, in which rows could be streamed: stream them in a session of "
                    "SessionLocal."
                )
            return StreamCursor(self, name)
        return super().cursor(name, _watched(cursor_factory or self.cursor_factory), withhold, scrollable)

    def watch(self, cursor: PlainCursor) -> None:
        """Remember that SQL ran, or is about to, which SQLAlchemy did not write."""
        if self.scope is not None and cursor is not self.known:
            self.unverified = self.unclean = True

    def begin(self) -> str:
        """Stop psycopg2 from beginning a transaction, and return the statement that begins one as it would."""
        self._modes = level, readonly, deferrable = self.isolation_level, self.readonly, self.deferrable
        if any(mode is not None for mode in self._modes):  # in autocommit they would become settings of the session
            self.set_session(isolation_level="default", readonly="default", deferrable="default")
        self.autocommit = True
        words = ["BEGIN"]
        words += [f"ISOLATION LEVEL {ISOLATION_LEVELS[level]}"] if level else []
        words += [] if readonly is None else ["READ ONLY" if readonly else "READ WRITE"]
        words += [] if deferrable is None else ["DEFERRABLE" if deferrable else "NOT DEFERRABLE"]
        return " ".join(words)

    def check(self) -> None:
        """Whether the scope still holds. Only where SQL written as text ran does this ask the server.

        Raises:
            TenantScopeError: the transaction has ended, or role or business are not the scope's.
        """
        status = self.get_transaction_status()
        if status == TRANSACTION_STATUS_IDLE:
            raise TenantScopeError(NOT_CONFINED)
        if self.unverified and self.scope is not None and status == TRANSACTION_STATUS_INTRANS:
            with PlainCursor(self) as cursor:
                cursor.execute("SELECT current_user, pg_catalog.current_setting('app.business_id', true)")
                if cursor.fetchone() != ("app_tenant", str(self.scope.business_id)):
                    raise TenantScopeError(LEFT_SCOPE)
            self.unverified = False

    def commit(self) -> None:
        if self.scope is not None and self.unverified:
            self.check()
        self._end("COMMIT", super().commit)

    def rollback(self) -> None:
        self._end("ROLLBACK", super().rollback)

    def _end(self, how: str, plain: Callable[[], None]) -> None:
        self.scope = self.known = None
        modes = self._modes
        if modes is None or self.closed:
            plain()
        begun = modes is not None and self.get_transaction_status() != TRANSACTION_STATUS_IDLE
        statements = [*([how] if begun else []), *([CLEAN] if self.unclean else [])]
        try:
            if statements and not self.closed:
                with PlainCursor(self) as cursor:
                    cursor.execute("; ".join(statements))
                if modes is None:
                    super().commit()
            self.unclean = self.unverified = False
        finally:
            if modes is not None and not self.closed and self.get_transaction_status() == TRANSACTION_STATUS_IDLE:
                self._modes, self.autocommit = None, False
                if any(mode is not None for mode in modes):
                    self.set_session(*modes)


def tenant_connection(connection: Connection) -> TenantConnection:
    """The driver's connection beneath.

    Raises:
        TenantScopeError: it is not one that this module made.
    """
    raw = connection.connection.dbapi_connection
    if not isinstance(raw, TenantConnection):
        raise TenantScopeError(
            "A tenant session needs an engine whose connections psycopg2 opens: use app.db.get_engine() or "
            "create_engine('postgresql+psycopg2://...'), without creator and connection_factory."
        )
    return raw


def has_citus(connection: Connection) -> bool:
    """Whether the server is Citus's, which takes no row lock in an INSERT; asked once a connection."""
    raw = tenant_connection(connection)
    if raw.citus is None:
        raw.citus = connection.scalar(select(func.current_setting("citus.version", True))) is not None
    return raw.citus


def only_read(connection: Connection) -> None:
    """Have the server refuse to write until the savepoint or transaction that the connection is in has ended.

    Raises:
        TenantScopeError: the connection is in AUTOCOMMIT, and so in no transaction.
    """
    if tenant_connection(connection).autocommit:
        raise TenantScopeError(
            "read_session on a connection in AUTOCOMMIT could write: hand over the engine, or a connection without it."
        )
    connection.exec_driver_sql(READ_ONLY)


def join(connection: Connection, scope: Confinement) -> str:
    """Confine the savepoint that the connection is in, and return the SQL that gives back what was set before."""
    raw = tenant_connection(connection)
    role, business = connection.exec_driver_sql(
        "SELECT pg_catalog.current_setting('role'), pg_catalog.current_setting('app.business_id', true)"
    ).one()
    quoted = connection.dialect.identifier_preparer.quote(role)
    connection.exec_driver_sql(scope.sql)
    connection.execution_options(**{SCOPE: scope})
    raw.scope = scope
    return f"SET LOCAL ROLE {quoted}; SET LOCAL app.business_id = '{UUID(business) if business else ''}'"


def leave(connection: Connection, scope: Confinement, before: str) -> None:
    """Take the scope from a connection of the caller's, and run what `join` returned, if anything."""
    connection.execution_options(**{SCOPE: None})
    scope.connections_begun.discard(connection)
    if before and not connection.closed and not connection.invalidated:
        raw = tenant_connection(connection)
        if raw.scope is scope:
            raw.scope, raw.unverified = None, False
            if raw.get_transaction_status() == TRANSACTION_STATUS_INTRANS:
                connection.exec_driver_sql(before)


@event.listens_for(Engine, "do_connect")
def _make_tenant_connections(dialect: Dialect, _: object, __: object, parameters: dict[str, Any]) -> None:
    if dialect.driver == "psycopg2":
        parameters.setdefault("connection_factory", TenantConnection)


@event.listens_for(Engine, "begin")
def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    scope: Confinement | None = options.get(SCOPE)
    try:
        if scope is not None:
            _confine(connection, scope)
        elif options.get(STATEMENTS) and not (raw := tenant_connection(connection)).autocommit:
            raw.begin()
    except BaseException:
        connection.close()  # SQLAlchemy would go on with it outside of any transaction
        raise


def _confine(connection: Connection, scope: Confinement) -> None:
    """Begin a transaction in the scope; on a new connection where this one is found dead, for nothing was done yet."""
    if connection in scope.connections_begun:
        raise TenantScopeError(NOT_CONFINED)
    for last in (False, True):
        raw = tenant_connection(connection)
        if raw.autocommit:
            raise TenantScopeError(
                "A tenant session cannot use AUTOCOMMIT: its scope lasts as long as the transaction."
            )
        if raw.get_transaction_status() != TRANSACTION_STATUS_IDLE:
            raise TenantScopeError(CANNOT_JOIN)
        try:
            if raw.citus:  # it passes the whole message on to the workers, where BEGIN would be a second one
                raw.opening = raw.begin()
                connection.exec_driver_sql(raw.opening)
                connection.exec_driver_sql(scope.sql)
            elif raw.citus is None:
                raw.citus = connection.exec_driver_sql(f"{raw.begin()}; {scope.sql}{ASK_CITUS}").scalar() is not None
            else:
                connection.exec_driver_sql(f"{raw.begin()}; {scope.sql}")
        except DBAPIError as error:
            if last or not error.connection_invalidated:
                raise
        else:
            raw.scope = scope
            scope.connections_begun.add(connection)
            return


@event.listens_for(Engine, "begin_twophase")
def _refuse_twophase(connection: Connection, _: object) -> None:
    if connection.get_execution_options().get(SCOPE) is not None:
        raise TenantScopeError(
            "A tenant session cannot commit in two phases, for what is prepared outlives its scope: leave twophase out."
        )


@event.listens_for(Engine, "before_execute", retval=True)
def _name_the_business(
    connection: Connection, statement: Any, multi: Any, parameters: Any, _: object
) -> tuple[Any, Any, Any]:
    """A flush finds its row by id: the business beside it leads a sharded database to one shard."""
    scope: Confinement | None = connection.get_execution_options().get(SCOPE)
    if scope is not None and isinstance(statement, Update | Delete) and "id" in statement.table.c:
        table = statement.table
        if "business_id" in table.c and isinstance(table, Table):
            statement = statement.where(table.c.business_id == scope.business_id)
    return statement, multi, parameters


@event.listens_for(Engine, "before_cursor_execute", retval=True)
def _before(
    connection: Connection, cursor: PlainCursor, statement: str, parameters: Any, context: Any, _: bool
) -> tuple[str, Any]:
    options = connection.get_execution_options()
    if (scope := options.get(SCOPE)) is not None:
        _check(connection, cursor, scope, context)
    elif options.get(STATEMENTS) and may_write(context.compiled):
        return f"{READ_ONLY}; {statement}", parameters
    return statement, parameters


def _check(connection: Connection, cursor: PlainCursor, scope: Confinement, context: Any) -> None:
    """Whether the statement will run in the scope."""
    raw = tenant_connection(connection)
    raw.known = cursor
    if raw.scope is scope:
        raw.check()
        if is_text(context.compiled):
            raw.unverified = raw.unclean = True
    elif not context.statement.endswith((scope.sql, scope.sql + ASK_CITUS)) and context.statement != raw.opening:
        raise TenantScopeError(NOT_CONFINED)


@event.listens_for(Engine, "after_cursor_execute")
def _after(connection: Connection, _: object, __: str, ___: object, context: Any, ____: bool) -> None:
    if connection.get_execution_options().get(SCOPE) is not None:
        raw = tenant_connection(connection)
        raw.known = None
        if raw.scope is not None and is_text(context.compiled):
            raw.check()
