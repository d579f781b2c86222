"""Adding a business again drops nothing that was given without a word, and changes nothing that is there."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import URL
from sqlalchemy.orm import Session

from app.db import SessionLocal
from app.tenancy import businesses as admin
from tests.managing import TOKEN, refused
from tests.support import rows, scalar

PHONE = "+573001234567"


@pytest.fixture
def session(bot_settings: URL) -> Iterator[Session]:
    with SessionLocal() as opened:
        yield opened


@pytest.mark.parametrize("given", [("--phone-number-id", "1001"), ("--token",), ("--phone-number-id", "1", "--token")])
def test_what_belongs_to_a_number_needs_one(database: URL, given: tuple[str, ...]) -> None:
    said = refused(database, "add", "Shop", *given, WHATSAPP_ACCESS_TOKEN=TOKEN)
    assert said.startswith("There is no number yet that the phone_number_id or the access token could belong to")
    assert scalar(database, "SELECT count(*) FROM businesses") == 1


def add(session: Session, **given: Any) -> admin.AddedBusiness:
    return admin.add_business(session, "Shop", **given)


def test_a_number_gets_what_it_lacks(session: Session, bot_settings: URL) -> None:
    add(session, phone_number=PHONE)
    add(session, phone_number=PHONE, phone_number_id="1001")
    number = add(session, phone_number_id="1001", access_token="EAAG").number
    assert number is not None
    session.commit()
    assert (number.phone_number, number.phone_number_id, number.access_token) == (PHONE, "1001", "EAAG")
    again = add(session, phone_number=PHONE, phone_number_id="1001", access_token="another").number
    session.commit()
    assert again is number
    session.expire_all()
    assert number.access_token == "EAAG"
    assert rows(bot_settings, "SELECT count(*) FROM whatsapp_numbers") == [(1,)]


def test_a_number_is_found_in_its_other_form(session: Session) -> None:
    added = add(session, phone_number="+5215512345678")
    assert add(session, phone_number="+525512345678", phone_number_id="7").number is added.number


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"phone_number": PHONE, "phone_number_id": "2"}, "has the phone_number_id 1, and not 2"),
        (
            {"phone_number": "+573009999999", "phone_number_id": "1"},
            r"is that of the number \+573001234567, and not of",
        ),
    ],
)
def test_what_contradicts_a_number_is_refused(session: Session, given: dict[str, str], said: str) -> None:
    add(session, phone_number=PHONE, phone_number_id="1")
    with pytest.raises(admin.AdministrationError, match=said):
        add(session, **given)
