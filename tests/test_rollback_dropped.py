"""A rollback goes on over what a team dropped or renamed after the upgrade: that is named, and everything else comes back."""

import re
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import URL

from tests.support import catalogue, check, engine_of, execute, migrate, pipe, rows, run_alembic, scalar, script
from tests.test_rollback_memory import without_index_comments

SUPABASE = "DO $$ BEGIN IF to_regrole('anon') IS NULL THEN CREATE ROLE anon; END IF; END $$"

CASES = {
    "a sequence of a column that was dropped": (
        "ALTER TABLE customers ADD COLUMN ticket serial; GRANT USAGE ON SEQUENCE customers_ticket_seq TO anon",
        "ALTER TABLE customers DROP COLUMN ticket",
        ["there is no column ticket: GRANT USAGE ON SEQUENCE customers_ticket_seq TO anon"],
    ),
    "a sequence that was renamed": (
        "CREATE SEQUENCE numbers; ALTER TABLE customers ADD COLUMN ticket int DEFAULT nextval('numbers'); "
        "ALTER SEQUENCE numbers OWNED BY customers.ticket; GRANT USAGE ON SEQUENCE numbers TO anon",
        "ALTER SEQUENCE numbers RENAME TO tickets",
        ['relation "numbers" does not exist: GRANT USAGE ON SEQUENCE numbers TO anon'],
    ),
    "a column with privileges": (
        "ALTER TABLE customers ADD COLUMN note text; GRANT UPDATE (note) ON customers TO anon; "
        "GRANT REFERENCES (note), SELECT ON customers TO role_before",
        "ALTER TABLE customers RENAME COLUMN note TO remark",
        [
            "there is no column note: GRANT UPDATE(note) ON customers TO anon",
            "there is no column note: GRANT REFERENCES (note) ON customers TO role_before",
        ],
    ),
    "a role with privileges": (
        "GRANT SELECT, TRUNCATE, TRIGGER ON customers TO role_before",
        "DROP OWNED BY role_before; DROP ROLE role_before",
        [
            "there is no role role_before: GRANT TRIGGER ON customers TO role_before",
            "there is no role role_before: GRANT TRUNCATE ON customers TO role_before",
        ],
    ),
    "a role that no longer works there": (
        "GRANT SELECT, TRUNCATE ON customers TO role_before",
        "REVOKE SELECT ON customers FROM role_before",
        ["role role_before has no other privilege there any more: GRANT TRUNCATE ON customers TO role_before"],
    ),
    "the function of a default": (
        "CREATE FUNCTION now_here() RETURNS timestamp LANGUAGE sql AS 'SELECT localtimestamp'; "
        "ALTER TABLE customers ALTER COLUMN created_at SET DEFAULT now_here()",
        "DROP FUNCTION now_here()",
        ["function now_here() does not exist: ALTER TABLE customers ALTER COLUMN created_at SET DEFAULT now_here()"],
    ),
    "a column with a comment": (
        "COMMENT ON COLUMN customers.age IS 'years'",
        "ALTER TABLE customers DROP COLUMN age",
        ["there is no column age: COMMENT ON COLUMN customers.age IS 'years'"],
    ),
    "a time": (
        "ALTER TABLE conversations ALTER COLUMN created_at SET DEFAULT 'epoch'",
        "ALTER TABLE conversations DROP COLUMN created_at",
        ["there is no column created_at: ALTER TABLE conversations ALTER COLUMN created_at SET DEFAULT"],
    ),
    "a unique index over a column that was dropped": (
        "DROP INDEX ix_customers_whatsapp_id; ALTER TABLE customers ADD COLUMN note text; "
        'CREATE UNIQUE INDEX "odd "" ON customers name" ON customers (whatsapp_id) INCLUDE (note)',
        "ALTER TABLE customers DROP COLUMN note",
        ['column "note" does not exist: CREATE UNIQUE INDEX multi_tenant_rollback_1 ON '],
    ),
    "a unique index over a function that was dropped": (
        "DROP INDEX ix_customers_whatsapp_id; CREATE FUNCTION is_real(text) RETURNS boolean IMMUTABLE LANGUAGE sql "
        "RETURN $1 <> 'test'; CREATE UNIQUE INDEX once ON customers (whatsapp_id) WHERE is_real(name)",
        "DROP FUNCTION is_real(text)",
        ["function is_real(text) does not exist: CREATE UNIQUE INDEX multi_tenant_rollback_1 ON "],
    ),
    "a name that something else has taken": (
        "ALTER INDEX ix_customers_whatsapp_id RENAME TO once",
        "CREATE TABLE once (id int)",
        ['relation "once" already exists: ALTER INDEX multi_tenant_rollback_1 RENAME TO once'],
    ),
    "the name of an index that something else has taken": (
        "ALTER INDEX ix_conversations_timestamp RENAME TO by_time",
        "CREATE VIEW by_time AS SELECT 1 AS one",
        ['relation "by_time" already exists: ALTER INDEX IF EXISTS ix_conversations_timestamp RENAME TO by_time'],
    ),
}
"""What is there before the upgrade, what a team does after it, and the reasons and statements that the rollback names."""


