"""What an administrator or a console does with businesses and users: add, list, switch off, give roles, log in.

Every function takes a session that sees every business (`app.db.SessionLocal`), as the owner of the tables or as a
member of `app_service`, and leaves the commit to its caller. A tenant session cannot run them: a user belongs to no
business, so `app_tenant` may neither create users nor give them roles.
"""

import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, func, select, type_coerce, update
from sqlalchemy.orm import Session, defer, undefer
from sqlalchemy.orm.interfaces import ORMOption

from app.models import Business, Conversation, Customer, User, UserBusiness, WhatsappNumber
from app.models.base import TENANT_SCOPE
from app.models.types import normalise_email, normalise_phone_number, phone_forms
from app.models.user_business import ROLES as ROLES
from app.models.user_business import Role as Role

WORKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday")
BARBERSHOP: dict[str, Any] = {
    "services": [
        {"name": "Corte", "price": 30000, "duration_minutes": 30},
        {"name": "Barba", "price": 20000, "duration_minutes": 20},
    ],
    "hours": {
        **{day: {"open": "09:00", "close": "19:00"} for day in WORKDAYS},
        "saturday": {"open": "09:00", "close": "17:00"},
        "sunday": {"closed": True},
    },
    "barbers": [],
    "ai_personality": "friendly and brief",
}
"""Settings for a new barbershop to start from; prices are in the business's own currency."""

UNREAD_SETTINGS = defer(Business.settings)
"""Leaves the settings unread until they are asked for: a tenant writes them, and could write what Python does not read."""


class AdministrationError(ValueError):
    """The request cannot be carried out; the message is one sentence, without secrets."""


@dataclass(frozen=True)
class AddedBusiness:
    """What `add_business` found or made."""

    business: Business
    number: WhatsappNumber | None
    owner: User | None
    is_new: bool
    """False where the business was there already."""


def add_business(
    session: Session,
    name: str,
    *,
    business_type: str | None = None,
    settings: Mapping[str, Any] | None = None,
    phone_number: str | None = None,
    phone_number_id: str | None = None,
    access_token: str | None = None,
    owner_email: str | None = None,
    owner_name: str | None = None,
    owner_password_hash: str | None = None,
) -> AddedBusiness:
    """Add a business with its number and owner; the same call again finds them and adds nothing twice.

    An existing business is found by its number where one is given, otherwise by its name. What it has is left as it
    is; only a number or an owner that is missing is added, and of a number its Meta id or its token. An existing user
    keeps their password.

    Raises:
        AdministrationError: the number belongs to another business, or has another of Meta's ids; Meta's id or a token
            comes without a number to give it to; several businesses have the name; or a new owner comes without a
            password hash.
        app.models.types.InvalidValueError: a value that its column refuses.
    """
    needs_all_businesses(session)
    name = name.strip()
    if not name:
        raise AdministrationError("A business needs a name.")
    phone = None if phone_number is None else normalise_phone_number(phone_number)
    number = _number(session, phone, phone_number_id)
    if number is not None:
        business: Business | None = number.business
        if number.business.name != name:
            raise AdministrationError(
                f"The number {number.phone_number} belongs to the business {number.business.name!r} "
                f"({number.business_id}): name that business, or another number."
            )
    else:
        found = session.scalars(select(Business).where(Business.name == name).limit(2)).all()
        if len(found) > 1:
            raise AdministrationError(f"Several businesses are named {name!r}: give the new one another name.")
        business = found[0] if found else None
    if number is None and phone is None and (phone_number_id is not None or access_token is not None):
        raise AdministrationError(
            "There is no number yet that the phone_number_id or the access token could belong to: give the phone number, too."
        )
    is_new = business is None
    if business is None:
        kind = {} if business_type is None else {"business_type": business_type}
        business = Business(name=name, settings=dict(settings or {}), **kind)
        session.add(business)
        session.flush()
    if number is None and phone is not None:
        number = WhatsappNumber(
            business_id=business.id, phone_number=phone, phone_number_id=phone_number_id, access_token=access_token
        )
        session.add(number)
    elif number is not None:
        _complete(session, number, phone, phone_number_id, access_token)
    owner = None
    if owner_email is not None:
        owner = set_role(
            session, business.id, owner_email, "owner", full_name=owner_name, password_hash=owner_password_hash
        ).user
    session.flush()
    return AddedBusiness(business, number, owner, is_new)


