"""Customers without a phone, and messages filed under user ids, come through a rollback and the next upgrade."""

import uuid

import pytest
from sqlalchemy import URL

from app.db import tenant_session
from app.tenancy.customers import find_or_create_customer
from app.tenancy.messages import Sender
from app.tenancy.queries import record_message
from tests.deliveries import PHONE, USER_ID
from tests.support import DEFAULT_ID, OTHER_ID, add_business, migrate, rows

LONG = "BR." + "a1" * 64
CUSTOMERS = (
    "SELECT business_id, whatsapp_id, whatsapp_user_id, username, name FROM customers ORDER BY business_id, whatsapp_id"
)
MESSAGES = "SELECT business_id, whatsapp_id, message FROM conversations ORDER BY business_id, whatsapp_id"


@pytest.mark.parametrize("business", [DEFAULT_ID, OTHER_ID])
def test_customers_without_a_phone_survive_a_rollback(bot_settings: URL, business: str) -> None:
    add_business(bot_settings)
    senders = (
        Sender(phone=PHONE, user_id=USER_ID, name="Sheena", username="sheena"),
        Sender(user_id="US.2", username="ana"),
        Sender(user_id=LONG, name="Long"),
    )
    with tenant_session(business) as session:
        for sender in senders:
            customer = find_or_create_customer(session, uuid.UUID(business), sender)
            record_message(
                session, business_id=uuid.UUID(business), whatsapp_id=customer.whatsapp_id, message="hola", role="user"
            )
        session.commit()
    before = rows(bot_settings, CUSTOMERS), rows(bot_settings, MESSAGES)
    migrate(bot_settings, "downgrade", "-1")
    migrate(bot_settings)
    assert (rows(bot_settings, CUSTOMERS), rows(bot_settings, MESSAGES)) == before
    with tenant_session(business) as session:
        known = [find_or_create_customer(session, uuid.UUID(business), sender) for sender in senders]
        assert [customer.whatsapp_id for customer in known] == [PHONE, "US.2", LONG]
    assert rows(bot_settings, CUSTOMERS) == before[0]
