"""Who may run the upgrade, and what about roles and policies stops it before any change.

Roles are the server's, so that these tests have a server of their own.
"""

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.roles import ROLES, advice, give_to, refusal
from tests.support import OTHER_ID, add_business, check, execute, migrate, paste, pipe, rows, scalar, script

# --- making and keeping the roles ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "bot"), [((), True), ((), False), (("app_tenant",), False), (ROLES, False), (ROLES, True)], ids=str
)
def test_without_createrole_the_sentence_holds_the_sql_that_mends_it(
    fresh: URL, there: tuple[str, ...], bot: bool
) -> None:
    owner = give_to(fresh, "owner")
    for role in there:
        execute(fresh, f"CREATE ROLE {role} NOLOGIN")
    if bot:
        execute(fresh, 'CREATE ROLE "the Bot" LOGIN', 'GRANT SELECT, INSERT ON customers, conversations TO "the Bot"')
    execute(fresh, *advice(refusal(owner), ": run "))
    migrate(owner)
    check(owner)
    assert rows(fresh, "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname ~ '^app_' ORDER BY 1") == [
        ("app_service", False),
        ("app_tenant", False),
    ]
    assert scalar(fresh, "SELECT count(*) FROM pg_auth_members WHERE member = to_regrole('\"the Bot\"')") == 0
    for role in ROLES:
        assert scalar(owner, f"SELECT count(*) FROM (SELECT set_config('role', '{role}', false)) AS t") == 1


@pytest.mark.parametrize("attributes", ["CREATEROLE", "SUPERUSER"])
def test_who_migrates_joins_the_roles_and_leaves_them(fresh: URL, attributes: str) -> None:
    """A superuser needs no membership; whoever else joins for the time between upgrade and rollback."""
    owner = give_to(fresh, "owner", attributes)
    works = (
        "SELECT pg_has_role('owner', r.oid, CASE WHEN current_setting('server_version_num')::int < 160000 "
        "THEN 'USAGE' ELSE 'SET' END) FROM pg_roles AS r WHERE rolname ~ '^app_'"
    )
    joined = (
        "SELECT DISTINCT roleid::regrole::text FROM pg_auth_members AS m WHERE member = to_regrole('owner') "
        "AND roleid::regrole::text ~ '^app_' AND coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)"
    )
    for _ in range(2):
        migrate(owner)
        check(owner)
        assert rows(fresh, works) == [(True,)] * 2
        assert len(rows(fresh, joined)) == (0 if attributes == "SUPERUSER" else 2)
        assert (
            rows(fresh, "SELECT rolbypassrls, rolsuper, rolcanlogin FROM pg_roles WHERE rolname ~ '^app_'")
            == [(False,) * 3] * 2
        )
        migrate(owner, "downgrade", "-1")
        assert scalar(fresh, "SELECT count(*) FROM pg_roles WHERE rolname ~ '^app_'") == 2
        assert rows(fresh, joined) == []


def test_a_membership_of_before_stays(fresh: URL) -> None:
    owner = give_to(fresh, "owner", "CREATEROLE")
    execute(fresh, "CREATE ROLE app_tenant", "CREATE ROLE app_service", "GRANT app_tenant, app_service TO owner")
    before = rows(fresh, "SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members ORDER BY 1, 2")
    migrate(owner)
    migrate(owner, "downgrade", "-1")
    assert (
        rows(fresh, "SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members ORDER BY 1, 2") == before
    )


def test_existing_roles_are_used_as_they_are(fresh: URL) -> None:
    execute(
        fresh,
        "CREATE ROLE app_tenant NOLOGIN CONNECTION LIMIT 7",
        "COMMENT ON ROLE app_tenant IS 'ours'",
        "CREATE ROLE app_service",
    )
    migrate(fresh)
    migrate(fresh, "downgrade", "-1")
    found = "SELECT rolconnlimit, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = 'app_tenant'"
    assert rows(fresh, found) == [(7, "ours")]


@pytest.mark.parametrize("closed", [False, True], ids=["public is open", "public is closed"])
def test_after_a_downgrade_no_privilege_is_left_in_the_database(fresh: URL, closed: bool) -> None:
    if closed:
        execute(fresh, "REVOKE ALL ON SCHEMA public FROM PUBLIC")
    migrate(fresh)
    for role in ROLES:
        assert scalar(fresh, f"SELECT has_schema_privilege('{role}', 'public', 'USAGE')")
    migrate(fresh, "downgrade", "-1")
    execute(fresh, "DROP ROLE app_tenant", "DROP ROLE app_service")  # refused while anything depends on them


# --- what stops it before any change ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["SUPERUSER", "BYPASSRLS", "CREATEROLE", "CREATEDB REPLICATION"])
@pytest.mark.parametrize("roles", [ROLES[1:], ROLES], ids=str)
def test_roles_that_could_do_more_are_refused(fresh: URL, fault: str, roles: tuple[str, ...]) -> None:
    for role in roles:
        execute(fresh, f"CREATE ROLE {role} NOLOGIN {fault}")
    execute(fresh, *advice(refusal(fresh), ": run "))
    migrate(fresh)


@pytest.mark.parametrize("role", ROLES)
def test_our_roles_as_members_of_others_are_refused(fresh: URL, role: str) -> None:
    execute(
        fresh,
        f"CREATE ROLE {role}",
        "CREATE ROLE staff",
        'CREATE ROLE "The Team"',
        f'GRANT staff, "The Team" TO {role}',
    )
    execute(fresh, *advice(refusal(fresh), ": run "))
    migrate(fresh)


