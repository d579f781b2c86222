"""A number is one number however it is written, and a national number is nobody else's."""

import pytest
from sqlalchemy import URL
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.models import DEFAULT_BUSINESS_ID, WhatsappNumber
from app.models.types import EXTRA_DIGIT, InvalidValueError, normalise_phone_number, phone_forms, without_extra_digit
from app.tenancy.queries import route_webhook
from tests.support import OTHER_ID, add_business, execute, scalar

FORMS = [
    ("+525512345678", "+5215512345678"),
    ("+541123456789", "+5491123456789"),
    ("+542914567890", "+5492914567890"),
    ("+556187654321", "+5561987654321"),
    ("+551167654321", "+5511967654321"),
]
ONE_FORM = [
    "+551133334444",  # a landline of Brazil
    "+5511933334444",  # a mobile number of Brazil that never had eight digits
    "+551112345678",
    "+573001234567",
    "+15550783881",
    "+5255123456789",
    "+52155123456",
    "+549112345678",
    "+548001234567",
    "+34911234567",
]


@pytest.mark.parametrize(("short", "long"), FORMS)
def test_a_number_with_an_extra_digit_has_two_forms(short: str, long: str) -> None:
    assert phone_forms(short) == [short, long]
    assert phone_forms(long) == [long, short]


@pytest.mark.parametrize("number", ONE_FORM)
def test_other_numbers_have_one_form(number: str) -> None:
    assert phone_forms(number) == [number]


@pytest.mark.parametrize(("stored", "asked"), [*FORMS, *((long, short) for short, long in FORMS)])
def test_a_business_is_found_in_both_forms(session: Session, stored: str, asked: str) -> None:
    session.add(WhatsappNumber(business_id=DEFAULT_BUSINESS_ID, phone_number=stored))
    session.commit()
    for written in (stored, asked, f"whatsapp:{asked}", asked[1:], f"00{asked[1:4]} {asked[4:]}"):
        assert session.execute(route_webhook(phone_number=written)).one()[0].phone_number == stored


@pytest.mark.parametrize(("short", "long"), FORMS)
def test_no_other_business_takes_the_other_form(database: URL, session: Session, short: str, long: str) -> None:
    """Nobody gets another one's messages, whichever client writes."""
    add_business(database)
    session.add(WhatsappNumber(business_id=DEFAULT_BUSINESS_ID, phone_number=long))
    session.commit()
    with pytest.raises(IntegrityError, match="uq_whatsapp_numbers_phone_number_active"):
        execute(database, f"INSERT INTO whatsapp_numbers (business_id, phone_number) VALUES ('{OTHER_ID}', '{short}')")


def test_python_and_the_database_know_the_same_forms(database: URL) -> None:
    """Numbers of every length and beginning, so that no index entry is looked for in vain."""
    numbers = [number for pair in FORMS for number in pair] + ONE_FORM
    numbers += [f"+{country}{second}{third}12345678901"[:length] for country in (52, 54, 55, 57) for second in range(10)
                for third in range(10) for length in range(9, 17)]  # fmt: skip
    listed = ", ".join(f"('{number}', '{without_extra_digit(number)}')" for number in numbers)
    differ = f"SELECT count(*) FROM (VALUES {listed}) AS v (number, short) WHERE regexp_replace(number, '{EXTRA_DIGIT}', '') <> short"
    assert scalar(database, differ) == 0


@pytest.mark.parametrize(
    "national",
    ["300 123 4567", "3001234567", "321 456 7890", "(415) 555-0132", "11 98765-4321", "33987654321", "13912345678",
     "8 495 123 45 67", "0300 123 4567", "whatsapp:3001234567", 3001234567],
)  # fmt: skip
def test_a_number_without_its_country_code_is_refused(national: str) -> None:
    with pytest.raises(InvalidValueError, match=r"write \+ and the country code first"):
        normalise_phone_number(national)
    with pytest.raises(InvalidValueError, match=r"write \+ and the country code first"):
        WhatsappNumber(phone_number=national)


@pytest.mark.parametrize("national", ["300 123 4567", "(415) 555-0132", "0300 123 4567"])
def test_nor_is_it_routed(national: str) -> None:
    with pytest.raises(InvalidValueError, match="country code"):
        route_webhook(phone_number=national)


def test_metas_own_numbers_are_taken(session: Session) -> None:
    """As display_phone_number, which is digits alone, and of ranges that no country has given out."""
    session.add(WhatsappNumber(business_id=DEFAULT_BUSINESS_ID, phone_number="+1 555-078-3881"))
    session.commit()
    assert session.execute(route_webhook(phone_number="15550783881")).one()[0].phone_number == "+15550783881"
