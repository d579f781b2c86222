"""`alembic check` finds what was done to the roles, which belong to the whole server, and repair takes it back."""

from collections.abc import Iterator

import pytest
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from tests.drift import Case, assert_found, lines, repaired
from tests.support import execute, load_legacy, migrate, rows, scalar

# name: (statement, beginning of the line, whether repair puts it right)
CASES: dict[str, Case] = {
    "app_tenant bypasses": ("ALTER ROLE app_tenant BYPASSRLS", "role app_tenant: not declared, found BYPASSRLS", True),
    "app_service is superuser": ("ALTER ROLE app_service SUPERUSER", "role app_service: not declared, found SUPERUSER", True),
    "app_tenant logs in": ("ALTER ROLE app_tenant LOGIN", "role app_tenant: not declared, found LOGIN", True),
    "app_service makes roles": (
        "ALTER ROLE app_service CREATEROLE CREATEDB REPLICATION",
        "role app_service: not declared, found CREATEROLE CREATEDB REPLICATION", True,
    ),
    "app_tenant joins": ("GRANT readers TO app_tenant", "role app_tenant: not declared, found membership of readers", True),
    "app_tenant joins app_service": ("GRANT app_service TO app_tenant", "role app_tenant: not declared, found membership of app_service", True),
    "app_service joins": ("GRANT pg_read_server_files TO app_service", "role app_service: not declared, found membership of pg_read_server_files", True),
    "anon joins through another": (
        "GRANT app_service TO readers; GRANT readers TO anon", "role anon: not declared, found membership of readers", True,
    ),
    "a login grants the role on": (
        "GRANT app_service TO bot WITH ADMIN OPTION", "role app_service: not declared, found ADMIN OPTION for bot", True,
    ),
    "membership that another role granted": (
        "GRANT readers TO admin WITH ADMIN OPTION; SET ROLE admin; GRANT readers TO app_tenant; RESET ROLE",
        "role app_tenant: not declared, found membership of readers", True,
    ),
    "membership that a role granted whose name needs quotes": (
        'GRANT readers TO "my-admin" WITH ADMIN OPTION; SET ROLE "my-admin"; GRANT readers TO app_tenant; RESET ROLE',
        "role app_tenant: not declared, found membership of readers", True,
    ),
    "a login that such a role let grant on": (
        'GRANT app_service TO "my-admin" WITH ADMIN OPTION; SET ROLE "my-admin"; GRANT app_service TO bot WITH ADMIN OPTION; RESET ROLE',
        "role app_service: not declared, found ADMIN OPTION for bot", True,
    ),
    "default privileges of such a role": (
        'ALTER DEFAULT PRIVILEGES FOR ROLE "my-admin" GRANT SELECT ON TABLES TO app_tenant',
        "default privileges of my-admin: not declared, found SELECT on TABLES for app_tenant", True,
    ),
    "a setting of such a role": (
        'GRANT app_tenant TO "my-admin"; ALTER ROLE "my-admin" SET row_security = off',
        "role my-admin: not declared, found SET row_security=off", True,
    ),
    "a setting of such a role in the database": (
        'GRANT app_tenant TO "my-admin"; ALTER ROLE "my-admin" IN DATABASE home SET row_security = off',
        "role my-admin: not declared, found SET row_security=off", True,
    ),
    "a bot works as another role": ("ALTER ROLE bot SET role = app_service", "role bot: not declared, found SET role=app_service", True),
    "a bot is always in one business": (
        "ALTER ROLE bot SET app.business_id = 'x'", "role bot: not declared, found SET app.business_id=x", True,
    ),
    "a bot without triggers": (
        "ALTER ROLE bot SET session_replication_role = replica", "role bot: not declared, found SET session_replication_role=replica", True,
    ),
    "the owner without row security": (
        "ALTER ROLE postgres SET row_security = off", "role postgres: not declared, found SET row_security=off", True,
    ),
    "everybody without row security": ("ALTER ROLE ALL SET row_security = off", "role ALL: not declared, found SET row_security=off", True),
    "app_tenant elsewhere": ("ALTER ROLE app_tenant SET search_path = evil", "role app_tenant: not declared, found SET search_path=evil", True),
    "a bot elsewhere": (
        "ALTER ROLE bot SET search_path = evil, public", "role bot: not declared, found SET search_path=evil, public", True,
    ),
    "a reader of a copy": (
        "CREATE SCHEMA evil; CREATE TABLE evil.customers (id int); ALTER ROLE reader SET search_path = evil, public",
        "role reader: not declared, found SET search_path=evil, public", True,
    ),
    "a parameter": (
        "GRANT SET ON PARAMETER session_replication_role TO app_tenant",
        "privilege of app_tenant on parameter session_replication_role: not declared, found SET", True,
    ),
    "a database of a tenant's": (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO app_tenant', current_database()); END $$", "database ", False,
    ),
    "app_service is missing": ("DROP OWNED BY app_service; DROP ROLE app_service", "role app_service: missing", True),
}  # fmt: skip

