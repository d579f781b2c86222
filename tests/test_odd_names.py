"""Names as people have them: with emoji under any setting, and alike to ids."""

import pytest
from sqlalchemy import URL
from sqlalchemy.orm import Session

from app.db import tenant_session
from app.models import DEFAULT_BUSINESS_ID
from app.tenancy.customers import find_or_create_customer
from app.tenancy.messages import Sender
from tests.support import environment, execute, plain, scalar

EMOJI = "Zoë 💈"


@pytest.mark.parametrize("setting", ["database", "environment"])
def test_an_emoji_under_another_encoding_of_the_client(
    database: URL, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if setting == "database":
        execute(database, f"ALTER DATABASE {database.database} SET client_encoding TO 'LATIN1'")
    else:
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with environment(DATABASE_URL=plain(database)), tenant_session(DEFAULT_BUSINESS_ID) as session:
        customer = find_or_create_customer(session, DEFAULT_BUSINESS_ID, Sender(phone="57300000001", name=EMOJI))
        session.commit()
        assert customer.name == EMOJI
    assert scalar(database, "SELECT length(name) FROM customers") == len(EMOJI)


@pytest.mark.parametrize("name", ["Ma.Fernanda", "Jo.1", "DJ.Nicolas"])
def test_a_name_that_looks_like_a_user_id_is_kept(session: Session, name: str) -> None:
    sender = Sender(phone="57300000001", user_id="CO.1234", name=name)
    find_or_create_customer(session, DEFAULT_BUSINESS_ID, sender)
    again = Sender(phone="57300000001", user_id="CO.1234", name="Somebody")
    assert find_or_create_customer(session, DEFAULT_BUSINESS_ID, again).name == name
