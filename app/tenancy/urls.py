"""Which database is meant, and how to connect to it. Commands take it from here: it imports no ORM and no model."""

from typing import Any

from sqlalchemy import URL, Engine, NullPool, create_engine, make_url
from sqlalchemy.exc import ArgumentError

from app.tenancy.embedded import project_url
from app.tenancy.environment import get_settings

CONNECT_ARGS: dict[str, Any] = {
    "connect_timeout": 10,
    "application_name": "whatsapp-bot-schema",
    "client_encoding": "utf8",  # whatever PGCLIENTENCODING, the role or the database say: names hold emoji
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
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
        app.tenancy.embedded.EmbeddedServerError: it is not set, and there is no embedded server to use.
    """
    configured = get_settings().database_url
    return parse_url(configured) if configured else project_url(create=create)


def parse_url(text: str, source: str = "DATABASE_URL") -> URL:
    """A text as a URL for psycopg2; `source` is what it comes from, for the sentence of an error.

    Raises:
        DatabaseUrlError: it names another database, or is not a URL.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise DatabaseUrlError(
            f"{source} is not a URL of the form postgresql://user:password@host:5432/database "
            "(percent-encode the password's special characters)."
        ) from None
    if url.password == "[YOUR-PASSWORD]":
        raise DatabaseUrlError(f"{source} still has the placeholder [YOUR-PASSWORD]: put the password there.")
    if "@" in f"{url.host}{url.database}":
        raise DatabaseUrlError(f"{source} has an @ in its password or host: percent-encode it there, as %40.")
    if url.drivername not in {"postgres", "postgresql", "postgresql+psycopg2"}:
        raise DatabaseUrlError(
            f"{source} names {url.drivername!r}, but this schema needs PostgreSQL 15 or later, through psycopg2: "
            "set it to postgresql://user:password@host:5432/database."
        )
    url = url.set(drivername="postgresql+psycopg2")
    try:
        url.get_dialect()().create_connect_args(url)
    except (ArgumentError, TypeError, ValueError):
        raise DatabaseUrlError(
            f"{source} has a parameter after the ? whose value does not fit: correct {' or '.join(url.query)}."
        ) from None
    return url


def command_engine(url: URL, **options: Any) -> Engine:
    """An engine for a command or a test, which keeps no connection. It hides parameters as the bot's engine does.

    Args:
        url: where to connect, through psycopg2.
        options: passed to `create_engine`, such as `isolation_level`.
    """
    return create_engine(url, poolclass=NullPool, connect_args=CONNECT_ARGS, hide_parameters=True, **options)
