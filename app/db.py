"""The engine and the sessions. Nothing connects, and no setting is read, before the first use."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from uuid import UUID
from weakref import WeakSet

import psycopg2
from sqlalchemy import URL, Connection, Engine, RootTransaction, create_engine, event, make_url, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session, SessionTransaction, sessionmaker

from app.config import get_settings
from app.embedded import project_url
from app.models.base import TENANT_SCOPE, TenantScopeError

CONNECT_ARGS: dict[str, Any] = {
    "connect_timeout": 10,
    "application_name": "whatsapp-bot-schema",
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
"""libpq parameters; none that a transaction pooler refuses (no `options`)."""


class DatabaseUrlError(ValueError):
    """DATABASE_URL cannot be used; the message says why, without the password."""


def database_url(*, create: bool = False) -> URL:
    """The URL of DATABASE_URL for psycopg2, or that of the embedded server where it is not set.

    Args:
        create: whether an embedded server is made where there is none yet.

    Raises:
        DatabaseUrlError: it names another database, or is not a URL.
        app.embedded.EmbeddedServerError: it is not set, and there is no embedded server to use.
    """
    configured = get_settings().database_url
    return parse_url(configured.get_secret_value()) if configured else project_url(create=create)


def parse_url(text: str) -> URL:
    """The text of DATABASE_URL as a URL for psycopg2.

    Raises:
        DatabaseUrlError: it names another database, or is not a URL.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise DatabaseUrlError(
            "DATABASE_URL is not a URL of the form postgresql://user:password@host:5432/database "
            "(percent-encode the password's special characters)."
        ) from None
    if url.password == "[YOUR-PASSWORD]":
        raise DatabaseUrlError("DATABASE_URL still has the placeholder [YOUR-PASSWORD]: put the password there.")
    if "@" in f"{url.host}{url.database}":
        raise DatabaseUrlError("DATABASE_URL has an @ in its password or host: percent-encode it there, as %40.")
    if url.drivername not in {"postgres", "postgresql", "postgresql+psycopg2"}:
        raise DatabaseUrlError(
            f"DATABASE_URL names {url.drivername!r}, but this schema needs PostgreSQL 15 or later, through psycopg2: "
            "set it to postgresql://user:password@host:5432/database."
        )
    return url.set(drivername="postgresql+psycopg2")


@cache
def get_engine() -> Engine:
    """The process's engine, built on first use.

    A connection is checked before use and replaced after 180 s, so that one that a pooler dropped silently
    costs no message. Parameters, and rows in error details, are kept out of logs and errors.
    """
    engine = create_engine(
        database_url(), pool_pre_ping=True, pool_recycle=180, connect_args=CONNECT_ARGS, hide_parameters=True
    )
    event.listen(engine, "handle_error", _hide_row)
    if hasattr(os, "register_at_fork"):  # a child that shares a connection reads its parent's rows
        os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    return engine


def _hide_row(context: ExceptionContext) -> None:
    """PostgreSQL repeats the row of a violated constraint in DETAIL, and libpq a line of the statement, values included."""
    driver_error = context.original_exception
    if not isinstance(driver_error, psycopg2.Error):
        return
    row = driver_error.diag.message_detail if driver_error.pgcode in {"23502", "23514"} else None
    for error in filter(None, (driver_error, context.sqlalchemy_exception)):
        shown = (str(arg).replace(row or "\0", "(hidden)") for arg in error.args)
        error.args = tuple(re.sub(r"\nLINE \d+: .*\n *\^", "", arg) for arg in shown)


class _Session(Session):
    """A session that asks for the engine when it is made, not when the module is imported."""

    def __init__(self, bind: Engine | Connection | None = None, **kwargs: Any) -> None:
        super().__init__(bind=get_engine() if bind is None else bind, **kwargs)

    confined: "WeakSet[RootTransaction] | None" = None
    """The transactions that a tenant session began and confined; None in any other session."""

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:
        """As SQLAlchemy's, but a tenant session joins no transaction of a caller or of another tenant session."""
        bind = super().get_bind(*args, **kwargs)
        begun = bind.get_transaction() if isinstance(bind, Connection) else None
        if self.confined is not None and begun is not None and begun not in self.confined:
            raise TenantScopeError(
                "A tenant session cannot join a transaction that it did not begin: commit or roll back what the "
                "connection is in, or give the session an engine or a connection of its own."
            )
        return bind


SessionLocal = sessionmaker(class_=_Session, expire_on_commit=False)
"""Makes sessions that see every business, as far as the login role does: for routing, jobs, administration."""


def get_db_session() -> Iterator[Session]:
    """Yield a session and close it: a dependency for FastAPI and the like. The caller commits."""
    with SessionLocal() as session:
        yield session