QUIET = (
    "ALTER ROLE postgres SET search_path = \"$user\", public",
    "ALTER ROLE reader SET search_path = reports, public",
    "ALTER ROLE stranger SET role = reader",
    "GRANT postgres TO deployer; ALTER ROLE deployer SET role = postgres",
    "GRANT app_service, app_tenant TO bot",
    "GRANT app_tenant TO admin WITH ADMIN OPTION",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon",
    "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
)  # fmt: skip


@pytest.fixture(scope="module")
def home(own_server: URL) -> URL:
    """A database at head, on a server of its own, with roles of a team."""
    url = own_server.set(database="home")
    execute(own_server, "CREATE DATABASE home", "ALTER DATABASE home SET timezone TO 'UTC'")
    for role in (
        "anon",
        "readers",
        "bot LOGIN",
        "reader LOGIN",
        "stranger",
        "deployer",
        "admin CREATEROLE",
        '"my-admin" CREATEROLE',
        "owner LOGIN",
    ):
        execute(url, f"CREATE ROLE {role}")
    load_legacy(url)
    execute(url, "GRANT SELECT ON customers TO reader; GRANT INSERT ON conversations TO bot")
    migrate(url)
    execute(url, "GRANT app_tenant TO bot")
    return url


@pytest.fixture
def at_head(home: URL) -> Iterator[URL]:
    """The same for every test, which leaves no drift."""
    yield home
    execute(home, "ALTER DATABASE home OWNER TO postgres", "ALTER ROLE postgres RESET search_path")
    assert lines(home) == []


@pytest.mark.parametrize("name", CASES)
def test_a_role_that_opens_something_is_one_line(name: str, at_head: URL) -> None:
    assert_found(at_head, CASES[name])


def test_what_a_team_does_with_roles_is_no_drift(at_head: URL) -> None:
    execute(at_head, *QUIET)
    assert lines(at_head) == []


def test_default_privileges_do_not_leak_into_what_is_expected(at_head: URL) -> None:
    """What they open is found in them, not in tables that were there before, and they are not taken for declared."""
    execute(at_head, "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO app_tenant")
    assert lines(at_head) == [
        "default privileges of postgres: not declared, found "
        + scalar(
            at_head,
            "SELECT string_agg(privilege_type, ', ' ORDER BY privilege_type) FROM pg_default_acl, aclexplode(defaclacl) "
            "WHERE grantee = 'app_tenant'::regrole",
        )
        + " on TABLES for app_tenant"
    ]
    execute(at_head, "ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM app_tenant")


def test_without_the_right_to_change_roles_it_says_so(at_head: URL) -> None:
    """The owner of the tables is no administrator of the server: the rest is repaired, and the role is named."""
    for kind, name in rows(
        at_head,
        "SELECT 'TABLE', oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace "
        "UNION ALL SELECT 'FUNCTION', oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    ):
        execute(at_head, f"ALTER {kind} {name} OWNER TO owner")
    execute(at_head, "ALTER DATABASE home OWNER TO owner", "ALTER ROLE app_tenant BYPASSRLS")
    execute(at_head, "DROP TRIGGER set_updated_at ON customers")
    owner = at_head.set(username="owner")
    status, said = repaired(owner)
    assert status == 1
    assert "fixed: trigger set_updated_at on customers: missing" in said
    assert "not fixed: role app_tenant: not declared, found BYPASSRLS; " in said
    assert lines(at_head) == ["role app_tenant: not declared, found BYPASSRLS"]
    execute(at_head, "ALTER ROLE app_tenant NOBYPASSRLS", "REASSIGN OWNED BY owner TO postgres")


def test_who_may_not_make_the_scratch_schema_is_told_who_may(at_head: URL) -> None:
    execute(at_head, "GRANT SELECT ON alembic_version TO bot")
    with pytest.raises(
        (RuntimeError, DBAPIError), match=r"run it as the owner of the database, DATABASE_URL='postgresql://postgres@"
    ):
        lines(at_head.set(username="bot"))
