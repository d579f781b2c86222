"""After a rollback nobody holds more than before: what row level security confined at 001 is taken, named, and given back."""

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from tests.rollbacks import down, up
from tests.support import OTHER_ID, add_business, check, rows, scalar
from tests.support import execute as run

ROLES = ("later_console", "later_analyst", "former_worker", "former_reader", "later_supabase")

PRIVILEGES = """
    SELECT rolname, what, privilege_type || coalesce(' ' || attname, ''), is_grantable FROM (
        SELECT oid::regclass::text AS what, NULL::name AS attname, relacl AS acl FROM pg_class
         WHERE relname IN ('customers', 'conversations', 'customers_id_seq', 'conversations_id_seq')
        UNION ALL SELECT attrelid::regclass::text, attname, attacl FROM pg_attribute
                   WHERE attrelid IN ('customers'::regclass, 'conversations'::regclass) AND NOT attisdropped) AS part,
        aclexplode(acl) AS e LEFT JOIN pg_roles ON pg_roles.oid = grantee
     WHERE coalesce(rolname ~ '^(later|former)_|^(anon|authenticated)$', true) ORDER BY 1, 2, 3"""


def own(url: URL, text: str) -> str:
    """The text with the names of roles, which belong to the whole server, made those of this database."""
    return re.sub(r"\b(later|former)_[a-z]+\b", rf"\g<0>_{url.database}", text)


def execute(url: URL, *statements: str) -> None:
    run(url, *(own(url, statement) for statement in statements))


@pytest.fixture
def former(canonical: URL) -> Iterator[URL]:
    """A database at 001 in which two roles worked with customers before the upgrade, one of them with a grant option."""
    execute(canonical, *(f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role}" for role in ROLES))
    execute(
        canonical,
        "ALTER ROLE later_supabase BYPASSRLS",
        "DO $$ BEGIN CREATE ROLE anon; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
        "GRANT SELECT, UPDATE ON customers TO former_worker WITH GRANT OPTION",
        "SET ROLE former_worker; GRANT SELECT ON customers TO former_reader; RESET ROLE",
        "GRANT INSERT ON customers TO anon; GRANT USAGE ON SEQUENCE customers_id_seq TO former_worker",
    )
    yield canonical
    for role in ROLES:
        execute(canonical, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


LATER = (
    "GRANT SELECT, UPDATE ON customers TO later_console WITH GRANT OPTION",
    "GRANT SELECT (id, message), UPDATE (message) ON conversations TO later_analyst",
    "GRANT SELECT ON conversations TO former_reader",
    "GRANT USAGE ON SEQUENCE conversations_id_seq TO later_analyst",
    "SET ROLE former_worker; GRANT SELECT, UPDATE ON customers TO later_analyst; RESET ROLE",
    "GRANT DELETE ON customers TO former_worker",
    "GRANT SELECT ON customers TO later_supabase",
)


@pytest.mark.parametrize("options", [(), ("canonical=yes",)])
def test_later_roles_lose_what_they_were_granted_until_the_next_upgrade(options: tuple[str, ...], former: URL) -> None:
    before = rows(former, PRIVILEGES)
    up(former)
    execute(former, *LATER)
    granted = rows(former, PRIVILEGES)
    said = down(former, *options)
    mine = (own(former, "former_worker"), "customers", "DELETE", False)
    held = rows(former, PRIVILEGES)
    if options:  # the form of revision 000 says nothing of anon
        held, before = ([row for row in found if row[0] != "anon"] for found in (held, before))
        assert [row for row in held if row not in before and row[0] != own(former, "later_supabase")] == [mine]
    else:
        assert [row for row in held if row not in before] == [mine]
    assert [row for row in before if row not in held] == []
    lost = "role later_console loses what it was granted after the upgrade (SELECT, UPDATE on customers)"
    assert own(former, lost) in said
    assert own(former, "role later_analyst loses what it was granted") in said
    up(former)
    assert [row for row in granted if row not in rows(former, PRIVILEGES)] == []


def test_the_public_role_is_closed_for_good(former: URL) -> None:
    up(former)
    before = rows(former, PRIVILEGES)
    execute(former, "GRANT SELECT ON conversations TO PUBLIC, anon", "GRANT UPDATE ON customers TO anon")
    assert "PUBLIC loses what it was granted after the upgrade (SELECT on conversations)" in down(former)
    assert [row for row in rows(former, PRIVILEGES) if row[0] in {None, "anon"}] == [
        ("anon", "customers", "INSERT", False)
    ]
    up(former)
    check(former)
    assert rows(former, PRIVILEGES) == before


def test_a_role_of_another_business_reads_nothing_after_the_rollback(former: URL) -> None:
    up(former)
    add_business(former)
    execute(former, "GRANT SELECT ON customers TO later_console")
    policy = f"CREATE POLICY own ON customers TO later_console USING (business_id = '{OTHER_ID}')"
    execute(former, policy, "DROP POLICY own ON customers")
    down(former)
    assert not scalar(former, own(former, "SELECT has_any_column_privilege('later_console', 'customers', 'SELECT')"))
    execute(former, "REASSIGN OWNED BY later_console TO CURRENT_USER", "DROP OWNED BY later_console")
    execute(former, "DROP ROLE later_console")
    said = up(former)
    not_given = "not given back, for there is no role later_console: GRANT SELECT ON customers TO later_console"
    assert own(former, not_given) in said
    execute(former, "CREATE ROLE later_console")
    check(former)
