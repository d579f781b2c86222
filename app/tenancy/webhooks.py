"""Meta's webhooks, read into the plain values of `app.tenancy.messages`: pure functions, which need no database.

The shapes are those of Meta's "messages webhook reference" and of "Business-scoped user IDs". What a webhook leaves
out, or holds in another shape, costs that piece and nothing else.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from typing import Any

from app.models.types import is_user_id, phone_forms
from app.tenancy.messages import Delivery as Delivery
from app.tenancy.messages import Inbound as Inbound
from app.tenancy.messages import Sender as Sender
from app.tenancy.messages import Status as Status

ANSWERED = frozenset(
    ("text", "image", "audio", "video", "document", "sticker", "location", "contacts", "button", "interactive", "order")
)
"""The kinds of message that a customer sends to be answered; reactions, system and unsupported messages are not."""

CHANGED_NUMBER = ("user_changed_number", "customer_changed_number")
CHANGED_USER_ID = "user_changed_user_id"


def is_from_meta(body: bytes, signature: str | None, app_secret: str | None) -> bool:
    """Whether the header X-Hub-Signature-256 signs these bytes, the body as it came, with the app's secret.

    Without a secret nothing is from Meta, for anybody can sign with an empty one.
    """
    if not app_secret:
        return False
    expected = "sha256=" + hmac.new(app_secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), (signature or "").encode())


def address(sender: Sender) -> dict[str, str]:
    """What Meta's API takes for whom a message is to: `to` a phone, else `recipient`, a user id."""
    return {"to": sender.phone} if sender.phone else {"recipient": str(sender.user_id)}


def read_delivery(payload: object) -> Delivery:
    """Everything in a webhook of the field `messages`, in its order, entries and changes alike. Raises nothing."""
    delivery = Delivery()
    for value in _values(payload):
        number = _text(_dict(value, "metadata"), "phone_number_id")
        contacts = _dicts(value, "contacts")
        delivery.errors.extend(_dicts(value, "errors"))
        for status in _dicts(value, "statuses"):
            delivery.statuses.append(_status(number, status, contacts))
        for message in _dicts(value, "messages"):
            sender, previous = _people(message, contacts)
            kind = _text(message, "type") or "unknown"
            if sender is None or not number:
                lacks = "phone_number_id" if sender else "wa_id and user_id"
                delivery.unreadable.append(f"{kind} message {_text(message, 'id')} has no {lacks}")
                continue
            delivery.messages.append(
                Inbound(
                    number={"phone_number_id": number},
                    id=_text(message, "id"),
                    kind=kind,
                    text=describe(message),
                    sender=sender,
                    previous=previous,
                    is_from_user=kind != "system",
                    wants_answer=kind in ANSWERED and "group_id" not in message,
                    content=message,
                )
            )
    return delivery


def describe(message: Mapping[str, Any]) -> str:
    """A message in words: `[image] caption`, `[location] 4.65, -74.05 Parque de la 93`, `10:00` of a button."""
    kind = _text(message, "type") or "unknown"
    part = _dict(message, kind)
    match kind:
        case "text":
            return _text(part, "body")
        case "button":
            return _text(part, "text") or _text(part, "payload")
        case "interactive":
            chosen = _dict(part, _text(part, "type"))
            words = [_text(chosen, key) for key in ("title", "description", "body", "response_json")]
        case "location":
            place = ", ".join(filter(None, (_text(part, "latitude"), _text(part, "longitude"))))
            words = [place, _text(part, "name"), _text(part, "address")]
        case "contacts":
            cards = _dicts(message, "contacts")
            words = [_text(_dict(card, "name"), "formatted_name") for card in cards]
            words += [_text(phone, "phone") for card in cards for phone in _dicts(card, "phones")]
        case "order":
            products = _dicts(part, "product_items")
            words = [f"{_text(item, 'quantity')} x {_text(item, 'product_retailer_id')}," for item in products]
            words.append(_text(part, "text"))
        case "reaction":
            words = [_text(part, "emoji")]
        case "system":
            words = [_text(part, "body")]
        case _:
            errors = [_text(error, "title") for error in _dicts(message, "errors")]
            words = [_text(part, "filename"), _text(part, "caption"), *errors]
    said = " ".join(filter(None, words))
    return said if kind == "interactive" and said else f"[{kind}] {said}".strip()


