"""A value that holds a whole row of one of the two tables is never cut: it is named before any change."""

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.obstacles import named_and_cleared
from tests.support import execute, migrate, rows
from tests.widening import commands, types, widen

PERSON = "(SELECT c FROM customers AS c WHERE id = 7)"

STORED = {
    "a domain": ("CREATE DOMAIN held AS customers", f"{PERSON}::held"),
    "a domain over a domain": ("CREATE DOMAIN person AS customers; CREATE DOMAIN held AS person", f"{PERSON}::held"),
    "a composite": ("CREATE TYPE held AS (person customers, said text)", f"ROW({PERSON}, 'x')::held"),
    "a composite in a composite": (
        "CREATE TYPE entry AS (person customers); CREATE TYPE held AS (entry entry, said text)",
        f"ROW(ROW({PERSON})::entry, 'x')::held",
    ),
    "an array in a composite": ("CREATE TYPE held AS (people customers[])", f"ROW(ARRAY[{PERSON}])::held"),
    "a domain over an array": ("CREATE DOMAIN held AS customers[]", f"ARRAY[{PERSON}]::held"),
    "another table's row": ("CREATE TABLE held (person customers)", f"ROW({PERSON})::held"),
    "a view's row": ("CREATE VIEW held AS SELECT 'x' AS said, NULL::customers AS person", f"ROW('x', {PERSON})::held"),
    "a range": ("CREATE TYPE held AS RANGE (subtype = customers)", f"held({PERSON}, {PERSON}, '[]')"),
    "ranges": (
        "CREATE TYPE one AS RANGE (subtype = customers, multirange_type_name = held)",
        f"held(one({PERSON}, {PERSON}, '[]'))",
    ),
}


@pytest.mark.parametrize("kind", STORED)
def test_a_value_of_rows_keeps_the_ids_in_it_when_they_are_widened(kind: str, canonical: URL) -> None:
    made, value = STORED[kind]
    execute(canonical, made, f"CREATE TABLE log AS SELECT {value} AS kept")
    before = rows(canonical, "SELECT to_jsonb(kept)::text FROM log")
    with pytest.raises(CommandError, match=r"column log.kept holds rows of customers as one value") as refused:
        widen(canonical)
    assert types(canonical) == ["integer", "integer"]
    if made.startswith("CREATE VIEW"):
        execute(canonical, "ALTER TABLE log ALTER kept TYPE jsonb USING to_jsonb(kept)", "DROP VIEW held")
    else:
        execute(canonical, *commands(str(refused.value)))
    widen(canonical)
    assert types(canonical) == ["bigint", "bigint"]
    assert rows(canonical, "SELECT to_jsonb(kept)::text FROM log") == before


@pytest.mark.parametrize("kind", STORED)
def test_a_value_of_rows_is_named_before_the_upgrade(kind: str, canonical: URL) -> None:
    made, value = STORED[kind]
    spoil = f"{made}; CREATE TABLE log AS SELECT {value} AS kept"
    named_and_cleared(canonical, spoil, "its row type is used by column log.kept")
    migrate(canonical, "downgrade", "-1")


def test_an_index_of_rows_is_named_too(canonical: URL) -> None:
    function = "CREATE FUNCTION whole(text) RETURNS customers IMMUTABLE LANGUAGE sql AS 'SELECT NULL::public.customers'"
    spoil = f"{function}; CREATE TABLE log (said text); CREATE INDEX of_rows ON log (whole(said))"
    named_and_cleared(canonical, spoil, "its row type is used by the index of_rows")


def test_a_type_that_no_row_uses_is_no_obstacle(canonical: URL) -> None:
    execute(canonical, "CREATE TYPE held AS (person customers, said text)", "CREATE DOMAIN person AS customers")
    migrate(canonical)
    widen(canonical)
    assert types(canonical) == ["bigint", "bigint"]
