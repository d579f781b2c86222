"""What every message runs reads as much of a customer with 500,000 messages as of one with a few."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import URL, event
from sqlalchemy.orm import Session

from app.db import get_engine, tenant_session
from app.models import Customer
from app.tenancy import customers
from app.tenancy.messages import Sender
from app.tenancy.queries import last_messages, record_answer, record_message
from tests.conftest import MakeDatabase
from tests.support import environment, execute, plain, rows

BUSY, QUIET = "573000000001", "573000000002"
SHOPS = 20


@pytest.fixture(scope="module")
def crowded(make_lasting_database: MakeDatabase, migrated_template: URL) -> URL:
    """20 businesses with 1,000 customers each; one of them wrote 500,000 messages a year ago, all have one since."""
    url = make_lasting_database(migrated_template)
    execute(
        url,
        f"INSERT INTO businesses (name) SELECT 'B' || g FROM generate_series(1, {SHOPS - 1}) g",
        "INSERT INTO customers (business_id, whatsapp_id, whatsapp_user_id, name) "
        "SELECT id, 573000000000 + g, 'CO.' || g, 'n' FROM businesses, generate_series(1, 1000) g",
        "INSERT INTO conversations (business_id, whatsapp_id, message, role, timestamp) "
        f"SELECT id, '{BUSY}', 'hola', 'user', now() - interval '1 year' - g * interval '1 sec' "
        "FROM (SELECT id FROM businesses ORDER BY id LIMIT 1) AS b, generate_series(1, 500000) g",
        "INSERT INTO conversations (business_id, whatsapp_id, message, role, timestamp) "
        "SELECT business_id, whatsapp_id, 'hola', 'user', now() - g * interval '1 min' "
        "FROM customers, generate_series(1, 1) g",
        "VACUUM ANALYZE",
    )
    return url


def by(*ids: str) -> Callable[[Session, uuid.UUID, str], object]:
    """The customer, by these of the ids."""

    def find(session: Session, business: uuid.UUID, phone: str) -> object:
        known = {"phone": phone, "user_id": f"CO.{int(phone) - 573000000000}"}
        return customers.find_or_create_customer(session, business, Sender(**{key: known[key] for key in ids}))

    return find


def candidates(session: Session, business: uuid.UUID, phone: str) -> object:
    sender = Sender(phone=phone, user_id=f"CO.{int(phone) - 573000000000}")
    return session.scalars(customers._candidates(business, sender, None)).all()


def history(session: Session, business: uuid.UUID, phone: str) -> object:
    return session.scalars(last_messages(business, phone)).all()


def record(session: Session, business: uuid.UUID, phone: str) -> object:
    values: dict[str, Any] = {"business_id": business, "whatsapp_id": phone, "message": "x", "role": "user"}
    message, _ = record_message(session, **values, whatsapp_message_id=f"wamid.{uuid.uuid4()}")
    return record_answer(session, message, "y")


HOT = {
    "phone": (by("phone"), "uq_customers_business_id_whatsapp_id"),
    "user id": (by("user_id"), "uq_customers_business_id_whatsapp_user_id"),
    "both": (by("phone", "user_id"), "uq_customers_business_id_whatsapp_(user_)?id"),
    "any": (candidates, "uq_customers_business_id_whatsapp_id"),
    "history": (history, "ix_conversations_business_id_whatsapp_id_timestamp"),
    "record": (record, "conversations_pkey"),
}


def pages(url: URL, work: Callable[[Session, uuid.UUID, str], object], phone: str) -> tuple[int, str]:
    """The pages that the statements of the work touch, run as app_tenant, and their plans."""
    ((business,),) = rows(url, "SELECT id FROM businesses ORDER BY id LIMIT 1")
    sent: list[tuple[str, Any]] = []
    with environment(DATABASE_URL=plain(url)), tenant_session(business) as session:
        session.get(Customer, 0)  # confined before anything is counted
        event.listen(get_engine(), "before_cursor_execute", lambda *args: sent.append((args[2], args[3])))
        work(session, business, phone)
        touched, plans = 0, ""
        connection = session.connection()
        for sql, parameters in list(sent):
            ((plan,),) = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", parameters)
            touched += plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]
            plans += json.dumps(plan)
        session.rollback()
    return touched, plans


@pytest.mark.parametrize("name", HOT)
def test_a_hot_statement_is_flat(crowded: URL, name: str) -> None:
    work, index = HOT[name]
    quiet, _ = pages(crowded, work, QUIET)
    busy, plans = pages(crowded, work, BUSY)
    assert busy <= quiet + 8
    assert busy < 60
    assert "Seq Scan" not in plans
    assert '"Sort"' not in plans or name == "any"
    assert any(f'"{word}"' in plans for word in expand(index)), plans


def expand(index: str) -> list[str]:
    return [index.replace("(user_)?", part) for part in ("", "user_")]
