"""tenant_session: each transaction of it is confined by the database, and Python refuses the ways out it can see."""

import gc
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import URL, Connection, Engine, QueuePool, Table, create_engine, event, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db import SessionLocal, tenant_session
from app.models import Business, Conversation, Customer, UserBusiness, WhatsappNumber
from app.models.base import TenantScopeError
from app.queries import last_messages, record_message, route_webhook
from tests.conftest import MakeDatabase
from tests.support import DEFAULT_ID, OTHER_ID, add_business, engine_of, execute, rows, scalar

A, B = UUID(DEFAULT_ID), UUID(OTHER_ID)
C = UUID("00000000-0000-0000-0000-0000000000c0")
WHO = text("SELECT current_user, current_setting('app.business_id', true)")
CONFINED = ("app_tenant", DEFAULT_ID)
TABLE = cast(Table, Customer.__table__)


@pytest.fixture(scope="module")
def shared(make_lasting_database: MakeDatabase, migrated_template: URL) -> URL:
    url = make_lasting_database(migrated_template)
    add_business(url, OTHER_ID)
    add_business(url, str(C), "Third")
    return url


@pytest.fixture
def database(shared: URL) -> URL:
    """One database with three businesses for the whole file, without customers before each test."""
    execute(shared, "TRUNCATE customers, conversations, whatsapp_numbers, users CASCADE")
    return shared


def customer(name: str = "Ana", **more: Any) -> Customer:
    return Customer(whatsapp_id=f"57{uuid.uuid4().int % 10**10}", name=name, **more)


def owners(url: URL) -> set[str]:
    return {row[0] for row in rows(url, "SELECT DISTINCT business_id::text FROM customers")}


def test_every_transaction_is_confined(engine: Engine) -> None:
    with tenant_session(A, bind=engine) as session:
        assert session.execute(WHO).one() == CONFINED
        session.commit()
        assert session.execute(WHO).one() == CONFINED
        session.rollback()
        assert session.execute(WHO).one() == CONFINED
        with session.begin_nested() as savepoint:
            assert session.execute(WHO).one() == CONFINED
            savepoint.rollback()
        assert session.execute(WHO).one() == CONFINED
        with session.begin_nested():
            session.add(customer())
        with pytest.raises(DBAPIError):
            session.execute(text("SELECT 1 / 0"))
        session.rollback()
        with session.begin_nested():  # the first thing of a transaction
            assert session.execute(WHO).one() == CONFINED
        session.close()
        assert session.execute(WHO).one() == CONFINED
    with tenant_session(str(A), bind=engine) as session:
        assert session.execute(WHO).one() == CONFINED


def test_one_round_trip_and_nothing_left_on_the_connection(database: URL) -> None:
    engine = create_engine(database, poolclass=QueuePool, pool_size=1, max_overflow=0)
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    with tenant_session(A, bind=engine) as session:
        session.execute(text("SELECT 1"))
        session.commit()
        session.execute(text("SELECT 2"))
    assert [s for s in seen if "set_config" not in s] == ["SELECT 1", "SELECT 2"]
    assert len(seen) == 4
    with Session(engine) as session:
        assert session.execute(WHO).one() == (database.username, "")
        session.execute(text("SET LOCAL role app_service"))  # the guard has gone with its session
    engine.dispose()


