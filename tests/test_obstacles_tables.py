"""Tables that do not fit revision 000: each misfit is named with a command that leads to a database that upgrades."""

import pytest
from sqlalchemy import URL

from tests.obstacles import clear_the_way, named_and_cleared, refusal_of
from tests.support import execute, migrate, rows, scalar

MISFITS = {
    "a missing column": ("ALTER TABLE customers DROP COLUMN age", "column customers.age (integer) is missing"),
    "a missing name": ("ALTER TABLE customers DROP COLUMN name", "column customers.name (varchar(100)) is missing"),
    "a missing time": (
        'ALTER TABLE conversations DROP COLUMN "timestamp"',
        "column conversations.timestamp (timestamp) is missing",
    ),
    "a missing id": ("ALTER TABLE conversations DROP COLUMN id", "column conversations.id (bigint) is missing"),
    "missing numbers": (
        "ALTER TABLE customers DROP COLUMN whatsapp_id",
        "column customers.whatsapp_id (varchar(50)) is missing",
    ),
    "a jsonb message": (
        "ALTER TABLE conversations ALTER COLUMN message TYPE jsonb USING to_jsonb(message)",
        "column conversations.message is jsonb instead of text",
    ),
    "a short message": (
        "ALTER TABLE conversations ALTER COLUMN message TYPE varchar(20000)",
        "column conversations.message is character varying(20000) instead of text",
    ),
    "an enum as role": (
        "CREATE TYPE who AS ENUM ('user', 'assistant', 'system'); ALTER TABLE conversations "
        "ALTER COLUMN role TYPE who USING role::who, ALTER COLUMN role SET DEFAULT 'user'",
        "column conversations.role is who instead of varchar(20)",
    ),
    "a number as number": (
        "ALTER TABLE conversations ALTER COLUMN whatsapp_id TYPE bigint USING whatsapp_id::bigint",
        "column conversations.whatsapp_id is bigint instead of varchar(50)",
    ),
    "short numbers": (
        "ALTER TABLE customers ALTER COLUMN whatsapp_id TYPE varchar(14)",
        "column customers.whatsapp_id is character varying(14) instead of varchar(50)",
    ),
    "a small age": (
        "ALTER TABLE customers ALTER COLUMN age TYPE smallint",
        "column customers.age is smallint instead of integer",
    ),
    "an age in words": (
        "ALTER TABLE customers ALTER COLUMN age TYPE text USING coalesce(age, 0) || ' años', ALTER COLUMN age SET NOT NULL",
        "column customers.age is text instead of integer",
    ),
    "an age that must be there": (
        "UPDATE customers SET age = 0 WHERE age IS NULL; ALTER TABLE customers ALTER COLUMN age SET NOT NULL",
        "customers.age is NOT NULL, but the age of a customer may not be known",
    ),
    "seconds": (
        'ALTER TABLE conversations ALTER COLUMN "timestamp" TYPE bigint USING extract(epoch FROM "timestamp")',
        "column conversations.timestamp is bigint instead of timestamp",
    ),
    "milliseconds": (
        "ALTER TABLE customers ALTER created_at TYPE float8 USING extract(epoch FROM created_at) * 1000",
        "column customers.created_at is double precision instead of timestamp",
    ),
    "a time as text": (
        "ALTER TABLE customers ALTER COLUMN updated_at TYPE text, ALTER COLUMN updated_at SET DEFAULT now()::text; "
        "CREATE VIEW seen AS SELECT updated_at FROM customers",
        "column customers.updated_at is text instead of timestamp",
    ),
    "a date": (
        "ALTER TABLE customers ALTER COLUMN created_at TYPE date",
        "column customers.created_at is date instead of timestamp",
    ),
    "milliseconds only": (
        'ALTER TABLE conversations ALTER COLUMN "timestamp" TYPE timestamp(3)',
        "column conversations.timestamp is timestamp(3) without time zone instead of timestamp",
    ),
    "a generated name": (
        "ALTER TABLE customers DROP COLUMN name; ALTER TABLE customers ADD COLUMN name varchar(100) NOT NULL "
        "GENERATED ALWAYS AS ('customer ' || whatsapp_id) STORED",
        "column customers.name is character varying(100) instead of varchar(100)",
    ),
    "a small id": (
        "ALTER TABLE customers ALTER COLUMN id TYPE smallint",
        "column customers.id is smallint instead of bigint",
    ),
    "a uuid as id": (
        "ALTER TABLE customers DROP COLUMN id; "
        "ALTER TABLE customers ADD COLUMN id uuid DEFAULT gen_random_uuid() PRIMARY KEY; "
        "CREATE TABLE orders (customer_id uuid REFERENCES customers (id))",
        "column customers.id is uuid instead of bigint",
    ),
    "no sequence": (
        "ALTER TABLE customers ALTER COLUMN id DROP DEFAULT; DROP SEQUENCE customers_id_seq",
        "customers.id has no sequence to take its values from",
    ),
    "no primary key": (
        "ALTER TABLE customers DROP CONSTRAINT customers_pkey; ALTER TABLE customers ALTER COLUMN id DROP NOT NULL; "
        "UPDATE customers SET id = 1 WHERE id < 4; UPDATE customers SET id = NULL WHERE id = 5",
        "table customers has no primary key of its id alone",
    ),
    "a primary key of two": (
        "ALTER TABLE conversations DROP CONSTRAINT conversations_pkey, ADD PRIMARY KEY (id, created_at); "
        "CREATE TABLE marks (id int, at timestamp, FOREIGN KEY (id, at) REFERENCES conversations (id, created_at))",
        "table conversations has no primary key of its id alone",
    ),
    "nullable columns": (
        "ALTER TABLE customers ALTER COLUMN whatsapp_id DROP NOT NULL, ALTER COLUMN name DROP NOT NULL; "
        'ALTER TABLE conversations ALTER COLUMN "timestamp" DROP NOT NULL',
        "customers.whatsapp_id, customers.name: NULLs are allowed: run",
    ),
    "doubles": (
        "DROP INDEX ix_customers_whatsapp_id; INSERT INTO customers (whatsapp_id, name, created_at, updated_at) "
        "SELECT whatsapp_id, '100%', now(), updated_at FROM customers CROSS JOIN generate_series(1, 2)",
        "customers.whatsapp_id must be unique, but is not (573000000001 (3 rows), ",
    ),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_misfit_is_named_and_its_command_fixes_it(misfit: str, canonical: URL) -> None:
    spoil, says = MISFITS[misfit]
    named_and_cleared(canonical, spoil, says)


def test_a_table_that_is_missing(canonical: URL) -> None:
    execute(canonical, "DROP TABLE conversations")
    (refusal,) = clear_the_way(canonical)
    assert refusal.startswith("table conversations is missing: run CREATE TABLE conversations (")


def test_nulls_that_are_there_are_filled_and_those_that_the_bot_writes_later(canonical: URL) -> None:
    execute(
        canonical,
        "ALTER TABLE customers ALTER whatsapp_id DROP NOT NULL, ALTER name DROP NOT NULL, ALTER updated_at DROP NOT NULL",
        "UPDATE customers SET name = NULL, updated_at = NULL WHERE id = 1",
        "UPDATE customers SET whatsapp_id = NULL WHERE id IN (2, 3)",
        "ALTER TABLE conversations ALTER timestamp DROP NOT NULL, ALTER created_at DROP NOT NULL",
        "UPDATE conversations SET timestamp = NULL, created_at = NULL WHERE id = 1",
        "UPDATE conversations SET timestamp = NULL WHERE id = 2",
    )
    created = scalar(canonical, "SELECT created_at FROM conversations WHERE id = 2")
    (refusal,) = clear_the_way(canonical)
    assert "customers.whatsapp_id, customers.name, customers.updated_at: NULLs are allowed, and there" in refusal
    assert rows(canonical, "SELECT name, updated_at = created_at FROM customers WHERE id = 1") == [("", True)]
    assert rows(canonical, "SELECT timestamp AT TIME ZONE 'UTC' FROM conversations WHERE id = 2") == [(created,)]
    execute(
        canonical,
        "INSERT INTO customers (whatsapp_id, name, created_at, updated_at) VALUES (NULL, NULL, now(), NULL)",
        "INSERT INTO conversations (whatsapp_id, message, role, timestamp, created_at) VALUES ('57', 'x', 'user', NULL, NULL)",
    )
    assert scalar(canonical, "SELECT timestamp = now() FROM conversations ORDER BY id DESC LIMIT 1") is False


STRANGE = {
    "a view": "ALTER TABLE customers RENAME TO people; CREATE VIEW customers AS SELECT *, true AS known FROM people",
    "a materialized view": "ALTER TABLE customers RENAME TO people; CREATE MATERIALIZED VIEW customers AS SELECT * FROM people",
    "a partitioned table": "ALTER TABLE customers RENAME TO people; CREATE TABLE customers (LIKE people INCLUDING DEFAULTS, "
    "PRIMARY KEY (id)) PARTITION BY HASH (id); CREATE TABLE c0 PARTITION OF customers FOR VALUES WITH (MODULUS 1, REMAINDER 0); "
    "INSERT INTO customers SELECT * FROM people; ALTER TABLE people RENAME CONSTRAINT customers_pkey TO people_pkey",
}


@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_not_an_ordinary_table_is_copied_into_one(kind: str, canonical: URL) -> None:
    execute(canonical, STRANGE[kind])
    before = rows(canonical, "SELECT id, whatsapp_id, name, age FROM customers ORDER BY id")
    refusals = clear_the_way(canonical)
    assert refusals[0].startswith(("2 things stand in the way:\n- customers is " + kind, "customers is " + kind))
    assert rows(canonical, "SELECT id, whatsapp_id, name, age FROM customers ORDER BY id") == before
    execute(canonical, "INSERT INTO customers (whatsapp_id, name) VALUES ('57', 'Ana')")


def test_everything_is_named_at_once(canonical: URL) -> None:
    """Where nothing is in the way of another: the one list has them all, and nothing is left afterwards."""
    together = ["a missing column", "a jsonb message", "seconds", "a small id", "nullable columns"]
    together += ["short numbers", "doubles"]
    execute(canonical, *(MISFITS[misfit][0] for misfit in together))
    refusal = refusal_of(canonical) or ""
    assert refusal.startswith(("8 things stand in the way:\n- ", "9 things stand in the way:\n- "))
    assert [MISFITS[misfit][1] for misfit in together if MISFITS[misfit][1] not in refusal] == []
    assert len(clear_the_way(canonical)) == 1
    migrate(canonical, "downgrade", "-1")
    migrate(canonical)
