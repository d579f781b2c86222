"""Where it is not known what the models declare, nothing is reported as undeclared, and repair takes nothing away."""

from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from tests.conftest import MakeDatabase
from tests.drift import lines, repaired
from tests.support import execute, migrate, rows

OURS = (
    "SELECT 'TABLE', oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
    "UNION ALL SELECT 'FUNCTION', oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
)
POLICIES = "SELECT polrelid::regclass::text, polname, polroles::regrole[]::text FROM pg_policy ORDER BY 1, 2"
MISSING = "missing, expected a role with NOLOGIN"


@pytest.fixture
def at_head(make_fresh: MakeDatabase, own_server: URL) -> Iterator[URL]:
    """A database at head whose owner may make no role, and in which another role worked before."""
    for role in ("owner LOGIN", "reader LOGIN"):
        execute(own_server, f"CREATE ROLE {role}")
    url = make_fresh()
    execute(url, "GRANT SELECT, INSERT ON customers TO reader")
    migrate(url)
    execute(url, "INSERT INTO customers (whatsapp_id, name) VALUES ('573009999999', 'Ana')")
    for kind, name in rows(url, OURS):
        execute(url, f"ALTER {kind} {name} OWNER TO owner")
    execute(url, f"ALTER DATABASE {url.database} OWNER TO owner")
    yield url
    execute(url, "REASSIGN OWNED BY owner TO postgres")


@pytest.mark.parametrize("lost", [("app_service",), ("app_tenant",), ("app_tenant", "app_service")])
def test_without_a_role_of_ours_the_policies_that_work_stay(lost: tuple[str, ...], at_head: URL) -> None:
    for role in lost:
        execute(at_head, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
    execute(at_head, "ALTER ROLE reader SET app.business_id = 'x'")
    owner, reader = at_head.set(username="owner"), at_head.set(username="reader")
    before, seen = rows(at_head, POLICIES), rows(reader, "SELECT name FROM customers")
    assert seen
    # What does not depend on the models is said, too.
    setting = "role reader: not declared, found SET app.business_id=x"
    assert lines(owner) == sorted([*(f"role {role}: {MISSING}" for role in lost), setting])

    status, said = repaired(owner)
    assert status == 1
    assert all(f"not fixed: role {role}: {MISSING}; " in said for role in lost)
    assert rows(at_head, POLICIES) == before
    assert rows(reader, "SELECT name FROM customers") == seen

    execute(at_head, "ALTER ROLE reader RESET app.business_id")
    status, said = repaired(at_head)
    assert (status, lines(at_head)) == (0, []), said
    assert rows(reader, "SELECT name FROM customers") == seen


def test_where_a_row_of_the_memory_is_lost_a_policy_that_restricts_is_not_made_to_permit(
    make_fresh: MakeDatabase, own_server: URL
) -> None:
    execute(own_server, "CREATE ROLE reader LOGIN")
    url = make_fresh()
    execute(
        url,
        "ALTER TABLE customers ENABLE ROW LEVEL SECURITY",
        "GRANT SELECT ON customers TO reader",
        "CREATE POLICY adults ON customers FOR SELECT TO reader USING (age > 17)",
    )
    migrate(url)
    execute(
        url, "DELETE FROM multi_tenant_rollback WHERE statement = 'ALTER TABLE customers ENABLE ROW LEVEL SECURITY'"
    )
    restricts = "SELECT polpermissive FROM pg_policy WHERE polname = 'single_business'"
    assert rows(url, restricts) == [(False,)]
    (line,) = lines(url)
    assert line.startswith(
        "memory of the rollback in multi_tenant_rollback: missing, expected what a rollback gives back"
    )
    execute(url, "DROP TRIGGER set_updated_at ON customers", "DROP POLICY app_tenant ON customers")
    assert repaired(url)[0] == 1
    assert lines(url) == [line]
    assert rows(url, restricts) == [(False,)]
