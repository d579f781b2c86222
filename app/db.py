"""The engine and the sessions. Nothing connects, and no setting is read, before the first use."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any
from uuid import UUID

import psycopg2
from sqlalchemy import URL, Connection, Engine, Select, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction, sessionmaker, with_loader_criteria

from app.models.base import TENANT_SCOPE, TenantOwned, TenantScopeError
from app.tenancy import connection as tenancy
from app.tenancy import pool
from app.tenancy.urls import CONNECT_ARGS as CONNECT_ARGS
from app.tenancy.urls import DatabaseUrlError as DatabaseUrlError
from app.tenancy.urls import command_engine as command_engine
from app.tenancy.urls import database_url as database_url
from app.tenancy.urls import parse_url as parse_url


def make_engine(url: URL, **options: Any) -> Engine:
    """An engine of the kind that `get_engine` returns.

    A connection that has rested is checked before use, one whose socket is closed is found without a request, and
    each is replaced after 180 s, so that one that a pooler dropped silently costs no message (see `app.tenancy.pool`).
    Parameters, and rows in error details, are kept out of logs and errors.

    Args:
        url: where to connect, through psycopg2.
        options: passed to `create_engine`.
    """
    defaults: dict[str, Any] = {
        "pool_recycle": 180,
        "connect_args": CONNECT_ARGS,
        "hide_parameters": True,
        "use_native_hstore": False,  # asking for it costs three round trips with every connection
    }
    engine = create_engine(url, **(defaults | options))
    event.listen(engine, "handle_error", _hide_row)
    pool.watch(engine)
    if hasattr(os, "register_at_fork"):  # a child that shares a connection reads its parent's rows
        os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    return engine


@cache
def get_engine() -> Engine:
    """The process's engine, built on first use."""
    return make_engine(database_url())


def _hide_row(context: ExceptionContext) -> None:
    """PostgreSQL repeats the row of a violated constraint in DETAIL, and libpq a line of the statement, values included."""
    driver_error = context.original_exception
    if not isinstance(driver_error, psycopg2.Error):
        return
    row = driver_error.diag.message_detail if driver_error.pgcode in {"23502", "23514"} else None
    for error in filter(None, (driver_error, context.sqlalchemy_exception)):
        shown = (str(arg).replace(row or "\0", "(hidden)") for arg in error.args)
        error.args = tuple(re.sub(r"\nLINE \d+: .*\n *\^", "", arg) for arg in shown)


_business: ContextVar[UUID | None] = ContextVar("business", default=None)
_bind: ContextVar[Connection | None] = ContextVar("bind", default=None)


def _as_uuid(business_id: UUID | str) -> UUID:
    try:
        return UUID(str(business_id))
    except ValueError:
        raise ValueError("business_id of a tenant session is not a UUID: pass the id of a business.") from None


@contextmanager
def business_scope(business_id: UUID | str | None) -> Iterator[None]:
    """Bind every `BusinessSession` that is opened inside to one business, by whatever code opens it.

    For a request, whose services need not know of businesses. Scopes nest, and are the task's or thread's own
    (contextvars). A session keeps the business with which it was opened.

    Args:
        business_id: the business, or None to open sessions that see every business inside another scope.

    Raises:
        ValueError: business_id is not a UUID.
    """
    before = _business.get()
    _business.set(None if business_id is None else _as_uuid(business_id))
    try:
        yield
    finally:
        _business.set(before)


class BusinessSession(Session):
    """A session of this package: bound to one business, or, without one, a plain session that sees every business.

    It is bound where it is given a business, or opened within `business_scope`: by the database, with row level
    security, as the role `app_tenant`. Bound, every transaction of it begins in one message that sets role and business for that transaction only, which
    is safe behind a transaction pooler. New rows get the business; another one is refused. Selects, updates and
    deletes of the ORM name the business, so that the planner knows it. What is not committed is rolled back. In a
    transaction of the caller's, of a test for example, it works in a savepoint.

    Row level security protects from mistakes in any statement; a transaction that ended beneath the session is
    refused before the next one. Where SQL was written as text, role and business are looked at before anything else
    runs, and what it may have left on the connection is removed with the end of the transaction. SQL that is built
    from input can leave the business: only a login of its own, a member of app_tenant alone, protects from malice.

    Args:
        bind: the engine, or a connection; `get_engine()` by default.
        business_id: the business; that of `business_scope` by default. Without either, the session sees every business,
            as far as the login may.
        kwargs: passed to SQLAlchemy's Session.

    Raises:
        TenantScopeError: when used with AUTOCOMMIT or in two phases, beyond the business, or as above.
        ValueError: business_id is not a UUID.
    """

    scope: tenancy.Confinement | None = None

    def __init__(
        self, bind: Engine | Connection | None = None, *, business_id: UUID | str | None = None, **kwargs: Any
    ) -> None:
        bind = bind or _bind.get() or get_engine()
        business = _business.get() if business_id is None else _as_uuid(business_id)
        if business is not None or isinstance(bind, Connection):
            kwargs.setdefault("join_transaction_mode", "create_savepoint")
        super().__init__(bind=bind, **kwargs)
        self._options: dict[str, Any] = {}
        self._bound_engines: dict[Engine, Engine] = {}
        self._bound_connections: dict[Connection, str] = {}
        if business is not None:
            self.scope = tenancy.Confinement(business)
            self.info[TENANT_SCOPE] = business
            self._options[tenancy.SCOPE] = self.scope
            self._criteria = with_loader_criteria(
                TenantOwned, lambda model: model.business_id == business, include_aliases=True
            )

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:
        """As SQLAlchemy's, but with the options that make every transaction on it begin in the scope."""
        bind = super().get_bind(*args, **kwargs)
        if self._options.items() <= bind.get_execution_options().items():
            return bind
        if isinstance(bind, Engine):
            if bind not in self._bound_engines:
                self._bound_engines[bind] = bind.execution_options(**self._options)
            return self._bound_engines[bind]
        if self.scope is not None:  # a `ReadSession` is made to read only once it has begun
            begun = bind.in_transaction()
            if tenancy.tenant_connection(bind).scope or (begun and self.join_transaction_mode != "create_savepoint"):
                raise TenantScopeError(tenancy.CANNOT_JOIN)
            if not begun:
                bind.execution_options(**self._options)
                self._bound_connections[bind] = ""
        return bind


