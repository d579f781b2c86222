"""What a schema holds, as PostgreSQL writes it down: the same text for the same thing, whatever the schema's name.

Two questions are asked. The first finds the objects, with nothing but pg_catalog in sight, so that no object of the
schema is taken for a function of PostgreSQL's. The second has PostgreSQL write expressions down with the schema as its
search_path, which is how it leaves the schema's name away.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import Connection, text

from app.tenancy.migration.access import WATCHED
from app.tenancy.migration.names import quoted
from app.tenancy.migration.scripts import query


class Item(NamedTuple):
    """What the check compares, by its names in the catalogue, which have no quotes.

    Attributes:
        kind: "table", "column", "sequence" (of a column), "primary key", "constraint", "index", "trigger", "policy",
            "function" and, of what only opens the tables, "role", "view" and others.
        table: the table that it is or belongs to.
        name: its own name: of a column or sequence that of the column, of a function with the types of its arguments.
        role: whose privileges on it these are; "" for the object itself.
    """

    kind: str
    table: str = ""
    name: str = ""
    role: str = ""

    def __str__(self) -> str:
        match self.kind if self.table else "":
            case "table":
                what = f"table {self.table}"
            case "column":
                what = f"column {self.table}.{self.name}"
            case "sequence":
                what = f"sequence of {self.table}.{self.name}"
            case "primary key":
                what = f"primary key of {self.table}"
            case "":
                what = f"{self.kind} {self.name}"
            case _:
                what = f"{self.kind} {self.name} on {self.table}"
        return f"privilege of {self.role} on {what}" if self.role else what


Catalogue = dict[tuple[Item, str], str]
"""Item and aspect to value, such as (Item("column", "orders", "note"), "type") to "text"."""


@contextmanager
def search_path(connection: Connection, path: str) -> Iterator[None]:
    """Names are looked up in `path` only: a list of quoted names. Needs a transaction, and lasts no longer."""
    ask = text("SELECT pg_catalog.set_config('search_path', :path, true)")
    before = connection.scalar(text("SELECT pg_catalog.current_setting('search_path')"))
    connection.execute(ask, {"path": path})
    yield
    connection.execute(ask, {"path": before})


def catalogue(connection: Connection, schema: str) -> Catalogue:
    """Every object of `schema` (its name without quotes), aspect by aspect. Needs a transaction."""
    with search_path(connection, "pg_catalog"):
        found = connection.execute(text(query("catalogue.sql")), {"schema": schema, "roles": list(WATCHED)}).all()
    wanted: dict[str, list[int]] = defaultdict(list)
    for row in found:
        if row.deparse:
            wanted[row.deparse].append(row.oid)
    written: dict[tuple[str, int], str | None] = {}
    with search_path(connection, f"{quoted(schema)}, pg_temp"):
        for what, oids in wanted.items():
            for oid, value in connection.execute(DEPARSE[what], {"oids": oids}):
                written[what, oid] = value
    unqualified = _without_schema(schema, (row.tab or row.name.partition("(")[0] for row in found))
    values: Catalogue = {}
    for kind, table, name, role, aspect, value, deparse, oid in found:
        said = (written.get((deparse, oid)) if deparse else value) or "none"
        match deparse:
            case "constraint":
                said = said.removesuffix(value or "")
            case "index":
                said = said.replace(value or "", "")
            case "trigger":
                said = said.replace(value or "()", "()")
            case "body":
                said = unqualified.sub("", said)
        values[Item(kind, table, name, role), aspect] = said
    return values


def _without_schema(schema: str, names: Iterable[str]) -> re.Pattern[str]:
    """What a function whose body is text writes before the names of the schema's tables and functions."""
    named = "|".join(sorted(map(re.escape, set(names))))
    return re.compile(rf"(?:{re.escape(quoted(schema))}|\b{re.escape(schema)})\.(?=(?:{named})\b)")


# Functions are named with their schema and operators have operands of exactly their types: these run with the schema
# in sight, and nothing in it can be taken for them.
DEPARSE = {
    what: text(
        f"SELECT o.oid, {expression} FROM pg_catalog.{table} AS o WHERE o.oid = ANY (CAST(:oids AS pg_catalog.oid[]))"
    )
    for what, table, expression in (
        ("default", "pg_attrdef", "pg_catalog.pg_get_expr(o.adbin, o.adrelid)"),
        ("constraint", "pg_constraint", "pg_catalog.pg_get_constraintdef(o.oid)"),
        ("using", "pg_policy", "pg_catalog.pg_get_expr(o.polqual, o.polrelid)"),
        ("with check", "pg_policy", "pg_catalog.pg_get_expr(o.polwithcheck, o.polrelid)"),
        ("index", "pg_class", "pg_catalog.pg_get_indexdef(o.oid, 0, true)"),
        ("trigger", "pg_trigger", "pg_catalog.pg_get_triggerdef(o.oid, true)"),
        ("arguments", "pg_proc", "pg_catalog.pg_get_function_arguments(o.oid)"),
        ("result", "pg_proc", "pg_catalog.pg_get_function_result(o.oid)"),
        ("body", "pg_proc", "coalesce(pg_catalog.pg_get_function_sqlbody(o.oid), o.prosrc)"),
    )
}
