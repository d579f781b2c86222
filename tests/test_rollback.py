"""A rollback gives the single-business bot its database, keeps the rest aside, and brings it back."""

import re
import uuid

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.conftest import MakeDatabase
from tests.rollbacks import HAS_ARCHIVE, down, objects, up
from tests.support import DEFAULT_ID, OTHER_ID, SCHEMA_TABLES, catalogue, check, execute, migrate, rows, scalar, state


@pytest.mark.parametrize("usage", ["GRANT", "REVOKE"])
def test_a_fresh_database_goes_up_and_down_without_a_trace(make_database: MakeDatabase, usage: str) -> None:
    url = make_database()
    execute(url, f"{usage} USAGE ON SCHEMA public {'TO' if usage == 'GRANT' else 'FROM'} PUBLIC")
    migrate(url, "upgrade", "000")
    before = catalogue(url), objects(url)
    for _ in range(2):
        up(url)
        assert "nothing to keep" in down(url)
        assert (catalogue(url), objects(url)) == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE businesses SET name = 'Barbería'",
        """UPDATE businesses SET settings = '{"a": null}'""",
        "ALTER TABLE businesses ADD logo text",
        f"INSERT INTO businesses (id, name) VALUES ('{OTHER_ID}', 'Other')",
        "INSERT INTO whatsapp_numbers (phone_number) VALUES ('+573001234567')",
        "INSERT INTO users (email, password_hash) VALUES ('a@b', '$2b$12$' || repeat('x', 53))",
        "INSERT INTO conversations (whatsapp_id, message, role, whatsapp_message_id) VALUES ('57', '', '', 'wamid.')",
    ],
)
def test_an_archive_is_made_where_there_is_something_to_keep(database: URL, change: str) -> None:
    execute(database, change)
    before = state(database)
    assert "nothing to keep" not in down(database)
    assert scalar(database, HAS_ARCHIVE)
    up(database)
    assert state(database) == before
    assert not scalar(database, HAS_ARCHIVE)


def test_plain_rows_of_the_default_business_need_no_archive(database: URL) -> None:
    execute(database, "INSERT INTO conversations (whatsapp_id, message, role) VALUES ('57', '', '')")
    assert "nothing to keep" in down(database)
    assert not scalar(database, HAS_ARCHIVE)


def test_the_archived_name_wins_over_the_option(database: URL) -> None:
    execute(database, "UPDATE businesses SET name = 'Barbería'")
    down(database)
    up(database, "default-business-name=Another")
    assert scalar(database, "SELECT name FROM businesses") == "Barbería"


def test_the_bot_sees_its_own_people_only_and_everything_repeats(shops: URL) -> None:
    before = state(shops)
    for _ in range(2):
        down(shops)
        assert rows(shops, "SELECT id FROM customers") == rows(shops, "SELECT id FROM conversations") == [(1,)]
        up(shops)
        assert state(shops) == before
    check(shops)


def test_nobody_but_the_owner_reads_the_archive(shops: URL) -> None:
    reader = f"reader_{uuid.uuid4().hex[:8]}"
    execute(shops, f'CREATE ROLE "{reader}"')
    try:
        for kind in ("TABLES", "SCHEMAS", "TYPES"):
            execute(shops, f'ALTER DEFAULT PRIVILEGES GRANT ALL ON {kind} TO "{reader}", app_tenant, PUBLIC')
        down(shops)
        privileges = "SELECT nspname, n.* FROM pg_namespace, aclexplode(nspacl) AS n WHERE nspname = 'multi_tenant_archive' AND grantee <> nspowner"
        assert rows(shops, privileges) == []
        copied = "'customers', 'conversations', 'default_customers', 'default_messages'"
        names = f"FROM pg_class WHERE relnamespace = 'multi_tenant_archive'::regnamespace AND relname IN ({copied})"
        assert scalar(shops, f"SELECT count(*) {names}") == 4
        for role in (reader, "app_tenant"):
            assert rows(shops, f"SELECT relname {names} AND has_table_privilege('{role}', oid, 'SELECT')") == []
            assert not scalar(shops, f"SELECT has_schema_privilege('{role}', 'multi_tenant_archive', 'USAGE')")
    finally:
        execute(shops, f'DROP OWNED BY "{reader}"', f'DROP ROLE "{reader}"')


def test_the_archive_says_when_by_what_and_how_to_delete_it(shops: URL) -> None:
    started = scalar(shops, "SELECT now()")
    down(shops)
    comment = scalar(shops, "SELECT obj_description('multi_tenant_archive'::regnamespace)")
    (when,) = re.findall(r"by the downgrade of revision 001 of whatsapp-bot-schema on (.+?)\. ", comment)
    assert scalar(shops, f"SELECT timestamptz '{when}' BETWEEN '{started}' AND now()")
    assert "alembic upgrade head restores it" in comment
    execute(shops, comment[comment.index("DROP SCHEMA") :])
    assert not scalar(shops, HAS_ARCHIVE)
    up(shops)
    assert rows(shops, "SELECT id::text FROM businesses") == [(DEFAULT_ID,)]


