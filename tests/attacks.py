"""Attacks on another tenant, made from the catalogue: each yields statements that must reach nothing of B."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg2

from tests.tenants import A, B, Row, Table, fetch, fresh, insert, literal, populate, tenant_tables

REFUSED = {"42501": "a privilege or a policy", "23503": "a foreign key"}

HIT = {"P0001", "23503", "23505"}
"""What shows that the same statement reaches B's rows where nothing confines it."""


def enter(role: str, scope: str | None) -> str:
    """What a session begins with, as `app.tenancy.connection.Confinement` writes it, for any role and any scope."""
    return f"SET LOCAL ROLE {role}" + ("" if scope is None else f"; SET LOCAL app.business_id = {literal(scope)}")


class Matrix:
    """Both tenants' rows, in a transaction that is rolled back; `run` is a statement in some scope."""

    def __init__(self, cursor: Any) -> None:
        self.cursor = cursor
        self.tables = tenant_tables(cursor)
        self.a = populate(cursor, self.tables, A)
        self.b = populate(cursor, self.tables, B)
        self.before = self.everything_of_b()

    def run(self, sql: str, role: str = "app_tenant", scope: str | None = A) -> tuple[str, object]:
        """("rows", rows), ("none", None) or ("error", SQLSTATE); nothing of it stays."""
        self.cursor.execute("SAVEPOINT attack")
        try:
            self.cursor.execute(enter(role, scope))
            found = fetch(self.cursor, sql)
            self.cursor.execute("RESET ROLE")
            if role == "app_tenant" and self.everything_of_b() != self.before:
                return "changed", self.everything_of_b()
            return ("rows", found) if found else ("none", None)
        except psycopg2.Error as error:
            return "error", error.pgcode
        finally:
            self.cursor.execute("ROLLBACK TO SAVEPOINT attack")

    def everything_of_b(self) -> list[object]:
        conditions = {
            t.name: f"business_id = '{B}'" if "business_id" in t.columns else t.where(self.b[t.name])
            for t in self.tables
        }
        return [
            fetch(self.cursor, f"SELECT to_jsonb({t}) FROM {t} WHERE {where} ORDER BY 1")
            for t, where in conditions.items()
        ]

    def may_update(self, table: Table) -> str:
        """A column that app_tenant may update, so that the policy is asked and not only the privilege."""
        bound = {"business_id", *table.keys[0], *(c for columns, *_ in table.references for c in columns)}
        asked = sorted(table.columns, key=lambda c: c in bound)
        for column in asked:
            if fetch(self.cursor, f"SELECT has_column_privilege('app_tenant', '{table.name}', '{column}', 'UPDATE')")[
                0
            ][0]:
                return column
        return asked[0]


Attack = Callable[[Matrix, Table, Row, Row], Iterator[str]]


def select(m: Matrix, t: Table, a: Row, b: Row) -> Iterator[str]:
    yield f"SELECT {t.keys[0][0]} FROM {t.name} WHERE {t.where(b)}"
    yield f"SELECT 1 FROM {t.name} WHERE {t.where(b)} FOR UPDATE"
    yield f"SELECT 1 FROM {t.name} TABLESAMPLE SYSTEM (100) WHERE {t.where(b)}"
    yield f"SELECT 1 WHERE EXISTS (SELECT FROM {t.name} WHERE {t.where(b)})"
    yield f"WITH x AS (SELECT {t.keys[0][0]} AS key FROM {t.name} WHERE {t.where(b)}) SELECT key FROM x UNION SELECT key FROM x"


def count(m: Matrix, t: Table, a: Row, b: Row) -> Iterator[str]:
    yield f"SELECT count(*) FROM {t.name} HAVING count(*) <> 1"
    yield f"SELECT max({t.keys[0][0]}::text) FROM {t.name} WHERE {t.where(b)} HAVING count(*) > 0"


def join(m: Matrix, t: Table, a: Row, b: Row) -> Iterator[str]:
    yield f"SELECT 1 FROM {t.name} AS mine JOIN {t.name} AS theirs ON true WHERE {t.where(a, 'mine')} AND {t.where(b, 'theirs')}"
    yield f"SELECT 1 FROM businesses AS x FULL JOIN {t.name} AS y ON true WHERE {t.where(b, 'y')}"
    yield f"SELECT 1 FROM businesses AS x, LATERAL (SELECT FROM {t.name} WHERE {t.where(b)}) AS y"


def write_new(m: Matrix, t: Table, a: Row, b: Row) -> Iterator[str]:
    yield insert(t.name, fresh(m.cursor, t, B, m.b), "RETURNING 1")
    row = fresh(m.cursor, t, B, m.b)
    yield f"INSERT INTO {t.name} ({', '.join(row)}) SELECT {', '.join(map(literal, row.values()))} RETURNING 1"


def upsert(m: Matrix, t: Table, a: Row, b: Row) -> Iterator[str]:
    column = m.may_update(t)
    for key in t.keys:
        owner, there = (B, m.b) if "business_id" in key else (A, m.a)
        row = fresh(m.cursor, t, owner, there) | {c: b[c] for c in key}
        yield insert(
            t.name, row, f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {column} = EXCLUDED.{column} RETURNING 1"
        )


