"""What else stands in the way of an upgrade is named before anything changes, each with a command that clears it."""

import pytest
from sqlalchemy import URL

from tests.conftest import MakeDatabase
from tests.obstacles import clear_the_way, named_and_cleared, refusal_of
from tests.support import catalogue, execute, migrate, psql, rows, script

AUDIT = (
    "CREATE TABLE audit (LIKE customers, at timestamptz); CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN {} RETURN NEW; END $$; CREATE TRIGGER log AFTER INSERT OR UPDATE ON customers {} EXECUTE FUNCTION log()"
)
IN_THE_WAY = {
    "a table of ours": (
        "CREATE TABLE users (id serial PRIMARY KEY, email text CONSTRAINT uq_users_email_lower UNIQUE); "
        "INSERT INTO users (email) VALUES ('ana@example.com')",
        "the name users is taken by a table",
    ),
    "a view of ours": ("CREATE VIEW businesses AS SELECT 1 AS id", "the name businesses is taken by a view"),
    "a type of ours": ("CREATE TYPE businesses AS ENUM ('barberia')", "the name businesses is taken by a type"),
    "an index of ours on another table": (
        "CREATE TABLE bills (id int); CREATE INDEX ix_conversations_timestamp_ ON conversations (id); "
        "ALTER TABLE bills ADD CONSTRAINT users_pkey PRIMARY KEY (id)",
        "the name of the index users_pkey is taken by another one on bills",
    ),
    "an index of ours on another column": (
        "DROP INDEX ix_conversations_timestamp; CREATE INDEX ix_conversations_timestamp ON conversations (role)",
        "the name of the index ix_conversations_timestamp is taken by another one on conversations",
    ),
    "an index of ours with options": (
        "DROP INDEX ix_conversations_whatsapp_id; "
        "CREATE INDEX ix_conversations_whatsapp_id ON conversations (whatsapp_id DESC) WITH (fillfactor = 50)",
        "the name of the index ix_conversations_whatsapp_id is taken by another one on conversations",
    ),
    "a sequence of an index's name": (
        "CREATE SEQUENCE users_pkey",
        "the name of the index users_pkey is taken by another one",
    ),
    "a function of ours": (
        "CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$; "
        "CREATE TRIGGER touch BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION set_updated_at()",
        "the function set_updated_at was not made by this migration",
    ),
    "a trigger of ours": (
        "CREATE TRIGGER set_updated_at BEFORE UPDATE ON customers FOR EACH ROW "
        "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "the trigger set_updated_at on customers was not made by this migration",
    ),
    "a policy of ours": (
        "CREATE POLICY app_tenant ON customers FOR SELECT TO pg_monitor USING (true)",
        "the policy app_tenant on customers would decide what app_tenant or app_service sees, or has the name of one",
    ),
    "a constraint of ours": (
        "ALTER TABLE customers ADD CONSTRAINT fk_customers_businesses CHECK (age > 0)",
        "the constraint fk_customers_businesses of customers was not made by this migration",
    ),
    "a column of ours": (
        "ALTER TABLE customers ADD COLUMN business_id integer NOT NULL DEFAULT 1; "
        "ALTER TABLE customers ALTER COLUMN business_id DROP DEFAULT",
        "the column customers.business_id was not made by this migration",
    ),
    "a key to the number": (
        "CREATE TABLE orders (who varchar(50) CONSTRAINT of_who REFERENCES customers (whatsapp_id)); "
        "ALTER TABLE conversations ADD CONSTRAINT of_customer FOREIGN KEY (whatsapp_id) REFERENCES customers (whatsapp_id)",
        "the foreign key of_customer of table conversations refers to customers.whatsapp_id",
    ),
    "unique messages": (
        "CREATE UNIQUE INDEX one_each ON conversations (whatsapp_id, id) WHERE id < 0; "
        "ALTER TABLE conversations ADD CONSTRAINT once UNIQUE (whatsapp_id, message, timestamp)",
        "once on conversations would go on keeping whatsapp_id unique across all businesses",
    ),
    "a column of the row type": (
        "CREATE TABLE logt (r customers, all_of conversations[]); INSERT INTO logt SELECT c FROM customers AS c",
        "its row type is used by column logt.all_of",
    ),
    "a rule": (
        "CREATE RULE keep AS ON DELETE TO conversations DO INSTEAD NOTHING",
        "the rule keep on conversations would take the place of what is written",
    ),
    "a replica identity": (
        "ALTER TABLE customers REPLICA IDENTITY USING INDEX ix_customers_whatsapp_id",
        "the replica identity of customers is the index ix_customers_whatsapp_id",
    ),
    "forced row level security": (
        "ALTER TABLE customers FORCE ROW LEVEL SECURITY",
        "row level security is forced on customers",
    ),
    "a parent": (
        "CREATE TABLE people (name varchar(100)); ALTER TABLE customers INHERIT people",
        "customers inherits columns of people",
    ),
    "a partition": (
        "CREATE TABLE people (LIKE customers) PARTITION BY LIST (age); "
        "ALTER TABLE people ATTACH PARTITION customers DEFAULT",
        "customers is a partition of people",
    ),
    "a child": ("CREATE TABLE kids () INHERITS (customers)", "the table kids inherits from customers"),
    "a typed table": (
        "CREATE TYPE person AS (id int, whatsapp_id varchar(50), name varchar(100), age int, created_at timestamp, "
        "updated_at timestamp); ALTER TABLE customers OF person",
        "customers is a table of the type person",
    ),
    "a time zone": (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone TO %L', current_database(), 'Asia/Tokyo'); "
        "EXECUTE format('ALTER ROLE postgres IN DATABASE %I SET timezone TO %L', current_database(), 'Asia/Tokyo'); END $$",
        "TimeZone is Asia/Tokyo for role postgres",
    ),
    "a trigger that counts": (
        AUDIT.format("INSERT INTO audit VALUES (NEW.*, now());", "FOR EACH ROW"),
        "the trigger function log() (trigger log on customers) copies rows by the number of their columns",
    ),
    "a trigger that counts in a SELECT": (
        AUDIT.format("INSERT INTO audit SELECT (NEW) . *, /* at */ now();", "FOR EACH ROW"),
        "let it name the columns",
    ),
    "a trigger that counts from its table": (
        AUDIT.format("INSERT INTO audit SELECT c.*, now() FROM customers AS c WHERE id = NEW.id;", "FOR EACH ROW"),
        "or do without it until it does",
    ),
    "a trigger that counts new rows": (
        AUDIT.format("INSERT INTO audit SELECT *, now() FROM fresh;", "REFERENCING NEW TABLE AS fresh").replace(
            "INSERT OR UPDATE", "INSERT"
        ),
        "or do without it until it does",
    ),
    "a trigger that counts by EXECUTE": (
        AUDIT.format("EXECUTE 'INSERT INTO audit SELECT ($1).*, now()' USING NEW;", "FOR EACH ROW"),
        "or do without it until it does",
    ),
}


