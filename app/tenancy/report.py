"""What a support question needs to know of a database, without secrets: `python -m app.tenancy.report`."""

import sys
from typing import Any

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from app.tenancy.environment import alembic_config, get_settings, import_models, version_table
from app.tenancy.errors import exit_status, shown
from app.tenancy.migration.state import DEFAULT_BUSINESS, FINISH_WITH, NEW_TABLES, OLD_TABLES, STATE, VERSION_TABLE
from app.tenancy.migration.steps import literal
from app.tenancy.migration.version import untrue
from app.tenancy.urls import command_engine, database_url

TABLES = f"""SELECT oid::regclass::text FROM pg_class
  LEFT JOIN unnest({literal("{" + ",".join((*NEW_TABLES, *OLD_TABLES)) + "}")}::text[]) WITH ORDINALITY AS ours (name, place)
    ON oid = to_regclass(name)
 WHERE relkind IN ('r', 'p') AND (name IS NOT NULL OR relnamespace = quote_ident(current_schema())::regnamespace AND EXISTS (
           SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polname = 'app_tenant'))
 ORDER BY place, relname"""
"""SQL query: this schema's tables and a team's own with tenancy, asked of the database: no model is needed."""


def place(connection: Connection, table: str = VERSION_TABLE) -> tuple[str, str]:
    """The database, and the revision that its version table says."""
    url, user = connection.engine.url, connection.scalar(text("SELECT current_user"))
    return f"{url.database} on {url.host or 'a local socket'} as {user}", ", ".join(
        recorded(connection, table)
    ) or "none"


def recorded(connection: Connection, table: str) -> list[str]:
    """The revisions that the version table holds."""
    if connection.scalar(text("SELECT to_regclass(:table)"), {"table": table}) is None:
        return []
    return list(connection.scalars(text(f"SELECT version_num FROM {table} ORDER BY version_num")))


def history() -> tuple[ScriptDirectory, str]:
    """The revisions and the version table's name, of the project's `alembic.ini` or, without one, of this package."""
    config = alembic_config()
    return ScriptDirectory.from_config(config), version_table(config)


def report(connection: Connection, script: ScriptDirectory | None = None, table: str = VERSION_TABLE) -> list[str]:
    """Connection, revision, state, rows per table, range of the ids, default business, archive and keys, a line each.

    Args:
        connection: the database.
        script: the revisions; those of the project where it is not given, with their version table.
        table: the version table.
    """
    if script is None:
        script, table = history()

    def ask(sql: str, **values: object) -> Any:
        return connection.scalar(text(sql), values)

    def rows(table: str) -> str:
        # An exact count of millions of rows takes seconds; the catalogue's estimate takes none.
        estimate = ask("SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(:table)", table=table)
        return f"about {estimate:,}" if estimate > 100_000 else f"{ask(f'SELECT count(*) FROM {table}'):,}"

    database, revision = place(connection, table)
    there = list(connection.scalars(text(TABLES)))
    default = None
    heads = f"ARRAY[{', '.join(map(literal, recorded(connection, table)))}]::text[]"
    state = ask(f"SELECT {untrue(script, table, heads).replace(':', chr(92) + ':')}")
    if state is None:
        found = ask(f"SELECT {STATE}")
        state = f"{found}: {FINISH_WITH[found]}" if found in FINISH_WITH else "no migration was interrupted"
    if "businesses" in there:
        default = ask("SELECT format('%s (%s)', name, id) FROM businesses WHERE id = :id", id=DEFAULT_BUSINESS)
    lines = {
        "server": f"PostgreSQL {ask('SHOW server_version')}",
        "database": database,
        "revision": revision,
        "state": state,
        "rows": ", ".join(f"{name} {rows(name)}" for name in there) or "no table yet",
        "ids": ", ".join(_ids(connection, table) for table in OLD_TABLES if table in there) or "none",
        "default business": default or "none",
        "archive": ask("SELECT to_regnamespace('multi_tenant_archive')::text") or "none",
        "token keys": _keys(),
    }
    return [shown(f"{name + ':':<18}{value}") for name, value in lines.items()]


IDS = """
WITH newest AS (SELECT id, created_at FROM {table} ORDER BY id DESC LIMIT 1), older AS (
    (SELECT id, created_at FROM {table} WHERE id <= (SELECT id FROM newest) - 100000 ORDER BY id DESC LIMIT 1)
    UNION ALL (SELECT id, created_at FROM {table} ORDER BY id LIMIT 1) LIMIT 1)
SELECT format_type(atttypid, NULL) AS type, coalesce(newest.id, 0) AS used,
       extract(epoch FROM newest.created_at - older.created_at) / nullif(newest.id - older.id, 0) / 86400 AS days_an_id,
       EXISTS (SELECT FROM pg_trigger WHERE tgrelid = attrelid AND tgname = 'widen_{table}_id') AS widening
  FROM pg_attribute LEFT JOIN newest ON true LEFT JOIN older ON true WHERE attrelid = to_regclass('{table}') AND attname = 'id'"""


def _ids(connection: Connection, table: str) -> str:
    """How much of an integer id's range is used, and when it ends at the rate of the last 100,000 ids."""
    found = connection.execute(text(IDS.format(table=table))).one()
    last = {"integer": 2**31 - 1, "smallint": 2**15 - 1}.get(found.type)
    if last is None:
        return f"{table} {found.type}"
    said = f"{table} {found.type}, {found.used / last:.1%} used"
    days = float(found.days_an_id or 0) * (last - found.used)
    if 0 < days < 36525:
        span = (
            f"{days / 365.25:.0f} years"
            if days > 730
            else f"{days / 30.4:.0f} months"
            if days > 60
            else f"{days:.0f} days"
        )
        said += f", ends in about {span} at the present rate"
    if found.widening:
        return f"{said} (being widened: finish it with alembic -n scale upgrade bigint)"
    return said


def _keys() -> str:
    if not get_settings().access_token_keys:
        return "ACCESS_TOKEN_KEYS is not set"
    from app.models.types import TokenError, token_keys  # with the models, for which a migration need not wait

    try:
        return f"{len(token_keys())} in ACCESS_TOKEN_KEYS"
    except TokenError:
        return "not a key in ACCESS_TOKEN_KEYS"


def main() -> int:
    """Print the report; exit status 1 and one sentence where the database cannot be reached."""

    def work() -> None:
        import_models()
        with command_engine(database_url()).connect() as connection:
            print("\n".join(report(connection)))

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
