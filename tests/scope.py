"""Whose a transaction is, as the server says, and a customer to write in it."""

import uuid
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.models import Customer
from tests.support import DEFAULT_ID, OTHER_ID

A, B = UUID(DEFAULT_ID), UUID(OTHER_ID)


WHO = text("SELECT current_user, current_setting('app.business_id', true)")

CONFINED = ("app_tenant", DEFAULT_ID)


def customer(name: str = "Ana", **more: Any) -> Customer:
    return Customer(whatsapp_id=f"57{uuid.uuid4().int % 10**10}", name=name, **more)
