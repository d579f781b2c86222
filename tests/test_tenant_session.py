"""tenant_session: each transaction of it is confined by the database, and Python refuses the ways out it can see."""

import gc
import uuid
from collections.abc import Callable, Iterator
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import URL, Connection, Engine, QueuePool, Table, create_engine, event, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db import SessionLocal, tenant_session
from app.models import Business, Conversation, Customer, UserBusiness, WhatsappNumber
from app.models.base import TenantScopeError
from app.tenancy.queries import last_messages, record_message, route_webhook
from tests.conftest import MakeDatabase
from tests.scope import CONFINED, WHO, A, B, customer
from tests.support import DEFAULT_ID, OTHER_ID, add_business, engine_of, execute, rows, scalar

C = UUID("00000000-0000-0000-0000-0000000000c0")
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


def test_the_scope_is_set_with_begin_and_leaves_with_the_transaction(database: URL) -> None:
    engine = create_engine(database, poolclass=QueuePool, pool_size=1, max_overflow=0)
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: seen.append(args[2]))
    with tenant_session(A, bind=engine) as session:
        session.execute(text("SELECT 1"))
        session.commit()
        session.execute(text("SELECT 2"))
    begin = (
        "BEGIN; SET LOCAL citus.propagate_set_commands = local; "
        f"SET LOCAL ROLE app_tenant; SET LOCAL app.business_id = '{A}'"
    )
    asked = "; SELECT pg_catalog.current_setting('citus.version', true)"  # once a connection
    assert seen == [begin + asked, "SELECT 1", begin, "SELECT 2"]
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
            for _ in range(2):
                with pytest.raises(DBAPIError, match="permission denied to set role"):
                    session.execute(WHO)
    finally:
        execute(database, f"DROP OWNED BY {login}", f"DROP ROLE {login}")


def test_a_long_session_keeps_no_connection_of_the_past(engine: Engine) -> None:
    with tenant_session(A, bind=engine) as session:
        for _ in range(30):
            session.execute(text("SELECT 1"))
            session.commit()
        gc.collect()
        there = [row for row in gc.get_objects() if type(row) is Connection and row.engine is engine]
    assert len(there) < 5


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