@event.listens_for(BusinessSession, "after_begin")
def _confine_savepoint(session: BusinessSession, _: SessionTransaction, connection: Connection) -> None:
    """In a transaction that the session did not begin, the session's savepoint is confined."""
    if session.scope is not None and connection.get_execution_options().get(tenancy.SCOPE) is not session.scope:
        session._bound_connections[connection] = tenancy.join(connection, session.scope)


@event.listens_for(BusinessSession, "after_transaction_end")
def _give_back(session: BusinessSession, transaction: SessionTransaction) -> None:
    """A connection of the caller's becomes what it was before."""
    if session.scope is not None and transaction.parent is None:
        for connection, before in session._bound_connections.items():
            tenancy.leave(connection, session.scope, before)
        session._bound_connections.clear()


@event.listens_for(BusinessSession, "do_orm_execute")
def _name_the_business(state: ORMExecuteState) -> None:
    """The planner sees the business, and a sharded database goes to one shard; row level security is what protects."""
    session = state.session
    if not isinstance(session, BusinessSession) or session.scope is None or state.is_insert:
        return
    statement, mapper = state.statement, state.bind_mapper
    if not state.is_column_load:
        if session._criteria not in statement._with_options:  # what a loaded object brings along
            state.statement = statement.options(session._criteria)
    elif isinstance(statement, Select) and mapper is not None and issubclass(mapper.class_, TenantOwned):
        state.statement = statement.where(mapper.class_.business_id == session.scope.business_id)


class ReadSession(BusinessSession):
    """A session for reading beyond one business, such as routing: each statement is one round trip, and no more.

    It opens no transaction and takes no business from `business_scope`. It writes nothing: flush is refused, and by
    the server whatever else would write. On a connection of the caller's, it reads in a savepoint or a transaction.
    """

    def __init__(self, bind: Engine | Connection | None = None, **kwargs: Any) -> None:
        with business_scope(None):
            super().__init__(bind, **kwargs)
        self._options = {tenancy.STATEMENTS: True}
        self.join_transaction_mode = "create_savepoint"


@event.listens_for(ReadSession, "after_begin")
def _only_read(session: ReadSession, _: SessionTransaction, connection: Connection) -> None:
    """What an engine's connection does for every statement, a connection of the caller's does once."""
    if not connection.get_execution_options().get(tenancy.STATEMENTS):
        tenancy.only_read(connection)


@event.listens_for(ReadSession, "before_flush")
def _refuse_to_write(*_: object) -> None:
    raise TenantScopeError("read_session only reads: write in tenant_session, or in a session of SessionLocal.")


SessionLocal = sessionmaker(class_=BusinessSession, expire_on_commit=False)
"""Makes sessions that see every business, as far as the login may; within `business_scope`, that business alone."""

read_session = sessionmaker(class_=ReadSession, expire_on_commit=False)
"""Makes sessions for reading beyond one business; see `ReadSession`."""


def tenant_session(business_id: UUID | str, **kwargs: Any) -> BusinessSession:
    """A session bound to one business; see `BusinessSession`.

    Args:
        business_id: the business in scope.
        kwargs: passed to `SessionLocal`, such as `bind`.

    Raises:
        ValueError: business_id is not a UUID.
    """
    return SessionLocal(business_id=_as_uuid(business_id), **kwargs)


def get_db_session() -> BusinessSession:
    """A session that the caller commits and closes, as bots write it: `session = get_db_session()`."""
    return SessionLocal()


def session_dependency() -> Iterator[BusinessSession]:
    """Yield a session and close it: for `Depends` of FastAPI and the like. The caller commits."""
    with SessionLocal() as session:
        yield session


session_scope = SessionLocal.begin
"""Context manager: a session of `SessionLocal` that commits at the end, or rolls back on any exception.

The name is that of SQLAlchemy's documentation. It binds to no business: `business_scope` does.
"""


@contextmanager
def rolled_back_at_the_end() -> Iterator[Connection]:
    """For tests: every session opened inside works in a savepoint of one transaction, which is rolled back.

    Code under test opens, commits and closes sessions of `app.db` as ever, tenant sessions too, one after the other.

    Yields:
        The connection, for looking at what was written.
    """
    with get_engine().connect() as connection, connection.begin() as transaction:
        before = _bind.set(connection)
        try:
            yield connection
        finally:
            _bind.reset(before)
            transaction.rollback()