WRITES: dict[str, Callable[[Session], Any]] = {
    "object": lambda s: s.add(customer()),
    "objects": lambda s: s.add_all([customer(), customer()]),
    "ORM bulk": lambda s: s.execute(
        insert(Customer), [{"whatsapp_id": "1", "name": "x"}, {"whatsapp_id": "2", "name": "y"}]
    ),
    "Core": lambda s: s.execute(insert(TABLE).values(whatsapp_id="1", name="x")),
    "connection": lambda s: s.connection().execute(insert(TABLE), [{"whatsapp_id": "1", "name": "x"}]),
    "text": lambda s: s.execute(text("INSERT INTO customers (whatsapp_id, name) VALUES ('1', 'x')")),
    "driver": lambda s: s.connection().exec_driver_sql("INSERT INTO customers (whatsapp_id, name) VALUES ('1', 'x')"),
    "legacy bulk": lambda s: s.bulk_save_objects([customer()]),
    "in a savepoint": lambda s: s.begin_nested().session.add(customer()),
    "merge": lambda s: s.merge(customer()),
    "own business": lambda s: s.add(customer(business_id=B)),
    "own business as text": lambda s: s.add(customer(business_id=OTHER_ID)),
    "through the business": lambda s: setattr(s.get_one(Business, B), "customers", [customer()]),
    "as its relationship": lambda s: s.add(customer(business=s.get_one(Business, B))),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_new_rows_get_the_business_in_scope(engine: Engine, write: Callable[[Session], Any]) -> None:
    with tenant_session(B, bind=engine) as session:
        write(session)
        session.commit()
    assert owners(engine.url) == {OTHER_ID}


def flush(session: Session, row: Customer, **changes: UUID) -> None:
    for name, value in changes.items():
        setattr(row, name, value)
    session.add(row)
    session.flush()


FOREIGN: dict[str, Callable[[Session], Any]] = {
    "object": lambda s: flush(s, customer(business_id=B)),
    "relationship": lambda s: flush(s, customer(business=Business(id=B, name="x"))),
    "moved": lambda s: flush(s, s.scalars(select(Customer)).one(), business_id=B),
    "ORM bulk": lambda s: s.execute(insert(Customer), [{"whatsapp_id": "1", "name": "x", "business_id": B}]),
    "Core": lambda s: s.execute(insert(TABLE).values(whatsapp_id="1", name="x", business_id=B)),
    "text": lambda s: s.execute(
        text(f"INSERT INTO customers (whatsapp_id, name, business_id) VALUES ('1', 'x', '{B}')")
    ),
    "update": lambda s: s.execute(update(Customer).values(business_id=B)),
}


@pytest.mark.parametrize("write", FOREIGN.values(), ids=FOREIGN)
def test_another_business_is_refused(engine: Engine, write: Callable[[Session], Any]) -> None:
    with tenant_session(A, bind=engine) as session:
        session.add(customer())
        session.commit()
    with tenant_session(A, bind=engine) as session, pytest.raises((TenantScopeError, DBAPIError)) as caught:
        write(session)
    original = getattr(caught.value, "orig", None)
    assert isinstance(caught.value, TenantScopeError) or getattr(original, "pgcode", None) == "42501"
    assert owners(engine.url) == {DEFAULT_ID}


@pytest.mark.parametrize(
    "row",
    [
        lambda: customer(),
        lambda: Conversation(whatsapp_id="1", message="x", role="user"),
        lambda: WhatsappNumber(phone_number="+573001234567"),
        lambda: UserBusiness(user_id=uuid.uuid4()),
    ],
    ids=["Customer", "Conversation", "WhatsappNumber", "UserBusiness"],
)
def test_without_a_business_outside_of_it_is_refused_before_the_flush(engine: Engine, row: Callable[[], Any]) -> None:
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    with Session(engine) as session:
        session.add(row())
        with pytest.raises(TenantScopeError, match="no business_id and no business is in scope") as caught:
            session.flush()
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    assert seen == []


def test_a_new_business_is_not_named_none(engine: Engine) -> None:
    with tenant_session(A, bind=engine) as session, pytest.raises(TenantScopeError, match="belongs to a new business"):
        flush(session, customer(business=Business(name="x")))


def test_settings_stay_an_object(engine: Engine) -> None:
    with tenant_session(A, bind=engine) as session, pytest.raises(DBAPIError, match="ck_businesses_settings_is_object"):
        session.execute(text("UPDATE businesses SET settings = '[1]'"))


def test_reads_and_keys_of_others_are_empty(engine: Engine) -> None:
    with tenant_session(B, bind=engine) as session:
        theirs = customer("Theirs")
        number = WhatsappNumber(phone_number="+573001234567")
        session.add_all([theirs, number])
        session.commit()
    with tenant_session(A, bind=engine) as session:
        assert session.get(Customer, theirs.id) is None
        assert session.scalars(select(Customer)).all() == []
        assert [b.id for b in session.scalars(select(Business))] == [A]
        session.add(Conversation(whatsapp_id="1", message="x", role="user", whatsapp_number_id=number.id))
        with pytest.raises(DBAPIError, match="fk_conversations_whatsapp_numbers"):
            session.flush()


ESCAPES = [
    """SELECT U&"\\0073et_config"('app.business_id', '', true)""",
    "SELECT query_to_xml('select set'||'_config(''role'', ''none'', true)', true, false, '')",
    'SET LOCAL U&"\\0072ole" TO none',
    "SET ROLE postgres",
    "set local role none",
    "SET SESSION ROLE postgres",
    "SET \"role\" = 'postgres'",
    "SET/* a */ROLE postgres",
    "-- a\nSET ROLE postgres",
    "RESET ROLE",
    "RESET ALL",
    "reset app.business_id",
    "SET SESSION AUTHORIZATION DEFAULT",
    "SET session_authorization = postgres",
    f"SET LOCAL app.business_id = '{B}'",
    f'SET "app"."business_id" = \'{B}\'',
    f"SELECT set_config('app.business_id', '{B}', true)",
    "SELECT pg_catalog . set_config ('role', 'postgres', false)",
    "SELECT \"set_config\"('role', 'none', false)",
    "UPDATE pg_settings SET setting = 'postgres' WHERE name = 'role'",
    "DO $$ BEGIN EXECUTE 'SET ROLE postgres'; END $$",
    "COMMIT",
    "/* a */ COMMIT AND CHAIN",
    "SELECT 1; COMMIT",
    "SELECT 1;\nROLLBACK; SELECT * FROM customers",
    "END",
    "ABORT",
    "BEGIN",
    "START TRANSACTION",
    "ROLLBACK",
    "PREPARE TRANSACTION 'x'",
    "DISCARD ALL",
    "SET search_path = nowhere",
    "SET SESSION statement_timeout = 0",
    "CREATE TEMP TABLE report AS SELECT * FROM customers",
    "CREATE TEMPORARY TABLE IF NOT EXISTS report (a int)",
    "CREATE OR REPLACE TEMP VIEW report AS SELECT 1",
    "CREATE TABLE pg_temp.report (a int)",
    "SELECT * INTO TEMP report FROM customers",
    "DECLARE c CURSOR WITH HOLD FOR SELECT name FROM customers",
    "/* a /* */ b */ SET ROLE none",
    "SELECT $$ /* $$; SET/*y*/ROLE none; SELECT $$ */ $$",
    "SELECT '--'; /*x*/ SET/*y/*z*/*/ROLE none",
    "SELECT * FROM ts_stat('SELECT to_tsvector(set_'||'config(''role'',''none'',true))')",
    "SELECT ts_rewrite('a'::tsquery, 'SELECT 1')",
    "DO $to$ BEGIN RESET ROLE; END $to$",
    "DO '<<to>> BEGIN RESET ROLE; END to'",
    "PREPARE p AS SELECT 1",
    "LISTEN x",
    "SELECT pg_advisory_lock(1)",
    "CREATE TEMP TABLE customers (a int); SELECT 'on commit drop'",
]


@pytest.mark.parametrize("statement", ESCAPES)
def test_escapes_are_refused(engine: Engine, statement: str) -> None:
    ways: list[Callable[[Session], Any]] = [
        lambda s: s.execute(text(statement)),
        lambda s: s.connection().exec_driver_sql(statement, execution_options={"no_parameters": True}),
    ]
    for way in ways:
        with tenant_session(A, bind=engine) as session:
            session.execute(WHO)
            with pytest.raises(TenantScopeError, match="refuses statements that change role, scope or transaction"):
                way(session)
            assert session.execute(WHO).one() == CONFINED


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE conversations SET role = 'assistant'",
        "UPDATE user_businesses\nSET role = 'admin' -- role\n, business_id = business_id",
        "SELECT CASE WHEN true THEN 1\nEND; SELECT 1",
        "SAVEPOINT mine; ROLLBACK TO SAVEPOINT mine; ROLLBACK WORK TO mine; RELEASE mine",
        "SET LOCAL statement_timeout = '5s'",
        "SET CONSTRAINTS ALL DEFERRED",
        "SET  TRANSACTION READ ONLY",
        "CREATE TEMP TABLE report ON COMMIT DROP AS SELECT * FROM customers",
        "SELECT 'image/*', '*/*'",
        "WITH hold AS (SELECT 1) SELECT replace(temp, 'C', '') FROM hold, (SELECT 'C') AS t (temp)",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT current_setting('role'), 'set role'",
        "INSERT INTO customers (whatsapp_id, name) VALUES ('1', 'x') ON CONFLICT DO NOTHING",
    ],
)
def test_what_is_no_escape_is_let_through(engine: Engine, statement: str) -> None:
    with tenant_session(A, bind=engine) as session:
        session.connection().exec_driver_sql(statement.replace(", business_id = business_id", ""))
        assert session.execute(WHO).one() == CONFINED


