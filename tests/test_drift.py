"""`alembic check` finds every change of an object, and names it; `python -m app.tenancy.repair` puts it right where it can."""

from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from tests.drift import Case, assert_found, expected_once, repaired
from tests.support import execute, scalar

# name: (statement, beginning of the line, whether repair puts it right)
CASES: dict[str, Case] = {
    "trigger dropped": ("DROP TRIGGER set_updated_at ON customers", "trigger set_updated_at on customers: missing", True),
    "trigger disabled": (
        "ALTER TABLE users DISABLE TRIGGER set_updated_at",
        "trigger set_updated_at on users: firing expected enabled, found disabled", True,
    ),
    "trigger on replicas only": (
        "ALTER TABLE users ENABLE REPLICA TRIGGER set_updated_at",
        "trigger set_updated_at on users: firing expected enabled, found on replicas", True,
    ),
    "trigger always": (
        "ALTER TABLE businesses ENABLE ALWAYS TRIGGER set_updated_at",
        "trigger set_updated_at on businesses: firing expected enabled, found always", True,
    ),
    "trigger altered": (
        "DROP TRIGGER set_updated_at ON users; CREATE TRIGGER set_updated_at BEFORE UPDATE ON users "
        "FOR EACH ROW WHEN (NEW.is_active) EXECUTE FUNCTION set_updated_at()",
        "trigger set_updated_at on users: definition expected CREATE TRIGGER", True,
    ),
    "function body": (
        "CREATE OR REPLACE FUNCTION current_business_id() RETURNS uuid LANGUAGE sql STABLE SET search_path = '' "
        "AS $$ SELECT NULL::uuid $$",
        "function current_business_id(): body expected SELECT NULLIF", True,
    ),
    "function as its owner": (
        "ALTER FUNCTION current_business_id() SECURITY DEFINER", "function current_business_id(): definition expected sql", True,
    ),
    "function volatile": (
        "ALTER FUNCTION current_business_id() VOLATILE", "function current_business_id(): definition expected sql stable", True,
    ),
    "function leakproof": (
        "ALTER FUNCTION current_business_id() LEAKPROOF", "function current_business_id(): definition expected sql stable", True,
    ),
    "function without search_path": (
        "ALTER FUNCTION set_updated_at() RESET search_path", "function set_updated_at(): definition expected plpgsql", True,
    ),
    "function of another search_path": (
        "ALTER FUNCTION current_business_id() SET search_path = public",
        "function current_business_id(): definition expected sql stable", True,
    ),
    "function of another result": (
        "DROP FUNCTION current_business_id() CASCADE; CREATE FUNCTION current_business_id() RETURNS text LANGUAGE sql STABLE "
        "AS $$ SELECT 'x' $$",
        "function current_business_id(): result expected uuid, found text", True,
    ),
    "row level security off": (
        "ALTER TABLE conversations DISABLE ROW LEVEL SECURITY",
        "table conversations: row level security expected on, found off", True,
    ),
    "row level security forced": (
        "ALTER TABLE users FORCE ROW LEVEL SECURITY", "table users: row level security expected on, found forced", True,
    ),
    "version table open": (
        "ALTER TABLE alembic_version DISABLE ROW LEVEL SECURITY",
        "table alembic_version: row level security expected on, found off", True,
    ),
    "memory open": (
        "ALTER TABLE multi_tenant_rollback DISABLE ROW LEVEL SECURITY",
        "table multi_tenant_rollback: row level security expected on, found off", True,
    ),
    "policy dropped": ("DROP POLICY app_tenant ON customers", "policy app_tenant on customers: missing", True),
    "policy of the version table dropped": (
        "DROP POLICY app_service ON alembic_version", "policy app_service on alembic_version: missing", True,
    ),
    "policy added for everybody": (
        "CREATE POLICY everyone ON customers USING (true)",
        "policy everyone on customers: not declared, found permissive for all to PUBLIC using true", True,
    ),
    "policy added for tenants": (
        "CREATE POLICY more ON users FOR SELECT TO app_tenant USING (true)",
        "policy more on users: not declared, found permissive for select to app_tenant using true", True,
    ),
    "policy of the version table added": (
        "CREATE POLICY more ON alembic_version TO app_tenant USING (true)", "policy more on alembic_version: not declared", True,
    ),
    "policy uses": (
        "ALTER POLICY app_tenant ON whatsapp_numbers USING (true)",
        "policy app_tenant on whatsapp_numbers: using expected (business_id = ( SELECT current_business_id()", True,
    ),
    "policy checks": (
        "ALTER POLICY app_tenant ON customers WITH CHECK (true)", "policy app_tenant on customers: with check expected", True,
    ),
    "policy to others": (
        "ALTER POLICY app_service ON conversations TO PUBLIC",
        "policy app_service on conversations: definition expected permissive for all to app_service, found", True,
    ),
    "policy renamed": (
        "ALTER POLICY app_tenant ON customers RENAME TO tenants", "policy tenants on customers: not declared", True,
    ),
    "check changed": (
        "ALTER TABLE user_businesses DROP CONSTRAINT ck_user_businesses_role_is_known, "
        "ADD CONSTRAINT ck_user_businesses_role_is_known CHECK (role <> '')",
        "constraint ck_user_businesses_role_is_known on user_businesses: definition expected CHECK", True,
    ),
    "check dropped": (
        "ALTER TABLE whatsapp_numbers DROP CONSTRAINT ck_whatsapp_numbers_access_token_is_ciphertext",
        "constraint ck_whatsapp_numbers_access_token_is_ciphertext on whatsapp_numbers: missing", True,
    ),
    "check not valid": (
        "ALTER TABLE users DROP CONSTRAINT ck_users_password_hash_is_a_hash, "
        "ADD CONSTRAINT ck_users_password_hash_is_a_hash CHECK (password_hash <> '') NOT VALID",
        "constraint ck_users_password_hash_is_a_hash on users: state expected valid, found not valid", True,
    ),
    "foreign key dropped": (
        "ALTER TABLE customers DROP CONSTRAINT fk_customers_businesses",
        "constraint fk_customers_businesses on customers: missing, expected FOREIGN KEY (business_id)", True,
    ),
    "foreign key simple": (
        "ALTER TABLE conversations DROP CONSTRAINT fk_conversations_whatsapp_numbers, ADD CONSTRAINT "
        "fk_conversations_whatsapp_numbers FOREIGN KEY (whatsapp_number_id) REFERENCES whatsapp_numbers (id)",
        "constraint fk_conversations_whatsapp_numbers on conversations: definition expected FOREIGN KEY (business_id", True,
    ),
    "foreign key without cascade": (
        "ALTER TABLE customers DROP CONSTRAINT fk_customers_businesses, ADD CONSTRAINT fk_customers_businesses "
        "FOREIGN KEY (business_id) REFERENCES businesses (id)",
        "constraint fk_customers_businesses on customers: definition expected FOREIGN KEY", True,
    ),
    "foreign key deferred": (
        "ALTER TABLE customers ALTER CONSTRAINT fk_customers_businesses DEFERRABLE INITIALLY DEFERRED",
        "constraint fk_customers_businesses on customers: definition expected FOREIGN KEY", True,
    ),
    "foreign key not valid": (
        "ALTER TABLE customers DROP CONSTRAINT fk_customers_businesses, ADD CONSTRAINT fk_customers_businesses "
        "FOREIGN KEY (business_id) REFERENCES businesses (id) ON DELETE CASCADE NOT VALID",
        "constraint fk_customers_businesses on customers: state expected valid, found not valid", True,
    ),
    "foreign keys off": (
        "ALTER TABLE customers DISABLE TRIGGER ALL",
        "constraint fk_customers_businesses on customers: enforcement expected on, found off", True,
    ),
    "foreign keys off where they point": (
        "ALTER TABLE businesses DISABLE TRIGGER ALL",
        "constraint fk_conversations_businesses on conversations: enforcement expected on, found off", True,
    ),
    "foreign key on replicas only": (
        "DO $$ DECLARE t text; BEGIN FOR t IN SELECT tgname FROM pg_trigger JOIN pg_constraint c ON c.oid = tgconstraint "
        "WHERE conname = 'fk_customers_businesses' AND tgrelid = conrelid LOOP "
        "EXECUTE format('ALTER TABLE customers ENABLE REPLICA TRIGGER %I', t); END LOOP; END $$",
        "constraint fk_customers_businesses on customers: enforcement expected on, found off", True,
    ),
    "unique dropped": (
        "ALTER TABLE customers DROP CONSTRAINT uq_customers_business_id_whatsapp_id",
        "constraint uq_customers_business_id_whatsapp_id on customers: missing", True,
    ),
    "unique of other columns": (
        "ALTER TABLE customers DROP CONSTRAINT uq_customers_business_id_whatsapp_id, ADD CONSTRAINT "
        "uq_customers_business_id_whatsapp_id UNIQUE (business_id, whatsapp_id, name)",
        "constraint uq_customers_business_id_whatsapp_id on customers: definition expected UNIQUE (business_id, whatsapp_id)", True,
    ),
    "primary key dropped": ("ALTER TABLE customers DROP CONSTRAINT customers_pkey", "primary key of customers: missing", True),
    "primary key of the version dropped": (
        "ALTER TABLE alembic_version DROP CONSTRAINT alembic_version_pkc", "primary key of alembic_version: missing", True,
    ),
    "index dropped": (
        "DROP INDEX ix_conversations_business_id_whatsapp_id_timestamp",
        "index ix_conversations_business_id_whatsapp_id_timestamp on conversations: missing", True,
    ),
    "index without its predicate": (
        "DROP INDEX uq_whatsapp_numbers_phone_number_active; "
        "CREATE UNIQUE INDEX uq_whatsapp_numbers_phone_number_active ON whatsapp_numbers (phone_number)",
        "index uq_whatsapp_numbers_phone_number_active on whatsapp_numbers: definition expected CREATE UNIQUE INDEX", True,
    ),
    "index not unique": (
        "DROP INDEX uq_users_email_lower; CREATE INDEX uq_users_email_lower ON users (lower(email))",
        "index uq_users_email_lower on users: definition expected CREATE UNIQUE INDEX", True,
    ),
    "index descending": (
        'DROP INDEX ix_conversations_timestamp; CREATE INDEX ix_conversations_timestamp ON conversations ("timestamp" DESC)',
        "index ix_conversations_timestamp on conversations: definition expected CREATE INDEX", True,
    ),
    "index of another collation": (
        'DROP INDEX ix_conversations_whatsapp_id; CREATE INDEX ix_conversations_whatsapp_id ON conversations (whatsapp_id COLLATE "C")',
        "index ix_conversations_whatsapp_id on conversations: definition expected CREATE INDEX", True,
    ),
    "index invalid": (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_conversations_timestamp'::regclass",
        "index ix_conversations_timestamp on conversations: state expected valid, found invalid", True,
    ),
    "unique invalid": (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'uq_customers_business_id_whatsapp_id'::regclass",
        "constraint uq_customers_business_id_whatsapp_id on customers: state expected valid, found invalid", True,
    ),
    "default changed": (
        "ALTER TABLE conversations ALTER COLUMN timestamp SET DEFAULT '2000-01-01'",
        "column conversations.timestamp: default expected now(), found", True,
    ),
    "default dropped": (
        "ALTER TABLE customers ALTER COLUMN business_id DROP DEFAULT",
        "column customers.business_id: default expected COALESCE", True,
    ),
    "default added": (
        "ALTER TABLE users ALTER COLUMN full_name SET DEFAULT 'x'", "column users.full_name: default expected none, found", True,
    ),
    "identity dropped": (
        "ALTER TABLE conversations ALTER COLUMN id DROP IDENTITY", "column conversations.id: default expected identity, found none", True,
    ),
    "nullable": (
        "ALTER TABLE customers ALTER name DROP NOT NULL", "column customers.name: nullability expected NOT NULL, found NULL", True,
    ),
    "not nullable": (
        "ALTER TABLE customers ALTER age SET NOT NULL", "column customers.age: nullability expected NULL, found NOT NULL", True,
    ),
    "narrower": (
        "ALTER TABLE users ALTER email TYPE varchar(50)",
        "column users.email: type expected character varying(255), found character varying(50)", True,
    ),
    "narrower, adopted": (
        "ALTER TABLE customers ALTER whatsapp_id TYPE varchar(14)",
        "column customers.whatsapp_id: type expected character varying(255), found character varying(14)", True,
    ),
    "text limited": (
        "ALTER TABLE conversations ALTER message TYPE varchar(160)",
        "column conversations.message: type expected text, found character varying(160)", True,
    ),
    "text for varchar in a new table": (
        "ALTER TABLE users ALTER full_name TYPE text",
        "column users.full_name: type expected character varying(255), found text", False,
    ),
    "smallint": ("ALTER TABLE customers ALTER id TYPE smallint", "column customers.id: type expected bigint, found smallint", False),
    "smallint age": (
        "ALTER TABLE customers ALTER age TYPE smallint", "column customers.age: type expected integer, found smallint", False,
    ),
    "json for jsonb": (
        "ALTER TABLE businesses DROP CONSTRAINT ck_businesses_settings_is_object; ALTER TABLE businesses ALTER settings DROP DEFAULT, "
        "ALTER settings TYPE json",
        "column businesses.settings: type expected jsonb, found json", False,
    ),
    "time without zone": (
        "ALTER TABLE users ALTER created_at TYPE timestamp", "column users.created_at: type expected timestamp with time zone", False,
    ),
    "collation": (
        'ALTER TABLE users ALTER email TYPE varchar(255) COLLATE "C"', "column users.email: collation expected default, found", False,
    ),
    "collation, adopted": (
        'ALTER TABLE customers ALTER whatsapp_id TYPE varchar(255) COLLATE "C"',
        "column customers.whatsapp_id: collation expected default, found", False,
    ),
    "generated": (
        "ALTER TABLE users DROP full_name; ALTER TABLE users ADD full_name varchar(255) GENERATED ALWAYS AS (email) STORED",
        "column users.full_name: kind expected stored as written, found generated", False,
    ),
    "column dropped": ("ALTER TABLE users DROP COLUMN full_name", "column users.full_name: missing", False),
    "column renamed": ("ALTER TABLE customers RENAME age TO years", "column customers.age: missing", False),
    "table dropped": ("DROP TABLE user_businesses CASCADE", "table user_businesses: missing", False),
    "table behind a view": (
        "ALTER TABLE users RENAME TO people; CREATE VIEW users AS SELECT * FROM people", "table users: missing", False,
    ),
    "table elsewhere": (
        "CREATE SCHEMA elsewhere; ALTER TABLE user_businesses SET SCHEMA elsewhere", "table user_businesses: missing", False,
    ),
    "table unlogged": (
        "ALTER TABLE conversations SET UNLOGGED", "table conversations: persistence expected logged, found unlogged", False,
    ),
    "table comment": ("COMMENT ON TABLE users IS NULL", "table users: comment expected People", True),
    "column comment": ("COMMENT ON COLUMN users.email IS 'it''s'", "column users.email: comment expected Login", True),
    "sequence cycles": ("ALTER SEQUENCE customers_id_seq CYCLE", "sequence of customers.id: options expected increment 1, found", True),
    "sequence ends": (
        "ALTER SEQUENCE conversations_id_seq MAXVALUE 100000", "sequence of conversations.id: options expected increment 1, found", True,
    ),
    "sequence runs backwards": (
        "ALTER SEQUENCE customers_id_seq INCREMENT -1 MINVALUE -5", "sequence of customers.id: options expected increment 1, found", True,
    ),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _expected_once() -> Iterator[None]:
    with expected_once({}):
        yield


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_one_line_and_repaired_where_it_holds_no_data(name: str, database: URL) -> None:
    assert_found(database, CASES[name])


def test_rows_that_a_key_refuses_are_named_and_nothing_is_lost(database: URL) -> None:
    """A key whose triggers were off is made anew, and so proves the rows that came meanwhile."""
    stranger = "INSERT INTO customers (business_id, whatsapp_id, name) VALUES (gen_random_uuid(), '1', 'Ana')"
    execute(database, "ALTER TABLE customers DISABLE TRIGGER ALL", stranger)
    status, said = repaired(database)
    assert status == 1
    assert "violates foreign key constraint" in said
    assert scalar(database, "SELECT count(*) FROM customers") == 1