def update(m: Matrix, t: Table, a: Row, b: Row) -> Iterator[str]:
    column = m.may_update(t)
    yield f"UPDATE {t.name} SET {column} = {column} WHERE {t.where(b)} RETURNING 1"
    yield f"UPDATE {t.name} SET {column} = DEFAULT WHERE {t.where(b)}"
    yield f"UPDATE {t.name} AS x SET {column} = x.{column} FROM businesses WHERE {t.where(b, 'x')} RETURNING 1"
    yield f"WITH w AS (UPDATE {t.name} SET {column} = {column} WHERE {t.where(b)} RETURNING 1) SELECT * FROM w"
    yield (
        f"MERGE INTO {t.name} USING (SELECT 1) AS s ON {t.where(b)} WHEN MATCHED THEN UPDATE SET {column} = DEFAULT; "
        f"SELECT 1 FROM {t.name} WHERE {t.where(b)}"
    )


def delete(m: Matrix, t: Table, a: Row, b: Row) -> Iterator[str]:
    yield f"DELETE FROM {t.name} WHERE {t.where(b)} RETURNING 1"
    yield f"DELETE FROM {t.name} AS x USING businesses WHERE {t.where(b, 'x')} RETURNING 1"


def move(m: Matrix, t: Table, a: Row, b: Row) -> Iterator[str]:
    column = "business_id" if "business_id" in t.columns else "id"
    for row, owner in ((a, B), (b, A)):
        value = owner if t.name != "users" else m.b["users"]["id"]
        yield f"UPDATE {t.name} SET {column} = '{value}' WHERE {t.where(row)} RETURNING 1"


def foreign_keys(m: Matrix, t: Table, a: Row, b: Row) -> Iterator[str]:
    for columns, target, referenced in t.references:
        theirs = {c: m.b[target][r] for c, r in zip(columns, referenced, strict=True) if c != "business_id"}
        if theirs:
            yield insert(t.name, fresh(m.cursor, t, A, m.a) | theirs, "RETURNING 1")
            change = ", ".join(f"{c} = {literal(v)}" for c, v in theirs.items())
            yield f"UPDATE {t.name} SET {change} WHERE {t.where(a)} RETURNING 1"


def functions(m: Matrix, t: Table, a: Row, b: Row) -> Iterator[str]:
    key = t.keys[0][0]
    theirs = f"SELECT {key}::text FROM {t.name} WHERE {t.where(b)}"
    yield f"SELECT 1 FROM generate_series(1, 2), LATERAL ({theirs}) AS x"
    yield f"SELECT unnest(ARRAY({theirs}))"
    yield f"SELECT * FROM jsonb_array_elements((SELECT jsonb_agg({key}) FROM {t.name} WHERE {t.where(b)}))"
    yield f"CREATE FUNCTION pg_temp.peek() RETURNS SETOF text LANGUAGE sql AS $$ {theirs} $$; SELECT * FROM pg_temp.peek()"
    yield (  # so cheap that the planner would run it before any condition that is not a barrier
        "CREATE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$ BEGIN "
        f"IF $1 = {literal(str(b[key]))} THEN RAISE EXCEPTION 'seen'; END IF; RETURN false; END $$; "
        f"SELECT 1 FROM {t.name} WHERE pg_temp.leak({key}::text)"
    )


def savepoints(m: Matrix, t: Table, a: Row, b: Row) -> Iterator[str]:
    column = m.may_update(t)
    for sql in (
        f"SELECT 1 FROM {t.name} WHERE {t.where(b)}",
        f"UPDATE {t.name} SET {column} = {column} WHERE {t.where(b)} RETURNING 1",
    ):
        yield f"SAVEPOINT s; SELECT {t.keys[0][0]} FROM {t.name}; ROLLBACK TO SAVEPOINT s; {sql}"
        yield f"SAVEPOINT s; SELECT {t.keys[0][0]} FROM {t.name}; RELEASE SAVEPOINT s; {sql}"


ATTACKS: dict[str, Attack] = {
    f.__name__: f
    for f in (select, count, join, write_new, upsert, update, delete, move, foreign_keys, functions, savepoints)
}


def leaks(m: Matrix, attack: Attack, only: str = "") -> list[str]:
    """What an attack of app_tenant in the scope of A reaches in B, and statements that could reach nothing anyway."""
    found = []
    for table in (t for t in m.tables if only in t.name):
        for sql in attack(m, table, m.a[table.name], m.b[table.name]):
            result, detail = m.run(sql)
            if result in {"rows", "changed"} or (result == "error" and detail not in REFUSED):
                found.append(f"{table.name}: {sql} gave {result} {detail}")
            control, detail = m.run(sql, "app_service")
            reaches = control == "rows" or detail in HIT or "DEFAULT" in sql
            if not reaches and not (detail == "42501" and "users" in table.name):
                found.append(f"{table.name}: {sql} shows nothing, for without a scope it gave {control} {detail}")
    return found


def unreadable(m: Matrix) -> list[str]:
    """Tenant tables whose own row app_tenant does not see."""
    return [
        t.name for t in m.tables if m.run(f"SELECT 1 FROM {t.name} WHERE {t.where(m.a[t.name])}") != ("rows", [(1,)])
    ]