@pytest.mark.filterwarnings("ignore:transaction already deassociated")
@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
def test_a_transaction_ended_beneath_the_session_is_the_end_of_it(engine: Engine, end: str) -> None:
    with tenant_session(A, bind=engine) as session:
        connection = session.connection()
        getattr(connection, end)()
        for execute_it in (session.execute, connection.execute):
            with pytest.raises(Exception, match=r"not confined|closed|inactive"):
                execute_it(WHO)
        session.rollback()
        assert session.execute(WHO).one() == CONFINED


def test_autocommit_is_refused_at_first_and_ever_after(database: URL) -> None:
    for engine, options in (
        (engine_of(database, isolation_level="AUTOCOMMIT"), {}),
        (engine_of(database), {"isolation_level": "AUTOCOMMIT"}),
    ):
        with tenant_session(A, bind=engine) as session:
            with pytest.raises(TenantScopeError, match="cannot use AUTOCOMMIT"):
                session.connection(execution_options=options)
            with pytest.raises(TenantScopeError):
                session.execute(WHO)


def test_a_connection_of_the_caller_is_confined_too(engine: Engine) -> None:
    with engine.connect() as connection:
        for business in (A, B):
            with tenant_session(business, bind=connection) as session:
                assert session.execute(WHO).one() == ("app_tenant", str(business))
                session.commit()
                assert session.execute(WHO).one() == ("app_tenant", str(business))
        assert connection.execute(WHO).one() == (engine.url.username, "")


