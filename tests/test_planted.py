"""Nothing that another role made is taken for what the run looks for by name, however the run is made."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from alembic import command
from tests.drift import repaired
from tests.roles import ROLES, advice, give_to
from tests.support import (
    add_business,
    alembic_config,
    check,
    environment,
    execute,
    migrate,
    open_transaction,
    paste,
    pg_dump,
    pipe,
    plain,
    rows,
    scalar,
    script,
    wait_until,
)

EVIL = """CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN ALTER ROLE mallory SUPERUSER; END IF;
    IF to_regrole('app_service') IS NOT NULL AND current_user <> 'mallory' THEN GRANT app_service TO mallory; END IF;
    RETURN NEW;
END $$"""
"""What would run with the rights of whoever migrates."""

MEMORY = """CREATE TABLE multi_tenant_rollback (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, phase text NOT NULL,
    kind text NOT NULL, statement text NOT NULL, needs_column text, needs_role text)"""
VERSION = "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY)"
TRIGGER = (
    "CREATE TRIGGER t BEFORE INSERT OR UPDATE ON {0} FOR EACH ROW EXECUTE FUNCTION evil(); GRANT ALL ON {0} TO PUBLIC"
)
NEW_TABLE = (
    "CREATE TABLE users (id uuid PRIMARY KEY, email text, password_hash text)",
    "CREATE POLICY app_service ON users USING (true)",
)
PLANTED = {
    "the table of what a rollback gives back": (EVIL, MEMORY, TRIGGER.format("multi_tenant_rollback")),
    "the version table": (EVIL, VERSION, TRIGGER.format("alembic_version")),
    "a view in place of the version table": (
        "CREATE FUNCTION peek() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'called as %', current_user; END $$",
        "CREATE VIEW alembic_version AS SELECT peek()::varchar(32) AS version_num",
    ),
    "a new table with a policy of ours": NEW_TABLE,
    "the function of a trigger": (
        "CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
    ),
    "the function of a rollback": (
        "CREATE FUNCTION single_business_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
    ),
    "the business in scope": (
        "CREATE FUNCTION current_business_id() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'",
    ),
    "the archive": ("CREATE SCHEMA multi_tenant_archive", "CREATE TABLE multi_tenant_archive.customers (id int)"),
}


def let_in(url: URL) -> URL:
    """A role that may create objects in the schema and schemas in the database, and no more."""
    database = url.database
    execute(
        url,
        "CREATE ROLE mallory LOGIN",
        "GRANT CREATE, USAGE ON SCHEMA public TO mallory",
        f"GRANT CREATE ON DATABASE {database} TO mallory",
        "GRANT SELECT ON customers, conversations TO mallory",
    )
    return url.set(username="mallory")


def assert_outside(url: URL) -> None:
    """She is what she was."""
    assert rows(url, "SELECT rolsuper, rolcreaterole FROM pg_roles WHERE rolname = 'mallory'") == [(False, False)]
    assert scalar(url, "SELECT count(*) FROM pg_auth_members WHERE member = to_regrole('mallory')") == 0


def refused(url: URL, name: str = "upgrade", revision: str = "head", *options: str) -> str:
    with pytest.raises(CommandError) as caught:
        migrate(url, name, revision, *options)
    return str(caught.value)


def clear(url: URL, sentence: str) -> None:
    """What the sentence tells an administrator to run, line by line."""
    for line in sentence.split("\n- ")[1:] or [sentence]:
        execute(url, *advice(line, ": run "))


@pytest.mark.parametrize("migrator", ["owner", "superuser"])
@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_it_is_refused_in_every_form_of_a_run(fresh: URL, planted: tuple[str, ...], migrator: str) -> None:
    url = give_to(fresh, "owner", "CREATEROLE") if migrator == "owner" else fresh
    execute(let_in(fresh), *planted)
    before = pg_dump(fresh)
    sentence = refused(url)
    assert sentence == refused(url, "upgrade", "head", "dry-run=yes")
    assert sentence == pipe(url, script())
    assert sentence == paste(url, script("upgrade", "head", "single-transaction=yes"))
    assert "mallory" in sentence
    assert "called as" not in sentence
    assert pg_dump(fresh) == before
    assert_outside(fresh)
    clear(fresh, sentence)
    migrate(url)
    check(url)
    assert_outside(fresh)
    migrate(url, "downgrade", "-1")


@pytest.mark.parametrize("migrator", ["owner", "superuser"])
def test_a_trigger_of_hers_on_what_is_ours_is_refused_both_ways(fresh: URL, migrator: str) -> None:
    """TRIGGER is among the privileges that GRANT ALL ON ALL TABLES gives."""
    url = give_to(fresh, "owner", "CREATEROLE") if migrator == "owner" else fresh
    mallory = let_in(fresh)
    migrate(url, "upgrade", "000")
    for name, revision in (("upgrade", "head"), ("downgrade", "-1")):
        execute(fresh, "GRANT ALL ON ALL TABLES IN SCHEMA public TO mallory")
        execute(mallory, EVIL, TRIGGER.format("alembic_version").split(";")[0])
        sentence = refused(url, name, revision)
        assert "trigger t on" in sentence
        assert "evil() of role mallory" in sentence
        clear(fresh, sentence)
        execute(mallory, "DROP FUNCTION evil()")
        execute(fresh, "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM mallory", "GRANT SELECT ON customers TO mallory")
        migrate(url, name, revision)
        assert_outside(fresh)


def test_what_is_planted_while_the_run_goes_on_is_not_taken(fresh: URL) -> None:
    """The first look finds nothing; the second comes when all that was missing is made, by the run or by somebody else."""
    mallory = let_in(fresh)
    migrate(fresh, "upgrade", "000")
    execute(fresh, *(f"CREATE ROLE {role}" for role in ROLES))
    waits = "EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DO $wait$%')"
    with ThreadPoolExecutor() as pool:
        with open_transaction(fresh, "LOCK TABLE customers"):
            run = pool.submit(refused, fresh)
            wait_until(fresh, waits)
            execute(mallory, EVIL, MEMORY, TRIGGER.format("multi_tenant_rollback"))
        assert "multi_tenant_rollback belongs to role mallory" in run.result()
    assert_outside(fresh)


def test_the_archive_of_an_owner_is_trusted_by_a_superuser(fresh: URL) -> None:
    """The team's owner rolls back, and an administrator upgrades again."""
    owner = give_to(fresh, "owner", "CREATEROLE")
    migrate(owner)
    add_business(owner)
    migrate(owner, "downgrade", "-1")
    migrate(fresh)
    assert scalar(fresh, "SELECT count(*) FROM businesses") == 2


