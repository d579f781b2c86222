"""A rollback gives the single-business bot its database, keeps the rest aside, and brings it back."""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from tests.conftest import MakeDatabase
from tests.support import (
    DEFAULT_ID,
    OTHER_ID,
    SCHEMA_TABLES,
    catalogue,
    check,
    engine_of,
    execute,
    load_legacy,
    migrate,
    rows,
    scalar,
    state,
)

NUMBER_ID = "00000000-0000-0000-0000-0000000000c1"
HAS_ARCHIVE = "SELECT to_regnamespace('multi_tenant_archive') IS NOT NULL"
SHOPS = f"""
    INSERT INTO businesses (id, name) VALUES ('{OTHER_ID}', 'Other');
    INSERT INTO whatsapp_numbers (id, phone_number, business_id) VALUES
        ('{NUMBER_ID}', '+573001234567', '{DEFAULT_ID}'), ('{OTHER_ID}', '+573001234568', '{OTHER_ID}');
    INSERT INTO users (id, email, password_hash) VALUES ('{OTHER_ID}', 'ana@example.com', '$2b$12$' || repeat('x', 53));
    INSERT INTO user_businesses (user_id, business_id, role) VALUES ('{OTHER_ID}', '{OTHER_ID}', 'owner');
    INSERT INTO customers (whatsapp_id, name, business_id, created_at, updated_at) VALUES
        ('57300', 'Ana', '{DEFAULT_ID}', '2025-01-01', '2025-01-02'), ('57300', 'Ana', '{OTHER_ID}', '2025-02-01', '2025-02-02');
    INSERT INTO conversations (whatsapp_id, message, role, business_id, whatsapp_number_id, whatsapp_message_id) VALUES
        ('57300', 'hola', 'user', '{DEFAULT_ID}', '{NUMBER_ID}', 'wamid.1'), ('57300', 'hola', 'user', '{OTHER_ID}', '{OTHER_ID}', 'wamid.1');
"""


@pytest.fixture
def shops(database: URL) -> URL:
    """Two businesses, each with a number, a customer of the same WhatsApp id, and a message (ids 1 and 2)."""
    execute(database, SHOPS)
    return database


def down(url: URL, *x: str) -> str:
    """Roll back, and return what the run says."""
    with redirect_stderr(StringIO()) as log:
        migrate(url, "downgrade", "-1", *x)
    return log.getvalue()


def up(url: URL, *x: str) -> str:
    """Upgrade again, and return what the run says."""
    with redirect_stderr(StringIO()) as log:
        migrate(url, "upgrade", "head", *x)
    return log.getvalue()


def objects(url: URL) -> list[tuple[object, ...]]:
    """Every object of the database with its privileges, and where the sequences stand."""
    return rows(
        url,
        """
        SELECT kind, name, (SELECT array_agg(a::text ORDER BY a::text) FROM aclexplode(acl) AS a) FROM (
            SELECT 'schema' AS kind, nspname::text AS name, coalesce(nspacl, acldefault('n', nspowner)) AS acl FROM pg_namespace
            UNION ALL SELECT 'relation', oid::regclass::text, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
              FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S', 'v')
            UNION ALL SELECT 'function', oid::regprocedure::text, proacl FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            UNION ALL SELECT 'type', typname, typacl FROM pg_type WHERE typnamespace = 'public'::regnamespace
            UNION ALL SELECT 'sequence at', concat(sequencename, ' ', last_value), NULL FROM pg_sequences
            UNION ALL SELECT 'default privileges', defaclobjtype::text, defaclacl FROM pg_default_acl) AS o
         WHERE name !~ '^(pg_(toast_)?temp|multi_tenant_rollback)' ORDER BY 1, 2""",
    )


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


