"""Rows of two tenants in every tenant table, made from the catalogue alone, so that a later table is covered too."""

import itertools
import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg2
from cryptography.fernet import Fernet
from sqlalchemy import URL

A, B = "0000000a-0000-0000-0000-00000000000a", "0000000b-0000-0000-0000-00000000000b"
HASH = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$aGFzaGhhc2hoYXNoaGFzaA"
CIPHERTEXT = Fernet(Fernet.generate_key()).encrypt(b"EAAG").decode()
Row = dict[str, Any]
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Table:
    """A tenant table: itself owned by a business, or referred to by one that is."""

    name: str
    columns: dict[str, tuple[str, str, bool]]
    """Name to (type, category of the type, whether it has a default)."""
    keys: tuple[tuple[str, ...], ...]
    """Columns of its unique keys, the primary key first."""
    references: tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...]
    """(columns, table, columns there) of its foreign keys."""
    checks: tuple[tuple[str, str], ...]
    """(column, expression) of the CHECKs on one column."""

    def where(self, row: Row, alias: str = "") -> str:
        """SQL condition: the row is this one."""
        return " AND ".join(f"{alias or self.name}.{column} = {literal(row[column])}" for column in self.keys[0])


def literal(value: Any) -> str:
    """A value as SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, dict | list):
        value = json.dumps(value)
    return "'" + str(value).replace("'", "''") + "'"


def insert(table: str, row: Row, extra: str = "") -> str:
    """INSERT of a row."""
    return f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(map(literal, row.values()))}) {extra}"


@contextmanager
def transaction(url: URL) -> Iterator[Any]:
    """A cursor in a transaction that is rolled back, past SQLAlchemy."""
    connection = psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        yield connection.cursor()
    finally:
        connection.close()


def fetch(cursor: Any, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a statement; none where it returns none."""
    cursor.execute(sql)
    return cursor.fetchall() if cursor.description else []


TENANT_TABLES = """
WITH RECURSIVE tenant (oid) AS (
    SELECT c.oid FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'business_id' AND NOT attisdropped
     WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND (a.attname IS NOT NULL OR c.relname = 'businesses')
    UNION SELECT confrelid FROM tenant JOIN pg_constraint ON conrelid = tenant.oid AND contype = 'f')
SELECT oid, oid::regclass::text FROM tenant ORDER BY 2"""
COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod), typcategory::text, atthasdef OR attidentity <> '' OR attgenerated <> ''
  FROM pg_attribute JOIN pg_type t ON t.oid = atttypid WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
KEYS = """
SELECT (SELECT array_agg(attname::text ORDER BY place) FROM unnest(indkey) WITH ORDINALITY AS k (n, place)
          JOIN pg_attribute ON attrelid = indrelid AND attnum = n)
  FROM pg_index WHERE indrelid = {oid} AND indisunique AND indpred IS NULL AND indexprs IS NULL ORDER BY NOT indisprimary, indexrelid"""
REFERENCES = """
SELECT (SELECT array_agg(attname::text ORDER BY place) FROM unnest(conkey) WITH ORDINALITY AS k (n, place)
          JOIN pg_attribute ON attrelid = conrelid AND attnum = n), confrelid::regclass::text,
       (SELECT array_agg(attname::text ORDER BY place) FROM unnest(confkey) WITH ORDINALITY AS k (n, place)
          JOIN pg_attribute ON attrelid = confrelid AND attnum = n)
  FROM pg_constraint WHERE conrelid = {oid} AND contype = 'f' ORDER BY cardinality(conkey), conname"""
CHECKS = """
SELECT attname, pg_get_expr(conbin, conrelid) FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND conkey = ARRAY[attnum]
 WHERE conrelid = {oid} AND contype = 'c'"""


def tenant_tables(cursor: Any) -> list[Table]:
    """Every tenant table of the schema, referred-to tables before those that refer to them."""
    found = []
    for oid, name in fetch(cursor, TENANT_TABLES):
        found.append(
            Table(
                name,
                {
                    column: (kind, category, has)
                    for column, kind, category, has in fetch(cursor, COLUMNS.format(oid=oid))
                },
                tuple(tuple(key) for (key,) in fetch(cursor, KEYS.format(oid=oid))),
                tuple((tuple(f), t, tuple(to)) for f, t, to in fetch(cursor, REFERENCES.format(oid=oid))),
                tuple(fetch(cursor, CHECKS.format(oid=oid))),
            )
        )
    ordered: list[Table] = []
    while found:
        done = {t.name for t in ordered}
        ordered.append(next(t for t in found if all(to in {*done, t.name} for _, to, _ in t.references)))
        found.remove(ordered[-1])
    return ordered


def fresh(cursor: Any, table: Table, business: str, there: dict[str, Row]) -> Row:
    """A new row of a business for the table: types and CHECKs met, foreign keys to the rows `there`."""
    row: Row = {column: _value(cursor, table, column) for column, (*_, has) in table.columns.items() if not has}
    if "business_id" in table.columns:
        row["business_id"] = business
    if table.name == "businesses":
        row["id"] = business if "businesses" not in there else str(uuid.uuid4())
    for columns, target, referenced in table.references:
        if target != table.name and columns != ("business_id",):
            row |= {c: there[target][r] for c, r in zip(columns, referenced, strict=True)}
    return row


def populate(cursor: Any, tables: list[Table], business: str) -> dict[str, Row]:
    """One row of the business in every table; call it as the owner."""
    there: dict[str, Row] = {}
    for table in tables:
        cursor.execute(insert(table.name, fresh(cursor, table, business, there), "RETURNING *"))
        there[table.name] = dict(zip((d.name for d in cursor.description), cursor.fetchone(), strict=True))
    return there


def _value(cursor: Any, table: Table, column: str) -> Any:
    """The first value that fits the type and the CHECKs of the column."""
    kind, category, _ = table.columns[column]
    n = next(_numbers)
    checks = [expression for name, expression in table.checks if name == column]
    quoted = [word for check in checks for word in re.findall("'([^']*)'", check)]
    texts = [f"x{n}", f"+57300{n:07}", f"x{n}@example.com", HASH, CIPHERTEXT, *quoted]
    by_kind: dict[str, list[Any]] = {"uuid": [uuid.uuid4()], "jsonb": [{}, []], "json": [{}, []], "bytea": ["x"]}
    by_kind |= {"time without time zone": ["10:00"], "time with time zone": ["10:00+00"]}
    by_category = {"S": texts, "N": [n, 1, 0], "B": [True, False], "D": [date(2030, 1, 1)], "T": ["1 hour"]}
    by_category |= {"A": [[]], "R": ["empty"], "I": ["127.0.0.1"]}
    if category == "E":
        cursor.execute(f"SELECT enum_range(NULL::{kind})::text[]")
        by_category["E"] = cursor.fetchone()[0]
    for value in by_kind.get(kind, by_category.get(category, [])):
        shown = "{}" if value == [] and category == "A" else value
        asked = " AND ".join(f"coalesce({check}, true)" for check in checks) or "true"
        if fetch(cursor, f"SELECT {asked} FROM (SELECT {literal(shown)}::{kind} AS {column}) AS t") == [(True,)]:
            return shown
    raise AssertionError(f"no value known for {table.name}.{column} of type {kind}: add one to tests/tenants.py")
