"""The attack matrix: as app_tenant in the scope of A, nothing of B is read, written, moved, locked or referred to."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from sqlalchemy import URL

from tests.conftest import MakeDatabase
from tests.roles import TENANT
from tests.support import execute
from tests.tenants import A, B, Row, Table, fetch, fresh, insert, literal, populate, tenant_tables, transaction

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


@pytest.fixture(scope="module")
def shared(make_lasting_database: MakeDatabase, migrated_template: URL) -> URL:
    return make_lasting_database(migrated_template)


@pytest.fixture
def matrix(shared: URL) -> Iterator[Matrix]:
    with transaction(shared) as cursor:
        yield Matrix(cursor)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_nothing_of_another_tenant(matrix: Matrix, attack: Attack) -> None:
    assert leaks(matrix, attack) == []


def test_every_tenant_table_is_there_for_its_own_tenant(matrix: Matrix) -> None:
    assert {t.name for t in matrix.tables} >= {"businesses", "users", "customers", "conversations", "whatsapp_numbers"}
    assert unreadable(matrix) == []


def unreadable(m: Matrix) -> list[str]:
    """Tenant tables whose own row app_tenant does not see."""
    return [
        t.name for t in m.tables if m.run(f"SELECT 1 FROM {t.name} WHERE {t.where(m.a[t.name])}") != ("rows", [(1,)])
    ]


@pytest.mark.parametrize("table", ["customers", "conversations", "whatsapp_numbers"])
def test_a_tenant_writes_its_own_rows(matrix: Matrix, table: str) -> None:
    t = next(t for t in matrix.tables if t.name == table)
    row = fresh(matrix.cursor, t, A, matrix.a)
    del row["business_id"]  # the scope is the default
    assert matrix.run(insert(table, row, "RETURNING business_id::text")) == ("rows", [(A,)])
    own = t.where(matrix.a[table])
    assert matrix.run(
        f"UPDATE {table} SET is_active = false WHERE {own} RETURNING 1"
        if "is_active" in t.columns
        else f"UPDATE {table} SET whatsapp_id = 'new' WHERE {own} RETURNING 1"
    ) == ("rows", [(1,)])
    assert matrix.run(f"DELETE FROM {table} WHERE {own} RETURNING 1") == ("rows", [(1,)])


def test_a_tenant_edits_its_business_and_staff_and_no_more(matrix: Matrix) -> None:
    assert matrix.run(
        "UPDATE businesses SET name = 'New', settings = '{}', business_type = 'spa' RETURNING id::text"
    ) == ("rows", [(A,)])
    assert matrix.run("UPDATE user_businesses SET role = 'admin' RETURNING 1") == ("rows", [(1,)])
    assert matrix.run("DELETE FROM user_businesses RETURNING 1") == ("rows", [(1,)])
    assert matrix.run("SELECT id, email, full_name, is_active, created_at, updated_at FROM users")[0] == "rows"
    assert matrix.run("UPDATE user_businesses SET role = 'root'") == ("error", "23514")
    assert matrix.run("UPDATE whatsapp_numbers SET phone_number = '57300'") == ("error", "23514")
    for denied in (
        "SELECT password_hash FROM users",
        "SELECT * FROM users",
        "SELECT users FROM users",
        "SELECT to_jsonb(users) FROM users",
        "UPDATE users SET full_name = 'x'",
        "UPDATE users SET password_hash = 'x'",
        "DELETE FROM users",
        "INSERT INTO users (email) VALUES ('x@example.com')",
        "UPDATE businesses SET is_active = false",
        "UPDATE businesses SET id = id",
        "DELETE FROM businesses",
        f"INSERT INTO businesses (id, name) VALUES ('{A}', 'x')",
        "INSERT INTO user_businesses (user_id) SELECT id FROM users",
        "UPDATE user_businesses SET user_id = user_id",
        "INSERT INTO customers (id, whatsapp_id, name) OVERRIDING SYSTEM VALUE VALUES (2147483647, 'x', 'x')",
        "UPDATE customers SET id = id",
        "UPDATE conversations SET created_at = now()",
        "INSERT INTO whatsapp_numbers (id, phone_number) VALUES (gen_random_uuid(), '+573001234567')",
        "SELECT nextval('customers_id_seq')",
        "SELECT * FROM alembic_version",
        "DELETE FROM alembic_version",
        "SELECT set_updated_at()",
        "SELECT setval('customers_id_seq', 1)",
        "CREATE TABLE mine ()",
        "ALTER TABLE customers DISABLE ROW LEVEL SECURITY",
        "DROP POLICY app_tenant ON customers",
    ):
        assert matrix.run(denied) == ("error", "42501"), denied


GRANTED = """
SELECT relname || coalesce('.' || attname, ''), string_agg(privilege_type, ' ' ORDER BY privilege_type)
  FROM (SELECT relname, NULL AS attname, relacl AS acl FROM pg_class WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT relname, attname, attacl FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
         WHERE relnamespace = 'public'::regnamespace) AS t, aclexplode(acl) AS granted
 WHERE grantee = 'app_tenant'::regrole GROUP BY 1"""


def test_what_app_tenant_is_granted_and_no_more(matrix: Matrix) -> None:
    granted = dict(fetch(matrix.cursor, GRANTED))
    assert granted == {
        **dict.fromkeys(TENANT, "DELETE SELECT"),
        **{f"{table}.{column}": "INSERT UPDATE" for table, columns in TENANT.items() for column in columns},
        "businesses": "SELECT",
        **dict.fromkeys(("businesses.name", "businesses.business_type", "businesses.settings"), "UPDATE"),
        "user_businesses": "DELETE SELECT",
        "user_businesses.role": "UPDATE",
        **{f"users.{c}": "SELECT" for c in ("id", "email", "full_name", "is_active", "created_at", "updated_at")},
    }


def test_truncate_is_refused(matrix: Matrix) -> None:
    for table in matrix.tables:
        for role in ("app_tenant", "app_service"):
            assert matrix.run(f"TRUNCATE {table.name} CASCADE", role) == ("error", "42501"), table.name
        assert matrix.run(f"TRUNCATE {table.name} CASCADE; SELECT 1", "none") == ("rows", [(1,)]), table.name


def test_copy_out_shows_own_rows_and_copy_in_is_refused(matrix: Matrix) -> None:
    for table in matrix.tables:
        for key in table.keys[0]:
            for sql in (f"COPY {table.name} ({key}) TO STDOUT", f"COPY (SELECT {key} FROM {table.name}) TO STDOUT"):
                assert copied(matrix, sql, "app_tenant") == {str(matrix.a[table.name][key])}, sql
                assert str(matrix.b[table.name][key]) in copied(matrix, sql, "app_service"), sql
        row = fresh(matrix.cursor, table, B, matrix.b)
        matrix.cursor.execute("SAVEPOINT copy")
        matrix.cursor.execute(enter("app_tenant", A))
        with pytest.raises(psycopg2.Error) as caught:  # row level security refuses COPY FROM altogether
            matrix.cursor.copy_expert(f"COPY {table.name} ({', '.join(row)}) FROM STDIN", io.StringIO(""))
        assert caught.value.pgcode in {"42501", "0A000"}
        matrix.cursor.execute("ROLLBACK TO SAVEPOINT copy")


def copied(m: Matrix, sql: str, role: str) -> set[str]:
    output = io.StringIO()
    m.cursor.execute("SAVEPOINT copy")
    m.cursor.execute(enter(role, A))
    m.cursor.copy_expert(sql, output)
    m.cursor.execute("ROLLBACK TO SAVEPOINT copy")
    return set(output.getvalue().split())


@pytest.mark.parametrize("scope", [None, "", "no uuid", f"{A}' OR true --", "00000000-0000-0000-0000-000000000000"])
def test_without_a_scope_no_row_is_read_or_written(matrix: Matrix, scope: str | None) -> None:
    for t in matrix.tables:
        for sql in (
            f"SELECT 1 FROM {t.name}",
            f"UPDATE {t.name} SET {(column := matrix.may_update(t))} = {column} RETURNING 1",
            f"DELETE FROM {t.name} RETURNING 1",
            insert(t.name, fresh(matrix.cursor, t, A, matrix.a), "RETURNING 1"),
            insert(
                t.name,
                {k: v for k, v in fresh(matrix.cursor, t, A, matrix.a).items() if k != "business_id"},
                "RETURNING 1",
            ),
        ):
            result, detail = matrix.run(sql, scope=scope)
            malformed = {"22P02"} if scope and len(scope) != 36 else set()  # an empty one is none, and no error
            assert result == "none" or detail in {"42501", "23503", *malformed}, f"{sql} gave {result} {detail}"


BOOKINGS = """
    ALTER TABLE customers ADD UNIQUE (business_id, id);
    CREATE TYPE state AS ENUM ('asked', 'fixed');
    CREATE TABLE bookings (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), business_id uuid NOT NULL REFERENCES businesses,
        customer_id integer NOT NULL, starts timestamptz NOT NULL, lasts interval NOT NULL, price numeric(10, 2) CHECK (price >= 0),
        during tstzrange NOT NULL, tags text[] NOT NULL, state state NOT NULL, day date NOT NULL, hour time NOT NULL,
        FOREIGN KEY (business_id, customer_id) REFERENCES customers (business_id, id))"""
OPEN = "GRANT SELECT, INSERT, UPDATE, DELETE ON bookings TO app_tenant, app_service"
CONFINED = """
    ALTER TABLE bookings ENABLE ROW LEVEL SECURITY;
    CREATE POLICY app_tenant ON bookings TO app_tenant USING (business_id = (SELECT current_business_id()));
    CREATE POLICY app_service ON bookings TO app_service USING (true)"""


def test_a_later_table_is_attacked_without_a_change_here(database: URL) -> None:
    execute(database, BOOKINGS, OPEN, CONFINED)
    with transaction(database) as cursor:
        m = Matrix(cursor)
        assert "bookings" in {t.name for t in m.tables}
        assert [leak for attack in ATTACKS.values() for leak in leaks(m, attack, "bookings")] == []
        assert unreadable(m) == []


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        ([BOOKINGS, OPEN], ["select", "count", "join", "write_new", "upsert", "update", "delete"]),
        ([BOOKINGS], ["unreadable"]),
        ([BOOKINGS, OPEN, "ALTER TABLE bookings ENABLE ROW LEVEL SECURITY"], ["unreadable"]),
        (
            [
                BOOKINGS.replace(
                    "FOREIGN KEY (business_id, customer_id) REFERENCES customers (business_id, id)",
                    "FOREIGN KEY (customer_id) REFERENCES customers",
                ),
                OPEN,
                CONFINED,
            ],
            ["foreign_keys"],
        ),
    ],
    ids=["no row level security", "no grant", "no policy", "simple foreign key"],
)
def test_a_later_table_left_open_is_found(database: URL, statements: list[str], found: list[str]) -> None:
    execute(database, *statements)
    with transaction(database) as cursor:
        m = Matrix(cursor)
        seen = {name for name, attack in ATTACKS.items() if leaks(m, attack, "bookings")}
        seen |= {"unreadable"} if unreadable(m) else set()
    assert seen >= set(found)
