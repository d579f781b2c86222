"""What cannot come along is named before the first change, all at once, each with the command that removes it."""

import re

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.support import execute, paste, run_alembic, state
from tests.widening import NOTHING, SCALE, commands, types, widen

AUDIT = "CREATE TABLE audit (LIKE customers); CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NULL; END $$; CREATE TRIGGER audit AFTER INSERT ON customers FOR EACH ROW EXECUTE FUNCTION audit()"  # fmt: skip
COUNTS = "function audit() counts the columns of customers"
TRIGGER = 'DROP TRIGGER audit ON "customers"'

DIGIT = "CREATE FUNCTION digit(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 % 10'; "

OBSTACLES = {
    "a view": (
        "CREATE VIEW v AS SELECT * FROM customers",
        "view v names customers.id, and cannot be moved",
        "DROP VIEW v",
    ),
    "views on views": (
        "CREATE VIEW v AS SELECT * FROM customers; CREATE MATERIALIZED VIEW m AS SELECT id FROM v; CREATE VIEW w AS SELECT count(*) FROM m",
        "materialized view m names",
        "DROP VIEW w; DROP MATERIALIZED VIEW m; DROP VIEW v",
    ),
    "a generated column": (
        "ALTER TABLE customers ADD COLUMN code text GENERATED ALWAYS AS ('C' || id) STORED",
        "default value for column code of table customers holds customers.id",
        'ALTER TABLE "customers" DROP COLUMN code',
    ),
    "a function": (
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT max(id) FROM customers; END",
        "function f() holds customers.id",
        "DROP FUNCTION f()",
    ),
    "an exclusion": (
        "ALTER TABLE customers ADD CONSTRAINT alone EXCLUDE (id WITH =)",
        "constraint alone on table customers holds customers.id",
        "ALTER TABLE customers DROP CONSTRAINT alone",
    ),
    "a publication's list": (
        "CREATE PUBLICATION p FOR TABLE customers (id, name)",
        "publication of table customers in publication p holds customers.id",
        'ALTER PUBLICATION p DROP TABLE "customers"',
    ),
    "a partitioned table's key": (
        "CREATE TABLE parts (of integer REFERENCES customers) PARTITION BY LIST (of)",
        "constraint parts_of_fkey on table parts holds customers.id",
        "ALTER TABLE parts DROP CONSTRAINT parts_of_fkey",
    ),
    "an audit of values": (AUDIT.format("INSERT INTO audit VALUES (NEW.*);"), COUNTS, TRIGGER),
    "an audit of a select": (AUDIT.format("INSERT INTO audit SELECT now(), (OLD).*;"), COUNTS, TRIGGER),
    "an insert by place": (
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ INSERT INTO customers VALUES (1, 'a', 'a', 1, now(), now()) $$",
        "function f() inserts into customers without naming the columns, of which id becomes the last",
        "DROP FUNCTION f()",
    ),
    "a rule": (
        "CREATE RULE kept AS ON DELETE TO customers DO INSTEAD NOTHING",
        "rule kept rewrites statements on customers",
        'DROP RULE kept ON "customers"',
    ),
    "a constraint trigger": (
        NOTHING + "CREATE CONSTRAINT TRIGGER audit AFTER UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION nothing()",
        "trigger audit is a constraint trigger, and cannot be moved",
        TRIGGER,
    ),
    "transition tables": (
        NOTHING
        + "CREATE TRIGGER audit AFTER UPDATE ON customers REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION nothing()",
        "trigger audit has transition tables, and cannot be moved",
        TRIGGER,
    ),
    "forced security": (
        "ALTER TABLE customers FORCE ROW LEVEL SECURITY",
        "row level security of customers hides rows from its owner",
        'ALTER TABLE "customers" NO FORCE ROW LEVEL SECURITY',
    ),
    "another's attempt": (
        "ALTER TABLE customers ADD COLUMN id_widened bigint",
        "column customers.id_widened is there, and is not of this command",
        'ALTER TABLE "customers" RENAME COLUMN "id_widened" TO id_old_attempt',
    ),
    "a column of rows": (
        "CREATE TABLE shelf (kept customers)",
        "column shelf.kept holds rows of customers as one value, which would lose id",
        "ALTER TABLE shelf ALTER COLUMN kept DROP DEFAULT, ALTER COLUMN kept TYPE jsonb USING to_jsonb(kept)",
    ),
    "an unproved CHECK": (
        "ALTER TABLE customers ADD CONSTRAINT grown CHECK (age > 17) NOT VALID",
        "constraint grown of customers was never validated, and a row that breaks it cannot be copied",
        'ALTER TABLE "customers" DROP CONSTRAINT grown',
    ),
    "a child": (
        "CREATE TABLE child () INHERITS (customers)",
        "table customers is partitioned, of a type, or has children or parents",
        'ALTER TABLE "customers" ALTER COLUMN "id" TYPE bigint',
    ),
    "an index by its operator class": (
        "CREATE INDEX odd ON customers USING brin (id int4_minmax_multi_ops)",
        "index odd cannot be made where customers.id is a bigint",
        "DROP INDEX odd",
    ),
    "an index of a function": (
        DIGIT + "CREATE INDEX odd ON customers (digit(id))",
        "index odd cannot be made where customers.id is a bigint",
        "DROP INDEX odd",
    ),
    "a CHECK of a function": (
        DIGIT + "ALTER TABLE customers ADD CONSTRAINT low CHECK (digit(id) < 11)",
        "constraint low cannot be made where customers.id is a bigint",
        'ALTER TABLE "customers" DROP CONSTRAINT low',
    ),
    "a policy of a function": (
        DIGIT + "CREATE POLICY low ON customers USING (digit(id) < 5)",
        "policy low on customers cannot be made where customers.id is a bigint",
        "DROP POLICY low ON customers",
    ),
    "another table's policy": (
        DIGIT
        + "CREATE TABLE notes (of int); CREATE POLICY low ON notes USING (EXISTS (SELECT FROM customers AS c WHERE digit(c.id) = of))",
        "policy low on notes cannot be made where customers.id is a bigint",
        "DROP POLICY low ON notes",
    ),
    "a trigger's condition": (
        DIGIT
        + NOTHING
        + "CREATE TRIGGER audit AFTER UPDATE ON customers FOR EACH ROW WHEN (digit(NEW.id) > 4) EXECUTE FUNCTION nothing()",
        "trigger audit cannot be made where customers.id is a bigint",
        TRIGGER,
    ),
    "statistics of a function": (
        DIGIT + "CREATE STATISTICS odd ON digit(id), name FROM customers",
        "statistics public.odd cannot be made where customers.id is a bigint",
        "DROP STATISTICS public.odd",
    ),
    "no temporary tables": (
        "DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()); END $$",
        None,
        None,
    ),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_an_obstacle_is_named_with_the_command_that_removes_it(name: str, canonical: URL) -> None:
    made, sentence, command = OBSTACLES[name]
    for statement in re.split(r"; (?=CREATE)", made):
        execute(canonical, statement)
    if sentence is None or command is None:  # no obstacle for the owner of the database
        widen(canonical)
        return
    before = state(canonical, "customers", "conversations")
    with pytest.raises(CommandError) as refused:
        widen(canonical)
    assert sentence in str(refused.value)
    assert state(canonical, "customers", "conversations") == before
    assert "; ".join(commands(str(refused.value))) == command
    execute(canonical, *commands(str(refused.value)))
    widen(canonical)
    assert types(canonical) == ["bigint", "bigint"]


@pytest.mark.parametrize(
    "made",
    [
        AUDIT.format("INSERT INTO audit (id, name) VALUES (NEW.id, NEW.name);"),
        AUDIT.format("INSERT INTO audit (name) VALUES (to_jsonb(NEW.*)::text);"),
        AUDIT.format("IF NEW.* IS DISTINCT FROM OLD.* THEN INSERT INTO audit (name) VALUES ('changed'); END IF;"),
        "CREATE FUNCTION f() RETURNS SETOF customers LANGUAGE sql AS $$ SELECT * FROM customers $$",
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ INSERT INTO customers (whatsapp_id) VALUES ('1') $$",
        "CREATE VIEW v AS SELECT count(*), max(created_at) FROM customers",
        "CREATE PUBLICATION p FOR TABLE customers",
        "CREATE TRIGGER audit AFTER UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ],
)
def test_what_does_not_hold_the_id_is_no_obstacle(made: str, canonical: URL) -> None:
    for statement in re.split(r"; (?=CREATE)", made):
        execute(canonical, statement)
    widen(canonical)
    assert types(canonical) == ["bigint", "bigint"]


def test_all_at_once_and_the_dry_run_changes_nothing(canonical: URL) -> None:
    execute(canonical, "CREATE VIEW a AS SELECT id FROM customers", "CREATE VIEW b AS SELECT id FROM conversations")
    before = state(canonical, "customers", "conversations")
    for arguments in (("-x", "dry-run=yes"), ()):
        done = run_alembic(canonical, *SCALE, *arguments, "upgrade", "bigint")
        assert done.returncode != 0
        assert "2 things stand in the way:\n- view a names customers.id" in done.stderr
        assert "view b names conversations.id" in done.stderr
    execute(canonical, "DROP VIEW a, b")
    done = run_alembic(canonical, *SCALE, "-x", "dry-run=yes", "upgrade", "bigint")
    assert done.returncode == 0
    assert "nothing stands in the way, and nothing was changed" in done.stderr
    assert "about 2,000 rows are written anew" in done.stderr
    assert state(canonical, "customers", "conversations") == before


def test_what_is_to_be_looked_at_is_said(canonical: URL) -> None:
    execute(
        canonical,
        "CREATE TABLE orders (id serial PRIMARY KEY, customer_id integer REFERENCES customers)",
        "CREATE FUNCTION ids() RETURNS TABLE (id integer) LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT c.id FROM customers c; END $$",
        "CREATE PUBLICATION p FOR TABLE customers",
    )
    said = run_alembic(canonical, *SCALE, "upgrade", "bigint").stderr
    assert "orders.customer_id, which refers to it, is integer: widen it too before ids reach 2,147,483,647" in said
    assert "look at function ids(), which reads customers and returns integers" in said
    assert "publication p sends customers" in said
    assert "structure of query does not match" in paste(canonical, "SELECT * FROM ids()")


def test_an_empty_database_has_no_ids(empty: URL) -> None:
    with pytest.raises(CommandError, match=r"there is no column customers.id here: run alembic upgrade head first"):
        widen(empty)


def test_only_the_owner_may(canonical: URL) -> None:
    user = canonical.set(username="widen_reader")
    execute(canonical, "DROP ROLE IF EXISTS widen_reader", "CREATE ROLE widen_reader LOGIN PASSWORD 'x'")
    execute(canonical, 'DROP ROLE IF EXISTS "widen-owner"', 'CREATE ROLE "widen-owner"')
    try:
        execute(
            canonical,
            f"GRANT CONNECT ON DATABASE {canonical.database} TO widen_reader",
            "GRANT CREATE ON SCHEMA public TO widen_reader",
            "GRANT SELECT ON customers, conversations TO widen_reader",
            'ALTER TABLE customers OWNER TO "widen-owner"',
        )
        with pytest.raises(CommandError) as refused:
            widen(user.set(password="x"))
        assert "role widen_reader does not own table customers: do this as its owner" in str(refused.value)
        grant = 'as an administrator: run GRANT "widen-owner" TO widen_reader;'
        assert f"does not own sequence customers_id_seq; {grant}" in str(refused.value)
        assert types(canonical) == ["integer", "integer"]
    finally:
        execute(canonical, 'REASSIGN OWNED BY "widen-owner" TO CURRENT_USER', 'DROP ROLE "widen-owner"')
        execute(canonical, "DROP OWNED BY widen_reader", "DROP ROLE widen_reader")