@pytest.mark.parametrize("obstacle", IN_THE_WAY)
def test_an_obstacle_is_named_and_its_command_clears_it(obstacle: str, canonical: URL) -> None:
    spoil, says = IN_THE_WAY[obstacle]
    named_and_cleared(canonical, spoil, says)
    execute(
        canonical, "INSERT INTO customers (whatsapp_id, name) VALUES ('57', 'Ana')", "UPDATE customers SET age = 20"
    )
    if obstacle != "a parent":  # to which the rollback gives nothing back
        migrate(canonical, "downgrade", "-1")
        migrate(canonical)


@pytest.mark.parametrize(
    "harmless",
    [
        "PERFORM to_jsonb(NEW.*), row_to_json(NEW);",
        "IF TG_OP = 'UPDATE' AND NEW.* IS DISTINCT FROM OLD.* THEN NULL; END IF;",
        "INSERT INTO notes (n) VALUES (to_jsonb(NEW.id)); -- NEW.* is not copied\n",
        "INSERT INTO notes SELECT jsonb_build_object('row', to_jsonb(NEW.*), 'n', (SELECT count(*) FROM customers));",
    ],
)
def test_a_trigger_that_does_not_count_columns_stays(harmless: str, canonical: URL) -> None:
    execute(canonical, "CREATE TABLE notes (n jsonb)", AUDIT.format(harmless, "FOR EACH ROW"))
    assert clear_the_way(canonical) == []
    execute(canonical, "UPDATE customers SET age = 1")