def test_a_transaction_that_the_session_did_not_begin_is_refused(engine: Engine) -> None:
    refused = pytest.raises(TenantScopeError, match="cannot join a transaction that it did not begin")
    with engine.connect() as connection:
        with connection.begin(), tenant_session(A, bind=connection) as session:
            with refused:
                session.execute(WHO)
            assert connection.execute(WHO).one()[0] == engine.url.username
        with tenant_session(A, bind=connection) as outer, tenant_session(B, bind=connection) as inner:
            assert outer.execute(WHO).one() == CONFINED
            with refused:
                inner.execute(WHO)
            outer.commit()
            with pytest.raises(TenantScopeError, match="not confined"):  # while the outer one lasts
                inner.execute(WHO)
            with refused:
                outer.execute(WHO)


def test_a_long_session_keeps_no_connection_of_the_past(engine: Engine) -> None:
    with tenant_session(A, bind=engine) as session:
        for _ in range(30):
            session.execute(text("SELECT 1"))
            session.commit()
        gc.collect()
        there = [row for row in gc.get_objects() if type(row) is Connection and row.engine is engine]
    assert len(there) < 5


def test_no_uuid_is_refused_before_anything(engine: Engine) -> None:
    with (
        pytest.raises(ValueError, match="business_id of a tenant session is not a UUID"),
        tenant_session(f"{A}' OR true --", bind=engine),
    ):
        pass


def test_a_login_that_is_no_member_of_app_tenant_gets_nowhere(database: URL) -> None:
    login = f"stranger_{uuid.uuid4().hex[:8]}"
    execute(database, f"CREATE ROLE {login} LOGIN", f"GRANT CONNECT ON DATABASE {database.database} TO {login}")
    try:
        with tenant_session(A, bind=engine_of(database.set(username=login))) as session:
            with pytest.raises(DBAPIError, match="permission denied to set role"):
                session.execute(WHO)
            with pytest.raises(TenantScopeError, match="not confined"):
                session.execute(WHO)
    finally:
        execute(database, f"DROP OWNED BY {login}", f"DROP ROLE {login}")


# --- one pooled connection, several tenants --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_connection(shared: URL) -> Iterator[Engine]:
    engine = create_engine(shared, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=5)
    yield engine
    engine.dispose()


