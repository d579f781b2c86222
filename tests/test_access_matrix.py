"""Every role x every table x every privilege and column: nobody gains a right in an upgrade, and nobody loses one."""

from typing import Any

import pytest
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from tests.roles import FORMER, SET_UP, Held, as_role, held
from tests.support import DEFAULT_ID, OTHER_ID, add_business, check, execute, migrate, rows, scalar

UNCONFINED = {"TRUNCATE", "TRIGGER", "REFERENCES"}
OLD = {"customers", "conversations"}
PREDEFINED = {"backup", "loader"}
"""Members of pg_read_all_data and pg_write_all_data: they hold SELECT or writing on any table there will ever be."""
TENANT = {
    "customers": ["whatsapp_id", "name", "age", "updated_at", "business_id", "whatsapp_user_id", "username"],
    "conversations": [
        *("whatsapp_id", "message", "role", "timestamp", "business_id", "whatsapp_number_id", "whatsapp_message_id")
    ],
    "whatsapp_numbers": ["phone_number_id", "phone_number", "access_token", "is_active", "business_id", "updated_at"],
}


def of_tenant() -> Held:
    """What the issue names for app_tenant: whole tables as (table, privilege), columns as (table.column, privilege)."""
    everywhere = {("app_tenant", t, p) for t in (*TENANT, "user_businesses") for p in ("SELECT", "DELETE")}
    columns = {("app_tenant", f"{t}.{c}", p) for t, cs in TENANT.items() for c in cs for p in ("INSERT", "UPDATE")}
    columns |= {("app_tenant", f"businesses.{c}", "UPDATE") for c in ("name", "business_type", "settings")}
    columns |= {("app_tenant", "user_businesses.role", "UPDATE")}
    columns |= {
        ("app_tenant", f"users.{c}", "SELECT")
        for c in ("id", "email", "full_name", "is_active", "created_at", "updated_at")
    }
    sequences = {("app_tenant", f"{t}_id_seq", "USAGE") for t in OLD}
    return everywhere | columns | sequences | {("app_tenant", "businesses", "SELECT")}


@pytest.fixture
def world(fresh: URL) -> URL:
    """A live database with every kind of role, and default privileges that would open whatever is new."""
    execute(fresh, *SET_UP)
    return fresh


def old_columns(what: Held) -> Held:
    """Without the columns that came with the upgrade: who may read the table may read them."""
    new = {"business_id", "whatsapp_user_id", "username", "whatsapp_number_id", "whatsapp_message_id"}
    return {(r, o, p) for r, o, p in what if o.split(".")[-1] not in new and o.split(".")[0] != "alembic_version"}


def test_nobody_holds_more_than_before_and_nobody_less(world: URL) -> None:
    before = held(world)
    migrate(world)
    check(world)
    after = held(world)
    ours = {item for item in after if item[0] in {"app_tenant", "app_service"}}
    assert {i for i in ours if i[0] == "app_tenant"} == of_tenant()
    assert {p for _, o, p in ours - of_tenant() if "." not in o} == {"SELECT", "INSERT", "UPDATE", "DELETE", "USAGE"}
    assert ("app_service", "multi_tenant_rollback", "SELECT") not in ours

    gained = old_columns(after - before - ours)
    assert {i for i in gained if i[0] not in PREDEFINED} == set()
    lost = before - after
    for role, thing, privilege in lost:
        closed = role in {"anon", "authenticated"}
        assert closed or (privilege in UNCONFINED and role in FORMER), f"{role} lost {privilege} on {thing}"
    assert {i for i in after if i[0] in {"anon", "authenticated", "PUBLIC", "stranger"}} == set()
    assert {i for i in after if i[0] in FORMER and i[2] in UNCONFINED} == set()

    migrate(world, "downgrade", "-1")
    assert old_columns(held(world)) == old_columns(before)
    migrate(world)
    check(world)
    assert held(world) == after


def test_what_each_role_reads_and_writes(world: URL) -> None:
    seen = {role: reads(world, role) for role in FORMER}
    migrate(world)
    add_business(world)
    execute(
        world,
        f"INSERT INTO customers (business_id, whatsapp_id, name) VALUES ('{OTHER_ID}', 'other', 'Theirs')",
        f"INSERT INTO conversations (business_id, whatsapp_id, message, role) VALUES ('{OTHER_ID}', 'other', 'x', 'user')",
    )
    assert {role: reads(world, role) for role in FORMER} == seen
    assert {table for found in seen.values() for table, n in found.items() if n} == OLD
    assert reads(world, "service_role") == dict.fromkeys(OLD, 2)
    theirs = f"SELECT to_jsonb(t) FROM customers AS t WHERE business_id = '{OTHER_ID}'"
    stored = rows(world, theirs)
    for role in (*FORMER, "anon", "authenticated", "stranger"):
        for sql in (
            "UPDATE customers SET age = 99",
            "DELETE FROM customers WHERE whatsapp_id = 'other'",
            f"UPDATE customers SET business_id = '{OTHER_ID}'",
            f"INSERT INTO customers (business_id, whatsapp_id, name) VALUES ('{OTHER_ID}', 'new', 'x')",
            f"SET app.business_id = '{OTHER_ID}'; INSERT INTO customers (whatsapp_id, name) VALUES ('new', 'x')",
            "TRUNCATE customers CASCADE",
            "COPY customers (whatsapp_id, name) FROM STDIN",
            "SELECT password_hash FROM users",
            "UPDATE businesses SET name = 'Mine'",
        ):
            assert as_role(world, role, f"{sql}; RESET ROLE; {theirs}") in ([], stored), f"{role}: {sql}"
    assert as_role(world, "old_writer", "UPDATE customers SET age = 7 RETURNING age") == [(7,)]
    added = "INSERT INTO customers (whatsapp_id, name) VALUES ('new', 'x') RETURNING business_id::text"
    assert as_role(world, "old_writer", added) == [(DEFAULT_ID,)]


