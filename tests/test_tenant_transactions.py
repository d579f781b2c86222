"""A tenant session's transactions: which are refused, which features of SQLAlchemy they keep, and a caller's connection."""

from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from sqlalchemy import URL, Engine, QueuePool, create_engine, event, insert, select, text
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.orm import Session, sessionmaker

from app.db import BusinessSession, make_engine, tenant_session
from app.models import Customer
from app.models.base import TenantScopeError
from tests.conftest import MakeDatabase
from tests.scope import CONFINED, WHO, A, B, customer
from tests.support import add_business, engine_of, execute, plain, rows

CANNOT_JOIN = "cannot join a transaction that it did not begin"


@pytest.fixture(scope="module")
def shared(make_lasting_database: MakeDatabase, migrated_template: URL) -> URL:
    url = make_lasting_database(migrated_template)
    add_business(url)
    return url


@pytest.fixture
def database(shared: URL) -> URL:
    execute(shared, "TRUNCATE customers, conversations CASCADE")
    return shared


@pytest.mark.filterwarnings("ignore:transaction already deassociated")
@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
@pytest.mark.parametrize("way", ["session", "connection"])
def test_a_transaction_ended_beneath_the_session_is_the_end_of_it(engine: Engine, end: str, way: str) -> None:
    with tenant_session(A, bind=engine) as session:
        connection = session.connection()
        getattr(connection, end)()
        run = session.execute if way == "session" else connection.execute
        for _ in range(2):
            with pytest.raises((TenantScopeError, InvalidRequestError), match=r"not confined|closed|inactive"):
                run(select(Customer))
        session.rollback()
        assert session.execute(WHO).one() == CONFINED


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_the_driver_ends_a_transaction_beneath_the_session(engine: Engine, end: str) -> None:
    """What the driver commits is committed, as ever; nothing runs after it that is not confined."""
    with tenant_session(A, bind=engine) as session:
        session.add(customer("kept"))
        session.flush()
        getattr(session.connection().connection, end)()
        with pytest.raises(TenantScopeError, match="not confined"):
            session.scalars(select(Customer)).all()
        session.rollback()
        assert len(session.scalars(select(Customer)).all()) == (end == "commit")


def test_autocommit_is_refused_at_first_and_ever_after(database: URL) -> None:
    for engine, options in (
        (engine_of(database, isolation_level="AUTOCOMMIT"), {}),
        (engine_of(database), {"isolation_level": "AUTOCOMMIT"}),
        (engine_of(database).execution_options(isolation_level="AUTOCOMMIT"), {}),
    ):
        with tenant_session(A, bind=engine) as session:
            for _ in range(2):
                with pytest.raises(TenantScopeError, match="cannot use AUTOCOMMIT"):
                    session.connection(execution_options=options)
            assert session.execute(WHO).one() == CONFINED if options else True


def test_two_phases_are_refused(engine: Engine) -> None:
    with (
        tenant_session(A, bind=engine, twophase=True) as session,
        pytest.raises(TenantScopeError, match="cannot commit in two phases"),
    ):
        session.execute(WHO)
    assert rows(engine.url, "SELECT * FROM pg_prepared_xacts") == []


@pytest.mark.parametrize(
    "options", [{"drivername": "postgresql+psycopg"}, {"creator": True}], ids=["psycopg 3", "creator"]
)
def test_another_driver_is_refused_with_what_to_write(database: URL, options: dict[str, Any]) -> None:
    if options.pop("creator", False):
        engine = create_engine(database, creator=lambda: psycopg2.connect(plain(database)))
    else:
        engine = engine_of(database.set(**options))
    with tenant_session(A, bind=engine) as session:
        for _ in range(2):
            with pytest.raises(TenantScopeError, match=r"create_engine\('postgresql\+psycopg2://...'\)"):
                session.execute(WHO)
    engine.dispose()


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_isolation_levels_and_read_only_hold_for_one_transaction(database: URL, level: str) -> None:
    engine = make_engine(database, pool_size=1, max_overflow=0)
    shown = text("SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')")
    for _ in range(2):
        with tenant_session(A, bind=engine) as session:
            options = {"isolation_level": level, "postgresql_readonly": True, "postgresql_deferrable": True}
            session.connection(execution_options=options)
            assert session.execute(shown).one() == (level.lower(), "on")
            assert session.execute(WHO).one() == CONFINED
            session.commit()
            assert session.execute(shown).one() == ("read committed", "off")
        with Session(engine) as plain:
            assert plain.execute(shown).one() == ("read committed", "off")
    engine.dispose()


def test_rows_are_streamed_by_a_server_side_cursor(engine: Engine) -> None:
    with tenant_session(A, bind=engine) as session:
        session.execute(insert(Customer), [{"whatsapp_id": f"{n}", "name": "x"} for n in range(95)])
        session.commit()
        statement = select(Customer.whatsapp_id).order_by(Customer.id)
        read = session.execute(statement, execution_options={"yield_per": 10})
        open_cursors = session.execute(text("SELECT count(*) FROM pg_cursors")).scalar()
        first = read.fetchone()
        assert open_cursors == 1
        assert first == ("0",)
        assert [row[0] for row in read] == [f"{n}" for n in range(1, 95)]
        assert session.execute(text("SELECT count(*) FROM pg_cursors")).scalar() == 0
        assert len(session.execute(statement, execution_options={"stream_results": True}).all()) == 95
        read = session.execute(statement, execution_options={"stream_results": True})
        with pytest.raises(DBAPIError):
            session.execute(text("SELECT 1 / 0"))
        read.close()
        session.rollback()
        assert session.execute(WHO).one() == CONFINED


