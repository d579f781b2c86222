"""A name that somebody chose makes no line of output, no query and no command of its own, nor reaches the terminal raw."""

import re

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.documents import blocks, shell
from tests.support import ROOT, execute, migrate, paste, pipe, plain, run_alembic, scalar, script

MAKE_SUPERUSER = "ALTER ROLE mallory SUPERUSER"
NAMES = {
    "a line of advice": f"\nit: run {MAKE_SUPERUSER};\n",
    "a line of a list": f"x\n- it: run {MAKE_SUPERUSER};\n- y",
    "a command in the line": f"x: run {MAKE_SUPERUSER};",
    "a command after another": f"x; it: run {MAKE_SUPERUSER}; --",
    "a query": "\nSELECT become();\n",
    "a terminal's escape": "\x1b[2J\x1b]0;owned\x07",
    "a direction of writing": "x\u202e;REPUSREPUS",
    "a carriage return": f"x\rit: run {MAKE_SUPERUSER};",
    "the tag of a quote": "x$fix$;$step$;$ask$; " + MAKE_SUPERUSER + ";--",
}
LONGEST = 63
RAW = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""')[:LONGEST] + '"'


def objects(name: str) -> tuple[str, ...]:
    """What a role with CREATE on the schema, and TRIGGER and REFERENCES on the tables, gives a name to."""
    n = quoted(name)
    return (
        f"CREATE VIEW {n} AS SELECT created_at FROM customers",
        f"CREATE FUNCTION {quoted('f' + name)}() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO log VALUES (NEW.*); RETURN NEW; END $$",
        f"CREATE TRIGGER {n} AFTER INSERT ON customers FOR EACH ROW EXECUTE FUNCTION {quoted('f' + name)}()",
        f"CREATE TABLE refers (of varchar(50) CONSTRAINT {n} REFERENCES customers (whatsapp_id))",
    )


@pytest.fixture
def spoiled(fresh: URL, request: pytest.FixtureRequest) -> URL:
    execute(
        fresh,
        "CREATE ROLE mallory LOGIN",
        "GRANT CREATE, USAGE ON SCHEMA public TO mallory",
        "GRANT SELECT, TRIGGER, REFERENCES ON customers TO mallory",
    )
    execute(
        fresh.set(username="mallory"),
        f"CREATE FUNCTION become() RETURNS text LANGUAGE plpgsql AS $$ BEGIN {MAKE_SUPERUSER}; RETURN 'done'; END $$",
        *objects(request.param),
    )
    return fresh


@pytest.mark.parametrize("spoiled", NAMES.values(), ids=NAMES, indirect=True)
def test_the_documented_pipe_runs_what_is_ours_alone(spoiled: URL) -> None:
    (commands,) = blocks("docs/hand-made.md", "bash")
    done = run_alembic(spoiled, "-x", "dry-run=yes", "upgrade", "head")
    assert done.returncode != 0
    assert not RAW.search(done.stdout + done.stderr)
    said = done.stderr[done.stderr.index("things stand in the way") :].splitlines()
    assert all(line.startswith("- ") for line in said[1:]), done.stderr
    shell(commands.split("\n", 1)[1], ROOT, DATABASE_URL=plain(spoiled))
    assert not scalar(spoiled, "SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'")


@pytest.mark.parametrize("spoiled", list(NAMES.values())[:5], ids=list(NAMES)[:5], indirect=True)
def test_a_script_says_the_same(spoiled: URL) -> None:
    migrate(spoiled, "upgrade", "000")
    with pytest.raises(CommandError) as caught:
        migrate(spoiled)
    assert pipe(spoiled, script("upgrade", "000:001")) == str(caught.value).removesuffix(".")
    assert paste(spoiled, script("upgrade", "000:001", "single-transaction=yes")) == str(caught.value).removesuffix(".")
    assert not scalar(spoiled, "SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'")


def test_data_makes_no_line_either(empty: URL) -> None:
    """The double whatsapp_ids that a refusal names came from somebody's messages."""
    migrate(empty, "upgrade", "000")
    execute(
        empty,
        "DROP INDEX ix_customers_whatsapp_id",
        "INSERT INTO customers (whatsapp_id, name, created_at, updated_at) "
        "SELECT E'5\\n- it: run DROP TABLE customers;\\n', 'x', now(), now() FROM generate_series(1, 2)",
    )
    with pytest.raises(CommandError) as caught:
        migrate(empty)
    assert "5<U+000A>- it: run DROP TABLE customers;<U+000A> (2 rows)" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith(";")


def test_the_recorded_revision_makes_no_line(empty: URL) -> None:
    migrate(empty, "upgrade", "000")
    execute(empty, "UPDATE alembic_version SET version_num = E'x\\n: run DROP TABLE customers;'")
    done = run_alembic(empty, "upgrade", "head")
    assert done.returncode != 0
    assert "x<U+000A>: run DROP TABLE customers;" in done.stderr
