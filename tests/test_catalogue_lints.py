"""Lints of the schema by the catalogue: each is silent at head, and finds the fault that it is for."""

import pytest
from sqlalchemy import URL

from tests.conftest import MakeDatabase
from tests.support import execute, migrate, rows
from tests.tenants import fetch, transaction

OURS = "relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
LINTS = {
    "row level security is off": f"SELECT relname FROM pg_class WHERE {OURS} AND NOT relrowsecurity",
    "a policy without row level security": f"""
        SELECT DISTINCT relname FROM pg_class c JOIN pg_policy ON polrelid = c.oid WHERE {OURS} AND NOT relrowsecurity""",
    "row level security without a policy of app_service": f"""
        SELECT relname FROM pg_class c WHERE {OURS} AND relname <> 'multi_tenant_rollback' AND NOT EXISTS (
          SELECT FROM pg_policy WHERE polrelid = c.oid
             AND polroles = ARRAY['app_service'::regrole::oid])""",
    "a mutable search_path": """
        SELECT p.oid::regprocedure::text FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
           AND NOT EXISTS (SELECT FROM unnest(proconfig) AS setting WHERE setting IN ('search_path=""', 'search_path='))
           AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')""",
    "a foreign key without an index": """
        SELECT conname FROM pg_constraint k WHERE contype = 'f' AND connamespace = 'public'::regnamespace
           AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = conrelid AND indisvalid
                  AND (indkey::int2[])[0:cardinality(conkey) - 1] @> conkey)""",
    "a duplicate index": f"""
        SELECT string_agg(indexrelid::regclass::text, ', ') FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE {OURS}
         GROUP BY indrelid, indkey::text, indclass::text, pg_get_expr(indexprs, indrelid), pg_get_expr(indpred, indrelid)
        HAVING count(*) > 1""",
    "several permissive policies of a role": """
        SELECT polrelid::regclass || ' for ' || role::regrole FROM pg_policy, unnest(polroles) AS role
         WHERE polpermissive GROUP BY polrelid, role HAVING count(*) > 1
        UNION ALL SELECT polrelid::regclass || ' for everybody' FROM pg_policy WHERE polpermissive AND 0 = ANY (polroles)""",
    "a setting asked for each row": r"""
        SELECT polrelid::regclass || '.' || polname FROM pg_policy
         WHERE regexp_replace(concat(pg_get_expr(polqual, polrelid), ' ', pg_get_expr(polwithcheck, polrelid)),
                              '\( SELECT (current_business_id\(\)|current_setting\([^()]*\))', '', 'g')
               ~ 'current_(setting|business_id)\('""",
    "a view that bypasses row level security": """
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND (relkind = 'm' OR relkind = 'v'
           AND NOT coalesce((SELECT bool_or(option IN ('security_invoker=true', 'security_invoker=on', 'security_invoker=1'))
                               FROM unnest(reloptions) AS option), false))""",
    "a privilege of everybody": f"""
        SELECT relname FROM pg_class, aclexplode(relacl) AS acl WHERE {OURS} AND grantee = 0
        UNION ALL SELECT p.oid::regprocedure::text FROM pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner))) AS acl
         WHERE pronamespace = 'public'::regnamespace AND grantee = 0
           AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')""",
    "a tenant's key that ignores the tenant": """
        SELECT conname FROM pg_constraint k WHERE contype = 'f' AND connamespace = 'public'::regnamespace
           AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = conrelid AND attname = 'business_id')
           AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = confrelid AND attname = 'business_id')
           AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = conrelid AND attname = 'business_id' AND attnum = ANY (conkey))""",
}
UNCOMMENTED = f"""
    SELECT concat_ws('.', relname, attname) FROM pg_class c
      JOIN (SELECT attrelid, attnum, attname FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped
            UNION ALL SELECT oid, 0, NULL FROM pg_class) AS part ON attrelid = c.oid
     WHERE {OURS} AND relname <> 'alembic_version'
       AND CASE attnum WHEN 0 THEN obj_description(c.oid, 'pg_class') ELSE col_description(c.oid, attnum) END IS NULL"""
