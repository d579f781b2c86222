"""What the tests of roles share: owners, refusals, and what a role holds and reaches."""

from typing import Any

import psycopg2
import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.support import execute, migrate, pg_dump, plain, rows

ROLES = ("app_tenant", "app_service")
TENANT = {
    "customers": ["whatsapp_id", "name", "age", "updated_at", "business_id", "whatsapp_user_id", "username"],
    "conversations": [
        *("whatsapp_id", "message", "role", "timestamp", "business_id", "whatsapp_number_id", "whatsapp_message_id")
    ],
    "whatsapp_numbers": ["phone_number_id", "phone_number", "access_token", "is_active", "business_id", "updated_at"],
}
"""The columns that app_tenant may insert and update, of the tables whose rows it may make."""


def give_to(url: URL, owner: str, attributes: str = "") -> URL:
    """The database, its tables and schema as the property of a new login."""
    execute(
        url,
        f"CREATE ROLE {owner} LOGIN {attributes}",
        f"ALTER DATABASE {url.database} OWNER TO {owner}",
        f"ALTER SCHEMA public OWNER TO {owner}",
        f"ALTER TABLE customers OWNER TO {owner}",
        f"ALTER TABLE conversations OWNER TO {owner}",
    )
    return url.set(username=owner)


def refusal(url: URL) -> str:
    """The sentence with which the upgrade is refused, with nothing changed."""
    everything = "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles ORDER BY 1"
    members = "SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members ORDER BY 1, 2"
    before: list[Any] = [pg_dump(url.set(username="postgres")), rows(url, everything), rows(url, members)]
    with pytest.raises(CommandError) as caught:
        migrate(url)
    after: list[Any] = [pg_dump(url.set(username="postgres")), rows(url, everything), rows(url, members)]
    assert [line for line in after[0] if "alembic_version" not in line] == before[0]
    assert after[1:] == before[1:]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def advice(sentence: str, after: str) -> list[str]:
    """The statements that a refusal tells somebody to run."""
    assert sentence.endswith(";")
    return [part.strip() for part in sentence.rsplit(after, 1)[1].removesuffix(";").split(";")]


Held = set[tuple[str, str, str]]
"""(role, table or table.column or sequence, privilege)."""

FORMER = (
    "old_reader",
    "old_writer",
    "everything",
    "by_column",
    "no_inherit",
    "member",
    "granter",
    "passed",
    "backup",
    "loader",
)
"""Roles of SET_UP that work with the two tables before the upgrade, and are bound by row level security."""

EVERYTHING = "customers, conversations"
SET_UP = (
    "INSERT INTO customers (whatsapp_id, name, age, created_at, updated_at) VALUES ('57', 'Ana', 7, now(), now())",
    "INSERT INTO conversations (whatsapp_id, message, role, timestamp, created_at) VALUES ('57', 'hi', 'user', now(), now())",
    *(f"CREATE ROLE {role}" for role in ("anon", "authenticated", "app_tenant", "app_service", "team", "stranger")),
    "CREATE ROLE service_role BYPASSRLS",
    *(
        f"CREATE ROLE {role} LOGIN"
        for role in ("old_reader", "old_writer", "everything", "by_column", "granter", "passed")
    ),
    "CREATE ROLE no_inherit LOGIN NOINHERIT IN ROLE team",
    "CREATE ROLE member LOGIN IN ROLE team",
    "CREATE ROLE backup LOGIN IN ROLE pg_read_all_data",
    "CREATE ROLE loader LOGIN IN ROLE pg_write_all_data",
    f"GRANT SELECT ON {EVERYTHING} TO old_reader, team",
    f"GRANT SELECT, INSERT, UPDATE ON {EVERYTHING} TO old_writer",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO old_writer",
    f"GRANT ALL ON {EVERYTHING} TO everything, anon, authenticated, service_role",
    "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO everything, anon, authenticated, service_role",
    "GRANT SELECT (id, name), UPDATE (age), REFERENCES (id) ON customers TO by_column",
    "GRANT SELECT ON customers TO no_inherit",
    f"GRANT SELECT, TRUNCATE ON {EVERYTHING} TO granter WITH GRANT OPTION",
    "GRANT REFERENCES (id) ON customers TO granter WITH GRANT OPTION",
    f"SET ROLE granter; GRANT SELECT, TRUNCATE ON {EVERYTHING} TO passed, anon; GRANT REFERENCES (id) ON customers TO passed; RESET ROLE",
    *(
        f"ALTER DEFAULT PRIVILEGES {where} GRANT ALL ON {kind} TO PUBLIC, anon, app_tenant, app_service, stranger, service_role"
        for kind in ("TABLES", "SEQUENCES", "FUNCTIONS")
        for where in ("", "IN SCHEMA public")
    ),
)
"""A live database with every kind of role."""

HELD = """
WITH who (role, oid) AS (
    SELECT rolname::text, rolname::text FROM pg_roles WHERE oid >= 16384 AND NOT rolsuper UNION ALL SELECT 'PUBLIC', 'public'
), thing AS (
    SELECT oid, relname::text AS name, relkind FROM pg_class
     WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S')
), privilege AS (
    SELECT unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS name
)
SELECT role, thing.name, p.name FROM who, thing, privilege AS p
 WHERE relkind = 'r' AND has_table_privilege(who.oid, thing.oid, p.name)
UNION ALL
SELECT role, thing.name || '.' || attname, p.name FROM who, privilege AS p, thing JOIN pg_attribute ON attrelid = thing.oid
 WHERE relkind = 'r' AND attnum > 0 AND NOT attisdropped AND p.name IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
   AND has_column_privilege(who.oid, thing.oid, attnum, p.name) AND NOT has_table_privilege(who.oid, thing.oid, p.name)
UNION ALL
SELECT role, thing.name, p.name FROM who, thing, unnest('{USAGE,SELECT,UPDATE}'::text[]) AS p (name)
 WHERE relkind = 'S' AND has_sequence_privilege(who.oid, thing.oid, p.name)
UNION ALL
SELECT role, f.oid::regprocedure::text, 'EXECUTE' FROM who, pg_proc AS f
 WHERE pronamespace = 'public'::regnamespace AND role NOT IN ('app_tenant', 'app_service') AND has_function_privilege(who.oid, f.oid, 'EXECUTE')"""


def held(url: URL) -> Held:
    """What every role but superusers may do with every table, column, sequence and function of the schema."""
    return set(rows(url, HELD))


def as_role(url: URL, role: str, sql: str) -> list[tuple[Any, ...]]:
    """The rows that a role gets, none where it is refused, in a transaction that is rolled back."""
    connection = psycopg2.connect(plain(url))
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {role}")
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
    except psycopg2.Error:
        return []
    finally:
        connection.close()
