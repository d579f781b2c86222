"""What a support question needs to know of a database, without secrets: `python -m app.report`."""

import sys

from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from app.config import get_settings
from app.db import CONNECT_ARGS, database_url
from app.models import DEFAULT_BUSINESS_ID, Base
from app.models.types import TokenError, token_keys

_EXISTS = text("SELECT to_regclass(:table) IS NOT NULL")
# An exact count of millions of rows takes seconds; the catalogue's estimate takes none.
_ESTIMATE = text("SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(:table)")


def report(connection: Connection) -> list[str]:
    """Connection, revision, rows per table, default business, archive and keys, a line each."""
    url = connection.engine.url
    head = ("server", "PostgreSQL " + str(connection.scalar(text("SHOW server_version"))))
    where = f"{url.database} on {url.host or 'a local socket'} as {connection.scalar(text('SELECT current_user'))}"
    recorded = connection.scalar(_EXISTS, {"table": "alembic_version"})
    revision = (
        connection.scalar(text("SELECT string_agg(version_num, ', ') FROM alembic_version")) if recorded else None
    )
    tables = [t.name for t in Base.metadata.sorted_tables if connection.scalar(_EXISTS, {"table": t.name})]
    rows = ", ".join(f"{name} {_rows(connection, name)}" for name in tables)
    default = "none"
    if "businesses" in tables:
        query = text("SELECT name FROM businesses WHERE id = :id")
        default = f"{connection.scalar(query, {'id': DEFAULT_BUSINESS_ID})} ({DEFAULT_BUSINESS_ID})"
    archive = connection.scalar(text("SELECT to_regnamespace('multi_tenant_archive') IS NOT NULL"))
    lines = [head, ("database", where), ("revision", revision or "none"), ("rows", rows or "no table yet")]
    lines += [("default business", default), ("archive", "multi_tenant_archive" if archive else "none")]
    return [f"{name + ':':<18}{value}" for name, value in [*lines, ("token keys", _keys())]]


def _rows(connection: Connection, table: str) -> str:
    estimate = connection.scalar(_ESTIMATE, {"table": table}) or 0
    if estimate > 100_000:
        return f"about {estimate:,}"
    return f"{connection.scalar(text(f'SELECT count(*) FROM {table}')):,}"


def _keys() -> str:
    try:
        return f"{len(token_keys())} in ACCESS_TOKEN_KEYS"
    except TokenError:
        return "not a key in ACCESS_TOKEN_KEYS" if get_settings().access_token_keys else "ACCESS_TOKEN_KEYS is not set"


def main() -> int:
    """Print the report; exit status 1 and one sentence where the database cannot be reached."""
    try:
        engine = create_engine(database_url(), poolclass=NullPool, connect_args=CONNECT_ARGS, hide_parameters=True)
        with engine.connect() as connection:
            print("\n".join(report(connection)))
    except (ValueError, RuntimeError, DBAPIError) as error:
        print(" ".join(str(getattr(error, "orig", error)).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
