"""Tables, views and policies that the package does not know: they survive, or are named before anything changes."""

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.obstacles import commands, refusal_of
from tests.support import (
    DEFAULT_ID,
    OTHER_ID,
    SCHEMA_TABLES,
    add_business,
    check,
    engine_of,
    execute,
    load_legacy,
    migrate,
    rows,
    state,
)

CUSTOMER = "INSERT INTO customers (id, whatsapp_id, name, business_id) VALUES ({id}, '57', 'Ana', '{business}')"
MESSAGE = "INSERT INTO conversations (id, whatsapp_id, message, role, business_id) VALUES ({id}, '57', 'hi', 'user', '{business}')"
ORDERS = "CREATE TABLE orders (id int PRIMARY KEY, customer_id int, CONSTRAINT of_customer FOREIGN KEY (customer_id) REFERENCES customers (id) {rule})"
RULES = ["", "ON DELETE CASCADE", "ON DELETE SET NULL", "DEFERRABLE INITIALLY DEFERRED"]


@pytest.fixture
def shops(database: URL) -> URL:
    """Two businesses with a customer (ids 1 and 2) and a message (ids 1 and 2) each."""
    add_business(database)
    for id, business in ((1, DEFAULT_ID), (2, OTHER_ID)):
        execute(database, CUSTOMER.format(id=id, business=business), MESSAGE.format(id=id, business=business))
    return database


def refused(url: URL, command: str, *said: str, tables: tuple[str, ...] = SCHEMA_TABLES) -> None:
    """The command is refused with all of this, and nothing has changed."""
    schemas = "SELECT nspname FROM pg_namespace ORDER BY 1"
    before = state(url, *tables), rows(url, schemas)
    with pytest.raises(CommandError) as caught:
        migrate(url, command, {"upgrade": "head", "downgrade": "-1"}[command])
    assert [words for words in said if words not in str(caught.value)] == []
    assert (state(url, *tables), rows(url, schemas)) == before


@pytest.mark.parametrize("rule", RULES)
def test_orders_of_the_default_business_go_both_ways(shops: URL, rule: str) -> None:
    execute(shops, ORDERS.format(rule=rule), "INSERT INTO orders VALUES (1, 1), (2, NULL)")
    before = state(shops, "orders", *SCHEMA_TABLES)
    migrate(shops, "downgrade", "-1")
    assert rows(shops, "SELECT * FROM orders ORDER BY id") == [(1, 1), (2, None)]
    migrate(shops)
    assert state(shops, "orders", *SCHEMA_TABLES) == before


@pytest.mark.parametrize("rule", RULES)
def test_orders_of_another_business_stand_in_the_way(shops: URL, rule: str) -> None:
    execute(shops, ORDERS.format(rule=rule), "INSERT INTO orders VALUES (1, 1), (2, 2)")
    refused(shops, "downgrade", "of_customer", "orders", "customers", tables=("orders", *SCHEMA_TABLES))


@pytest.mark.parametrize("rule", RULES)
def test_keys_of_a_team_between_customers_and_messages_lose_no_row(shops: URL, rule: str) -> None:
    execute(
        shops,
        f"ALTER TABLE conversations ADD customer_id int REFERENCES customers (id) {rule}",
        f"ALTER TABLE conversations ADD answers int REFERENCES conversations (id) {rule}",
        f"ALTER TABLE customers ADD last_message_id int REFERENCES conversations (id) {rule}",
        "GRANT INSERT (last_message_id), UPDATE (last_message_id) ON customers TO app_tenant",
        "GRANT INSERT (customer_id, answers), UPDATE (customer_id, answers) ON conversations TO app_tenant",
        "UPDATE conversations SET customer_id = id, answers = id",
        "UPDATE customers SET last_message_id = id",
    )
    before = state(shops)
    migrate(shops, "downgrade", "-1")
    assert rows(shops, "SELECT id, customer_id, answers FROM conversations") == [(1, 1, 1)]
    migrate(shops)
    assert state(shops) == before


def test_a_message_that_refers_to_a_customer_of_another_business_stands_in_the_way(shops: URL) -> None:
    execute(
        shops,
        "ALTER TABLE conversations ADD customer_id int CONSTRAINT of_customer REFERENCES customers (id) ON DELETE CASCADE",
        "UPDATE conversations SET customer_id = 2",
    )
    refused(shops, "downgrade", "of_customer", "conversations")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "CREATE TABLE of_both (b uuid, w varchar(50), CONSTRAINT both_ FOREIGN KEY (b, w) "
            "REFERENCES customers (business_id, whatsapp_id))",
            ("both_", "of_both", "customers"),
        )
    ],
)
def test_a_key_to_what_goes_away_is_named(shops: URL, statement: str, said: tuple[str, ...]) -> None:
    execute(shops, statement)
    refused(shops, "downgrade", *said)


DEPENDS_ON_001 = {
    "view whose": "CREATE VIEW whose AS SELECT business_id FROM customers",
    "view by_day": "CREATE VIEW by_day AS SELECT timestamp FROM conversations",
    "view sent": "CREATE MATERIALIZED VIEW sent AS SELECT whatsapp_message_id FROM conversations",
    "policy mine on table conversations": "CREATE POLICY mine ON conversations TO app_service USING (whatsapp_number_id IS NULL)",
    "trigger sent on table conversations": "CREATE TRIGGER sent BEFORE UPDATE OF whatsapp_message_id ON conversations "
    "FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "column own of table customers": "ALTER TABLE customers ADD own bool GENERATED ALWAYS AS (business_id IS NULL) STORED",
    "constraint later on table conversations": "ALTER TABLE conversations ADD CONSTRAINT later CHECK (timestamp > '2000-01-01')",
    "constraint once on table conversations": "ALTER TABLE conversations ADD CONSTRAINT once UNIQUE (whatsapp_id, timestamp)",
    "index by_bogota_day": "CREATE INDEX by_bogota_day ON conversations (((timestamp AT TIME ZONE 'America/Bogota')::date))",
}