def test_a_teams_own_columns_survive(shops: URL) -> None:
    execute(
        shops,
        "ALTER TABLE customers ADD extra json, ADD tags text[] DEFAULT '{a}', ADD twice int GENERATED ALWAYS AS (age * 2) STORED",
        """UPDATE customers SET extra = '{"b":1, "b":2}', age = 30""",
        "GRANT INSERT (extra, tags), UPDATE (extra, tags) ON customers TO app_tenant",
        "ALTER TABLE businesses ADD logo bytea",
        "UPDATE businesses SET logo = '\\x00ff'",
        """ALTER TABLE users ADD "a ""b" varchar(7)""",
        """UPDATE users SET "a ""b" = 'c'""",
    )
    before = state(shops)
    text_before = rows(shops, "SELECT id, extra::text FROM customers ORDER BY id")
    down(shops)
    execute(shops, "ALTER TABLE customers ADD between_ text DEFAULT 'later'", "ALTER TABLE conversations ADD seen bool")
    up(shops)
    assert rows(shops, "SELECT id, extra::text FROM customers ORDER BY id") == text_before
    assert rows(shops, "SELECT between_ FROM customers WHERE id = 2") == [("later",)]
    execute(shops, "ALTER TABLE customers DROP between_", "ALTER TABLE conversations DROP seen")
    assert state(shops) == before


def test_a_generated_column_is_no_change_of_a_row(shops: URL) -> None:
    execute(
        shops, "ALTER TABLE customers ADD extra json DEFAULT '{}', ADD twice int GENERATED ALWAYS AS (age * 2) STORED"
    )
    updated_at = "SELECT updated_at FROM customers WHERE id = 1"
    before = scalar(shops, updated_at)
    execute(shops, "UPDATE customers SET name = name")
    assert scalar(shops, updated_at) == before
    execute(shops, "UPDATE customers SET age = 30")
    assert scalar(shops, updated_at) > before


def test_a_column_dropped_in_between_is_named(shops: URL) -> None:
    execute(shops, "ALTER TABLE customers ADD extra text")
    down(shops)
    execute(shops, "ALTER TABLE customers DROP extra")
    with pytest.raises(CommandError, match=r"multi_tenant_archive\.customers\.extra"):
        up(shops)


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
        CommandError, match=r"^a row of the schema multi_tenant_archive does not fit \(.+\"one\".+upgrade"
    ):
        up(shops)
    execute(shops, "ALTER TABLE customers DROP CONSTRAINT one")
    up(shops)
    assert state(shops) == before


OWN_INDEXES = (
    "CREATE INDEX plain ON conversations (whatsapp_id, timestamp DESC NULLS LAST)",
    "CREATE UNIQUE INDEX once ON conversations (timestamp, id)",
    "CREATE INDEX partial ON conversations (timestamp) WHERE role = 'user'",
    "CREATE INDEX lowered ON conversations (lower(role), created_at) INCLUDE (id) WITH (fillfactor = 70)",
    'CREATE INDEX "odd "" ON name %" ON customers (updated_at, created_at)',
    "CREATE INDEX brin ON customers USING brin (created_at)",
)


@pytest.mark.parametrize("zone", ["without", "with"])
def test_timestamps_come_back_as_they_were(empty: URL, zone: str) -> None:
    load_legacy(empty, "canonical", 20)
    execute(
        empty,
        "SET timezone = 'UTC'; ALTER TABLE customers "
        + ", ".join(f"ALTER {c} TYPE timestamp {zone} time zone" for c in ("created_at", "updated_at")),
        f"SET timezone = 'UTC'; ALTER TABLE conversations ALTER timestamp TYPE timestamp {zone} time zone",
        "ALTER TABLE conversations ALTER timestamp SET DEFAULT timezone('utc', now())",
        "COMMENT ON COLUMN conversations.timestamp IS 'It''s \"ours\"'",
        "COMMENT ON TABLE customers IS 'people'",
        *OWN_INDEXES,
    )
    migrate(empty, "upgrade", "000")
    before = state(empty, "customers", "conversations")
    up(empty)
    own = {key: value for key, value in before[0].items() if key[0].startswith("index ")}
    del own["index ix_customers_whatsapp_id on customers", "definition"]  # no longer unique
    assert own.items() <= catalogue(empty).items()
    execute(empty, f"INSERT INTO businesses (id, name) VALUES ('{OTHER_ID}', 'Other')")
    down(empty)
    assert state(empty, "customers", "conversations") == before
    up(empty)
    check(empty)


