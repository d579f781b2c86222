"""The attack matrix: as app_tenant in the scope of A, nothing of B is read, written, moved, locked or referred to."""

import io
from collections.abc import Iterator

import psycopg2
import pytest
from sqlalchemy import URL

from tests.attacks import ATTACKS, Attack, Matrix, enter, leaks, unreadable
from tests.conftest import MakeDatabase
from tests.roles import TENANT
from tests.support import execute
from tests.tenants import A, B, fetch, fresh, insert, transaction


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
