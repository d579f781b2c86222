"""What a support question needs to know of a database, without secrets: `python -m app.report`."""

import sys
from typing import Any

from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from app.config import get_settings
from app.db import CONNECT_ARGS, database_url
from app.models import DEFAULT_BUSINESS_ID, Base
from app.models.types import TokenError, token_keys


def place(connection: Connection, version_table: str = "alembic_version") -> tuple[str, str]:
    """The database, and the revision that it is at."""
    url, user = connection.engine.url, connection.scalar(text("SELECT current_user"))
    revision = None
    if connection.scalar(text("SELECT to_regclass(:name)"), {"name": version_table}):
        revision = connection.scalar(text(f"SELECT string_agg(version_num, ', ') FROM {version_table}"))
    return f"{url.database} on {url.host or 'a local socket'} as {user}", revision or "none"


def report(connection: Connection) -> list[str]:
    """Connection, revision, state, rows per table, default business, archive and keys, a line each."""

    def ask(sql: str, **values: object) -> Any:
        return connection.scalar(text(sql), values)

    def rows(table: str) -> str:
        # An exact count of millions of rows takes seconds; the catalogue's estimate takes none.
        estimate = ask("SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(:table)", table=table)
        return f"about {estimate:,}" if estimate > 100_000 else f"{ask(f'SELECT count(*) FROM {table}'):,}"

    database, revision = place(connection)
    there = [t.name for t in Base.metadata.sorted_tables if ask("SELECT to_regclass(:name)", name=t.name)]
    default, state = None, "no migration was interrupted"
    if ask("SELECT to_regprocedure('single_business_only()')"):
        state = "a rollback was interrupted: finish it with alembic downgrade -1"
    elif revision == "000" and ask("SELECT to_regprocedure('current_business_id()')"):
        state = "an upgrade was interrupted: finish it with alembic upgrade head"
    if "businesses" in there:
        default = ask("SELECT format('%s (%s)', name, id) FROM businesses WHERE id = :id", id=DEFAULT_BUSINESS_ID)
    lines = {
        "server": f"PostgreSQL {ask('SHOW server_version')}",
        "database": database,
        "revision": revision,
        "state": state,
        "rows": ", ".join(f"{name} {rows(name)}" for name in there) or "no table yet",
        "default business": default or "none",
        "archive": ask("SELECT to_regnamespace('multi_tenant_archive')::text") or "none",
        "token keys": _keys(),
    }
    return [f"{name + ':':<18}{value}" for name, value in lines.items()]


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