@pytest.fixture
def public_roles(database: URL) -> None:
    """The roles that a Supabase database has."""
    for role in ("anon", "authenticated"):
        execute(
            database,
            f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
        )


@pytest.mark.usefixtures("public_roles")
def test_row_level_security_policies_and_grants_come_back(canonical: URL) -> None:
    execute(
        canonical,
        "ALTER TABLE customers ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY readers ON customers FOR SELECT TO anon USING (age > 18)",
        "GRANT SELECT, UPDATE ON customers TO anon WITH GRANT OPTION",
        "GRANT INSERT (whatsapp_id, message), SELECT (id) ON conversations TO authenticated",
        "GRANT USAGE ON SEQUENCE customers_id_seq, conversations_id_seq TO authenticated",
    )
    migrate(canonical, "upgrade", "000")
    before = catalogue(canonical), objects(canonical)
    up(canonical)
    closed = [k for k in catalogue(canonical) if re.match("privilege of (anon|authenticated)", k[0])]
    assert closed == []
    down(canonical)
    assert (catalogue(canonical), objects(canonical)) == before


@contextmanager
def half_rolled_back(url: URL) -> Iterator[None]:
    """Inside, a rollback has moved the rows and given up where a concurrent build waits for an old snapshot."""
    with engine_of(url).connect() as reader:
        reader.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        with pytest.raises(CommandError, match="gave up"):
            down(url, "lock-wait=0")
        reader.rollback()
        yield


MULTI_TENANT_WRITES = (
    "INSERT INTO businesses (name) VALUES ('New')",
    "UPDATE businesses SET name = 'Changed'",
    "DELETE FROM businesses",
    "UPDATE whatsapp_numbers SET is_active = false",
    "DELETE FROM user_businesses",
    "INSERT INTO users (email, password_hash) VALUES ('a@b', '$2b$12$' || repeat('x', 53))",
    f"INSERT INTO customers (whatsapp_id, name, business_id) VALUES ('59', '', '{OTHER_ID}')",
    f"INSERT INTO conversations (whatsapp_id, message, role, business_id) VALUES ('59', '', '', '{OTHER_ID}')",
    "INSERT INTO conversations (whatsapp_id, message, role, whatsapp_message_id) VALUES ('59', '', '', 'wamid.2')",
    "UPDATE conversations SET whatsapp_message_id = 'wamid.2'",
    f"UPDATE conversations SET business_id = '{OTHER_ID}'",
)
OLD_BOT_WRITES = (
    "INSERT INTO customers (whatsapp_id, name, created_at, updated_at) VALUES ('58', 'Eva', now(), now())",
    "INSERT INTO conversations (whatsapp_id, message, role, timestamp, created_at) VALUES ('58', 'hi', 'user', now(), now())",
    "UPDATE customers SET name = 'Ana María' WHERE whatsapp_id = '57300'",
    "UPDATE conversations SET message = 'buenas' WHERE id = 1",
)


def test_after_the_move_only_the_old_bot_writes(shops: URL) -> None:
    before = {table: rows(shops, f"SELECT * FROM {table}") for table in ("users", "whatsapp_numbers", "businesses")}
    with half_rolled_back(shops):
        for write in MULTI_TENANT_WRITES:
            with pytest.raises(DBAPIError, match="is being rolled back to one business"):
                execute(shops, write)
        execute(shops, *OLD_BOT_WRITES)
        for head in ("head", "heads"):
            with pytest.raises(
                CommandError, match=r"^a rollback .+ interrupted: finish it with alembic downgrade 000,"
            ):
                migrate(shops, "upgrade", head)
        down(shops)
    assert rows(shops, "SELECT name FROM customers ORDER BY id") == [("Ana María",), ("Eva",)]
    up(shops)
    for table, kept in before.items():
        assert sorted(rows(shops, f"SELECT * FROM {table}")) == sorted(kept)
    assert rows(shops, "SELECT message, whatsapp_message_id FROM conversations ORDER BY id") == [
        ("buenas", "wamid.1"),
        ("hola", "wamid.1"),
        ("hi", None),
    ]


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
