"""SQL written as text in a tenant session: it cannot leave the business unnoticed, and leaves nothing on a connection."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import psycopg2
import pytest
from psycopg2.extras import NamedTupleCursor, RealDictCursor
from sqlalchemy import URL, Engine, QueuePool, create_engine, event, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from app.db import tenant_session
from app.models import Customer
from app.models.base import TenantScopeError
from tests.conftest import MakeDatabase
from tests.scope import CONFINED, WHO, A, B, customer
from tests.support import add_business, execute, rows

REFUSED = r"SQL that was written as text left the business|not confined"


@pytest.fixture(scope="module")
def shared(make_lasting_database: MakeDatabase, migrated_template: URL) -> URL:
    url = make_lasting_database(migrated_template)
    add_business(url)
    return url


@pytest.fixture
def engine(shared: URL) -> Any:
    """One connection, with a customer in each business."""
    execute(
        shared,
        "TRUNCATE customers",
        f"INSERT INTO customers (whatsapp_id, name, business_id) VALUES ('1', 'of A', '{A}'), ('1', 'of B', '{B}')",
    )
    engine = create_engine(shared, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=5)
    yield engine
    engine.dispose()


LEAVES = [
    "SET ROLE postgres",
    "SET LOCAL ROLE none",
    'SET LOCAL U&"\\0072ole" TO none',
    "RESET ROLE",
    "RESET ALL",
    "SET SESSION AUTHORIZATION DEFAULT",
    f"SET LOCAL app.business_id = '{B}'",
    f'SET "app"."business_id" = \'{B}\'',
    f"SELECT set_config('app.business_id', '{B}', true)",
    """SELECT U&"\\0073et_config"('app.business_id', '', true)""",
    "SELECT query_to_xml('select set'||'_config(''role'', ''none'', true)', true, false, '')",
    "SELECT * FROM ts_stat('SELECT to_tsvector(set_'||'config(''role'',''none'',true))')",
    "DO $$ BEGIN EXECUTE 'SET ROLE postgres'; END $$",
    "DO '<<to>> BEGIN RESET ROLE; END to'",
    "SELECT $$ /* $$; SET/*y*/ROLE none; SELECT $$ */ $$",
    "SELECT '--'; /*x*/ SET/*y/*z*/*/ROLE none",
    "COMMIT",
    "/* a */ COMMIT AND CHAIN",
    "SELECT 1; COMMIT",
    "ROLLBACK; SELECT * FROM customers",
    "END",
    "ABORT",
    "COMMIT; BEGIN",
    "COMMIT; SET ROLE postgres; BEGIN",
    "PREPARE TRANSACTION 'x'",
    f"COMMIT; SET SESSION app.business_id = '{B}'",
]


@pytest.mark.parametrize("statement", LEAVES)
def test_what_leaves_the_business_is_refused_and_nothing_follows_it(engine: Engine, statement: str) -> None:
    ways: list[Callable[[Session], Any]] = [
        lambda s: s.execute(text(statement.replace(":", "\\:"))).all(),
        lambda s: s.connection().exec_driver_sql(statement, execution_options={"no_parameters": True}),
        lambda s: s.connection().connection.cursor().execute(statement) or s.scalars(select(Customer)).all(),
    ]
    for way in ways:
        with tenant_session(A, bind=engine) as session:
            session.scalars(select(Customer)).one()
            with pytest.raises((TenantScopeError, DBAPIError, psycopg2.Error)) as caught:
                way(session)
            with pytest.raises((TenantScopeError, DBAPIError)):
                session.scalars(select(Customer)).all()
            if isinstance(caught.value, TenantScopeError):
                with pytest.raises(TenantScopeError, match=REFUSED):
                    session.commit()
            session.rollback()
            assert session.scalars(select(Customer.name)).all() == ["of A"]
            assert session.execute(WHO).one() == CONFINED
        if isinstance(caught.value, TenantScopeError):
            assert caught.match(REFUSED)
        with Session(engine) as plain:
            assert plain.execute(WHO).one() == (engine.url.username, "")
    assert rows(engine.url, "SELECT * FROM pg_prepared_xacts") == []


CONSTRUCTS: dict[str, Callable[[], Any]] = {
    "function": lambda: select(func.set_config("role", "none", True)),
    "function of a schema": lambda: select(func.pg_catalog.set_config("app.business_id", str(B), True)),
    "function in a condition": lambda: select(Customer).where(func.set_config("role", "none", True) == "none"),
    "operator": lambda: select(Customer.name.op("= '' OR set_config('role', 'none', true) =")("none")),
    "prefix": lambda: select(Customer).prefix_with("set_config('role', 'none', true),"),
    "suffix": lambda: select(Customer.id).suffix_with("; RESET ROLE; SELECT 1"),
    "hint": lambda: select(Customer.id).with_statement_hint("; RESET ROLE; SELECT 1"),
    "order": lambda: select(Customer.id).order_by(text("set_config('role', 'none', true)")),
    "text in a value": lambda: insert(Customer).values(
        whatsapp_id="2", name=text("set_config('role', 'none', true)")
    ),
    "text in rows": lambda: insert(Customer).values(
        [{"whatsapp_id": "2", "name": text("set_config('role', 'none', true)")}]
    ),
}  # fmt: skip


@pytest.mark.parametrize("construct", CONSTRUCTS.values(), ids=CONSTRUCTS)
def test_text_within_constructs_is_noticed_too(engine: Engine, construct: Callable[[], Any]) -> None:
    with tenant_session(A, bind=engine) as session:
        for _ in range(2):
            with pytest.raises(TenantScopeError, match=REFUSED):
                session.execute(construct())
            session.rollback()
        assert session.scalars(select(Customer.name)).all() == ["of A"]


def test_a_write_beyond_the_business_is_not_committed(engine: Engine) -> None:
    """Not even where it is the last thing, behind SQLAlchemy's back."""
    with tenant_session(A, bind=engine) as session:
        raw = session.connection().connection
        raw.cursor().execute("RESET ROLE; DELETE FROM customers")
        with pytest.raises(TenantScopeError, match=REFUSED):
            session.commit()
    assert len(rows(engine.url, "SELECT * FROM customers")) == 2


