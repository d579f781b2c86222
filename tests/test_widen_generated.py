"""Widening the ids leaves updated_at as it is where a table has a generated column, too."""

import pytest
from sqlalchemy import URL

from tests.support import execute, migrate, rows
from tests.widening import widen


@pytest.mark.parametrize("at_head", [False, True])
def test_no_trigger_of_the_team_or_of_the_schema_fires(at_head: bool, canonical: URL) -> None:
    execute(
        canonical,
        "ALTER TABLE customers ADD COLUMN shout text GENERATED ALWAYS AS (upper(name)) STORED",
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := 'touched'; RETURN NEW; END $$",
        "CREATE TRIGGER touch BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION touch()",
    )
    if at_head:
        migrate(canonical)
    before = rows(canonical, "SELECT to_jsonb(c) FROM customers AS c ORDER BY id")
    widen(canonical)
    assert rows(canonical, "SELECT to_jsonb(c) FROM customers AS c ORDER BY id") == before
    execute(canonical, "UPDATE customers SET age = 1 WHERE id = 1")
    assert rows(canonical, "SELECT name, shout FROM customers WHERE id = 1") == [("touched", "TOUCHED")]