def list_businesses(session: Session) -> list[dict[str, Any]]:
    """Every business, oldest first, with its numbers, its users and how many customers and messages it has.

    Counting reads an index of each table: about a second per ten million messages.
    """
    needs_all_businesses(session)
    customers = _counts(session, Customer)
    messages = _counts(session, Conversation)
    numbers: dict[uuid.UUID, list[dict[str, Any]]] = {}
    for n in session.execute(
        select(
            WhatsappNumber.business_id,
            WhatsappNumber.phone_number,
            WhatsappNumber.phone_number_id,
            WhatsappNumber.is_active,
        ).order_by(WhatsappNumber.created_at, WhatsappNumber.phone_number)
    ):
        shown = {"phone_number": n.phone_number, "phone_number_id": n.phone_number_id, "is_active": n.is_active}
        numbers.setdefault(n.business_id, []).append(shown)
    users: dict[uuid.UUID, list[dict[str, Any]]] = {}
    for business_id, role, email, is_active in session.execute(
        select(UserBusiness.business_id, UserBusiness.role, User.email, User.is_active)
        .join(UserBusiness.user)
        .order_by(User.email)
    ):
        users.setdefault(business_id, []).append({"email": email, "role": role, "is_active": is_active})
    return [
        {
            "id": str(business.id),
            "name": business.name,
            "business_type": business.business_type,
            "is_active": business.is_active,
            "numbers": numbers.get(business.id, []),
            "users": users.get(business.id, []),
            "customers": customers.get(business.id, 0),
            "messages": messages.get(business.id, 0),
        }
        for business in session.scalars(
            select(Business).options(UNREAD_SETTINGS).order_by(Business.created_at, Business.id)
        )
    ]


def find_business(session: Session, name_or_id: str | uuid.UUID, *options: ORMOption) -> Business:
    """The business with that id, or else with that name.

    Args:
        options: how to load it, such as `UNREAD_SETTINGS`.

    Raises:
        AdministrationError: there is none, or several have the name.
    """
    needs_all_businesses(session)
    try:
        business = session.get(Business, uuid.UUID(str(name_or_id)), options=options)
        found = [] if business is None else [business]
    except ValueError:
        named = select(Business).where(Business.name == str(name_or_id).strip()).limit(2)
        found = list(session.scalars(named.options(*options)))
    if not found:
        raise AdministrationError(
            f"There is no business {str(name_or_id)!r}: `python -m app.tenancy.manage list` shows all."
        )
    if len(found) > 1:
        raise AdministrationError(f"Several businesses are named {str(name_or_id)!r}: name the one by its id.")
    return found[0]


def set_active(session: Session, business: str | uuid.UUID, is_active: bool) -> Business:
    """Serve the messages of a business again, or stop it: `route_webhook` finds active businesses only."""
    row = find_business(session, business, UNREAD_SETTINGS)
    session.execute(update(Business).where(Business.id == row.id).values(is_active=is_active))
    session.refresh(row, ["is_active", "updated_at"])  # a flush would read the settings again
    return row


def set_access_token(
    session: Session, access_token: str, *, phone_number: str | None = None, business: str | uuid.UUID | None = None
) -> list[str]:
    """Give one number, or every active number of a business, a new access token; returns the numbers.

    Meta grants a token per WhatsApp Business Account, so that all numbers of a business usually share one.

    Raises:
        AdministrationError: neither or both are named, or there is no such number.
        app.models.types.TokenError: ACCESS_TOKEN_KEYS is not set.
    """
    needs_all_businesses(session)
    if (phone_number is None) == (business is None):
        raise AdministrationError("Name either a phone number or a business.")
    # The old tokens are not read, so that one whose key is lost can be replaced.
    number = update(WhatsappNumber).values(access_token=access_token).where(WhatsappNumber.is_active)
    if phone_number is not None:
        number = number.where(WhatsappNumber.phone_number == normalise_phone_number(phone_number))
    elif business is not None:
        number = number.where(WhatsappNumber.business_id == find_business(session, business, UNREAD_SETTINGS).id)
    changed = session.scalars(
        number.returning(WhatsappNumber.phone_number).execution_options(synchronize_session=False)
    ).all()
    if not changed:
        raise AdministrationError(f"There is no active number {phone_number or f'of the business {business}'}.")
    return sorted(changed)