def test_begin_blocks_and_savepoints(engine: Engine) -> None:
    with tenant_session(A, bind=engine) as session:
        with session.begin():
            session.add(customer("one"))
        with pytest.raises(DBAPIError), session.begin():
            session.execute(text("DELETE FROM customers; SELECT 1 / 0"))
        with session.begin():
            with session.begin_nested():
                session.add(customer("two"))
            with session.begin_nested() as savepoint:
                session.add(customer("lost"))
                session.flush()
                savepoint.rollback()
    with sessionmaker(engine, class_=BusinessSession).begin() as session:  # bound to none
        assert set(session.scalars(select(Customer.name))) == {"one", "two"}


def test_a_listener_of_a_team_never_runs_as_the_login(engine: Engine) -> None:
    seen: list[Any] = []

    def look(session: Session, transaction: object, connection: Any) -> None:
        seen.append(connection.execute(WHO).one())

    maker = sessionmaker(class_=BusinessSession)
    for target in (Session, maker):
        event.listen(target, "after_begin", look, insert=True)
    try:
        with maker(bind=engine, business_id=A) as session:
            session.scalars(select(Customer)).all()
            session.commit()
            session.scalars(select(Customer)).all()
    finally:
        event.remove(Session, "after_begin", look)
    assert seen == [CONFINED] * 4


def test_a_connection_of_the_caller_is_confined_while_a_session_uses_it(engine: Engine) -> None:
    with engine.connect() as connection:
        for business in (A, B):
            with tenant_session(business, bind=connection) as session:
                for _ in range(2):
                    assert session.execute(WHO).one() == ("app_tenant", str(business))
                    session.commit()
        assert connection.execute(WHO).one() == (engine.url.username, "")
        with connection.begin_nested():
            connection.execute(text("SET LOCAL ROLE app_service"))


def fail(session: Session) -> None:
    with pytest.raises(DBAPIError):
        session.execute(text("SELECT 1 / 0"))
    session.rollback()


OWN: dict[str, Callable[[Session], Any]] = {
    "commit": lambda s: s.commit(),
    "rollback": lambda s: s.rollback(),
    "close": lambda s: s.close(),
    "savepoint": lambda s: s.begin_nested().rollback(),
    "failure": fail,
}


@pytest.mark.parametrize("end", OWN.values(), ids=OWN)
def test_in_a_transaction_of_the_caller_it_works_in_a_confined_savepoint(engine: Engine, end: Any) -> None:
    with engine.connect() as connection, connection.begin() as outer:
        connection.execute(text(f"SET LOCAL ROLE app_service; SET LOCAL app.business_id = '{B}'"))
        for business in (A, B):
            with tenant_session(business, bind=connection) as session:
                session.add(customer(str(business)))
                session.commit()
                assert list(session.scalars(select(Customer.name))) == [str(business)]
                assert session.execute(WHO).one() == ("app_tenant", str(business))
                end(session)
            assert connection.execute(WHO).one() == ("app_service", str(B))
        assert connection.scalars(select(Customer.name)).all() == [str(A), str(B)]
        outer.rollback()
    assert rows(engine.url, "SELECT * FROM customers") == []


@pytest.mark.parametrize("mode", ["conditional_savepoint", "rollback_only", "control_fully"])
def test_no_other_way_into_a_transaction_of_the_caller(engine: Engine, mode: Any) -> None:
    with (
        engine.connect() as connection,
        connection.begin(),
        tenant_session(A, bind=connection, join_transaction_mode=mode) as session,
    ):
        with pytest.raises(TenantScopeError, match=CANNOT_JOIN):
            session.execute(WHO)
        assert connection.execute(WHO).one()[0] == engine.url.username


def test_one_tenant_session_at_a_time_on_a_connection(engine: Engine) -> None:
    with (
        engine.connect() as connection,
        tenant_session(A, bind=connection) as one,
        tenant_session(B, bind=connection) as two,
    ):
        assert one.execute(WHO).one() == CONFINED
        with pytest.raises(TenantScopeError, match=CANNOT_JOIN):
            two.execute(WHO)
        one.commit()
        assert two.execute(WHO).one() == ("app_tenant", str(B))
        with pytest.raises(TenantScopeError, match=CANNOT_JOIN):
            one.execute(WHO)


def test_a_transaction_that_the_driver_began_is_not_joined(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.connection.cursor().execute("SELECT 1")
        with tenant_session(A, bind=connection) as session, pytest.raises(TenantScopeError, match=CANNOT_JOIN):
            session.execute(WHO)


def test_the_driver_works_as_ever_outside_of_tenant_sessions(database: URL) -> None:
    engine = make_engine(database, poolclass=QueuePool, pool_size=1, max_overflow=0)
    with tenant_session(A, bind=engine) as session:
        session.execute(WHO)
    raw = engine.raw_connection()
    insertion = "INSERT INTO customers (whatsapp_id, name) VALUES ('1', 'x')"
    raw.cursor().execute(insertion)
    raw.rollback()
    raw.cursor().execute(insertion)
    raw.commit()
    named = raw.cursor("named")
    named.execute("SELECT name FROM customers")
    assert named.fetchall() == [("x",)]
    raw.close()
    engine.dispose()
