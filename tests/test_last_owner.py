"""A business keeps an owner, whoever changes roles, by whichever function, and at the same time."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import URL
from sqlalchemy.orm import Session

from app.db import SessionLocal, session_scope
from app.models import Business
from app.tenancy import businesses as admin
from app.tenancy.businesses import AdministrationError
from tests.managing import HASH
from tests.support import execute, rows, wait_until

OWNERS = "SELECT email FROM user_businesses JOIN users ON users.id = user_id WHERE role = 'owner' ORDER BY 1"
Change = Callable[[Session, str], object]
CHANGES: dict[str, Change] = {
    "set_role": lambda session, email: admin.set_role(session, "Shop", email, "staff"),
    "invite": lambda session, email: admin.invite(session, "Shop", email, "admin"),
    "remove_role": lambda session, email: admin.remove_role(session, "Shop", email),
}


@pytest.fixture
def shop(bot_settings: URL) -> URL:
    """A business with one owner, ana."""
    with session_scope() as session:
        admin.add_business(session, "Shop", owner_email="ana@x.co", owner_password_hash=HASH)
    return bot_settings


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_last_owner_stays_one(shop: URL, change: Change) -> None:
    with SessionLocal() as session, pytest.raises(AdministrationError, match=r"is the last owner of .Shop."):
        change(session, "ANA@x.co")
    with session_scope() as session:
        admin.set_role(session, "Shop", "ana@x.co", "owner")  # which she is
        admin.set_role(session, "Shop", "luis@x.co", "owner", password_hash=HASH)
    with session_scope() as session:
        change(session, "ana@x.co")
    assert rows(shop, OWNERS) == [("luis@x.co",)]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_of_two_owners_who_go_at_the_same_time_one_stays(shop: URL, change: Change) -> None:
    with session_scope() as session:
        admin.set_role(session, "Shop", "luis@x.co", "owner", password_hash=HASH)

    def go(email: str) -> None:
        with session_scope() as session:
            session.get_one(Business, admin.find_business(session, "Shop").id)
            change(session, email)

    with ThreadPoolExecutor(1) as pool, SessionLocal() as session:
        change(session, "ana@x.co")
        other = pool.submit(go, "luis@x.co")
        wait_until(
            shop,
            "(SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')",
        )
        session.commit()
        with pytest.raises(AdministrationError, match=r"luis@x\.co is the last owner"):
            other.result(30)
    assert rows(shop, OWNERS) == [("luis@x.co",)]


def test_a_business_without_an_owner_takes_any_role(shop: URL) -> None:
    execute(shop, "UPDATE user_businesses SET role = 'admin'")
    with session_scope() as session:
        admin.set_role(session, "Shop", "ana@x.co", "staff")
    assert rows(shop, "SELECT role FROM user_businesses") == [("staff",)]
