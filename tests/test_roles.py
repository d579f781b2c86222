"""Who may do what: the two roles, the running bot under row level security, and Supabase's public roles.

Roles are the server's, so that these tests have a server of their own.
"""

import os
import pwd
import re
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL, Engine, event

from app.embedded import embedded_url
from tests.support import (
    DEFAULT_ID,
    OTHER_ID,
    SCHEMA_TABLES,
    check,
    execute,
    load_legacy,
    migrate,
    pg_dump,
    plain,
    rows,
    scalar,
)

ROLES = ("app_tenant", "app_service")


@pytest.fixture(scope="module")
def own_server(server: URL) -> Iterator[URL]:
    """Another server of the kind under test."""
    with tempfile.TemporaryDirectory(prefix="roles-tests-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        if "TEST_DATABASE_URL" not in os.environ:
            yield embedded_url(Path(folder) / "data")
            return
        binaries = Path(scalar(server, "SELECT setting FROM pg_config WHERE name = 'BINDIR'"))
        if not (binaries / "initdb").exists():
            pytest.skip(
                "the server of TEST_DATABASE_URL is elsewhere, and a second one of its kind cannot be started here"
            )
        user = "postgres" if os.geteuid() == 0 else None
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        data, options = f"{folder}/data", f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"

        def run(name: str, *arguments: str) -> None:
            command = [str(binaries / name), "-D", data, *arguments]
            subprocess.run(command, check=True, user=user, cwd="/", stdout=subprocess.DEVNULL, timeout=120)

        run("initdb", "-U", "postgres", "-A", "trust", "-N", "--no-locale", "-E", "UTF8")
        run("pg_ctl", "-w", "-l", f"{folder}/log", "-o", options, "start")
        yield URL.create("postgresql+psycopg2", "postgres", database="postgres", query={"host": folder})
        run("pg_ctl", "-w", "-m", "immediate", "stop")


@pytest.fixture
def fresh(own_server: URL) -> Iterator[URL]:
    """A single-business database, owned by the superuser, on a server without roles of anybody."""
    name = f"test_{uuid.uuid4().hex[:8]}"
    execute(own_server, f"CREATE DATABASE {name}", f"ALTER DATABASE {name} SET timezone TO 'UTC'")
    url = own_server.set(database=name)
    load_legacy(url)
    yield url
    execute(own_server, f"DROP DATABASE {name} WITH (FORCE)")
    for (role,) in rows(own_server, "SELECT quote_ident(rolname) FROM pg_roles WHERE oid >= 16384"):
        execute(own_server, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def give_to(url: URL, owner: str, attributes: str = "") -> URL:
    """The database, its tables and schema as the property of a new login."""
    execute(
        url,
        f"CREATE ROLE {owner} LOGIN {attributes}",
        f"ALTER DATABASE {url.database} OWNER TO {owner}",
        f"ALTER SCHEMA public OWNER TO {owner}",
        f"ALTER TABLE customers OWNER TO {owner}",
        f"ALTER TABLE conversations OWNER TO {owner}",
    )
    return url.set(username=owner)


def refusal(url: URL) -> str:
    """The sentence with which the upgrade is refused, with nothing changed."""
    everything = "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles ORDER BY 1"
    members = "SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members ORDER BY 1, 2"
    before: list[Any] = [pg_dump(url.set(username="postgres")), rows(url, everything), rows(url, members)]
    with pytest.raises(CommandError) as caught:
        migrate(url)
    after: list[Any] = [pg_dump(url.set(username="postgres")), rows(url, everything), rows(url, members)]
    assert [line for line in after[0] if "alembic_version" not in line] == before[0]
    assert after[1:] == before[1:]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def advice(sentence: str, after: str) -> list[str]:
    """The statements that a refusal tells somebody to run."""
    return [part.strip() for part in sentence.rsplit(after, 1)[1].rstrip(".").split(";")]


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
    execute(fresh, *advice(refusal(owner), "as an administrator run "))
    migrate(owner)
    check(owner)
    assert rows(fresh, "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname ~ '^app_' ORDER BY 1") == [
        ("app_service", False),
        ("app_tenant", False),
    ]
    assert not bot or scalar(fresh, "SELECT pg_has_role('the Bot', 'app_service', 'USAGE')")
    for role in ROLES:
        assert scalar(owner, f"SELECT count(*) FROM (SELECT set_config('role', '{role}', false)) AS t") == 1


@pytest.mark.parametrize("attributes", ["CREATEROLE", "SUPERUSER"])
def test_with_createrole_it_makes_grants_and_keeps_them(fresh: URL, attributes: str) -> None:
    owner = give_to(fresh, "owner", attributes)
    execute(fresh, "CREATE ROLE bot LOGIN", "GRANT SELECT, INSERT ON customers, conversations TO bot")
    for _ in range(2):
        migrate(owner)
        check(owner)
        assert scalar(fresh, "SELECT pg_has_role('bot', 'app_service', 'USAGE')")
        assert scalar(
            fresh, "SELECT bool_and(pg_has_role('owner', oid, 'MEMBER')) FROM pg_roles WHERE rolname ~ '^app_'"
        )
        assert (
            rows(fresh, "SELECT rolbypassrls, rolsuper, rolcanlogin FROM pg_roles WHERE rolname ~ '^app_'")
            == [(False,) * 3] * 2
        )
        migrate(owner, "downgrade", "-1")
        assert scalar(fresh, "SELECT count(*) FROM pg_roles WHERE rolname ~ '^app_'") == 2
        assert scalar(fresh, "SELECT pg_has_role('bot', 'app_service', 'USAGE')")


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


@pytest.mark.parametrize("fault", ["SUPERUSER", "BYPASSRLS"])
@pytest.mark.parametrize("roles", [ROLES[1:], ROLES], ids=str)
def test_roles_beyond_row_level_security_are_refused(fresh: URL, fault: str, roles: tuple[str, ...]) -> None:
    for role in roles:
        execute(fresh, f"CREATE ROLE {role} NOLOGIN {fault}")
    execute(fresh, *advice(refusal(fresh), "as an administrator run "))
    migrate(fresh)


def test_app_tenant_as_a_member_of_another_role_is_refused(fresh: URL) -> None:
    execute(
        fresh,
        "CREATE ROLE app_tenant",
        "CREATE ROLE staff",
        'CREATE ROLE "The Team"',
        'GRANT staff, "The Team" TO app_tenant',
    )
    execute(fresh, *advice(refusal(fresh), "as an administrator run "))
    migrate(fresh)


@pytest.mark.parametrize(
    "grant",
    [
        "SELECT, INSERT ON customers, conversations",
        "ALL ON conversations",
        "SELECT (name, whatsapp_id), UPDATE (age) ON customers",
    ],
)
def test_privileges_of_public_are_refused_with_what_mends_them(fresh: URL, grant: str) -> None:
    execute(fresh, "CREATE ROLE bot LOGIN", f"GRANT {grant} TO PUBLIC")
    statements = advice(refusal(fresh), ": run ")
    execute(fresh, *(s.replace("the role of the bot", "bot") for s in statements))
    migrate(fresh)
    assert scalar(fresh, "SELECT pg_has_role('bot', 'app_service', 'USAGE')")
    bot = fresh.set(username="bot")
    execute(fresh, "INSERT INTO customers (whatsapp_id, name) VALUES ('1', 'x')")
    if "customers" in grant:
        assert scalar(bot, "SELECT name FROM customers") == "x"


def test_a_role_that_inherits_nothing_is_refused(fresh: URL) -> None:
    execute(fresh, "CREATE ROLE bot LOGIN NOINHERIT", "GRANT SELECT ON customers TO bot")
    execute(fresh, "INSERT INTO customers (whatsapp_id, name, created_at, updated_at) VALUES ('1', 'x', now(), now())")
    execute(fresh, *advice(refusal(fresh), ": run "))
    migrate(fresh)
    assert scalar(fresh.set(username="bot"), "SELECT count(*) FROM customers") == 1


def test_who_works_through_a_predefined_role_goes_on_seeing_all(fresh: URL) -> None:
    execute(
        fresh,
        "CREATE ROLE wbot LOGIN IN ROLE pg_read_all_data, pg_write_all_data",
        "CREATE ROLE readers IN ROLE pg_read_all_data",
        "CREATE ROLE backup LOGIN IN ROLE readers",
        "INSERT INTO customers (whatsapp_id, name, created_at, updated_at) VALUES ('57', 'Ana', now(), now())",
    )
    migrate(fresh)
    for name in ("wbot", "backup"):
        assert scalar(fresh.set(username=name), "SELECT count(*) FROM customers") == 1
    execute(fresh.set(username="wbot"), "UPDATE customers SET name = 'Zoe'")
    assert scalar(fresh, "SELECT name FROM customers") == "Zoe"


def test_a_policy_that_would_open_every_business_is_refused(fresh: URL) -> None:
    execute(
        fresh, "ALTER TABLE customers ENABLE ROW LEVEL SECURITY", "CREATE POLICY everybody ON customers USING (true)"
    )
    assert "everybody on customers would show every business" in refusal(fresh)
    execute(fresh, "ALTER POLICY everybody ON customers TO postgres")
    migrate(fresh)


# --- the single-business bot -----------------------------------------------------------------------------------------


class Bot:
    """The bot's three statements, past SQLAlchemy, with a short patience: what it waits for is a fault."""

    def __init__(self, url: URL) -> None:
        self.connection = psycopg2.connect(plain(url), options="-c lock_timeout=5s")
        self.connection.autocommit = True
        self.said = 0

    def serve(self) -> None:
        """A message of a customer: look him up or add him, store the message, read the last ten."""
        self.said += 1
        now = datetime.now(UTC).replace(tzinfo=None)
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT id, name FROM customers WHERE whatsapp_id = %s", ["573001"])
            if cursor.fetchone() is None:
                cursor.execute(
                    "INSERT INTO customers (whatsapp_id, name, created_at, updated_at) VALUES (%s, 'Ana', %s, %s) RETURNING id",
                    ["573001", now, now],
                )
            cursor.execute("UPDATE customers SET age = %s WHERE whatsapp_id = %s", [self.said, "573001"])
            assert cursor.rowcount == 1
            cursor.execute(
                "INSERT INTO conversations (whatsapp_id, message, role, timestamp, created_at) VALUES (%s, %s, 'user', %s, %s)",
                ["573001", str(self.said), now, now],
            )
            cursor.execute(
                "SELECT message FROM conversations WHERE whatsapp_id = %s ORDER BY timestamp DESC LIMIT 10", ["573001"]
            )
            expected = [str(n) for n in range(self.said, max(0, self.said - 10), -1)]
            assert [row[0] for row in cursor.fetchall()] == expected


BY_COLUMN = (
    "REVOKE ALL ON customers, conversations FROM bot",
    "GRANT SELECT, INSERT (whatsapp_id, name, created_at, updated_at), UPDATE (age) ON customers TO bot",
    "GRANT SELECT, INSERT (whatsapp_id, message, role, timestamp, created_at) ON conversations TO bot",
)
LOGINS: dict[str, Callable[[URL], URL]] = {
    "owner": lambda url: give_to(url, "owner", "CREATEROLE"),
    "owner that bypasses": lambda url: give_to(url, "owner", "CREATEROLE BYPASSRLS"),
    "plain login with grants": lambda url: with_grants(url, "LOGIN"),
    "login that bypasses": lambda url: with_grants(url, "LOGIN BYPASSRLS"),
    "member of a group with grants": lambda url: with_grants(
        url, "NOLOGIN", "CREATE ROLE worker LOGIN IN ROLE bot"
    ).set(username="worker"),
    "login with grants on columns": lambda url: with_grants(url, "LOGIN", *BY_COLUMN),
}


def with_grants(url: URL, attributes: str, *more: str) -> URL:
    execute(
        url,
        f"CREATE ROLE bot {attributes}",
        "GRANT SELECT, INSERT, UPDATE ON customers, conversations TO bot",
        "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO bot",
        *more,
    )
    return url.set(username="bot")


@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
def test_the_bot_works_before_during_and_after(fresh: URL, login: Callable[[URL], URL]) -> None:
    bot_url = login(fresh)
    migrator = bot_url if bot_url.username == "owner" else fresh
    bot = Bot(bot_url)
    bot.serve()

    def between(connection: Any, *_: Any) -> None:
        """After each statement of the migration, where it holds no lock, the bot serves a message."""
        if connection.connection.dbapi_connection.autocommit:
            bot.serve()

    event.listen(Engine, "after_cursor_execute", between)
    try:
        migrate(migrator)
        bot.serve()
        at_head = bot.said
        assert scalar(fresh, "SELECT count(*) FROM conversations WHERE business_id = '" + DEFAULT_ID + "'") == at_head
        migrate(migrator, "downgrade", "-1")
    finally:
        event.remove(Engine, "after_cursor_execute", between)
    bot.serve()
    assert at_head > 15
    assert bot.said > at_head + 5
    assert scalar(fresh, "SELECT count(*) FROM conversations") == bot.said


# --- Supabase's public roles -----------------------------------------------------------------------------------------

SUPABASE = (
    "CREATE ROLE anon NOLOGIN",
    "CREATE ROLE authenticated NOLOGIN",
    *(
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON {kind} TO anon, authenticated"
        for kind in ("TABLES", "FUNCTIONS", "SEQUENCES")
    ),
    *(
        f"GRANT ALL ON ALL {kind} IN SCHEMA public TO anon, authenticated"
        for kind in ("TABLES", "FUNCTIONS", "SEQUENCES")
    ),
)
PRIVILEGES = """
SELECT role, name, privilege FROM unnest('{anon,authenticated}'::text[]) AS role
 CROSS JOIN (SELECT oid, oid::regclass::text AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r') AS t
 CROSS JOIN unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS privilege
 WHERE has_table_privilege(role, oid, privilege) OR (privilege <> ALL ('{DELETE,TRUNCATE,TRIGGER}') AND has_any_column_privilege(role, oid, privilege))
UNION ALL
SELECT role, oid::regclass::text, 'USAGE' FROM unnest('{anon,authenticated}'::text[]) AS role
 CROSS JOIN pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S' AND has_sequence_privilege(role, oid, 'USAGE, SELECT, UPDATE')
UNION ALL
SELECT role, oid::regprocedure::text, 'EXECUTE' FROM unnest('{anon,authenticated}'::text[]) AS role
 CROSS JOIN pg_proc WHERE pronamespace = 'public'::regnamespace AND has_function_privilege(role, oid, 'EXECUTE')"""


@pytest.mark.parametrize("start", ["live", "fresh"])
def test_supabases_public_roles_read_write_and_call_nothing(fresh: URL, start: str) -> None:
    if start == "fresh":
        execute(fresh, "DROP TABLE customers, conversations")
    execute(fresh, *SUPABASE)
    migrate(fresh, "upgrade", "000")
    before = rows(fresh, PRIVILEGES)
    assert {"conversations", "customers_id_seq"} <= {name for _, name, _ in before}
    migrate(fresh)
    check(fresh)
    assert rows(fresh, PRIVILEGES) == []
    for role in ("anon", "authenticated"):
        for table in (*SCHEMA_TABLES, "alembic_version"):
            for sql in (f"SELECT FROM {table}", f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
                assert denied(fresh, role, sql), f"{role}: {sql}"
        for sql in (
            "INSERT INTO conversations (whatsapp_id, message, role) VALUES ('1', 'x', 'user')",
            "SELECT nextval('customers_id_seq')",
            "SELECT current_business_id()",
            "SELECT set_updated_at()",
        ):
            assert denied(fresh, role, sql), f"{role}: {sql}"
    execute(
        fresh,
        f"INSERT INTO businesses (id, name) VALUES ('{OTHER_ID}', 'Other')",
        "INSERT INTO users (email, password_hash) VALUES ('a@b.co', '$2b$" + "x" * 56 + "')",
    )
    migrate(fresh, "downgrade", "-1")
    assert {row for row in rows(fresh, PRIVILEGES) if "alembic" not in row[1]} == {
        r for r in before if "alembic" not in r[1]
    }
    for role in ("anon", "authenticated"):
        assert denied(fresh, role, "SELECT FROM multi_tenant_archive.users")


def denied(url: URL, role: str, sql: str) -> bool:
    connection = psycopg2.connect(plain(url))
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SET ROLE {role}")
            cursor.execute(sql)
    except psycopg2.errors.InsufficientPrivilege as error:
        return re.search("permission denied", str(error)) is not None
    finally:
        connection.close()
    return False