IN_SCOPE = "business_id = (SELECT current_business_id())"
FAULTS = {
    "row level security is off": "CREATE TABLE bookings (business_id uuid)",
    "a policy without row level security": "ALTER TABLE customers DISABLE ROW LEVEL SECURITY",
    "row level security without a policy of app_service": "DROP POLICY app_service ON customers",
    "a mutable search_path": "ALTER FUNCTION current_business_id() RESET search_path",
    "a foreign key without an index": "DROP INDEX ix_user_businesses_business_id",
    "a duplicate index": "CREATE INDEX again ON conversations (business_id, whatsapp_id, timestamp)",
    "several permissive policies of a role": f"CREATE POLICY again ON customers FOR SELECT TO app_tenant USING ({IN_SCOPE})",
    "a setting asked for each row": (
        "ALTER POLICY app_tenant ON customers USING (business_id = current_setting('app.business_id', true)::uuid)"
    ),
    "a view that bypasses row level security": "CREATE VIEW everybody AS SELECT * FROM customers",
    "a privilege of everybody": "GRANT SELECT ON customers TO PUBLIC",
    "a tenant's key that ignores the tenant": (
        "ALTER TABLE conversations ADD FOREIGN KEY (whatsapp_number_id) REFERENCES whatsapp_numbers (id)"
    ),
}
MORE_FAULTS = [
    ("a mutable search_path", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"),
    ("a mutable search_path", "ALTER FUNCTION set_updated_at() SET search_path = public"),
    ("several permissive policies of a role", "CREATE POLICY again ON customers USING (true)"),
    (
        "a setting asked for each row",
        "ALTER POLICY app_tenant ON customers WITH CHECK (business_id = current_business_id())",
    ),
    ("a view that bypasses row level security", "CREATE MATERIALIZED VIEW everybody AS SELECT * FROM customers"),
    ("a privilege of everybody", "GRANT EXECUTE ON FUNCTION current_business_id() TO PUBLIC"),
    ("row level security is off", "ALTER TABLE alembic_version DISABLE ROW LEVEL SECURITY"),
    ("a duplicate index", "CREATE UNIQUE INDEX again ON users (lower(email))"),
]


@pytest.fixture(scope="module")
def shared(make_lasting_database: MakeDatabase, migrated_template: URL) -> URL:
    return make_lasting_database(migrated_template)


@pytest.mark.parametrize("lint", LINTS.values(), ids=LINTS)
def test_head_is_clean(shared: URL, lint: str) -> None:
    assert rows(shared, lint) == []


def test_head_after_a_live_database_is_clean(legacy: URL) -> None:
    migrate(legacy)
    found = {name: rows(legacy, lint) for name, lint in LINTS.items()}
    allowed = {("processed_messages",)}  # the team's own table, which the migration leaves alone
    assert {name: set(there) - allowed for name, there in found.items() if set(there) - allowed} == {}


@pytest.mark.parametrize(("name", "fault"), [*FAULTS.items(), *MORE_FAULTS])
def test_each_lint_finds_its_fault(shared: URL, name: str, fault: str) -> None:
    with transaction(shared) as cursor:
        cursor.execute(fault)
        assert len(fetch(cursor, LINTS[name])) == 1


def test_what_is_right_is_let_through(database: URL) -> None:
    execute(
        database,
        "CREATE VIEW mine WITH (security_invoker = true) AS SELECT * FROM customers",
        "ALTER POLICY app_tenant ON customers USING (business_id = (SELECT current_setting('app.business_id', true))::uuid)",
        "CREATE INDEX one_more ON conversations (business_id, role)",
    )
    assert {name: rows(database, lint) for name, lint in LINTS.items() if rows(database, lint)} == {}


def test_every_table_and_column_has_a_comment(shared: URL) -> None:
    assert rows(shared, UNCOMMENTED) == []
    with transaction(shared) as cursor:
        cursor.execute("COMMENT ON TABLE customers IS NULL; COMMENT ON COLUMN users.email IS NULL")
        assert sorted(fetch(cursor, UNCOMMENTED)) == [("customers",), ("users.email",)]


def test_every_lint_has_a_fault() -> None:
    assert set(FAULTS) == set(LINTS)