STEPS = st.lists(
    st.tuples(
        st.sampled_from([A, B, C, None]),
        st.sampled_from(["add", "text", "core", "undo", "savepoint", "fail", "delete", "escape", "read"]),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([(A, "fail"), (B, "read"), (None, "read"), (A, "escape"), (B, "add"), (None, "read"), (A, "read")])
@given(steps=STEPS)
def test_interleaved_sessions_on_one_connection_never_see_each_other(
    one_connection: Engine, steps: list[tuple[UUID | None, str]]
) -> None:
    execute(one_connection.url, "DELETE FROM customers")
    there: dict[UUID, set[str]] = {A: set(), B: set(), C: set()}
    pids = set()
    with ExitStack() as stack:
        sessions = {b: stack.enter_context(tenant_session(b, bind=one_connection)) for b in there}
        everybody = stack.enter_context(Session(one_connection))
        for n, (business, action) in enumerate(steps):
            if business is None:  # between the tenants the login works unconfined
                assert set(everybody.scalars(select(Customer.name))) == set().union(*there.values())
                everybody.rollback()
                continue
            act(sessions[business], action, f"{business}-{n}", there[business])
            assert set(sessions[business].scalars(select(Customer.name))) == there[business]
            assert sessions[business].execute(WHO).one() == ("app_tenant", str(business))
            pids.add(sessions[business].scalar(text("SELECT pg_backend_pid()")))
            sessions[business].rollback()
    assert len(pids) <= 1
    assert {row[0] for row in rows(one_connection.url, "SELECT name FROM customers")} == set().union(*there.values())


def act(session: Session, action: str, name: str, there: set[str]) -> None:
    """One transaction of one tenant, and what should be there after it."""
    match action:
        case "add":
            session.add(customer(name))
        case "text":
            session.execute(text("INSERT INTO customers (whatsapp_id, name) VALUES (:n, :n)"), {"n": name})
        case "core":
            session.execute(insert(TABLE), [{"whatsapp_id": name, "name": name}])
        case "undo":
            session.add(customer(name))
            session.flush()
            session.rollback()
            return
        case "savepoint":
            session.add(customer(name))
            with session.begin_nested() as savepoint:
                session.execute(text("DELETE FROM customers"))
                savepoint.rollback()
        case "fail":
            with pytest.raises(DBAPIError):
                session.execute(text("SELECT 1 / 0"))
            session.rollback()
            return
        case "escape":
            with pytest.raises(TenantScopeError):
                session.execute(text("RESET ROLE"))
            session.rollback()
            return
        case "delete":
            session.execute(text("DELETE FROM customers"))
            there.clear()
        case _:
            return
    session.commit()
    if action != "delete":
        there.add(name)


# --- the recommended login -------------------------------------------------------------------------------------------


@pytest.fixture
def login(database: URL) -> Iterator[URL]:
    """A login that owns nothing and is a member of both roles."""
    name = f"bot_{uuid.uuid4().hex[:8]}"
    execute(
        database,
        f"CREATE ROLE {name} LOGIN",
        f"GRANT app_tenant, app_service TO {name}",
        f"GRANT CONNECT ON DATABASE {database.database} TO {name}",
    )
    yield database.set(username=name)
    execute(database, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_the_webhook_flow_as_the_recommended_login(database: URL, login: URL) -> None:
    engine = engine_of(login)
    with Session(engine_of(database)) as session, session.begin():
        session.add(
            WhatsappNumber(business_id=B, phone_number_id="123", phone_number="+573001234567", access_token="EAAG")
        )
        session.add(customer("of A", business_id=A))
    with SessionLocal(bind=engine) as session:
        number, business = session.execute(route_webhook(phone_number_id="123")).one()
        assert (business.id, number.access_token) == (B, "EAAG")
    with tenant_session(business.id, bind=engine) as session:
        message: Any = {"business_id": business.id, "whatsapp_id": "573009876543", "message": "hola", "role": "user"}
        _, new = record_message(session, **message, whatsapp_message_id="wamid.1", whatsapp_number_id=number.id)
        _, again = record_message(session, **message, whatsapp_message_id="wamid.1", whatsapp_number_id=number.id)
        assert (new, again) == (True, False)
        session.commit()
        assert [m.message for m in session.scalars(last_messages(business.id, "573009876543"))] == ["hola"]
        assert session.scalars(last_messages(A, "573009876543")).all() == []
        assert session.scalars(select(Customer)).all() == []
    assert scalar(database, "SELECT count(*) FROM conversations") == 1
    with engine.connect() as connection, pytest.raises(DBAPIError, match=r"must be owner|permission denied"):
        connection.execute(text("TRUNCATE conversations"))
