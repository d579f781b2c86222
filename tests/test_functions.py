"""A team's functions that would no longer fit their tables: what is certain is refused, what may be is said before."""

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.obstacles import named_and_cleared
from tests.rollbacks import up
from tests.support import execute, migrate, paste, rows, run_alembic
from tests.widening import SCALE, commands, types, widen

LISTED = "id, whatsapp_id, name, age, created_at, updated_at"

FAILING = {
    "a row by its columns": f"CREATE FUNCTION f(w text) RETURNS SETOF customers LANGUAGE sql AS 'SELECT {LISTED} FROM customers WHERE whatsapp_id = w'",
    "one row": f"CREATE FUNCTION f(w text) RETURNS customers LANGUAGE sql AS $$ SELECT 1; SELECT {LISTED} FROM customers; $$",
    "a row that is put together": "CREATE FUNCTION f(w text) RETURNS customers LANGUAGE sql AS $$ SELECT ROW(1, 'w', 'n', 1, now(), now())::customers $$",
    "a qualified name": (
        f"CREATE FUNCTION f(w text) RETURNS SETOF public.customers LANGUAGE sql SET search_path = '' AS 'SELECT {LISTED} FROM public.customers'"
    ),
    "every column, counted": (
        "CREATE FUNCTION f(w text) RETURNS TABLE (a bigint, b text, c text, d int, e timestamp, f timestamp) LANGUAGE sql "
        "AS 'SELECT * FROM customers'"
    ),
    "an insert by place": (
        "CREATE FUNCTION f(w text) RETURNS void LANGUAGE sql AS $$ INSERT INTO customers SELECT c.* FROM customers AS c UNION ALL "
        "SELECT 1, 'w', 'n', 1, now(), now() $$"
    ),
}


@pytest.mark.parametrize("kind", FAILING)
def test_an_sql_function_that_would_fail_is_named_before_the_upgrade(kind: str, canonical: URL) -> None:
    named_and_cleared(canonical, FAILING[kind], "the function f(text) would fail after the upgrade")


FITTING = {
    "all columns": "CREATE FUNCTION f(w text) RETURNS SETOF customers LANGUAGE sql AS 'SELECT * FROM customers WHERE whatsapp_id = w'",
    "the row": "CREATE FUNCTION f(w text) RETURNS customers LANGUAGE sql AS 'SELECT c FROM customers AS c WHERE whatsapp_id = w'",
    "columns": (
        "CREATE FUNCTION f(w text) RETURNS TABLE (id int, at timestamp) LANGUAGE sql AS 'SELECT id, created_at FROM customers'"
    ),
    "a time": "CREATE FUNCTION f(w text) RETURNS timestamp LANGUAGE sql AS 'SELECT created_at FROM customers WHERE whatsapp_id = w'",
    "a function that fails already": (
        "SET check_function_bodies = off; CREATE FUNCTION f(w text) RETURNS customers LANGUAGE sql AS 'SELECT 1 FROM customers'"
    ),
}


@pytest.mark.parametrize("kind", FITTING)
def test_a_function_that_goes_on_is_no_obstacle(kind: str, canonical: URL) -> None:
    execute(canonical, FITTING[kind])
    call = "SELECT * FROM f('573000000003')"
    before = paste(canonical, call)
    assert "would fail" not in up(canonical)
    assert paste(canonical, call) == before


LOOKED_AT = {
    "a variable": f"RETURNS text LANGUAGE plpgsql AS $$ DECLARE r customers; BEGIN SELECT {LISTED} INTO r FROM customers; RETURN r.name; END $$",
    "a row type": f"RETURNS text LANGUAGE plpgsql AS $$ DECLARE r customers%ROWTYPE; BEGIN SELECT {LISTED} INTO r FROM customers; RETURN r.name; END $$",
    "a returned row": f"RETURNS customers LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT ({LISTED}) FROM customers); END $$",
    "a returned time": "RETURNS TABLE (at timestamp) LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT created_at FROM customers; END $$",
}


@pytest.mark.parametrize("kind", LOOKED_AT)
def test_what_cannot_be_told_is_said(kind: str, canonical: URL) -> None:
    execute(canonical, f"CREATE FUNCTION f() {LOOKED_AT[kind]}")
    said = run_alembic(canonical, "-x", "dry-run=yes", "upgrade", "head").stderr
    assert "look at the function f(): customers and conversations get more columns" in said


def test_functions_that_touch_no_row_are_not_said(canonical: URL) -> None:
    execute(
        canonical,
        "CREATE FUNCTION f() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM customers); END $$",
        "CREATE FUNCTION g() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DELETE FROM customers; END $$",
    )
    assert "look at" not in run_alembic(canonical, "-x", "dry-run=yes", "upgrade", "head").stderr


@pytest.mark.parametrize("kind", ["a row by its columns", "a qualified name", "every column, counted"])
def test_an_sql_function_that_counts_the_columns_is_named_before_the_widening(kind: str, canonical: URL) -> None:
    execute(canonical, FAILING[kind])
    with pytest.raises(
        CommandError, match=r"function f.text. would fail where customers.id is a bigint and the last column"
    ) as e:
        widen(canonical)
    assert types(canonical) == ["integer", "integer"]
    execute(canonical, *commands(str(e.value)))
    widen(canonical)


@pytest.mark.parametrize("kind", ["all columns", "the row", "columns", "a function that fails already"])
def test_a_function_that_goes_on_is_no_obstacle_of_the_widening(kind: str, canonical: URL) -> None:
    execute(canonical, FITTING[kind])
    before = rows(canonical, "SELECT * FROM customers LIMIT 0") or paste(canonical, "SELECT (f('573000000003'))")
    widen(canonical)
    migrate(canonical)
    assert paste(canonical, "SELECT (f('573000000003'))") == before


def test_what_the_widening_cannot_tell_is_said(canonical: URL) -> None:
    execute(canonical, f"CREATE FUNCTION f() {LOOKED_AT['a variable']}")
    said = run_alembic(canonical, *SCALE, "-x", "dry-run=yes", "upgrade", "bigint").stderr
    assert "look at function f(), which takes rows of customers apart: id becomes the last column" in said