RAW: dict[str, Callable[[Any], Any]] = {
    "execute": lambda c: c.cursor().execute("SET LOCAL ROLE none"),
    "executemany": lambda c: c.cursor().executemany("SELECT set_config('role', %s, true)", [["none"]]),
    "callproc": lambda c: c.cursor().callproc("set_config", ["role", "none", True]),
    "copy": lambda c: c.cursor().copy_expert("COPY (SELECT set_config('role', 'none', true)) TO STDOUT", StringIO()),
    "named": lambda c: [n := c.cursor("n"), n.execute("SELECT set_config('role', 'none', true)"), n.fetchall()],
    "factory": lambda c: c.cursor(cursor_factory=psycopg2.extensions.cursor).execute("SET ROLE none"),
}


@pytest.mark.parametrize("use", RAW.values(), ids=RAW)
def test_a_cursor_of_the_driver_is_noticed(engine: Engine, use: Callable[[Any], Any]) -> None:
    with tenant_session(A, bind=engine) as session:
        use(session.connection().connection)
        with pytest.raises(TenantScopeError, match=REFUSED):
            session.scalars(select(Customer)).all()


@pytest.mark.parametrize("factory", [psycopg2.extensions.cursor, RealDictCursor, NamedTupleCursor])
def test_a_cursor_that_was_kept_is_noticed_too(engine: Engine, factory: Any) -> None:
    with tenant_session(A, bind=engine) as session:
        kept = session.connection().connection.cursor(cursor_factory=factory)
        kept.execute("SELECT name FROM customers")
        (row,) = kept.fetchall()
        assert getattr(row, "name", None) == "of A" or row in ({"name": "of A"}, ("of A",))
        session.scalars(select(Customer)).all()
        kept.execute("SET LOCAL ROLE none")
        with pytest.raises(TenantScopeError, match=REFUSED):
            session.scalars(select(Customer)).all()


def test_a_failed_text_is_looked_at_before_the_next_statement(engine: Engine) -> None:
    with tenant_session(A, bind=engine) as session:
        savepoint = session.begin_nested()
        session.execute(select(Customer))
        with pytest.raises(DBAPIError):
            session.execute(text("COMMIT; BEGIN; SAVEPOINT sa_savepoint_1; SELECT 1 / 0"))
        savepoint.rollback()
        with pytest.raises(TenantScopeError, match=REFUSED):
            session.scalars(select(Customer)).all()


ACCEPTED = [
    "UPDATE customers SET name = name -- role\n, age = 3",
    "-- first; do it\nSELECT 1",
    "SELECT CASE WHEN true THEN 1\nEND; SELECT 1",
    "SAVEPOINT mine; ROLLBACK TO SAVEPOINT mine; RELEASE mine",
    "SET LOCAL statement_timeout = '5s'",
    "SET CONSTRAINTS ALL DEFERRED",
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "CREATE TEMP TABLE report ON COMMIT DROP AS SELECT * FROM customers",
    "SELECT 'on commit drop', 'set role', 'image/*', '*/*', 'RESET ROLE; COMMIT'",
    "DO $$ BEGIN PERFORM 1; END $$",
    "INSERT INTO customers (whatsapp_id, name) VALUES ('2', 'begin; commit') ON CONFLICT DO NOTHING",
    "SELECT pg_advisory_xact_lock(1)",
    "PREPARE p AS SELECT 1",
    "SET search_path = public",
    f"SET LOCAL app.business_id = '{A}'",
]