def _values(payload: object) -> Iterator[dict[str, Any]]:
    for entry in _dicts(payload, "entry"):
        for change in _dicts(entry, "changes"):
            if change.get("field", "messages") == "messages":
                yield _dict(change, "value")


def _people(message: dict[str, Any], contacts: list[dict[str, Any]]) -> tuple[Sender | None, Sender | None]:
    """Who sent it, and who they were before, where a system message says that they changed number or user id."""
    system = _dict(message, "system")
    sender = _sender(message, contacts)
    if _text(system, "type") not in (*CHANGED_NUMBER, CHANGED_USER_ID):
        return sender, None
    # The old values are fields of the message, and words of the body where Meta's version does not send the fields.
    said = re.search(r"from (\S+) to (\S+)", _text(system, "body"))
    words = said.groups() if said else ("", "")
    phones = [_phone(value) for value in (system.get("customer"), message.get("from"), words[0])]
    users = [_user_id(value) for value in (system.get("previous_user_id"), message.get("from_user_id"), words[0])]
    new_phone = _phone(system.get("wa_id")) or _phone(system.get("new_wa_id"))
    new_user = _user_id(system.get("user_id")) or _user_id(words[1])
    old_phone = next((phone for phone in phones if phone and phone != new_phone), None)
    old_user = next((user for user in users if user and user != new_user), None)
    return _known(new_phone, new_user) or sender, _known(old_phone, old_user)


def _sender(message: dict[str, Any], contacts: list[dict[str, Any]]) -> Sender | None:
    phone, user_id = _phone(message.get("from")), _user_id(message.get("from_user_id")) or _user_id(message.get("from"))
    contact = _contact(phone, user_id, contacts)
    profile = _dict(contact, "profile")
    shared = [card for card in _dicts(message, "contacts") if message.get("origin") == "contact_request"]
    own = [_phone(re.sub(r"[^0-9]", "", _text(phone, "phone"))) for card in shared for phone in _dicts(card, "phones")]
    username = _text(profile, "username") or _text(contact, "username")
    return _known(
        _phone(contact.get("wa_id")) or phone or next(iter(own), None),
        user_id or _user_id(contact.get("user_id")) or _user_id(contact.get("wa_id")),
        _text(profile, "name"),
        username.removeprefix("@"),
    )


def _contact(phone: str | None, user_id: str | None, contacts: list[dict[str, Any]]) -> dict[str, Any]:
    """The contact of a sender: the one with its user id, its phone in either form, or else the only one."""
    forms = phone_forms(f"+{phone}") if phone else []
    by_phone = (contact for contact in contacts if f"+{_phone(contact.get('wa_id'))}" in forms)
    by_user_id = (contact for contact in contacts if user_id and contact.get("user_id") == user_id)
    only = contacts[0] if len(contacts) == 1 else {}
    another = user_id and _user_id(only.get("user_id")) not in (None, user_id)
    return next(by_user_id, None) or next(by_phone, None) or ({} if another else only)


def _status(number: str, status: dict[str, Any], contacts: list[dict[str, Any]]) -> Status:
    who = {"from": status.get("recipient_id"), "from_user_id": status.get("recipient_user_id")}
    return Status(
        number={"phone_number_id": number},
        id=_text(status, "id"),
        status=_text(status, "status"),
        recipient=_sender(who, contacts),
        errors=_dicts(status, "errors"),
    )


def _known(phone: str | None, user_id: str | None, name: str = "", username: str = "") -> Sender | None:
    if not phone and not user_id:
        return None
    return Sender(phone=phone, user_id=user_id, name=name or None, username=username or None)


def _phone(value: object) -> str | None:
    digits = str(value).removeprefix("+") if isinstance(value, str | int) else ""
    return digits if re.fullmatch("[1-9][0-9]{4,14}", digits) else None


def _user_id(value: object) -> str | None:
    return str(value) if is_user_id(value) else None


def _dict(value: object, key: str) -> dict[str, Any]:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, dict) else {}


def _dicts(value: object, key: str) -> list[dict[str, Any]]:
    found = value.get(key) if isinstance(value, Mapping) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _text(value: Mapping[str, Any], key: str) -> str:
    found = value.get(key)
    return str(found) if isinstance(found, str | int | float) else ""
