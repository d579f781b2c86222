"""What a team added to the four new tables is there again after a rollback and an upgrade, and nothing is left behind."""

import re
import uuid

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.rollbacks import SHOPS, down, objects, up
from tests.support import DEFAULT_ID, OTHER_ID, add_business, check, execute, migrate, rows, scalar, state

HAS_ARCHIVE = "SELECT to_regnamespace('multi_tenant_archive') IS NOT NULL"
ADDED = {
    "a column": "ALTER TABLE businesses ADD city varchar(40) NOT NULL DEFAULT 'Bogotá' CHECK (city <> '')",
    "a default": "ALTER TABLE users ALTER full_name SET DEFAULT 'Nobody'",
    "a CHECK": "ALTER TABLE users ADD CONSTRAINT no_example CHECK (email NOT LIKE '%@example.org')",
    "an index": "CREATE INDEX by_name ON businesses (lower(name)) WHERE is_active",
    "a unique key": "ALTER TABLE whatsapp_numbers ADD label text, ADD CONSTRAINT one_label UNIQUE (business_id, label)",
    "a policy": "CREATE POLICY own ON users FOR UPDATE TO app_tenant USING (id = (SELECT current_business_id()))",
    "a trigger": "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$; "
    "CREATE TRIGGER audit AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION audit()",
    "a grant": "GRANT SELECT (name), UPDATE (name) ON businesses TO {role}; GRANT SELECT ON users TO {role} WITH GRANT OPTION",
    "a view": "CREATE VIEW shop_names AS SELECT name FROM businesses",
    "a foreign key to them": "CREATE TABLE bills (of uuid REFERENCES businesses ON DELETE CASCADE)",
    "a foreign key of customers": "ALTER TABLE customers ADD owner uuid REFERENCES users; "
    "GRANT INSERT (owner), UPDATE (owner) ON customers TO app_tenant",
    "a function": "CREATE FUNCTION shops() RETURNS SETOF businesses LANGUAGE sql BEGIN ATOMIC SELECT * FROM businesses; END",
    "a table with our trigger": "CREATE TABLE notes (updated_at timestamptz, of uuid DEFAULT current_business_id()); "
    "CREATE TRIGGER touch BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION set_updated_at()",
    "a rule of storage": "ALTER TABLE users SET (fillfactor = 70)",
    "a publication": "CREATE PUBLICATION p FOR TABLE users",
}
PUBLISHED = "SELECT pubname, schemaname, tablename FROM pg_publication_tables ORDER BY 1, 2, 3"


