"""The six models: relationships, dicts for bots, normalised values, reprs without secrets."""

import json
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import URL, Engine, event, func, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import SessionLocal, get_engine, tenant_session
from app.models import DEFAULT_BUSINESS_ID, Base, Business, Conversation, Customer, User, UserBusiness, WhatsappNumber
from app.models.types import InvalidValueError

HASH = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG"
TOKEN = "EAAG-secret-token"
PHONE = "+573001234567"


def family() -> Business:
    """A business with one of everything."""
    number = WhatsappNumber(phone_number=PHONE, phone_number_id="meta-1", access_token=TOKEN)
    user = User(email="ana@example.com", password_hash=HASH)
    return Business(
        name="Barberia",
        settings={"barbers": ["Ana"]},
        whatsapp_numbers=[number],
        customers=[Customer(whatsapp_id="573001", name="José")],
        conversations=[Conversation(whatsapp_id="573001", message="hola", role="user", whatsapp_number=number)],
        user_businesses=[UserBusiness(user=user, role="owner")],
    )


@pytest.fixture
def business(session: Session) -> Business:
    row = family()
    session.add(row)
    session.flush()
    session.execute(update(Conversation).values(whatsapp_number_id=row.whatsapp_numbers[0].id))
    session.commit()
    return row


def test_every_key_has_a_relationship_on_both_sides(session: Session, business: Business) -> None:
    number, customer, message = business.whatsapp_numbers[0], business.customers[0], business.conversations[0]
    member = business.user_businesses[0]
    assert {number.business, customer.business, message.business, member.business} == {business}
    assert message.whatsapp_number is number
    assert number.conversations == [message]
    assert message.customer is customer
    assert customer.conversations == [message]
    assert member.user.user_businesses == [member]
    assert business.users == [member.user]
    assert member.user.businesses == [business]
    for mapper in Base.registry.mappers:
        for relationship in mapper.relationships:
            assert inspect(relationship.mapper).relationships[relationship.back_populates or ""].back_populates


def test_a_customer_has_only_the_messages_of_its_business(session: Session, business: Business) -> None:
    session.add(Conversation(business_id=DEFAULT_BUSINESS_ID, whatsapp_id="573001", message="x", role="user"))
    session.commit()
    assert [row.business_id for row in business.customers[0].conversations] == [business.id]


def test_the_view_of_messages_writes_nothing(session: Session, business: Business) -> None:
    business.customers[0].conversations.clear()
    session.commit()
    session.expire_all()
    assert len(business.customers[0].conversations) == 1


def test_deleting_a_business_is_one_statement_and_leaves_the_cascade_to_the_database(
    engine: Engine, business: Business, session: Session
) -> None:
    key = business.id
    session.close()
    statements: list[str] = []
    with Session(engine) as fresh:
        row = fresh.get_one(Business, key)
        event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        fresh.delete(row)
        fresh.commit()
    assert [statement.split()[0] for statement in statements] == ["DELETE"]
    for model in (WhatsappNumber, UserBusiness, Customer, Conversation):
        assert session.scalars(select(model)).all() == []
    assert len(session.scalars(select(User)).all()) == 1


def test_to_dict_is_json_ready_and_without_secrets(session: Session, business: Business) -> None:
    rows: list[Base] = [business, business.whatsapp_numbers[0], business.users[0], business.user_businesses[0]]
    rows += [business.customers[0], business.conversations[0]]
    session.expire_all()
    dicts = [row.to_dict() for row in rows]
    text = json.dumps(dicts)
    assert TOKEN not in text
    assert HASH not in text
    assert "gAAAA" not in text
    for row, values in zip(rows, dicts, strict=True):
        secrets = {column.key for column in inspect(type(row)).columns if column.info.get("secret")}
        extra = {"content"} if isinstance(row, Conversation) else set()
        assert values.keys() == {*inspect(type(row)).columns.keys(), *extra} - secrets
        assert isinstance(values["created_at"], str)
        assert values["created_at"].endswith("+00:00")
    assert dicts[0]["id"] == str(business.id)
    assert dicts[5]["message"] == dicts[5]["content"] == "hola"


def test_to_dict_of_a_row_that_is_not_stored_yet() -> None:
    assert json.loads(json.dumps(family().to_dict()))["name"] == "Barberia"


def test_to_dict_is_json_ready_whatever_the_columns_of_a_team_hold() -> None:
    row = Customer(name="x", age=Decimal("1.5"), created_at=datetime(2025, 6, 1, 9, tzinfo=UTC), updated_at=date.max)
    values = row.to_dict()
    assert (values["age"], values["created_at"], values["updated_at"]) == (
        "1.5",
        "2025-06-01T09:00:00+00:00",
        "9999-12-31",
    )


def test_to_dict_of_a_changed_row_has_the_time_of_the_change(bot_settings: URL) -> None:
    with SessionLocal() as session:
        user = User(email="ana@example.com", password_hash=HASH)
        session.add_all([user, UserBusiness(user=user, business_id=DEFAULT_BUSINESS_ID)])
        session.commit()
    before = user.to_dict()["updated_at"]
    with SessionLocal() as session:
        session.add(user)
        user.full_name = "Ana"
        session.commit()
    assert user.to_dict()["updated_at"] > before
    with tenant_session(DEFAULT_BUSINESS_ID) as session:
        business = session.get_one(Business, DEFAULT_BUSINESS_ID)
        before = business.to_dict()["updated_at"]
        business.name = "New"
        session.commit()
    assert business.to_dict()["updated_at"] > before
    get_engine().dispose()


