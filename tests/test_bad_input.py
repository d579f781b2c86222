"""Bad input, through the real `alembic` command: one sentence, a status that is not 0, and nothing changed."""

import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from app.tenancy.migration.progress import timed
from tests.support import ROOT, catalogue, contents, engine_of, execute, migrate, plain, run_alembic, scalar

PASSWORD = "s3cret-Pass"
HAND_MADE = "CREATE TABLE businesses (id serial PRIMARY KEY, name text)"


def refusal(url: URL | str, *arguments: str) -> str:
    """What the command refuses with, all of stderr but for progress: a sentence, or a list of them."""
    done = run_alembic(url, *(arguments or ("upgrade", "head")))
    assert done.returncode == 255
    assert done.stdout == ""
    said = "\n".join(line for line in done.stderr.splitlines() if not (timed(line) or line.endswith("nothing to do")))
    assert PASSWORD not in said
    one, several = r"FAILED: .*([^.?:]\.|;)", r"FAILED: \d+ things stand in the way:(\n- .+)+"
    assert re.fullmatch(one, said) or re.fullmatch(several, said), said
    return said.removeprefix("FAILED: ")


def held(url: URL, *tables: str) -> dict[str, list[str]]:
    """The rows of the tables."""
    with engine_of(url).connect() as connection:
        return contents(connection, tables)


def refusal_of(url: URL, *arguments: str, tables: tuple[str, ...] = ("customers", "conversations")) -> str:
    """The same, where the database must be as it was before."""
    before = catalogue(url), held(url, *tables)
    sentence = refusal(url, *arguments)
    assert (catalogue(url), held(url, *tables)) == before
    assert not any("alembic_version" in name for name, _ in before[0])
    return sentence


@pytest.fixture
def role(server: URL, empty: URL) -> Iterator[URL]:
    """The empty database as a role that may log in, and nothing else."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    execute(
        server,
        f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'",
        f"GRANT CONNECT ON DATABASE {empty.database} TO {name}",
    )
    yield empty.set(username=name, password=PASSWORD)
    execute(empty, f"DROP OWNED BY {name}")
    execute(server, f"DROP ROLE {name}")


def test_unreachable_server() -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        sentence = refusal(f"postgresql://bot:{PASSWORD}@127.0.0.1:{port}/shop?sslmode=disable")
    assert sentence.startswith(f"Cannot connect to postgresql://bot:***@127.0.0.1:{port}/shop of DATABASE_URL: ")
    assert "Connection refused" in sentence


def test_unknown_host() -> None:
    sentence = refusal(f"postgresql://bot:{PASSWORD}@db.invalid/shop")
    assert sentence.startswith("Cannot connect to postgresql://bot:***@db.invalid/shop of DATABASE_URL: ")
    assert "could not translate host name" in sentence


def test_missing_database(server: URL) -> None:
    sentence = refusal(server.set(database="no_such_shop"))
    assert "/no_such_shop of DATABASE_URL: " in sentence
    assert 'database "no_such_shop" does not exist' in sentence


@pytest.mark.skipif("TEST_DATABASE_URL" in os.environ, reason="changes how the server lets roles in")
def test_wrong_password(server: URL, role: URL) -> None:
    """A rule that asks this role for its password is put before the embedded server's own, which ask nobody."""
    rules = Path(scalar(server, "SHOW hba_file"))
    trusting = rules.read_text()
    try:
        rules.write_text(f"local all {role.username} scram-sha-256\n{trusting}")
        reload_rules(server)
        assert scalar(role, "SELECT 1") == 1
        sentence = refusal(role.set(password="wr0ng"))
    finally:
        rules.write_text(trusting)
        reload_rules(server)
    assert sentence.startswith(f"Cannot connect to postgresql://{role.username}:***@/{role.database} of DATABASE_URL: ")
    assert f'password authentication failed for user "{role.username}"' in sentence
    assert "wr0ng" not in sentence
    assert catalogue(role) == {}


def reload_rules(server: URL) -> None:
    """Have the rules read again; a new connection knows when its parent last did."""
    before = scalar(server, "SELECT pg_conf_load_time()::text FROM (SELECT pg_reload_conf()) AS asked")
    for _ in range(1000):
        if scalar(server, f"SELECT pg_conf_load_time() > '{before}'"):
            return
    pytest.fail("the server did not read its rules again")


@pytest.mark.parametrize(
    ("url", "name"),
    [("sqlite:///shop.db", "'sqlite'"), (f"mysql+pymysql://bot:{PASSWORD}@db.example.com/shop", "'mysql+pymysql'")],
)
def test_another_database(url: str, name: str) -> None:
    sentence = refusal(url)
    assert sentence.startswith(f"DATABASE_URL names {name}, but this schema needs PostgreSQL 15 or later")
    assert not (ROOT / "shop.db").exists()


def test_what_is_no_url() -> None:
    assert refusal(f"bot:{PASSWORD}@db.example.com").startswith("DATABASE_URL is not a URL of the form postgresql://")


@pytest.mark.parametrize("start", ["base", "000"])
def test_an_older_server(empty: URL, tmp_path: Path, start: str) -> None:
    """The least version that the check takes is put above that of the server under test."""
    shutil.copytree(ROOT / "alembic", tmp_path / "alembic")
    shutil.copy(ROOT / "alembic.ini", tmp_path)
    check = tmp_path / "alembic" / "sql" / "000_check_server.sql"
    assert check.read_text().count("::int < 150000 THEN") == 1
    check.write_text(check.read_text().replace("::int < 150000 THEN", "::int < 990000 THEN"))
    if start != "base":
        migrate(empty, "upgrade", start)
    before = catalogue(empty)
    sentence = refusal(empty, "-c", str(tmp_path / "alembic.ini"), "upgrade", "head")
    version = scalar(empty, "SHOW server_version")
    assert (
        sentence == f"the server is PostgreSQL {version}, but this schema needs 15 or later: upgrade the server first."
    )
    assert catalogue(empty) == before