session_scope = SessionLocal.begin
"""Context manager: a session that commits at the end, or rolls back on any exception."""


_CONFINE = text("SELECT set_config('role', 'app_tenant', true), set_config('app.business_id', :id, true)")
_LINE_COMMENT = re.compile(r"--[^\n]*")
_INNERMOST_COMMENT = re.compile(r"/\*((?!/\*|\*/).)*\*/", re.DOTALL)
_ESCAPE = re.compile(
    r"\bset_config\W*\(|\bpg_settings\b|\bpg_temp|\bu&\"|\b(query|cursor|table|schema|database)_to_xml|\bts_(stat|rewrite)\b"
    r"|\bpg_(try_)?advisory_lock|\bwith\W+hold\W+for\b"
    r"|\b(create|or\W+replace|(?<!insert )(?<!merge )into)\W+((local|global)\W+)?temp(orary)?\W+\w"
    r"(?![^;]*\bon\W+commit\W+drop\b)"
    r"|(^|;)\W*(set\W+\b(?!(local|constraints|transaction)\b)|set\W+local\W+(role|session|session_authorization|app|all)\b"
    r"|(reset|commit|end|abort|begin|start|discard|do|prepare|listen|load)\b"
    r"|rollback\b(?!\W+((transaction|work)\W+)?to\b))",
    re.IGNORECASE | re.DOTALL,
)


def _escapes(statement: str) -> bool:
    """Whether a statement leaves the scope: as it is, and as it reads with ever more of its comments taken out."""
    seen = ""
    while statement != seen:
        if _ESCAPE.search(statement) or _ESCAPE.search(_LINE_COMMENT.sub(" ", statement)):
            return True
        seen, statement = statement, _INNERMOST_COMMENT.sub(" ", statement)
    return False


@contextmanager
def tenant_session(business_id: UUID | str, **kwargs: Any) -> Iterator[Session]:
    """A session bound to one business by the database: row level security, as the role `app_tenant`.

    Every transaction of it, also after a commit or a rollback, starts with one statement that sets role and
    business for that transaction only, which is safe behind a transaction pooler. New rows get the business;
    another one is refused. The caller commits; what is not committed is rolled back.

    Refused where Python sees it: AUTOCOMMIT, a transaction that the session did not begin, DO blocks, statements
    that change role or scope or end the transaction, also beneath the session (`session.connection().commit()`),
    and what would outlast the transaction on a pooled connection: SET without LOCAL, WITH HOLD, PREPARE, LISTEN,
    session-level advisory locks, temporary tables without ON COMMIT DROP. What it cannot see, and what only the
    login role's own rights limit: a function of yours that changes the role, the same hidden from a reader by
    comments within strings, and the raw DBAPI connection. Build no SQL from input.

    Args:
        business_id: the business in scope.
        kwargs: passed to `sessionmaker`'s session, such as `bind`.

    Raises:
        TenantScopeError: one of the refusals above.
        ValueError: business_id is not a UUID.
    """
    try:
        scope = UUID(str(business_id))
    except ValueError:
        raise ValueError("business_id of a tenant session is not a UUID: pass the id of a business.") from None
    confined: WeakSet[RootTransaction] = WeakSet()
    guarded: WeakSet[Connection] = WeakSet()

    def guard(connection: Connection, _: Any, statement: str, __: Any, context: Any, ___: bool) -> None:
        if getattr(getattr(context, "compiled", None), "statement", None) is _CONFINE:
            return
        if connection.get_transaction() not in confined:
            raise TenantScopeError(
                "The transaction is not confined to the tenant session's business, for it could not be, or was ended "
                "beneath the session: roll back, and use the session's own commit and rollback."
            )
        if _escapes(statement):
            raise TenantScopeError(
                "A tenant session refuses statements that change role, scope or transaction, or outlast it: use SET "
                "LOCAL, ON COMMIT DROP, bound parameters in place of literals, or a session of SessionLocal for work "
                "beyond one business."
            )

    def confine(_: Session, transaction: SessionTransaction, connection: Connection) -> None:
        if transaction.nested:
            return
        if connection not in guarded:
            event.listen(connection, "before_cursor_execute", guard)
            guarded.add(connection)
        if getattr(connection.connection.dbapi_connection, "autocommit", False):
            raise TenantScopeError(
                "A tenant session cannot use AUTOCOMMIT: its scope lasts as long as the transaction."
            )
        connection.execute(_CONFINE, {"id": str(scope)})
        if (begun := connection.get_transaction()) is not None:
            confined.add(begun)

    with SessionLocal(**kwargs) as session:
        session.info[TENANT_SCOPE] = scope
        session.confined = confined
        event.listen(session, "after_begin", confine)
        try:
            yield session
        finally:
            for connection in guarded:
                event.remove(connection, "before_cursor_execute", guard)
