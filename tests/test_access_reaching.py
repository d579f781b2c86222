"""What reaches the two tables past row level security is named before the upgrade, through any depth."""

import pytest
from sqlalchemy import URL

from tests.support import execute, migrate

ROLES = ("CREATE ROLE anon", "CREATE ROLE bot LOGIN", "GRANT SELECT ON conversations TO bot")
REACHING = {
    "a view": ("CREATE VIEW v AS SELECT id, name FROM customers; GRANT SELECT ON v TO anon", "view v"),
    "a view with a column": (
        "CREATE VIEW v AS SELECT id, name FROM customers; GRANT UPDATE (name) ON v TO PUBLIC",
        "view v",
    ),
    "a view that only deletes": ("CREATE VIEW v AS SELECT id, name FROM customers; GRANT DELETE ON v TO bot", "view v"),
    "a view over a view": (
        "CREATE VIEW inner_v AS SELECT id, name FROM customers; CREATE VIEW v AS SELECT name FROM inner_v; GRANT SELECT ON v TO anon",
        "view v",
    ),
    "a materialised view": (
        "CREATE MATERIALIZED VIEW v AS SELECT id, message FROM conversations; GRANT SELECT ON v TO bot",
        "materialized view v",
    ),
    "a function": (
        "CREATE FUNCTION f() RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN (SELECT count(*) FROM Customers); END'",
        "function f()",
    ),
    "a function in SQL": (
        "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC SELECT count(*) FROM customers; END",
        "function f()",
    ),
    "a function over a view": (
        "CREATE VIEW inner_v AS SELECT id, name FROM customers; "
        "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM inner_v'",
        "function f()",
    ),
    "a view over a function": (
        "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM customers'; "
        "REVOKE ALL ON FUNCTION f() FROM PUBLIC; CREATE VIEW v AS SELECT f(); GRANT SELECT ON v TO anon",
        "view v",
    ),
    "a rule": (
        "CREATE TABLE inbox (n text); GRANT INSERT ON inbox TO anon; "
        "CREATE RULE r AS ON INSERT TO inbox DO ALSO DELETE FROM customers",
        "table inbox",
    ),
}
SILENT = {
    "a view of the caller": "CREATE VIEW v WITH (security_invoker) AS SELECT id, name FROM customers; GRANT SELECT ON v TO anon",
    "a view of nobody": "CREATE VIEW v AS SELECT id, name FROM customers",
    "a function of the caller": "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM customers'",
    "a function of something else": (
        "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1 /* my_customers_list */'"
    ),
}


def named(url: URL, capfd: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of a dry run about what reaches the tables."""
    capfd.readouterr()
    migrate(url, "upgrade", "head", "dry-run=yes")
    return [line.strip() for line in capfd.readouterr().err.splitlines() if "past row level security" in line]


@pytest.mark.parametrize(("sql", "name"), REACHING.values(), ids=REACHING)
def test_what_reaches_the_tables_is_named(fresh: URL, sql: str, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    execute(fresh, *ROLES, sql)
    assert any(line.startswith(f"{name} reaches ") for line in named(fresh, capfd))


@pytest.mark.parametrize("sql", SILENT.values(), ids=SILENT)
def test_what_does_not_is_not(fresh: URL, sql: str, capfd: pytest.CaptureFixture[str]) -> None:
    execute(fresh, *ROLES, sql)
    assert named(fresh, capfd) == []