def test_no_trigger_has_a_part_in_the_move(shops: URL) -> None:
    execute(
        shops,
        "CREATE TABLE log (said text)",
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN INSERT INTO log VALUES (TG_OP); "
        "IF TG_OP = 'DELETE' THEN RETURN NULL; END IF; NEW.created_at := now(); RETURN NEW; END $f$",
        *(
            f"CREATE TRIGGER {name} BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION meddle()"
            for table in ("customers", "conversations")
            for name in ('"ENABLE TRIGGER a%"', "b", "c")
        ),
        "ALTER TABLE customers ENABLE ALWAYS TRIGGER b, DISABLE TRIGGER c",
    )
    firing = "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2"
    before = state(shops), rows(shops, firing)
    down(shops)
    up(shops)
    assert (state(shops), rows(shops, firing)) == before
    assert rows(shops, "SELECT * FROM log") == []


@pytest.mark.parametrize("kind", ["serial", "identity", "sequence of its own"])
def test_sequences_never_hand_out_an_archived_id_again(shops: URL, kind: str) -> None:
    for table in ("customers", "conversations"):
        if kind == "identity":
            execute(shops, f"ALTER TABLE {table} ALTER id SET GENERATED ALWAYS")
            continue
        execute(
            shops,
            f"ALTER TABLE {table} ALTER id DROP IDENTITY",
            f"CREATE SEQUENCE {table}_own",
            f"ALTER TABLE {table} ALTER id SET DEFAULT nextval('{table}_own')",
        )
        if kind == "serial":
            execute(shops, f"ALTER SEQUENCE {table}_own OWNED BY {table}.id")
    overriding = "OVERRIDING SYSTEM VALUE" if kind == "identity" else ""
    execute(
        shops,
        f"INSERT INTO customers (id, whatsapp_id, name, business_id) {overriding} VALUES (40, '57', 'Ana', '{OTHER_ID}')",
        f"INSERT INTO conversations (id, whatsapp_id, message, role, whatsapp_message_id) {overriding} VALUES (50, '57', '', '', 'w')",
    )
    down(shops)
    execute(shops, "DELETE FROM conversations WHERE id = 50")
    customer = (
        "INSERT INTO customers (whatsapp_id, name, created_at, updated_at) VALUES ('58', '', now(), now()) RETURNING id"
    )
    message = "INSERT INTO conversations (whatsapp_id, message, role, timestamp, created_at) VALUES ('58', '', '', now(), now()) RETURNING id"
    for insert, id in ((customer, 41), (message, 51)):
        execute(shops, insert.replace(" RETURNING id", ""))
        assert scalar(shops, f"SELECT max(id) FROM {insert.split()[2]}") == id
    assert "1 archived links were dropped" in up(shops)


def test_an_archived_id_given_out_again_by_hand_is_named(shops: URL) -> None:
    down(shops)
    execute(shops, "INSERT INTO customers VALUES (2, '58', 'New', NULL, now(), now())")
    before = state(shops, "customers", "conversations")
    with pytest.raises(
        CommandError, match=r"given out again: customers\.id 2; give those newer rows other ids, such as (.+)\."
    ) as caught:
        up(shops)
    assert state(shops, "customers", "conversations") == before
    execute(shops, str(caught.value).split("such as ")[1].rstrip("."))
    up(shops)
    assert rows(shops, "SELECT name, business_id::text FROM customers WHERE id = 2") == [("Ana", OTHER_ID)]


def test_an_archived_row_that_does_not_fit_a_new_constraint_is_told_from_others(shops: URL) -> None:
    before = state(shops)
    down(shops)
    execute(shops, "ALTER TABLE customers ADD CONSTRAINT one CHECK (id = 1)")
    with pytest.raises(
        CommandError,
        match=r"^a row of customers in the archive does not fit the table any more \(.+\"one\".+multi_tenant_archive",
    ):
        up(shops)
    execute(shops, "ALTER TABLE customers DROP CONSTRAINT one")
    up(shops)
    assert state(shops) == before


def test_a_dry_run_says_what_would_be_kept_and_changes_nothing(shops: URL) -> None:
    before = state(shops), objects(shops)
    said = down(shops, "dry-run=yes")
    assert (state(shops), objects(shops)) == before
    for count in (
        "1 other businesses",
        "2 WhatsApp numbers",
        "1 users",
        "1 customers of other businesses",
        "1 messages of other businesses",
        "1 links of own messages",
    ):
        assert count in said
    assert "nothing was changed" in said


def test_forced_row_level_security_does_not_hide_rows_from_the_move(shops: URL) -> None:
    owner = f"owner_{shops.database}"
    names = (*SCHEMA_TABLES, "alembic_version", "multi_tenant_rollback")
    execute(
        shops,
        f"CREATE ROLE {owner} LOGIN",
        f"GRANT CREATE, CONNECT ON DATABASE {shops.database} TO {owner}",
        *(f"ALTER TABLE {name} OWNER TO {owner}" for name in names),
        "ALTER TABLE customers FORCE ROW LEVEL SECURITY",
    )
    before = state(shops)
    with pytest.raises(CommandError, match="forced on customers"):
        migrate(shops.set(username=owner), "downgrade", "-1")
    assert state(shops) == before
    execute(shops, f"REASSIGN OWNED BY {owner} TO CURRENT_USER", f"DROP OWNED BY {owner}", f"DROP ROLE {owner}")