@pytest.fixture
def bot(canonical: URL) -> Iterator[tuple[URL, str]]:
    """A single-business database with Supabase's role, and the name of a role that works there."""
    role = f"before_{uuid.uuid4().hex[:8]}"
    execute(canonical, SUPABASE, f"CREATE ROLE {role}")
    yield canonical, role
    execute(
        canonical,
        f"DO $$ BEGIN IF to_regrole('{role}') IS NOT NULL THEN DROP OWNED BY {role}; DROP ROLE {role}; END IF; END $$",
    )


@pytest.mark.parametrize("way", ["alembic", "psql"])
@pytest.mark.parametrize("case", CASES)
def test_it_is_named_and_all_else_comes_back(case: str, way: str, bot: tuple[URL, str]) -> None:
    url, role = bot
    before, after, named = CASES[case]
    execute(
        url, *(s.replace("role_before", role) for s in (before, "GRANT INSERT ON conversations TO anon, role_before"))
    )
    there = without_index_comments(catalogue(url))
    migrate(url)
    execute(url, after.replace("role_before", role))
    if way == "psql":
        assert pipe(url, script("downgrade", "001:000")) == ""
    else:
        done = run_alembic(url, "downgrade", "-1")
        assert done.returncode == 0, done.stderr
        said = sorted(re.findall("not given back, for (.*)", done.stderr))
        assert len(said) >= len(named)
        for sentence in named:
            assert any(line.startswith(sentence.replace("role_before", role)) for line in said), (sentence, said)
    assert rows(url, "SELECT version_num FROM alembic_version") == [("000",)]
    assert scalar(url, "SELECT has_table_privilege('anon', 'conversations', 'INSERT')")
    lost = set(
        there.items() - without_index_comments(catalogue(url)).items()
    )  # what the team changed itself, and no more
    words = ("ticket", "note", "age", "created_at", "once", "by_time", "odd", "is_real", "now_here", role, "numbers")
    assert [key for key in lost if not any(word in str(key) for word in words)] == []
    execute(url, "INSERT INTO customers (whatsapp_id, name, created_at, updated_at) VALUES ('1', 'a', now(), now())")


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("a unique")])
def test_whatsapp_id_stays_unique(case: str, bot: tuple[URL, str]) -> None:
    url, _ = bot
    execute(url, CASES[case][0])
    migrate(url)
    execute(url, CASES[case][1])
    for _ in range(2):
        migrate(url, "downgrade", "-1")
        unique = (
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'customers'::regclass AND indisunique"
        )
        assert [d for (d,) in rows(url, unique) if d.endswith("(whatsapp_id)")] != []
        migrate(url)
        check(url)


def test_an_index_of_times_that_cannot_be_built_again_is_left_out(bot: tuple[URL, str]) -> None:
    """It is dropped under the lock of a step; the run is killed before it is built anew, and its column goes."""
    url, _ = bot
    execute(
        url,
        "ALTER TABLE conversations ADD COLUMN note text",
        "CREATE INDEX noted ON conversations (created_at, note)",
        "CREATE INDEX kept ON conversations (created_at, role)",
    )
    for command, revisions, before in (
        ("upgrade", "000:001", "-- remembered indexes can be built"),
        ("downgrade", "001:000", "-- indexes of the times of customers"),
    ):
        if command == "upgrade":
            migrate(url, "upgrade", "000")
        first, _ = script(command, revisions).split(before, 1)
        assert pipe(url, first) == ""
        execute(url, "ALTER TABLE conversations DROP COLUMN note")
        migrate(url, command, revisions.split(":")[1])
        assert scalar(url, "SELECT to_regclass('noted') IS NULL AND to_regclass('kept') IS NOT NULL")
        execute(
            url,
            "ALTER TABLE conversations ADD COLUMN note text",
            "CREATE INDEX noted ON conversations (created_at, note)",
        )


def test_without_the_two_roles(canonical: URL) -> None:
    """As of a dump that was restored where they are not. Other databases of the server use them: all of it is undone."""
    migrate(canonical)
    text = re.sub("^(BEGIN|COMMIT);$", "", script("downgrade", "001:000", "single-transaction=yes"), flags=re.MULTILINE)
    with engine_of(canonical).connect() as connection, connection.begin() as transaction:
        for role in ("app_tenant", "app_service"):
            connection.exec_driver_sql(f"ALTER ROLE {role} RENAME TO {role}_elsewhere")
        connection.exec_driver_sql(text, execution_options={"no_parameters": True})
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() == "000"
        transaction.rollback()