def test_a_role_that_may_not_create_tables(role: URL) -> None:
    assert refusal_of(role, tables=()) == (
        f"Role {role.username} may not use schema public, or not create anything in it: "
        f"as its owner run GRANT USAGE, CREATE ON SCHEMA public TO {role.username}."
    )


def test_a_role_that_may_not_create_roles(empty: URL, role: URL, migrated_template: URL) -> None:
    execute(empty, f"GRANT CREATE ON SCHEMA public TO {role.username}")
    sentence = refusal_of(role, tables=())
    assert sentence.startswith(f"role {role.username} may not create or grant the roles app_tenant and app_service, ")
    assert f"GRANT app_tenant, app_service TO {role.username};" in sentence


def test_a_role_that_does_not_own_the_tables(canonical: URL, role: URL) -> None:
    other = role.set(database=canonical.database)
    execute(canonical, f"GRANT CONNECT ON DATABASE {canonical.database} TO {role.username}")
    execute(canonical, f"GRANT ALL ON SCHEMA public TO {role.username}")
    before = catalogue(canonical)
    owner = canonical.username
    assert f"role {role.username} does not own conversations and customers: run the migration as {owner}" in refusal(
        other
    )
    assert catalogue(canonical) == before
    execute(canonical, f"DROP OWNED BY {role.username}")


def test_a_read_only_database(canonical: URL) -> None:
    execute(canonical, f"ALTER DATABASE {canonical.database} SET default_transaction_read_only TO on")
    says = f"run ALTER DATABASE {canonical.database} RESET default_transaction_read_only (or ALTER ROLE, "
    assert says in refusal_of(canonical)


def test_a_dry_run_says_what_it_checked(canonical: URL) -> None:
    for command, revision in (("upgrade head", "none"), ("upgrade head", "001"), ("downgrade -1", "001")):
        done = run_alembic(canonical, "-x", "dry-run=yes", *command.split())
        assert (done.returncode, [line for line in done.stderr.splitlines() if "archive keeps" not in line]) == (
            0,
            [
                f"Dry run of {canonical.database} on a local socket as postgres at revision {revision}: "
                "nothing stands in the way, and nothing was changed."
            ],
        )
        if revision == "none":
            migrate(canonical)


def test_what_stands_in_the_way_is_one_sentence_or_a_list(canonical: URL, empty: URL) -> None:
    execute(canonical, "ALTER TABLE customers DROP COLUMN age")
    assert refusal_of(canonical).startswith("column customers.age (integer) is missing; ")
    execute(canonical, HAND_MADE)
    assert refusal_of(canonical).startswith("2 things stand in the way:\n- column customers.age (integer) is missing; ")
    execute(empty, HAND_MADE)
    assert refusal_of(empty, tables=("businesses",)).startswith("the name businesses is taken by a table ")


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("default-busines-name=Shop", "-x default-busines-name is not an option of this schema: the options are "),
        ("nothing", "-x nothing is not an option of this schema: the options are default-business-name, "),
        ("drop-data", "-x drop-data= is not yes or no."),
        ("drop-data=true", "-x drop-data=true is not yes or no."),
        ("dry-run=1", "-x dry-run=1 is not yes or no."),
        ("lock-wait=soon", "-x lock-wait=soon is not a number of seconds from 0 to 99999."),
        ("lock-wait=-1", "-x lock-wait=-1 is not a number of seconds from 0 to 99999."),
        ("lock-wait=nan", "-x lock-wait=nan is not a number of seconds from 0 to 99999."),
        ("default-business-name= ", "-x default-business-name takes a name of 1 to 255 characters."),
        (f"default-business-name={'x' * 256}", "-x default-business-name takes a name of 1 to 255 characters."),
    ],
)
def test_an_option_that_is_not_known_or_does_not_fit(empty: URL, option: str, says: str) -> None:
    assert refusal(empty, "-x", option, "upgrade", "head").startswith(says)
    assert catalogue(empty) == {}


def test_an_error_does_not_land_in_the_script() -> None:
    done = run_alembic(None, "-x", "dry-run=maybe", "upgrade", "head", "--sql")
    assert (done.stdout, done.stderr) == ("", "FAILED: -x dry-run=maybe is not yes or no.\n")


def test_tables_that_hold_rows_are_not_dropped(canonical: URL) -> None:
    migrate(canonical, "upgrade", "000")
    before = held(canonical, "customers", "conversations")
    for target in ("base", "-1"):
        assert refusal(canonical, "downgrade", target) == (
            "customers holds rows and conversations holds rows: downgrade base drops the single-business tables, so "
            "move these rows away first; to go back to the single-business schema run alembic downgrade 000 at revision "
            "001, and only to delete the rows for good alembic -x drop-data=yes downgrade base."
        )
    assert held(canonical, "customers", "conversations") == before
    assert run_alembic(plain(canonical), "-x", "drop-data=yes", "downgrade", "base").returncode == 0
    assert scalar(canonical, "SELECT to_regclass('customers')") is None


def test_a_search_path_that_names_nothing(canonical: URL) -> None:
    execute(canonical, f"ALTER DATABASE {canonical.database} SET search_path TO nowhere")
    done = run_alembic(canonical, "upgrade", "head")
    assert done.returncode != 0
    assert "names no schema that is there" in done.stderr
    execute(canonical, *re.findall(r"or run (ALTER DATABASE \w+ RESET search_path)", done.stderr))
    migrate(canonical)
