"""`alembic check` finds what opens the tables, or shuts their users out, and repair closes what is not a team's own."""

from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from tests.drift import Case, assert_found, expected_once
from tests.support import execute

SCHEMA = "DO $$ BEGIN EXECUTE format('{}', current_schema()); END $$"
DATABASE = "DO $$ BEGIN EXECUTE format('{}', current_database()); END $$"

# name: (statement, beginning of the line, whether repair puts it right)
CASES: dict[str, Case] = {
    "PUBLIC reads": ("GRANT SELECT ON customers TO PUBLIC", "privilege of PUBLIC on table customers: not declared, found SELECT", True),
    "PUBLIC reads a column": (
        "GRANT SELECT (email) ON users TO PUBLIC", "privilege of PUBLIC on column users.email: not declared, found SELECT", True,
    ),
    "PUBLIC counts": (
        "GRANT ALL ON SEQUENCE customers_id_seq TO PUBLIC", "privilege of PUBLIC on sequence of customers.id: not declared", True,
    ),
    "PUBLIC calls": (
        "GRANT EXECUTE ON FUNCTION set_updated_at() TO PUBLIC",
        "privilege of PUBLIC on function set_updated_at(): not declared, found EXECUTE", True,
    ),
    "anon reads": ("GRANT SELECT ON users TO anon", "privilege of anon on table users: not declared, found SELECT", True),
    "anon reads what a rollback gives back": (
        "GRANT SELECT ON multi_tenant_rollback TO anon",
        "privilege of anon on table multi_tenant_rollback: not declared, found SELECT", True,
    ),
    "tenant reads secrets": (
        "GRANT SELECT (password_hash) ON users TO app_tenant",
        "privilege of app_tenant on column users.password_hash: not declared, found SELECT", True,
    ),
    "tenant gives ids": (
        "GRANT INSERT (id) ON conversations TO app_tenant", "privilege of app_tenant on column conversations.id: not declared", True,
    ),
    "tenant reads less": (
        "REVOKE SELECT ON customers FROM app_tenant", "privilege of app_tenant on table customers: definition expected DELETE, SELECT, found", True,
    ),
    "tenant writes less": (
        "REVOKE INSERT (name) ON customers FROM app_tenant", "privilege of app_tenant on column customers.name: definition expected INSERT", True,
    ),
    "tenant truncates": (
        "GRANT TRUNCATE ON conversations TO app_tenant", "privilege of app_tenant on table conversations: definition expected", True,
    ),
    "tenant grants on": (
        "GRANT SELECT ON customers TO app_tenant WITH GRANT OPTION; SET ROLE app_tenant; GRANT SELECT ON customers TO PUBLIC; RESET ROLE",
        "privilege of app_tenant on table customers: definition expected DELETE, SELECT, found DELETE, SELECT with grant option", True,
    ),
    "service reads less": (
        "REVOKE ALL ON alembic_version FROM app_service", "privilege of app_service on table alembic_version: missing, expected SELECT", True,
    ),
    "service calls less": (
        "REVOKE ALL ON FUNCTION current_business_id() FROM app_service",
        "privilege of app_service on function current_business_id(): missing, expected EXECUTE", True,
    ),
    "owner shut out": (
        "REVOKE INSERT ON customers FROM CURRENT_USER", "privilege of the owner on table customers: definition expected", True,
    ),
    "another role truncates": (
        "GRANT SELECT, TRUNCATE, TRIGGER ON users TO pg_monitor",
        "privilege of pg_monitor on table users: not declared, found TRIGGER, TRUNCATE, which row level security does not", True,
    ),
    "CREATE for PUBLIC": (SCHEMA.format("GRANT CREATE ON SCHEMA %I TO PUBLIC"), "privilege of PUBLIC on schema public: not declared, found CREATE", True),
    "CREATE for tenants": (
        SCHEMA.format("GRANT CREATE ON SCHEMA %I TO app_tenant"), "privilege of app_tenant on schema public: not declared, found CREATE", True,
    ),
    "USAGE taken away": (
        SCHEMA.format("REVOKE USAGE ON SCHEMA %I FROM PUBLIC"), "privilege of app_tenant on schema public: missing, expected USAGE", True,
    ),
    "CREATE on the database": (DATABASE.format("GRANT CREATE ON DATABASE %I TO app_tenant"), "privilege of app_tenant on database ", True),
    "default privileges": (
        "ALTER DEFAULT PRIVILEGES GRANT SELECT, TRUNCATE ON TABLES TO app_tenant",
        "default privileges of postgres: not declared, found SELECT, TRUNCATE on TABLES for app_tenant", True,
    ),
    "default privileges in the schema": (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO app_service",
        "default privileges of postgres in schema public: not declared, found SELECT, UPDATE, USAGE on SEQUENCES for app_service", True,
    ),
    "default privileges of functions": (
        "ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO app_tenant",
        "default privileges of postgres: not declared, found EXECUTE on FUNCTIONS for app_tenant", True,
    ),
    "default privileges of PUBLIC": (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC",
        "default privileges of postgres in schema public: not declared, found SELECT on TABLES for PUBLIC", True,
    ),
    "adopted table of another owner": (
        "ALTER TABLE customers OWNER TO app_tenant", "table customers: owner expected postgres, found app_tenant", True,
    ),
    "something of a tenant's": (
        SCHEMA.format("GRANT CREATE ON SCHEMA %I TO app_tenant")
        + "; SET ROLE app_tenant; CREATE TABLE mine (id int); RESET ROLE; "
        + SCHEMA.format("REVOKE CREATE ON SCHEMA %I FROM app_tenant"),
        "table public.mine: not declared, found owned by app_tenant", False,
    ),
    "database sets the business": (
        DATABASE.format("ALTER DATABASE %I SET app.business_id = ''00000000-0000-0000-0000-000000000001''"), "database ", True,
    ),
    "database sets the role": (DATABASE.format("ALTER DATABASE %I SET role = ''pg_monitor''"), "database ", True),
    "database disables triggers": (DATABASE.format("ALTER DATABASE %I SET session_replication_role = replica"), "database ", True),
    "database disables row security": (DATABASE.format("ALTER DATABASE %I SET row_security = off"), "database ", True),
    "rule instead": (
        "CREATE RULE no_delete AS ON DELETE TO customers DO INSTEAD NOTHING", "rule no_delete on customers: not declared", False,
    ),
    "rule also": (
        "CREATE TABLE copies (LIKE customers); CREATE RULE copy AS ON INSERT TO customers DO ALSO INSERT INTO copies VALUES (NEW.*)",
        "rule copy on customers: not declared, found CREATE RULE", False,
    ),
    "child": ("CREATE TABLE vips () INHERITS (customers)", "table vips: not declared, found an inheritance child of customers", False),
    "parent": (
        "CREATE TABLE parents (id bigint NOT NULL); ALTER TABLE customers INHERIT parents; GRANT SELECT ON parents TO app_tenant",
        "table customers: not declared, found an inheritance child of parents", False,
    ),
    "unique across businesses": (
        "CREATE UNIQUE INDEX one_name ON customers (name)", "index one_name on customers: not declared, found unique across businesses", False,
    ),
    "message unique across businesses": (
        "ALTER TABLE conversations ADD CONSTRAINT once UNIQUE (whatsapp_message_id)",
        "index once on conversations: not declared, found unique across businesses", False,
    ),
    "exclusion across businesses": (
        "ALTER TABLE customers ADD CONSTRAINT once EXCLUDE (name WITH =)",
        "index once on customers: not declared, found unique across businesses", False,
    ),
    "sequence of another table": (
        "ALTER TABLE customers ALTER id DROP IDENTITY; CREATE SEQUENCE own OWNED BY customers.id; "
        "CREATE SEQUENCE other; ALTER TABLE customers ALTER id SET DEFAULT nextval('other')",
        "column customers.id: not declared, found a default from the sequence other", False,
    ),
    "sequence owned elsewhere": (
        "CREATE TABLE orders (id serial); ALTER TABLE customers ALTER id DROP IDENTITY; "
        "ALTER TABLE customers ALTER id SET DEFAULT nextval('orders_id_seq')",
        "column customers.id: not declared, found a default from the sequence orders_id_seq", False,
    ),
    "table of tenants without row level security": (
        "CREATE TABLE notes (business_id uuid, note text); GRANT SELECT ON notes TO app_tenant",
        "table notes: not declared, found a business_id that app_tenant may reach without row level security", False,
    ),
    "table elsewhere without row level security": (
        "CREATE SCHEMA team; CREATE TABLE team.notes (business_id uuid, note text); GRANT INSERT (note) ON team.notes TO PUBLIC",
        "table team.notes: not declared, found a business_id that app_tenant may reach without row level security", False,
    ),
    "publication of secrets": (
        "CREATE PUBLICATION p FOR TABLE users, customers", "publication p: not declared, found sends users out, which holds secrets", False,
    ),
    "publication of everything": (
        "CREATE PUBLICATION p FOR ALL TABLES", "publication p: not declared, found sends whatsapp_numbers out, which holds secrets", False,
    ),
    "publication of the schema": (
        "CREATE PUBLICATION p FOR TABLES IN SCHEMA public", "publication p: not declared, found sends users out, which holds secrets", False,
    ),
    "view as its owner": (
        "CREATE VIEW everybody AS SELECT * FROM customers; GRANT SELECT ON everybody TO app_tenant",
        "view everybody: not declared, found a reading of customers without security_invoker that app_tenant may use", False,
    ),
    "view to write through": (
        "CREATE VIEW everybody AS SELECT * FROM customers; GRANT DELETE ON everybody TO PUBLIC",
        "view everybody: not declared, found a reading of customers without security_invoker that app_tenant may use", False,
    ),
    "view over views": (
        "CREATE VIEW a AS SELECT * FROM users; CREATE VIEW b WITH (security_invoker) AS SELECT * FROM a; CREATE SCHEMA team; "
        "CREATE VIEW team.c AS SELECT * FROM b; GRANT SELECT (email) ON team.c TO anon",
        "view team.c: not declared, found a reading of users without security_invoker that anon may use", False,
    ),
    "materialized view": (
        "CREATE MATERIALIZED VIEW many AS SELECT * FROM conversations; GRANT SELECT (id) ON many TO app_tenant",
        "view many: not declared, found a reading of conversations without security_invoker", False,
    ),
    "function as its owner": (
        "CREATE FUNCTION everybody() RETURNS SETOF customers LANGUAGE sql SECURITY DEFINER AS $$ SELECT * FROM public.customers $$",
        "function everybody(): not declared, found SECURITY DEFINER, names customers, and app_tenant may call it", False,
    ),
    "function over a function": (
        "CREATE FUNCTION inner_one() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM public.customers $$; REVOKE EXECUTE ON "
        "FUNCTION inner_one() FROM PUBLIC; CREATE FUNCTION outer_one() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ SELECT inner_one() $$",
        "function outer_one(): not declared, found SECURITY DEFINER, names customers, and app_tenant may call it", False,
    ),
    "function over a view": (
        "CREATE VIEW people AS SELECT * FROM customers; CREATE FUNCTION all_people() RETURNS SETOF people LANGUAGE sql SECURITY DEFINER "
        "AS $$ TABLE people $$",
        "function all_people(): not declared, found SECURITY DEFINER, names customers, and app_tenant may call it", False,
    ),
    "rule of a table of the team's": (
        "CREATE TABLE wishes (wish text); CREATE RULE empties AS ON INSERT TO wishes DO ALSO DELETE FROM customers; "
        "GRANT INSERT ON wishes TO app_tenant",
        "table wishes: not declared, found a rule that reaches customers, and app_tenant may use the table", False,
    ),
    "memory lost": ("DROP TABLE multi_tenant_rollback", "table multi_tenant_rollback: missing", False),
    "default business lost": ("DELETE FROM businesses", "default business in businesses: missing", False),
    "a row of the memory lost": (
        "DELETE FROM multi_tenant_rollback WHERE id = (SELECT min(id) FROM multi_tenant_rollback)",
        "memory of the rollback in multi_tenant_rollback: missing", False,
    ),
    "whole seconds only": (
        "ALTER TABLE conversations ALTER timestamp TYPE timestamptz(0)",
        "column conversations.timestamp: type expected timestamp with time zone, found timestamp(0) with time zone", False,
    ),
    "memory read by a tenant": (
        "GRANT SELECT (statement) ON multi_tenant_rollback TO app_tenant",
        "privilege of app_tenant on column multi_tenant_rollback.statement: not declared, found SELECT", True,
    ),
    "numbers of a team's column": (
        "ALTER TABLE customers ADD place serial; GRANT ALL ON SEQUENCE customers_place_seq TO app_tenant",
        "privilege of app_tenant on sequence of customers.place: not declared, found SELECT, UPDATE, USAGE", True,
    ),
    "function with a body of SQL": (
        "CREATE FUNCTION emails() RETURNS SETOF text SECURITY DEFINER BEGIN ATOMIC SELECT email::text FROM users; END",
        "function emails(): not declared, found SECURITY DEFINER, names users, and app_tenant may call it", False,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _expected_once() -> Iterator[None]:
    with expected_once({}):
        yield


@pytest.mark.parametrize("name", CASES)
def test_an_opening_is_one_line_and_closed_where_it_is_not_the_teams(name: str, database: URL) -> None:
    execute(
        database,
        "DO $$ BEGIN CREATE ROLE anon NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
    )
    assert_found(database, CASES[name])