@pytest.mark.parametrize(
    "grant",
    [
        "SELECT, INSERT ON customers, conversations",
        "ALL ON conversations",
        "SELECT (name, whatsapp_id), UPDATE (age) ON customers",
    ],
)
@pytest.mark.parametrize("login", ["LOGIN", "NOLOGIN"])
def test_privileges_of_public_are_refused_with_what_fixes_them(fresh: URL, grant: str, login: str) -> None:
    execute(fresh, f'CREATE ROLE "the Bot" {login}', f"GRANT {grant} TO PUBLIC")
    execute(fresh, *advice(refusal(fresh), ": run "))
    migrate(fresh)
    check(fresh)
    execute(fresh, "INSERT INTO customers (whatsapp_id, name) VALUES ('1', 'x')")
    add_business(fresh)
    execute(fresh, f"INSERT INTO customers (business_id, whatsapp_id, name) VALUES ('{OTHER_ID}', '1', 'y')")
    if "customers" in grant and login == "LOGIN":
        assert rows(fresh.set(username="the Bot"), "SELECT name FROM customers") == [("x",)]


POLICIES = {
    "for everybody": "CREATE POLICY p ON customers USING (true)",
    "restrictive for everybody": "CREATE POLICY p ON customers AS RESTRICTIVE USING (age > 18)",
    "for app_tenant": "CREATE POLICY p ON customers TO app_tenant, bot USING (true)",
    "for app_service": "CREATE POLICY p ON customers TO app_service USING (false)",
    "with a name of ours": "CREATE POLICY single_business ON customers TO bot USING (true)",
}


@pytest.mark.parametrize("on", ["ENABLE", "DISABLE"])
@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_policy_that_would_decide_for_our_roles_is_refused(fresh: URL, policy: str, on: str) -> None:
    execute(
        fresh,
        *(f"CREATE ROLE {role}" for role in ROLES),
        "CREATE ROLE bot LOGIN",
        "GRANT SELECT ON customers TO bot",
        policy,
        f"ALTER TABLE customers {on} ROW LEVEL SECURITY",
    )
    for _ in range(2):  # a policy that is renamed may then be one that comes into force
        sentence = refusal(fresh)
        assert "the policy" in sentence or "its policy" in sentence
        execute(fresh, *advice(sentence, ": run "))
        if "_before" not in sentence or on == "ENABLE":
            break
    migrate(fresh)
    add_business(fresh)
    execute(fresh, f"INSERT INTO customers (business_id, whatsapp_id, name) VALUES ('{OTHER_ID}', '1', 'y')")
    assert rows(fresh.set(username="bot"), "SELECT name FROM customers") == []


@pytest.mark.parametrize("through", ["bot", "readers"])
def test_a_policy_that_would_come_into_force_is_refused(fresh: URL, through: str) -> None:
    execute(
        fresh,
        "CREATE ROLE readers",
        "CREATE ROLE bot LOGIN IN ROLE readers",
        "CREATE ROLE service_role BYPASSRLS",
        "GRANT SELECT ON customers TO bot",
        f"CREATE POLICY everything ON customers TO {through} USING (true)",
        "CREATE POLICY of_service ON customers TO service_role USING (true)",
    )
    sentence = refusal(fresh)
    assert "of_service" not in sentence
    execute(fresh, *advice(sentence, ": run "))
    migrate(fresh)


@pytest.mark.parametrize("grantee", ["PUBLIC", "app_tenant", "anon"])
def test_create_on_the_schema_is_refused(fresh: URL, grantee: str) -> None:
    owner = give_to(fresh, "owner", "CREATEROLE")
    for role in ("app_tenant", "anon", "maker"):
        execute(fresh, f"CREATE ROLE {role}")
    execute(
        fresh,
        "ALTER SCHEMA public OWNER TO postgres",
        f"GRANT CREATE ON SCHEMA public TO {grantee}, owner",
        "CREATE TABLE notes ()",
        "ALTER TABLE notes OWNER TO maker",
    )
    execute(fresh, "GRANT app_tenant TO owner WITH ADMIN OPTION")
    execute(fresh, *advice(refusal(owner), ": run "))
    migrate(owner)
    assert scalar(fresh, "SELECT has_schema_privilege('maker', 'public', 'CREATE')")
    assert not scalar(fresh, "SELECT has_schema_privilege('app_tenant', 'public', 'CREATE')")


PLANTED = (
    "CREATE FUNCTION quote_ident(name) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'planted'; END $$",
    "CREATE FUNCTION same(oid, regclass) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'planted'; END $$",
    "CREATE OPERATOR = (leftarg = oid, rightarg = regclass, function = same)",
    "CREATE FUNCTION now() RETURNS timestamptz LANGUAGE sql AS 'SELECT pg_catalog.now()'",  # never called in its place
)


@pytest.mark.parametrize("migrator", ["owner", "superuser"])
def test_a_planted_function_is_not_called(fresh: URL, migrator: str) -> None:
    url = give_to(fresh, "owner", "CREATEROLE") if migrator == "owner" else fresh
    execute(fresh, "CREATE ROLE mallory LOGIN", "GRANT CREATE ON SCHEMA public TO mallory")
    execute(fresh.set(username="mallory"), *PLANTED)
    sentence = refusal(url)
    assert pipe(url, script()) == sentence
    assert paste(url, script("upgrade", "head", "single-transaction=yes")) == sentence
    assert "now()" not in sentence
    execute(fresh, *advice(sentence, ": run "))
    migrate(url)
    execute(fresh.set(username="mallory"), PLANTED[0])
    with pytest.raises(CommandError, match="another role made a function"):
        migrate(url, "downgrade", "-1")