def reads(url: URL, role: str) -> dict[str, Any]:
    """How many rows of each of the two tables the role sees; None where it may not look."""
    return {
        table: (as_role(url, role, f"SELECT count(*) FROM {table} WHERE id > 0") or [(None,)])[0][0] for table in OLD
    }


def test_what_was_revoked_in_between_is_not_granted_again(world: URL) -> None:
    migrate(world)
    execute(
        world,
        "REVOKE ALL ON customers, conversations, customers_id_seq, conversations_id_seq FROM everything, granter, passed CASCADE",
        "DROP OWNED BY old_writer",
    )
    execute(world, "DROP ROLE old_writer")
    at_head = held(world)
    migrate(world, "downgrade", "-1")
    assert {i for i in held(world) if i[0] in {"everything", "granter", "passed"}} == set()
    migrate(world)
    check(world)
    assert held(world) == at_head


def test_a_role_that_could_only_empty_the_table_gets_that_back(fresh: URL) -> None:
    execute(fresh, "CREATE ROLE cleaner", 'CREATE ROLE "the Cleaner"')
    execute(fresh, 'GRANT TRUNCATE ON conversations TO cleaner, "the Cleaner"')
    before = held(fresh)
    migrate(fresh)
    assert scalar(fresh, "SELECT count(*) FROM pg_policy WHERE polname = 'single_business'") == 0
    migrate(fresh, "downgrade", "-1")
    assert {i for i in held(fresh) if "cleaner" in i[0].lower()} == {i for i in before if "cleaner" in i[0].lower()}


def test_row_level_security_of_a_team_goes_on_deciding(fresh: URL) -> None:
    execute(
        fresh,
        *(f"CREATE ROLE {role} LOGIN" for role in ("bot", "adults", "nothing")),
        "GRANT SELECT, INSERT ON customers TO bot, adults, nothing",
        "INSERT INTO customers (whatsapp_id, name, age, created_at, updated_at) SELECT n, n, n, now(), now() FROM generate_series(10, 30) n",
        "ALTER TABLE customers ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY of_bot ON customers TO bot USING (true)",
        "CREATE POLICY of_adults ON customers TO adults USING (age >= 18)",
    )
    count = "SELECT count(*) FROM customers"
    expected = {"bot": 21, "adults": 13, "nothing": 0}
    assert {role: scalar(fresh.set(username=role), count) for role in expected} == expected
    migrate(fresh)
    check(fresh)
    add_business(fresh)
    execute(fresh, f"INSERT INTO customers (business_id, whatsapp_id, name, age) VALUES ('{OTHER_ID}', 'x', 'x', 50)")
    assert {role: scalar(fresh.set(username=role), count) for role in expected} == expected
    with pytest.raises(DBAPIError):
        execute(
            fresh.set(username="bot"),
            f"INSERT INTO customers (business_id, whatsapp_id, name) VALUES ('{OTHER_ID}', 'y', 'y')",
        )
    migrate(fresh, "downgrade", "-1")
    assert {role: scalar(fresh.set(username=role), count) for role in expected} == expected
    migrate(fresh)
    assert {role: scalar(fresh.set(username=role), count) for role in expected} == expected


def test_the_upgrade_names_each_role_and_what_it_keeps(world: URL, capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in (["dry-run=yes"], []):
        capfd.readouterr()
        migrate(world, "upgrade", "head", *arguments)
        said = [line.strip() for line in capfd.readouterr().err.splitlines() if "role " in line]
        for line in (
            "role old_reader keeps SELECT on customers; SELECT on conversations, and sees the default business only"
            "; a backup with pg_dump stops under row level security: make it as the owner (docs/tenancy.md)",
            "role old_writer keeps INSERT, SELECT, UPDATE on customers; INSERT, SELECT, UPDATE on conversations, "
            "and sees the default business only",
            "role by_column keeps SELECT(id), SELECT(name), UPDATE(age) on customers, and sees the default business only"
            "; until a rollback it loses REFERENCES(id) on customers",
            "role service_role is not bound by row level security: it sees every business",
            "role pg_read_all_data, through which backup reads, goes on in the default business only"
            "; a backup with pg_dump stops under row level security",
            "role anon loses its privileges on customers and conversations until a rollback",
        ):
            assert line in said, said
