"""Repair, and the check, where a team has narrowed or widened what its roles see: nobody sees more afterwards."""

import pytest
from sqlalchemy import URL

from tests.drift import lines, repaired
from tests.support import execute, rows

MAY = "SELECT has_column_privilege('app_tenant', 'customers', 'notes', 'UPDATE'), has_column_privilege('app_tenant', 'customers', 'tags', 'UPDATE')"


@pytest.mark.parametrize(
    "drift", ["ALTER TABLE customers DISABLE ROW LEVEL SECURITY", "GRANT SELECT ON customers TO PUBLIC"]
)
def test_a_column_that_is_kept_from_tenants_stays_so(database: URL, drift: str) -> None:
    execute(
        database,
        "ALTER TABLE customers ADD notes text, ADD tags text",
        "GRANT INSERT (tags), UPDATE (tags) ON customers TO app_tenant",
    )
    assert rows(database, MAY) == [(False, True)]
    execute(database, drift)
    repaired(database)
    assert rows(database, MAY) == [(False, True)]
    assert lines(database) == []


def test_what_only_restricts_tenants_is_left(database: URL) -> None:
    execute(
        database,
        "CREATE POLICY recent ON conversations AS RESTRICTIVE TO app_tenant USING (timestamp > now() - interval '1 year')",
        "ALTER TABLE conversations DISABLE ROW LEVEL SECURITY",
    )
    assert repaired(database)[0] == 0, repaired(database)
    assert rows(database, "SELECT count(*) FROM pg_policy WHERE polname = 'recent'") == [(1,)]
    assert lines(database) == []


def test_without_memory_and_policy_a_teams_own_policy_goes_on_deciding(database: URL) -> None:
    name = f"clerk_{database.database}"
    execute(
        database,
        f"CREATE ROLE {name}",
        f"GRANT SELECT ON customers TO {name}",
        f"CREATE POLICY own ON customers FOR SELECT TO {name} USING (name = 'Ana')",
        "INSERT INTO customers (whatsapp_id, name) VALUES ('1', 'Ana'), ('2', 'Eva')",
        "DROP TABLE multi_tenant_rollback",
        "DROP POLICY IF EXISTS single_business ON customers",
    )
    repaired(database)
    seen = f"SET ROLE {name}; SELECT name FROM customers"
    assert [name for (name,) in rows(database, seen)] in ([], ["Ana"])
    execute(database, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


@pytest.mark.parametrize(
    "grant", ["SELECT ON users", "SELECT (id, password_hash) ON users", "SELECT ON whatsapp_numbers"]
)
def test_who_reads_secrets_is_named(database: URL, grant: str) -> None:
    name, table = f"console_{database.database}", grant.rsplit(" ", 1)[-1]
    execute(database, f"CREATE ROLE {name}", f"GRANT {grant} TO {name}")
    assert lines(database) == []  # row level security shows it no row
    execute(database, f"CREATE POLICY console ON {table} TO {name} USING (true)")
    (found,) = lines(database)
    assert name in found
    assert "of which a policy shows rows" in found
    execute(database, f"REVOKE ALL ON {table} FROM {name}", f"REVOKE ALL (id, email) ON users FROM {name}")
    execute(database, f"GRANT SELECT (id, business_id) ON whatsapp_numbers TO {name}")
    assert lines(database) == []
    execute(database, f"DROP OWNED BY {name}", f"DROP ROLE {name}")