@pytest.mark.parametrize("statement", ACCEPTED)
def test_what_stays_in_the_business_is_accepted(engine: Engine, statement: str) -> None:
    with tenant_session(A, bind=engine) as session:
        session.connection().exec_driver_sql(statement, execution_options={"no_parameters": True})
        assert session.execute(WHO).one() == CONFINED
        session.commit()
        assert session.execute(WHO).one() == CONFINED


def test_nobody_reads_the_text(engine: Engine) -> None:
    """A reader of SQL that was here before took 16 s for 8,000 semicolons."""
    with tenant_session(A, bind=engine) as session:
        session.execute(text(";" * 8_000 + "SELECT 1"))
        assert len(session.scalar(text("SELECT '" + "/* -- ;" * 8_000 + "'"))) == 7 * 8_000


LEFT_BEHIND: dict[str, tuple[str, str]] = {
    "setting": ("SET SESSION statement_timeout = 77000", "SELECT 1 WHERE current_setting('statement_timeout') = '77s'"),
    "search_path": ("SET search_path = pg_temp, public", "SELECT 1 WHERE current_setting('search_path') ~ 'pg_temp'"),
    "table that hides another": (
        "CREATE TEMP TABLE customers AS SELECT * FROM customers; SELECT 'on commit drop'",
        "SELECT 1 WHERE to_regclass('pg_temp.customers') IS NOT NULL",
    ),
    "built name": (
        "DO $do$ BEGIN EXECUTE U&'CREATE TABLE pg\\005ftemp.report (a int)'; END $do$",
        "SELECT 1 WHERE to_regclass('pg_temp.report') IS NOT NULL",
    ),
    "function": (
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SELECT 1 FROM pg_proc WHERE proname = 'f' AND pronamespace = pg_my_temp_schema()",
    ),
    "held cursor": ("DECLARE c CURSOR WITH HOLD FOR SELECT name FROM customers", "SELECT 1 FROM pg_cursors"),
    "prepared": ("PREPARE p AS SELECT 1", "SELECT 1 FROM pg_prepared_statements"),
    "listener": ("LISTEN x", "SELECT 1 FROM pg_listening_channels()"),
    "lock": ("SELECT pg_advisory_lock(1)", "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"),
}  # fmt: skip


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
@pytest.mark.parametrize(("statement", "left"), LEFT_BEHIND.values(), ids=LEFT_BEHIND)
def test_nothing_is_left_for_the_next_session(engine: Engine, statement: str, left: str, end: str) -> None:
    with tenant_session(A, bind=engine) as session:
        session.connection().exec_driver_sql(statement, execution_options={"no_parameters": True})
        pid = session.scalar(text("SELECT pg_backend_pid()"))
        getattr(session, end)()
        with tenant_session(B, bind=engine) if end == "close" else session as after:
            assert after.scalar(text("SELECT pg_backend_pid()")) == pid
            assert after.execute(text(left)).all() == []


def test_what_a_failed_commit_left_goes_too(engine: Engine, shared: URL) -> None:
    execute(
        shared,
        "CREATE TABLE deferred (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)",
        "GRANT ALL ON deferred TO app_tenant",
    )
    try:
        with tenant_session(A, bind=engine) as session:
            session.execute(text("SELECT pg_advisory_lock(1); INSERT INTO deferred VALUES (1), (1)"))
            with pytest.raises(IntegrityError):
                session.commit()
            session.rollback()
            assert session.execute(text(LEFT_BEHIND["lock"][1])).all() == []
    finally:
        execute(shared, "DROP TABLE deferred")


def test_who_writes_no_text_pays_nothing(engine: Engine) -> None:
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    with tenant_session(A, bind=engine) as session:
        session.add(customer())
        session.flush()
        raw: Any = session.connection().connection.dbapi_connection
        session.scalars(select(Customer).where(func.lower(Customer.name) == "x")).all()
        assert (raw.unverified, raw.unclean) == (False, False)
        session.execute(text("SELECT 1"))
        assert (raw.unverified, raw.unclean) == (False, True)
        session.commit()
        assert (raw.unverified, raw.unclean) == (False, False)
    assert len(seen) == 4