def set_role(
    session: Session,
    business: str | uuid.UUID,
    email: str,
    role: str,
    *,
    full_name: str | None = None,
    password_hash: str | None = None,
) -> UserBusiness:
    """Give a user a role in a business; a user who is new is created with the password hash.

    Raises:
        AdministrationError: the role is not known, the user is the last owner and would be none any more, or the user is
            new and no hash is given (see `invite`).
    """
    needs_all_businesses(session)
    if role not in ROLES:
        raise AdministrationError(f"{role!r} is no role: the roles are {', '.join(ROLES)}.")
    row = find_business(session, business, UNREAD_SETTINGS)
    user = find_user(session, email)
    if user is None:
        if password_hash is None:
            raise AdministrationError(f"There is no user {email} yet: give a password, or invite the user.")
        user = User(email=email, full_name=full_name, password_hash=password_hash)
        session.add(user)
        session.flush()
    members = _members(session, row)
    member = members.get(user.id)
    if member is None:
        member = UserBusiness(user_id=user.id, business_id=row.id, role=role)
        session.add(member)
    elif role != "owner":
        _keep_an_owner(members, member, email, row)
    member.role = role
    session.flush()
    return member


def _members(session: Session, business: Business) -> dict[uuid.UUID, UserBusiness]:
    """Who has a role in the business, by user; locked, so that two changes at once leave an owner."""
    rows = select(UserBusiness).where(UserBusiness.business_id == business.id).order_by(UserBusiness.user_id)
    locked = rows.with_for_update().execution_options(populate_existing=True)
    return {member.user_id: member for member in session.scalars(locked)}


def _keep_an_owner(
    members: Mapping[uuid.UUID, UserBusiness], member: UserBusiness, email: str, business: Business
) -> None:
    if [m for m in members.values() if m.role == "owner"] == [member]:
        raise AdministrationError(f"{email} is the last owner of {business.name!r}: give another user that role first.")


def invite(
    session: Session, business: str | uuid.UUID, email: str, role: str, *, full_name: str | None = None
) -> UserBusiness:
    """Give a user a role; a new user gets a password that nobody knows, until `set_password` sets one.

    Send the link with which the user sets a password yourself, after the commit.
    """
    return set_role(
        session, business, email, role, full_name=full_name, password_hash=hash_password(secrets.token_urlsafe(32))
    )


def remove_role(session: Session, business: str | uuid.UUID, email: str) -> None:
    """Take a user's role in a business away; the user stays.

    Raises:
        AdministrationError: the user has no role there, or is the last owner.
    """
    row = find_business(session, business, UNREAD_SETTINGS)
    user, members = find_user(session, email), _members(session, row)
    member = None if user is None else members.get(user.id)
    if member is None:
        raise AdministrationError(f"{email} has no role in {row.name!r}.")
    _keep_an_owner(members, member, email, row)
    session.delete(member)
    session.flush()


def find_user(session: Session, email: str) -> User | None:
    """The user with that address, upper or lower case."""
    return session.scalars(select(User).where(func.lower(User.email) == normalise_email(email))).one_or_none()


def businesses_of(session: Session, email: str) -> list[dict[str, Any]]:
    """The active businesses of a user and their role in each, by name: what a console offers after a login."""
    found = session.execute(
        select(Business.id, Business.name, UserBusiness.role)
        .join(UserBusiness.business)
        .join(UserBusiness.user)
        .where(func.lower(User.email) == normalise_email(email), User.is_active, Business.is_active)
        .order_by(Business.name, Business.id)
    )
    return [{"id": str(row.id), "name": row.name, "role": row.role} for row in found]


def role_of(session: Session, user_id: uuid.UUID | str, business_id: uuid.UUID | str) -> str | None:
    """The role of an active user in an active business, or None: ask it before a request opens `tenant_session`."""
    return session.scalar(
        select(UserBusiness.role)
        .join(UserBusiness.user)
        .join(UserBusiness.business)
        .where(
            UserBusiness.user_id == user_id, UserBusiness.business_id == business_id, User.is_active, Business.is_active
        )
    )


