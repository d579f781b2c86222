"""What a maintainer does by hand: businesses, numbers, tokens, users and roles, from the command line and from code."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, select
from sqlalchemy.orm import Session

from app.db import SessionLocal, tenant_session
from app.models import DEFAULT_BUSINESS_ID, Business, User, UserBusiness, WhatsappNumber
from app.models.types import InvalidValueError
from app.tenancy import businesses as admin
from tests.managing import PASSWORD, TOKEN, done, refused
from tests.support import DEFAULT_ID, execute, rows, scalar

ARGUMENTS = ("add", "Fade Room", "--phone-number", "+57 300 123 4567", "--phone-number-id", "1001", "--token",
             "--owner", "Ana@Example.com", "--owner-name", "Ana")  # fmt: skip


@pytest.fixture
def shop(database: URL) -> URL:
    """A database with the business that ARGUMENTS add."""
    done(database, *ARGUMENTS, WHATSAPP_ACCESS_TOKEN=TOKEN, USER_PASSWORD=PASSWORD)
    return database


@pytest.fixture
def session(bot_settings: URL) -> Iterator[Session]:
    with SessionLocal() as opened:
        yield opened


def test_a_business_is_added_once_with_number_and_owner(shop: URL) -> None:
    everything = "SELECT b.id, b.name, n.id, n.phone_number, n.access_token, u.id, u.email, u.password_hash, m.role " \
        "FROM businesses b JOIN whatsapp_numbers n ON n.business_id = b.id JOIN user_businesses m ON m.business_id = b.id JOIN users u ON u.id = user_id"  # fmt: skip
    before = rows(shop, everything)
    assert [(row[1], row[3], row[6], row[8]) for row in before] == [
        ("Fade Room", "+573001234567", "ana@example.com", "owner")
    ]
    assert done(shop, *ARGUMENTS, WHATSAPP_ACCESS_TOKEN="another").startswith("Found 'Fade Room', id ")
    assert rows(shop, everything) == before


def test_secrets_come_from_the_environment_or_from_standard_input(database: URL) -> None:
    done(database, *ARGUMENTS, stdin=f"{PASSWORD}\n{TOKEN}\n")
    assert "logs in" in done(database, "login", "ana@example.com", stdin=f"{PASSWORD}\n")
    assert refused(database, "set-token", "--business", "Fade Room") == (
        "Access token is empty: type it, pipe it in, or set WHATSAPP_ACCESS_TOKEN."
    )


def test_an_owner_may_come_with_a_hash(database: URL) -> None:
    hashed = admin.hash_password(PASSWORD)
    done(database, "add", "Shop", "--owner", "a@b.co", "--password-hash", USER_PASSWORD=hashed)
    assert "logs in" in done(database, "login", "a@b.co", USER_PASSWORD=PASSWORD)
    assert "not a password hash" in refused(
        database, "add", "Shop", "--owner", "c@d.co", "--password-hash", USER_PASSWORD=PASSWORD
    )


def test_settings_come_from_a_file_or_a_template(database: URL, tmp_path: Path) -> None:
    done(database, "add", "One", "--barbershop")
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"barbers": ["Luis"], "own": 1}))
    done(database, "add", "Two", "--settings", str(path), "--type", "salon")
    found = dict(rows(database, "SELECT name, settings FROM businesses"))
    assert found["One"] == admin.BARBERSHOP
    assert found["Two"] == {"barbers": ["Luis"], "own": 1}
    path.write_text('{"services": [{"name": "Corte"}]}')
    assert "services.0.price" in refused(database, "add", "Three", "--settings", str(path))
    path.write_text("[1]")
    assert "does not hold a JSON object" in refused(database, "add", "Three", "--settings", str(path))
    assert scalar(database, "SELECT count(*) FROM businesses WHERE name = 'Three'") == 0


def test_all_or_nothing(database: URL) -> None:
    refused(database, "add", "Shop", "--phone-number", "+573001234567", "--owner", "no address", USER_PASSWORD=PASSWORD)
    assert scalar(database, "SELECT count(*) FROM businesses") == 1
    assert scalar(database, "SELECT count(*) FROM whatsapp_numbers") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "Other", "--phone-number", "+573001234567"), "belongs to the business 'Fade Room'"),
        (("add", "Other", "--phone-number-id", "1001"), "belongs to the business 'Fade Room'"),
        (("add", " "), "needs a name"),
        (("add", "Other", "--phone-number", "300"), "is not a number in E.164"),
        (("add", "Other", "--settings", "nowhere.json"), "nowhere.json"),
        (("deactivate", "Nobody's"), "There is no business"),
        (("set-token", "--phone-number", "+573009999999"), "There is no active number +573009999999"),
        (("remove-role", "Fade Room", "nobody@example.com"), "has no role in 'Fade Room'"),
        (("remove-role", "Fade Room", "ana@example.com"), "is the last owner of 'Fade Room'"),
        (("set-password", "nobody@example.com"), "There is no user"),
        (("set-password", "ana@example.com"), ""),
        (("login", "ana@example.com"), "Wrong address or password"),
        (("login", "nobody@example.com"), "Wrong address or password"),
        (("erase-customer", "Fade Room", "57300"), "neither a customer nor messages"),
        (("erase-business", DEFAULT_ID, "--yes"), "default business cannot be erased"),
        (("erase-business", "Fade Room"), "Nothing was erased"),
        (("purge", "--days", "0"), "1 day or more"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_is_one_sentence(shop: URL, arguments: tuple[str, ...], said: str) -> None:
    before = rows(shop, "SELECT b::text FROM businesses b UNION ALL SELECT n::text FROM whatsapp_numbers n ORDER BY 1")
    env = {"WHATSAPP_ACCESS_TOKEN": TOKEN, "USER_PASSWORD": "wrong" if said else "short"}
    if arguments[0] == "set-password" and said:
        env["USER_PASSWORD"] = PASSWORD
    assert (said or "8 characters") in refused(shop, *arguments, **env)
    after = rows(shop, "SELECT b::text FROM businesses b UNION ALL SELECT n::text FROM whatsapp_numbers n ORDER BY 1")
    assert after == before


def test_without_the_schema_it_says_what_to_run(empty: URL) -> None:
    assert refused(empty, "list") == "The database is not at revision 001: run `alembic upgrade head` first."


def test_a_login_that_sees_no_business_is_told_what_it_lacks(shop: URL) -> None:
    login = f"console_{uuid.uuid4().hex[:8]}"
    execute(shop, f"CREATE ROLE {login} LOGIN", f"GRANT CONNECT ON DATABASE {shop.database} TO {login}")
    try:
        assert "GRANT app_service TO this login" in refused(shop.set(username=login), "list")
        execute(shop, f"GRANT app_service TO {login}")
        assert "Fade Room" in done(shop.set(username=login), "list")
    finally:
        execute(shop, f"REVOKE ALL ON DATABASE {shop.database} FROM {login}", f"DROP ROLE {login}")


def test_the_list_shows_numbers_users_and_counts(shop: URL) -> None:
    business = scalar(shop, "SELECT id::text FROM businesses WHERE name = 'Fade Room'")
    execute(
        shop,
        f"INSERT INTO customers (business_id, whatsapp_id, name) VALUES ('{business}', '57', 'x')",
        f"INSERT INTO conversations (business_id, whatsapp_id, message, role) SELECT '{business}', '57', '', '' FROM generate_series(1, 3)",
        "UPDATE users SET is_active = false",
    )
    assert "owner   ana@example.com, not active\n  1 customers, 3 messages" in done(shop, "list")
    found = {entry["name"]: entry for entry in json.loads(done(shop, "list", "--json"))}
    assert found["Fade Room"] == {
        "id": business,
        "name": "Fade Room",
        "business_type": "barberia",
        "is_active": True,
        "numbers": [{"phone_number": "+573001234567", "phone_number_id": "1001", "is_active": True}],
        "users": [{"email": "ana@example.com", "role": "owner", "is_active": False}],
        "customers": 1,
        "messages": 3,
    }
    assert found["Default business"]["messages"] == 0


def test_deactivate_and_activate(shop: URL) -> None:
    active = "SELECT is_active FROM businesses WHERE name = 'Fade Room'"
    done(shop, "deactivate", "Fade Room")
    assert not scalar(shop, active)
    done(shop, "activate", scalar(shop, "SELECT id::text FROM businesses WHERE name = 'Fade Room'"))
    assert scalar(shop, active)


def test_a_token_of_a_number_or_of_all_of_a_business(session: Session) -> None:
    business = admin.add_business(session, "Shop", phone_number="+573001234567", access_token="a").business
    session.add_all(
        [
            WhatsappNumber(business_id=business.id, phone_number="+573001234568", access_token="b"),
            WhatsappNumber(business_id=business.id, phone_number="+573001234569", access_token="c", is_active=False),
            WhatsappNumber(business_id=DEFAULT_BUSINESS_ID, phone_number="+573001234570", access_token="d"),
        ]
    )
    session.flush()
    tokens = select(WhatsappNumber.access_token).order_by(WhatsappNumber.phone_number)
    assert admin.set_access_token(session, TOKEN, business="Shop") == ["+573001234567", "+573001234568"]
    assert session.scalars(tokens).all() == [TOKEN, TOKEN, "c", "d"]
    assert admin.set_access_token(session, "e", phone_number="57300 1234568") == ["+573001234568"]
    assert session.scalars(tokens).all() == [TOKEN, "e", "c", "d"]
    with pytest.raises(admin.AdministrationError, match="either a phone number or a business"):
        admin.set_access_token(session, "e")


def test_roles_invitations_and_logins(session: Session) -> None:
    business = admin.add_business(
        session, "Shop", owner_email="o@x.co", owner_password_hash=admin.hash_password(PASSWORD)
    ).business
    assert admin.invite(session, business.id, "New@x.co", "staff", full_name="New").role == "staff"
    assert admin.verify_login(session, "new@x.co", "") is None
    admin.set_password(session, "new@X.co", "another password")
    user = admin.verify_login(session, "NEW@x.co", "another password")
    assert user is not None
    assert admin.businesses_of(session, "new@x.co") == [{"id": str(business.id), "name": "Shop", "role": "staff"}]
    assert admin.role_of(session, user.id, business.id) == "staff"
    assert admin.role_of(session, user.id, DEFAULT_BUSINESS_ID) is None
    admin.set_role(session, "Shop", "new@x.co", "owner")
    admin.remove_role(session, "Shop", "o@x.co")
    assert admin.businesses_of(session, "o@x.co") == []
    with pytest.raises(admin.AdministrationError, match="'boss' is no role: the roles are owner"):
        admin.set_role(session, "Shop", "new@x.co", "boss")
    with pytest.raises(admin.AdministrationError, match=r"no user third@x\.co yet"):
        admin.set_role(session, "Shop", "third@x.co", "staff")
    admin.set_active(session, business.id, False)
    assert admin.role_of(session, user.id, business.id) is None
    user.is_active = False
    session.flush()
    assert admin.verify_login(session, "new@x.co", "another password") is None


def test_a_login_renews_an_outdated_hash_and_refuses_another_scheme(session: Session) -> None:
    from argon2 import PasswordHasher

    weak = PasswordHasher(time_cost=1, memory_cost=1024).hash(PASSWORD)
    session.add_all(
        [User(email="a@x.co", password_hash=weak), User(email="b@x.co", password_hash="$2b$12$" + "x" * 53)]
    )
    session.flush()
    user = admin.verify_login(session, "a@x.co", PASSWORD)
    assert user is not None
    assert user.password_hash != weak
    assert admin.verify_login(session, "a@x.co", PASSWORD) is user
    with pytest.raises(admin.AdministrationError, match=r"b@x\.co is not hashed with argon2"):
        admin.verify_login(session, "b@x.co", PASSWORD)


def test_a_tenant_session_is_refused_by_every_function_with_the_way_out(bot_settings: URL) -> None:
    calls: list[Any] = [
        lambda s: admin.add_business(s, "x"),
        admin.list_businesses,
        lambda s: admin.invite(s, DEFAULT_BUSINESS_ID, "a@b.co", "staff"),
        lambda s: admin.verify_login(s, "a@b.co", "x"),
        lambda s: admin.set_password(s, "a@b.co", "x"),
    ]
    for call in calls:
        with tenant_session(DEFAULT_BUSINESS_ID) as session, pytest.raises(ValueError, match="member of app_service"):
            call(session)


def test_several_businesses_of_one_name_are_told_apart_by_id(session: Session) -> None:
    session.add_all([Business(name="Twin"), Business(name="Twin")])
    session.flush()
    for call in (lambda: admin.find_business(session, "Twin"), lambda: admin.add_business(session, "Twin")):
        with pytest.raises(admin.AdministrationError, match="Several businesses are named 'Twin'"):
            call()
    with pytest.raises(InvalidValueError):
        admin.add_business(session, "x", phone_number="1")
    assert session.scalars(select(UserBusiness)).all() == []