@pytest.mark.parametrize("name", ["alembic_version_scale", "citus_comments"])
def test_the_history_beside_looks_too(fresh: URL, name: str) -> None:
    mallory = let_in(fresh)
    execute(mallory, EVIL, VERSION.replace("alembic_version", name), TRIGGER.format(name))
    config = alembic_config()
    config.config_ini_section = "scale"
    with (
        environment(DATABASE_URL=plain(fresh)),
        pytest.raises(CommandError, match=rf"^public\.{name} belongs to role mallory"),
    ):
        command.upgrade(config, "bigint")
    assert_outside(fresh)


def test_pg_catalog_comes_first(fresh: URL) -> None:
    execute(fresh, f"ALTER DATABASE {fresh.database} SET search_path = public, pg_catalog")
    execute(let_in(fresh), "CREATE VIEW public.pg_roles AS SELECT 1 / 0 AS rolsuper")
    sentence = refused(fresh)
    clear(fresh, sentence)
    migrate(fresh)


@pytest.mark.parametrize(
    ("lost", "command"),
    [
        ("ALTER TABLE users OWNER TO app_service", "ALTER TABLE users OWNER TO postgres"),
        (
            "ALTER FUNCTION current_business_id() OWNER TO pg_monitor",
            "ALTER ROUTINE current_business_id() OWNER TO postgres",
        ),
        ("ALTER FUNCTION set_updated_at() OWNER TO pg_monitor", "ALTER ROUTINE set_updated_at() OWNER TO postgres"),
    ],
)
def test_what_is_ours_and_lost_its_owner_gets_it_back(database: URL, lost: str, command: str) -> None:
    execute(database, lost)
    with pytest.raises(CommandError, match="could") as refused:
        check(database)
    found = re.findall(": run (.+);$", str(refused.value).replace("public.", ""), re.MULTILINE)
    assert command in found
    execute(database, command)
    assert repaired(database)[0] == 0  # an owner's privileges are not those of a role of ours
    check(database)