@pytest.fixture
def role(database: URL) -> object:
    """A role of the test's own."""
    name = f"clerk_{uuid.uuid4().hex[:8]}"
    execute(database, f"CREATE ROLE {name}")
    yield name
    execute(database, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


@pytest.mark.parametrize("added", [*ADDED, "all"])
def test_what_a_team_added_comes_back(database: URL, role: str, added: str) -> None:
    """By itself, too, without any row to keep."""
    if added == "all":
        execute(database, SHOPS)
    for statement in ADDED.values() if added == "all" else [ADDED[added]]:
        execute(database, statement.format(role=role))
    before = state(database), objects(database), rows(database, PUBLISHED)
    for _ in range(2):
        assert "set of changes to the new tables" in down(database)
        assert scalar(database, HAS_ARCHIVE)
        up(database)
        assert (state(database), objects(database), rows(database, PUBLISHED)) == before
        assert not scalar(database, HAS_ARCHIVE)


def test_a_teams_rows_that_refer_to_them_go_on(database: URL) -> None:
    execute(
        database, "CREATE TABLE bills (of uuid REFERENCES businesses)", f"INSERT INTO bills VALUES ('{DEFAULT_ID}')"
    )
    down(database)
    execute(database, f"INSERT INTO bills VALUES ('{DEFAULT_ID}')")
    up(database)
    assert scalar(database, "SELECT count(*) FROM bills JOIN businesses ON of = id") == 2


def test_without_an_archive_the_roles_own_nothing_here(database: URL) -> None:
    assert "nothing to keep" in down(database)
    left = (
        "SELECT classid::regclass::text, objid FROM pg_shdepend WHERE refobjid IN ('app_tenant'::regrole, 'app_service'::regrole) "
        "AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    assert rows(database, left) == []


def test_what_cannot_come_back_is_named_before_any_change(database: URL) -> None:
    execute(
        database,
        "CREATE INDEX mine ON customers (business_id, name)",
        "ALTER TABLE conversations ADD CONSTRAINT said CHECK (business_id IS NOT NULL)",
        "ALTER TABLE customers ADD CONSTRAINT only_names UNIQUE (business_id, name)",
    )
    before = state(database)
    said = down(database, "dry-run=yes")
    assert state(database) == before
    definitions = said.split("create it again after the next upgrade: ")[1].splitlines()[0]
    down(database)
    up(database)
    execute(database, definitions)
    assert state(database)[0] == before[0]


@pytest.mark.parametrize(
    "loss",
    [
        "DROP TABLE multi_tenant_archive.users CASCADE",
        "DROP TABLE multi_tenant_archive.conversations",
        "DROP TABLE multi_tenant_archive.default_messages",
        "ALTER TABLE multi_tenant_archive.customers DROP created_at",
        "ALTER TABLE multi_tenant_archive.default_messages DROP whatsapp_message_id",
    ],
)
def test_what_is_missing_in_the_archive_is_said(database: URL, loss: str) -> None:
    execute(database, SHOPS)
    down(database)
    execute(database, loss)
    name = loss.split("multi_tenant_archive.")[1].split()[0]
    before = state(database, "customers", "conversations")
    with pytest.raises(CommandError, match=rf"lacks what a rollback kept there: (table|column) {name}") as refusal:
        up(database)
    assert state(database, "customers", "conversations") == before
    execute(database, str(refusal.value).split("or run ")[1].split(" to go on")[0])
    up(database)
    check(database)
    assert rows(database, "SELECT id::text FROM businesses") == [(DEFAULT_ID,)]


def test_a_new_message_does_not_get_an_old_ones_link(database: URL) -> None:
    execute(database, SHOPS, "UPDATE customers SET username = 'ana' WHERE id = 1")
    down(database)
    execute(
        database,
        "TRUNCATE conversations, customers RESTART IDENTITY",
        "INSERT INTO conversations (whatsapp_id, message, role, timestamp, created_at) VALUES ('57300', 'new', 'user', now(), now())",
        "INSERT INTO customers (whatsapp_id, name, created_at, updated_at) VALUES ('57300', 'New', now(), now())",
    )
    said = up(database)
    assert "1 archived links were dropped" in said
    assert "1 archived user names were dropped" in said
    mine = f"business_id = '{DEFAULT_ID}'"
    assert rows(database, f"SELECT message, whatsapp_message_id FROM conversations WHERE {mine}") == [("new", None)]
    assert rows(database, f"SELECT name, username FROM customers WHERE {mine}") == [("New", None)]


def test_what_only_the_new_schema_holds_of_the_default_business_comes_back(canonical: URL) -> None:
    """Ids wider than varchar(50), user ids and user names; the old bot sees the rest, in the old type."""
    migrate(canonical)
    user_id = "US." + "1" * 128
    execute(
        canonical,
        f"INSERT INTO customers (whatsapp_id, whatsapp_user_id, username, name) VALUES ('{user_id}', '{user_id}', 'ana', 'Ana')",
        "UPDATE customers SET username = 'luz', whatsapp_user_id = 'US.2' WHERE id = 1",
        f"INSERT INTO conversations (whatsapp_id, message, role) VALUES ('{user_id}', 'hola', 'user')",
    )
    before = state(canonical)
    said = down(canonical)
    for count in ("1 own customers whose WhatsApp id is too long", "1 own messages whose WhatsApp id", "1 user names"):
        assert count in said
    width = "SELECT max(length(whatsapp_id)) < 51, pg_typeof(max(whatsapp_id))::text FROM customers"
    assert rows(canonical, width) == [(True, "text")]
    assert scalar(canonical, "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'conversations'::regclass AND attname = 'whatsapp_id'") == "character varying(50)"  # fmt: skip
    up(canonical)
    assert state(canonical) == before


def test_a_large_table_keeps_its_width_and_the_run_says_so(canonical: URL) -> None:
    migrate(canonical)
    execute(
        canonical,
        "INSERT INTO conversations (whatsapp_id, message, role) SELECT '57', repeat('x', 1900), 'user' FROM generate_series(1, 5000)",
    )
    said = down(canonical)
    narrow = said.split("in a quiet hour run ")[1].splitlines()[0]
    assert narrow == "ALTER TABLE conversations ALTER COLUMN whatsapp_id TYPE character varying(50)"
    execute(canonical, narrow)


@pytest.mark.parametrize("command", ["upgrade", "downgrade"])
@pytest.mark.parametrize(
    ("made", "mend"),
    [
        ("CREATE RULE soft AS ON DELETE TO customers DO INSTEAD UPDATE customers SET age = -1 WHERE id = OLD.id", "run (DROP RULE soft ON customers);"),
        ("CREATE RULE log AS ON INSERT TO conversations DO ALSO NOTIFY said", "run (DROP RULE log ON conversations);"),
        ("CREATE TABLE old_customers () INHERITS (customers)", "run (ALTER TABLE old_customers NO INHERIT customers);"),
    ],
)  # fmt: skip
def test_rules_and_children_stand_in_the_way(canonical: URL, command: str, made: str, mend: str) -> None:
    if command == "downgrade":
        migrate(canonical)
        add_business(canonical, OTHER_ID)
    execute(canonical, made)
    tables = ("customers", "conversations")
    before = state(canonical, *tables)
    target = {"upgrade": "head", "downgrade": "-1"}[command]
    with pytest.raises(CommandError, match=mend) as refusal:
        migrate(canonical, command, target)
    assert state(canonical, *tables) == before
    found = re.search(mend, str(refusal.value))
    assert found
    execute(canonical, found[1])
    migrate(canonical, command, target)