def test_what_is_done_to_a_dict_is_not_done_to_the_row(session: Session, business: Business) -> None:
    business.to_dict()["settings"]["barbers"].append("Luis")
    assert not session.dirty
    assert business.settings == {"barbers": ["Ana"]}


def test_get_setting(business: Business) -> None:
    assert business.get_setting("barbers") == ["Ana"]
    assert business.get_setting("hours") is None
    assert business.get_setting("hours", {}) == {}
    assert Business(name="new").get_setting("hours", 1) == 1


def test_no_repr_shows_a_secret(session: Session, business: Business) -> None:
    for row in [business.whatsapp_numbers[0], business.users[0], business, business.conversations[0]]:
        shown = repr(row) + repr([row]) + str(row)
        assert TOKEN not in shown
        assert HASH not in shown
        assert "hola" not in shown
        assert type(row).__name__ in shown


def test_a_repr_loads_nothing(engine: Engine, business: Business, session: Session) -> None:
    session.expire_all()
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    assert repr(business)
    assert statements == []


@pytest.mark.parametrize(
    "written",
    [
        "whatsapp:+57 300 123 4567",
        "57300 1234567",
        "0057 (300) 123-4567",
        " +57.300.123.4567 ",
        PHONE,
        "57/300/1234567",
        "WhatsApp:+57 300 123 4567",
        "TEL:+57 300 123 4567",
        "+57 (0)300 123 4567",
        "\u202a+57 300\u2011123\u20134567\u202c",
        573001234567,
    ],
)
def test_phone_numbers_become_e164(session: Session, business: Business, written: str) -> None:
    assert WhatsappNumber(phone_number=written).phone_number == PHONE
    number = business.whatsapp_numbers[0]
    session.execute(update(WhatsappNumber).values(phone_number="+5711111111"))
    session.execute(update(WhatsappNumber).where(WhatsappNumber.id == number.id).values(phone_number=written))
    session.refresh(number)
    assert number.phone_number == PHONE
    assert session.scalars(select(WhatsappNumber).where(WhatsappNumber.phone_number == written)).one() is number


@pytest.mark.parametrize(
    "written",
    [
        "",
        "hola",
        "+57 300",
        "+0573001234567",
        "573001234567890123",
        "+57300123456x",
        "٠١٢٣٤٥٦٧٨٩",
        None,
        573001234567.0,
        True,
    ],
)
def test_what_cannot_be_a_number_raises(session: Session, written: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"E\.164, such as \+573001234567"):
        WhatsappNumber(phone_number=written)
    if written is not None:
        values = {"business_id": DEFAULT_BUSINESS_ID, "phone_number": written}
        with pytest.raises(InvalidValueError, match=r"E\.164"):
            session.execute(insert(WhatsappNumber).values(values))
        with pytest.raises(InvalidValueError, match=r"E\.164"):
            session.execute(insert(WhatsappNumber), [values, values])


def test_emails_are_stored_trimmed_and_lower_case(session: Session) -> None:
    assert User(email=" Ana@Example.COM ").email == "ana@example.com"
    session.execute(insert(User).values(email="\tLUIS@example.com", password_hash=HASH))
    assert session.scalars(select(User.email)).all() == ["luis@example.com"]
    assert session.scalars(select(User.email).where(User.email == " Luis@Example.com")).all() == ["luis@example.com"]
    assert session.scalars(select(User.email).where(User.email.like("luis%"))).all() == ["luis@example.com"]


@pytest.mark.parametrize(
    "written",
    ["", "ana", "@example.com", "ana@", "a b@example.com", "a@b@c", None, b"a@b.co", "a\0@b.co", "a@b.co\u200b"],
)
def test_what_cannot_be_an_email_raises(written: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"such as ana@example\.com"):
        User(email=written)


def test_an_email_is_one_user_regardless_of_case(session: Session) -> None:
    session.add(User(email="ana@example.com", password_hash=HASH))
    session.commit()
    session.add(User(email="ANA@example.com", password_hash=HASH))
    with pytest.raises(IntegrityError, match="uq_users_email_lower"):
        session.commit()


def test_an_email_written_by_hand_is_one_user_too(session: Session) -> None:
    statement = "INSERT INTO users (email, password_hash) VALUES (%s, %s)"
    session.connection().exec_driver_sql(statement, ("Ana@Example.com", HASH))
    with pytest.raises(IntegrityError, match="uq_users_email_lower"):
        session.connection().exec_driver_sql(statement, ("ana@example.COM", HASH))


def test_keys_are_made_by_the_database_and_the_default_business_is_there(session: Session, business: Business) -> None:
    assert isinstance(business.id, uuid.UUID)
    default = session.get_one(Business, DEFAULT_BUSINESS_ID)
    assert (default.name, default.business_type, default.settings) == ("Default business", "barberia", {})


def test_what_the_database_computes_is_left_to_it(session: Session, business: Business) -> None:
    user = User(email=func.lower("EVA@example.com"), password_hash=func.concat("$2b$12$", func.repeat("a", 53)))
    session.add(user)
    session.commit()
    assert user.email == "eva@example.com"


def test_a_day_is_no_moment(session: Session) -> None:
    with pytest.raises(InvalidValueError, match="has no time zone"):
        session.scalars(select(Conversation).where(Conversation.timestamp >= date(2025, 6, 1))).all()
