"""Services as multi-tenant bots write them, unchanged but for the import: ids as text, sessions by get_db_session()."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import URL, create_engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.attributes import flag_modified

from app.db import business_scope, get_db_session, get_engine, tenant_session
from app.models import DEFAULT_BUSINESS_ID, Business, Conversation, Customer, User, UserBusiness, WhatsappNumber
from app.models.base import TenantScopeError
from app.models.types import InvalidValueError
from app.tenancy.customers import change_number, find_or_create_customer
from app.tenancy.messages import Sender
from app.tenancy.queries import last_messages, record_answer, record_message
from tests.support import rows


def create_business(name: str, business_type: str = "barberia", settings: dict[str, Any] | None = None) -> Any:
    session = get_db_session()
    try:
        business = Business(name=name, business_type=business_type, settings=settings or {}, is_active=True)
        session.add(business)
        session.commit()
        session.refresh(business)
        return business.to_dict()
    except Exception:
        session.rollback()
        raise
    finally:
        session.close()


def update_business(business_id: str, **changes: Any) -> Any:
    session = get_db_session()
    try:
        business = session.query(Business).filter(Business.id == business_id).first()
        if not business:
            return None
        for key, value in changes.items():
            if key == "settings":
                business.settings = {**business.settings, **value}
                flag_modified(business, "settings")
            elif hasattr(business, key):
                setattr(business, key, value)
        session.commit()
        session.refresh(business)
        return business.to_dict()
    finally:
        session.close()


def create_whatsapp_number(business_id: str, phone_number_id: str, phone_number: str, access_token: str) -> Any:
    session = get_db_session()
    try:
        number = WhatsappNumber(
            business_id=business_id, phone_number_id=phone_number_id, phone_number=phone_number,
            access_token=access_token,
        )  # fmt: skip
        session.add(number)
        session.commit()
        return number.to_dict()
    except IntegrityError:
        session.rollback()
        return None
    finally:
        session.close()


def store_conversation_message(
    whatsapp_id: str, message: str, role: str, business_id: str | None = None, whatsapp_number_id: str | None = None
) -> Any:
    session = get_db_session()
    try:
        conversation = Conversation(whatsapp_id=whatsapp_id, message=message, role=role)
        if business_id:
            conversation.business_id = business_id
        if whatsapp_number_id:
            conversation.whatsapp_number_id = whatsapp_number_id  # type: ignore[assignment]
        session.add(conversation)
        session.commit()
        return conversation.to_dict()
    finally:
        session.close()


def get_conversation_history(whatsapp_id: str, limit: int = 10, business_id: str | None = None) -> list[Any]:
    session = get_db_session()
    try:
        query = session.query(Conversation).filter(Conversation.whatsapp_id == whatsapp_id)
        if business_id:
            query = query.filter(Conversation.business_id == business_id)
        newest = query.order_by(Conversation.timestamp.desc(), Conversation.id.desc()).limit(limit).all()
        return [{"role": m.role, "content": m.message} for m in reversed(newest)]
    finally:
        session.close()


@pytest.fixture
def bot(bot_settings: URL) -> Iterator[URL]:
    yield bot_settings
    get_engine().dispose()


def test_businesses_and_their_settings(bot: URL) -> None:
    made = create_business("The Fade Room", settings={"services": [{"name": "Corte", "price": 25000}], "own": 1})
    assert uuid.UUID(made["id"])
    changed = update_business(
        made["id"], name="Fade", settings={"hours": {"monday": {"open": "09:00", "close": "19:00"}}}
    )
    assert (changed["name"], changed["settings"]["own"], "services" in changed["settings"]) == ("Fade", 1, True)
    assert changed["settings"]["hours"]["monday"]["open"] == "09:00"
    assert update_business(str(uuid.uuid4()), name="x") is None


def test_numbers(bot: URL) -> None:
    business = create_business("Shop")["id"]
    number = create_whatsapp_number(business, "106", "+57 300 123 4567", "EAAG-secret")
    assert (number["business_id"], number["phone_number"]) == (business, "+573001234567")
    assert "access_token" not in number
    assert create_whatsapp_number(business, "106", "+573001234568", "EAAG") is None


def test_conversations_with_a_business_id(bot: URL) -> None:
    business = create_business("Shop")["id"]
    number = create_whatsapp_number(business, "106", "+573001234567", "EAAG")["id"]
    stored = store_conversation_message("573007654321", "hola", "user", business, number)
    assert (stored["business_id"], stored["whatsapp_number_id"], stored["content"]) == (business, number, "hola")
    store_conversation_message("573007654321", "elsewhere", "user", str(DEFAULT_BUSINESS_ID))
    assert get_conversation_history("573007654321", business_id=business) == [{"role": "user", "content": "hola"}]
    assert len(get_conversation_history("573007654321")) == 2


def test_conversations_without_a_business_id_are_of_the_business_in_scope(bot: URL) -> None:
    business = create_business("Shop")["id"]
    store_conversation_message("573007654321", "elsewhere", "user", str(DEFAULT_BUSINESS_ID))
    with business_scope(business):
        stored = store_conversation_message("573007654321", "hola", "user")
        assert stored["business_id"] == business
        assert get_conversation_history("573007654321") == [{"role": "user", "content": "hola"}]
        with pytest.raises(TenantScopeError, match="the session is bound to"):
            store_conversation_message("573007654321", "x", "user", str(DEFAULT_BUSINESS_ID))
    with pytest.raises(TenantScopeError, match=r"app.db.business_scope\(business_id\)"):
        store_conversation_message("573007654321", "x", "user")


def test_a_uuid_may_be_text_wherever_a_uuid_is(bot: URL) -> None:
    text_id = str(DEFAULT_BUSINESS_ID)
    with get_db_session() as session:
        business = session.get(Business, text_id)
        assert business is not None
        assert business.id == DEFAULT_BUSINESS_ID
        assert session.query(Business).filter(Business.id.in_([text_id])).one() is business
        assert session.query(Business).filter_by(id=text_id.upper()).one() is business
        user = User(email="ana@example.com", password_hash="$2b$12$" + "x" * 53)
        session.add(user)
        session.flush()
        session.add(UserBusiness(user_id=str(user.id), business_id=text_id))
        session.flush()
        assert session.get(UserBusiness, (str(user.id), text_id)) is not None
        customer = Customer(whatsapp_id="1", name="x", business_id=text_id)  # the row has the uuid at once
        assert customer.business_id == DEFAULT_BUSINESS_ID
        for wrong in (lambda: Customer(business_id="1"), lambda: session.get(Business, "no uuid")):
            with pytest.raises(InvalidValueError, match="is not a UUID such as"):
                wrong()


def test_the_functions_of_the_message_path_take_text_too(bot: URL) -> None:
    business = create_business("Shop")["id"]
    number = create_whatsapp_number(business, "106", "+573001234567", "EAAG")["id"]
    with tenant_session(business) as session:
        customer = find_or_create_customer(session, business, Sender(phone="573007654321", name="Ana"))
        said, is_new = record_message(
            session, business_id=business, whatsapp_id=customer.whatsapp_id, message="hola", role="user",
            whatsapp_message_id="wamid.1", whatsapp_number_id=number,
        )  # fmt: skip
        assert (is_new, str(said.whatsapp_number_id)) == (True, number)
        answer = record_answer(session, said, "buenas")
        assert session.scalars(last_messages(business, customer.whatsapp_id)).all() == [answer, said]
        renamed = Sender(phone="573007654322")
        assert change_number(session, business, Sender(phone="573007654321"), renamed) is customer


def test_an_engine_of_the_bot_s_own_names_the_driver(bot: URL) -> None:
    """SQLAlchemy 2.1 takes postgresql:// for psycopg 3: what README says to write."""
    assert create_engine("postgresql://bot@db.example.com/bot").dialect.driver == "psycopg"
    assert create_engine("postgresql+psycopg2://bot@db.example.com/bot").dialect.driver == "psycopg2"
    assert rows(bot, "SELECT count(*) FROM businesses") == [(1,)]