def hash_password(password: str) -> str:
    """An argon2id hash with the parameters of RFC 9106 that argon2-cffi recommends.

    Raises:
        AdministrationError: the password is empty or shorter than 8 characters (NIST SP 800-63B).
    """
    if len(password) < 8:
        raise AdministrationError("A password needs 8 characters or more.")
    from argon2 import PasswordHasher

    return PasswordHasher().hash(password)


def set_password(session: Session, email: str, password: str) -> User:
    """Give an existing user another password.

    Raises:
        AdministrationError: there is no such user, or the password is too short.
    """
    needs_all_businesses(session)
    user = find_user(session, email)
    if user is None:
        raise AdministrationError(f"There is no user {email}.")
    user.password_hash = hash_password(password)
    session.flush()
    return user


def verify_login(session: Session, email: str, password: str) -> User | None:
    """The active user whose password it is, or None; an unknown address takes as long as a wrong password.

    A hash with outdated argon2 parameters is replaced; the caller commits.

    Raises:
        AdministrationError: the stored hash is not an argon2 one: verify it with the library that made it.
    """
    needs_all_businesses(session)
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    hasher = PasswordHasher()
    user = session.scalars(
        select(User).where(func.lower(User.email) == normalise_email(email)).options(undefer(User.password_hash))
    ).one_or_none()
    stored = user.password_hash if user is not None else _UNKNOWN_USER
    try:
        hasher.verify(stored, password)
    except InvalidHashError:
        raise AdministrationError(
            f"The password of {email} is not hashed with argon2: verify it with the library that made the hash."
        ) from None
    except VerificationError:
        return None
    if user is None or not user.is_active:
        return None
    if hasher.check_needs_rehash(stored):
        user.password_hash = hasher.hash(password)
        session.flush()
    return user


_UNKNOWN_USER = "$argon2id$v=19$m=65536,t=3,p=4$" + "A" * 22 + "$" + "A" * 43
"""A well-formed hash that no password has."""


def _number(session: Session, phone: str | None, phone_number_id: str | None) -> WhatsappNumber | None:
    """The number with Meta's id, else the active one with that phone number in either form."""
    for condition in (
        None if phone_number_id is None else WhatsappNumber.phone_number_id == phone_number_id,
        None if phone is None else WhatsappNumber.phone_number.in_(phone_forms(phone)) & WhatsappNumber.is_active,
    ):
        # Without the token, so that one whose key is lost stands in nobody's way.
        number = select(WhatsappNumber).options(defer(WhatsappNumber.access_token))
        if condition is not None and (found := session.scalars(number.where(condition)).one_or_none()):
            return found
    return None


def _complete(
    session: Session, number: WhatsappNumber, phone: str | None, phone_number_id: str | None, access_token: str | None
) -> None:
    """Give a number that is there what it lacks.

    Raises:
        AdministrationError: it has another phone, or another of Meta's ids.
    """
    if phone is not None and number.phone_number not in phone_forms(phone):
        raise AdministrationError(
            f"The phone_number_id {phone_number_id} is that of the number {number.phone_number}, and not of {phone}: "
            "give the number that it belongs to."
        )
    if phone_number_id is not None and number.phone_number_id not in (None, phone_number_id):
        raise AdministrationError(
            f"The number {number.phone_number} has the phone_number_id {number.phone_number_id}, and not {phone_number_id}: "
            "give the id that it has."
        )
    if phone_number_id is not None:
        number.phone_number_id = phone_number_id
    if access_token is not None:
        stored = select(type_coerce(WhatsappNumber.access_token, Text)).where(WhatsappNumber.id == number.id)
        if session.scalar(stored) is None:
            number.access_token = access_token


def _counts(session: Session, model: Any) -> dict[uuid.UUID, int]:
    rows = session.execute(select(model.business_id, func.count().label("rows")).group_by(model.business_id))
    return {row.business_id: row.rows for row in rows}


def needs_all_businesses(session: Session) -> None:
    """Refuse a tenant session, which sees one business only.

    Raises:
        AdministrationError: it is one.
    """
    if session.info.get(TENANT_SCOPE) is not None:
        raise AdministrationError(
            "A tenant session sees one business only: use a session of app.db.SessionLocal, as a login that is a "
            "member of app_service."
        )