DEPENDS = {
    "index by_day_index": "CREATE INDEX by_day_index ON conversations ((timestamp::date))",
    "index late": "CREATE INDEX late ON conversations (id) WHERE timestamp > '2025-01-01'",
    "index in_lower_case": "CREATE INDEX in_lower_case ON conversations (lower(whatsapp_id))",
    "constraint digits on table conversations": "ALTER TABLE conversations ADD CONSTRAINT digits CHECK (whatsapp_id ~ '^[0-9]+$')",
    "constraint later on table conversations": "ALTER TABLE conversations ADD CONSTRAINT later CHECK (timestamp > '2000-01-01')",
    "constraint mark on table marks": "ALTER TABLE conversations ADD CONSTRAINT one_time UNIQUE (id, timestamp); CREATE TABLE marks (id int, "
    "at timestamp, CONSTRAINT mark FOREIGN KEY (id, at) REFERENCES conversations (id, timestamp))",
    "view by_day": "CREATE VIEW by_day AS SELECT timestamp FROM conversations",
    "view of_view": "CREATE VIEW of_view AS SELECT * FROM by_day",
    "materialized view numbers": "CREATE MATERIALIZED VIEW numbers AS SELECT DISTINCT whatsapp_id FROM customers",
    "column day of table conversations": "ALTER TABLE conversations ADD day int GENERATED ALWAYS AS (extract(day FROM timestamp)) STORED",
    "view days": "CREATE VIEW days AS SELECT day FROM conversations",
    "function newest()": "CREATE FUNCTION newest() RETURNS timestamp LANGUAGE sql "
    "BEGIN ATOMIC SELECT max(timestamp) FROM conversations; END",
    "view with_newest": "CREATE VIEW with_newest AS SELECT newest()",
    "policy of_day on table conversations": "CREATE POLICY of_day ON conversations TO pg_monitor USING (timestamp > '2000-01-01')",
    "trigger moved on table conversations": "CREATE TRIGGER moved BEFORE UPDATE OF whatsapp_id ON conversations "
    "FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "publication of table conversations": "CREATE PUBLICATION news FOR TABLE conversations WHERE (timestamp > '2000-01-01')",
    "publication of table customers in publication some_columns": "CREATE PUBLICATION some_columns FOR TABLE customers (id, whatsapp_id)",
}


def test_all_that_depends_on_a_type_that_changes_is_named_and_dropped_in_an_order_that_works(canonical: URL) -> None:
    execute(canonical, *DEPENDS.values())
    (refusal,) = clear_the_way(canonical)
    assert [name for name in DEPENDS if f"{name} " not in refusal] == []


def test_the_list_is_the_same_in_alembic_and_in_scripts(make_database: MakeDatabase, canonical: URL) -> None:
    spoil = [IN_THE_WAY[o][0] for o in ("a table of ours", "a time zone", "a child", "a trigger of ours")]
    execute(canonical, *spoil, "ALTER TABLE customers DROP COLUMN age")
    refusal = refusal_of(canonical)
    assert refusal is not None
    assert refusal.startswith("6 things stand in the way:\n- column customers.age (integer) is missing")
    before = catalogue(canonical)
    written = psql(canonical, script()).stderr
    assert "ERROR:  " + refusal in written
    assert catalogue(canonical) == before
    clear_the_way(canonical)


NOTICED = {
    "customers.town is NOT NULL and has no default": "ALTER TABLE customers ADD town text NOT NULL DEFAULT ''; "
    "ALTER TABLE customers ALTER town DROP DEFAULT",
    "the index one_phone keeps phone of customers unique across all businesses": "ALTER TABLE customers ADD phone text; "
    "CREATE UNIQUE INDEX one_phone ON customers (phone)",
    "the function everyone() reads SELECT * from customers or conversations": "CREATE FUNCTION everyone() "
    "RETURNS SETOF customers LANGUAGE sql AS 'SELECT * FROM customers'",
    "the publication news sends conversations to subscribers": "CREATE PUBLICATION news FOR TABLE conversations",
    "the ids of customers end at 2,147,483,647, and 93% of them are used": "SELECT setval('customers_id_seq', 2000000000)",
    "the function local_day() sets TimeZone": "CREATE FUNCTION local_day() RETURNS date LANGUAGE sql "
    "SET timezone = 'America/Bogota' AS 'SELECT current_date'",
    "about 10,000,000 customers and 10,000,000 messages: the indexes take about 2193 MB of disk and 2 minutes": "UPDATE pg_class "
    "SET reltuples = 10000000.0 * relpages / (pg_relation_size(oid) / 8192) WHERE relname IN ('customers', 'conversations')",
}


def test_what_does_not_stop_is_noticed_before_the_upgrade(canonical: URL, capfd: pytest.CaptureFixture[str]) -> None:
    execute(canonical, *NOTICED.values())
    for option in (["dry-run=yes"], []):
        migrate(canonical, "upgrade", "head", *option)
        written = capfd.readouterr().err
        assert [notice for notice in NOTICED if f"  {notice}" not in written] == []
    assert rows(canonical, "SELECT count(*) FROM conversations") == [(2000,)]
