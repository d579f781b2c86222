"""What opens the tables, or shuts their users out, beside what the models declare: each a line, most with their fix.

The queries are in `sql/openings*.sql` and `sql/undeclared.sql`. They run with nothing but pg_catalog in sight.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, text

from app.tenancy.migration import access, distribution
from app.tenancy.migration.catalogue import Catalogue, Item
from app.tenancy.migration.scripts import query

NAMES: dict[str, object] = {
    "tenant": access.TENANT,
    "roles": [access.TENANT, access.SERVICE],
    "public_api": list(access.PUBLIC_API),
    "closed_roles": [access.TENANT, *access.PUBLIC_API],
    "watched": list(access.WATCHED),
    "unconfined": list(access.UNCONFINED_PRIVILEGES),
    "single_business": access.SINGLE_BUSINESS,
}
"""The inputs of the queries that do not depend on the database."""

MAY_ASK_SHARDS = "SELECT has_function_privilege('run_command_on_placements(regclass,text,boolean)', 'EXECUTE')"


class Opening(NamedTuple):
    """A row of the queries.

    Attributes:
        item: what opens something, or is missing.
        expected: what should be there, where the item is missing.
        found: what it is, None where it is missing.
        fix: the statement that puts it right, None where a person decides.
        by_hand: what to do where there is no such statement.
    """

    item: Item
    expected: str | None
    found: str | None
    fix: str | None
    by_hand: str | None


def openings(connection: Connection, facts: dict[str, Any]) -> Iterator[Opening]:
    """What is open whatever the models declare.

    Args:
        connection: in a transaction, with nothing but pg_catalog on its search_path.
        facts: the inputs that openings.sql and the files that it includes name, beside NAMES.
    """
    distributed = facts["distributed_tables"]
    facts = {**NAMES, **facts, "distributed": bool(distributed)}
    yield from _read(connection.execute(text(query("openings.sql")), facts))
    if distributed:
        values = {"closing": distribution.CLOSING, "setting_is_there": distribution.SETTING_IS_THERE}
        citus = query("openings_citus.sql", **values)
        yield from _read(connection.exec_driver_sql(citus, execution_options={"no_parameters": True}))
        if connection.scalar(text(MAY_ASK_SHARDS)):
            yield from _read(connection.execute(text(query("openings_shards.sql")), facts))


def undeclared(connection: Connection, facts: dict[str, Any], expected: Catalogue) -> Iterator[Opening]:
    """Policies and unique indexes that open the tables, and are not among those that the models declare.

    Args:
        connection: as of `openings`.
        facts: as of `openings`.
        expected: what the models declare, all of it: what is not in it is taken for undeclared.
    """
    policies = [item for item, aspect in expected if item.kind == "policy" and aspect == "definition"]
    indexes = [item for item, aspect in expected if item.kind in {"index", "constraint"} and aspect == "state"]
    declared = {
        "policy_tables": [item.table for item in policies],
        "policies": [item.name for item in policies],
        "index_tables": [item.table for item in indexes],
        "indexes": [item.name for item in indexes],
    }
    yield from _read(connection.execute(text(query("undeclared.sql")), {**NAMES, **facts, **declared}))


def _read(rows: Iterable[Row[Any]]) -> Iterator[Opening]:
    for row in rows:
        item = Item(row.kind, row.tab, row.name, row.role)
        yield Opening(item, row.expected, row.found, row.fix, row.by_hand)
