"""Supabase's public roles: anyone with the public key can be anon or authenticated."""

import re

import psycopg2
import pytest
from sqlalchemy import URL

from tests.support import OTHER_ID, SCHEMA_TABLES, check, execute, migrate, plain, rows

SUPABASE = (
    "CREATE ROLE anon NOLOGIN",
    "CREATE ROLE authenticated NOLOGIN",
    *(
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON {kind} TO anon, authenticated"
        for kind in ("TABLES", "FUNCTIONS", "SEQUENCES")
    ),
    *(
        f"GRANT ALL ON ALL {kind} IN SCHEMA public TO anon, authenticated"
        for kind in ("TABLES", "FUNCTIONS", "SEQUENCES")
    ),
)
PRIVILEGES = """
SELECT role, name, privilege FROM unnest('{anon,authenticated}'::text[]) AS role
 CROSS JOIN (SELECT oid, oid::regclass::text AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r') AS t
 CROSS JOIN unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS privilege
 WHERE has_table_privilege(role, oid, privilege) OR (privilege <> ALL ('{DELETE,TRUNCATE,TRIGGER}') AND has_any_column_privilege(role, oid, privilege))
UNION ALL
SELECT role, oid::regclass::text, 'USAGE' FROM unnest('{anon,authenticated}'::text[]) AS role
 CROSS JOIN pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S' AND has_sequence_privilege(role, oid, 'USAGE, SELECT, UPDATE')
UNION ALL
SELECT role, oid::regprocedure::text, 'EXECUTE' FROM unnest('{anon,authenticated}'::text[]) AS role
 CROSS JOIN pg_proc WHERE pronamespace = 'public'::regnamespace AND has_function_privilege(role, oid, 'EXECUTE')"""


@pytest.mark.parametrize("start", ["live", "fresh"])
def test_supabases_public_roles_read_write_and_call_nothing(fresh: URL, start: str) -> None:
    if start == "fresh":
        execute(fresh, "DROP TABLE customers, conversations")
    execute(fresh, *SUPABASE)
    migrate(fresh, "upgrade", "000")
    before = rows(fresh, PRIVILEGES)
    assert {"conversations", "customers_id_seq"} <= {name for _, name, _ in before}
    migrate(fresh)
    check(fresh)
    assert rows(fresh, PRIVILEGES) == []
    for role in ("anon", "authenticated"):
        for table in (*SCHEMA_TABLES, "alembic_version"):
            for sql in (f"SELECT FROM {table}", f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
                assert denied(fresh, role, sql), f"{role}: {sql}"
        for sql in (
            "INSERT INTO conversations (whatsapp_id, message, role) VALUES ('1', 'x', 'user')",
            "SELECT nextval('customers_id_seq')",
            "SELECT current_business_id()",
            "SELECT set_updated_at()",
        ):
            assert denied(fresh, role, sql), f"{role}: {sql}"
    execute(
        fresh,
        f"INSERT INTO businesses (id, name) VALUES ('{OTHER_ID}', 'Other')",
        "INSERT INTO users (email, password_hash) VALUES ('a@b.co', '$2b$" + "x" * 56 + "')",
    )
    migrate(fresh, "downgrade", "-1")
    assert {row for row in rows(fresh, PRIVILEGES) if "alembic" not in row[1]} == {
        r for r in before if "alembic" not in r[1]
    }
    for role in ("anon", "authenticated"):
        assert denied(fresh, role, "SELECT FROM multi_tenant_archive.users")


def test_a_policy_of_the_team_for_a_public_role_shows_nothing_and_is_no_drift(fresh: URL) -> None:
    policy = 'CREATE POLICY "own rows" ON customers FOR SELECT TO authenticated USING (true)'
    execute(fresh, *SUPABASE, "ALTER TABLE customers ENABLE ROW LEVEL SECURITY", policy)
    migrate(fresh)
    check(fresh)
    assert denied(fresh, "authenticated", "SELECT FROM customers")
    migrate(fresh, "downgrade", "-1")
    assert rows(fresh, "SELECT polname FROM pg_policy") == [("own rows",)]


def denied(url: URL, role: str, sql: str) -> bool:
    connection = psycopg2.connect(plain(url))
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {role}")
            cursor.execute(sql)
    except psycopg2.errors.InsufficientPrivilege as error:
        return re.search("permission denied", str(error)) is not None
    finally:
        connection.close()
    return False