def test_all_that_depends_on_the_multi_tenant_schema_is_named(shops: URL) -> None:
    """With commands that clear the way in their order, after which the rollback goes through."""
    execute(shops, *DEPENDS_ON_001.values(), "CREATE VIEW of_view AS SELECT * FROM whose")
    refused(shops, "downgrade", "view of_view", *DEPENDS_ON_001)
    with pytest.raises(CommandError) as caught:
        migrate(shops, "downgrade", "-1", "dry-run=yes")
    execute(shops, *commands(str(caught.value)))
    migrate(shops, "downgrade", "-1")
    migrate(shops)


def test_a_schema_of_the_archives_name_stands_in_the_way(shops: URL) -> None:
    execute(shops, "CREATE SCHEMA multi_tenant_archive")
    refused(shops, "downgrade", "multi_tenant_archive", "needs the name")
    execute(shops, "ALTER SCHEMA multi_tenant_archive RENAME TO multi_tenant_archive_before")
    migrate(shops, "downgrade", "-1")


def test_a_key_and_an_exclusion_with_the_id_say_nothing_about_other_businesses(canonical: URL) -> None:
    execute(
        canonical,
        "CREATE UNIQUE INDEX id_with_number ON customers (id, whatsapp_id)",
        "CREATE UNIQUE INDEX by_name ON customers (id, name) INCLUDE (whatsapp_id)",
        "ALTER TABLE conversations ADD CONSTRAINT apart EXCLUDE (id WITH =, whatsapp_id WITH =)",
    )
    migrate(canonical, "upgrade", "000")
    before = state(canonical, "customers", "conversations")
    migrate(canonical)
    check(canonical)
    migrate(canonical, "downgrade", "-1")
    assert state(canonical, "customers", "conversations") == before


@pytest.mark.parametrize("index", ["ix_customers_whatsapp_id", "uq_customers_business_id_whatsapp_id"])
def test_a_replica_identity_that_would_go_is_named(index: str, canonical: URL, shops: URL) -> None:
    name, url, tables = (
        ("upgrade", canonical, ("customers", "conversations"))
        if index.startswith("ix")
        else ("downgrade", shops, SCHEMA_TABLES)
    )
    execute(
        url, f"ALTER TABLE customers REPLICA IDENTITY USING INDEX {index}", "CREATE PUBLICATION p FOR TABLE customers"
    )
    refused(url, name, f"the index {index}", "ALTER TABLE customers REPLICA IDENTITY FULL", tables=tables)
    execute(url, "ALTER TABLE customers REPLICA IDENTITY FULL")
    migrate(url, name, {"upgrade": "head", "downgrade": "-1"}[name])
    execute(url, "UPDATE customers SET age = 1")


def test_a_column_of_the_row_type_stands_in_the_way(canonical: URL, shops: URL) -> None:
    for url, name, tables in (
        (canonical, "upgrade", ("customers", "conversations")),
        (shops, "downgrade", SCHEMA_TABLES),
    ):
        execute(
            url,
            "CREATE TABLE logt (r customers, all_of conversations[])",
            "CREATE FUNCTION f(customers) RETURNS int RETURN 1",
        )
        refused(url, name, "used by column logt.r;", "used by column logt.all_of;", tables=tables)
        execute(url, "DROP TABLE logt")
        migrate(url, name, {"upgrade": "head", "downgrade": "-1"}[name])


def test_new_tables_go_where_the_old_ones_are(canonical: URL) -> None:
    path = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path TO {}', current_database()); END $$"
    execute(canonical, "CREATE SCHEMA s1", path.format("s1, public"))
    says = "is in schema public, but new tables would go to s1 (a role"
    refused(canonical, "upgrade", says, "SET search_path TO public", tables=("customers", "conversations"))
    execute(canonical, *commands(refusal_of(canonical) or ""))
    migrate(canonical, "upgrade", "000")
    execute(canonical, path.format("s1, public"))
    refused(canonical, "upgrade", says, tables=("customers", "conversations"))


def test_a_schema_whose_name_needs_quotes(empty: URL) -> None:
    path = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path TO \"Bot App\"', current_database()); END $$"
    execute(empty, 'CREATE SCHEMA "Bot App"', path)
    load_legacy(empty, messages=10)
    with engine_of(empty).connect() as other:
        other.exec_driver_sql("LOCK TABLE conversations")
        with pytest.raises(CommandError, match=r"gave up .* on conversations: pid"):
            migrate(empty, "upgrade", "head", "lock-wait=0.1")
    migrate(empty)
    check(empty)
    migrate(empty, "downgrade", "-1")


def test_what_reads_a_time_with_zone_goes_both_ways(shops: URL) -> None:
    """The types stay, so nothing of a team's stands in the way of either direction."""
    migrate(shops, "downgrade", "-1")
    execute(
        shops,
        "DROP SCHEMA multi_tenant_archive CASCADE",
        "ALTER TABLE conversations ALTER timestamp TYPE timestamptz, ALTER created_at TYPE timestamptz(3)",
        "CREATE VIEW by_day AS SELECT timestamp, created_at FROM conversations",
        "CREATE INDEX by_utc_day ON conversations (((timestamp AT TIME ZONE 'UTC')::date))",
    )
    before = state(shops, "customers", "conversations")
    migrate(shops)
    migrate(shops, "downgrade", "-1")
    assert state(shops, "customers", "conversations") == before
