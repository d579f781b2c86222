"""Webhooks as Meta's reference shows them: the messages webhook, and "Business-scoped user IDs"."""

from typing import Any

NUMBER = "106540352242922"
PHONE = "16505551234"
NEW_PHONE = "12195555358"
USER_ID = "US.13491208655302741918"
NEW_USER_ID = "US.98765432109876543210"
PARENT_ID = "US.ENT.11815799212886844830"

CONTENT: dict[str, dict[str, Any]] = {
    "text": {"text": {"body": "Does it come in another color?"}},
    "image": {
        "image": {"caption": "Taj Mahal", "mime_type": "image/jpeg", "sha256": "SfInY0gGKTsJlUWbwxC1k+FAD0FZHvzwfpvO0zX0GUI=", "id": "1003383421387256"}
    },
    "audio": {"audio": {"mime_type": "audio/ogg; codecs=opus", "sha256": "3f9d", "id": "1908647269898587", "voice": True}},
    "video": {"video": {"caption": "Check out the new inventory!", "mime_type": "video/mp4", "sha256": "ZAZ1", "id": "1166846181421424"}},
    "document": {"document": {"caption": "Invoice", "filename": "invoice.pdf", "mime_type": "application/pdf", "sha256": "Vb4k", "id": "2010283919"}},
    "sticker": {"sticker": {"mime_type": "image/webp", "sha256": "YeMH", "id": "798712359", "animated": False}},
    "location": {
        "location": {"address": "1071 5th Ave, New York, NY 10128", "latitude": 40.782910059774, "longitude": -73.959075808525, "name": "Solomon R. Guggenheim Museum"}
    },
    "contacts": {
        "contacts": [
            {"name": {"first_name": "Barbara", "last_name": "Johnson", "formatted_name": "Barbara J. Johnson"}, "phones": [{"phone": "+1 (650) 555-8000", "wa_id": "16505558000", "type": "MOBILE"}], "org": {"company": "Social Tsunami"}}
        ]
    },
    "button": {"context": {"from": "15550783881", "id": "wamid.0"}, "button": {"payload": "Unsubscribe", "text": "Unsubscribe"}},
    "interactive": {
        "context": {"from": "15550783881", "id": "wamid.0"},
        "interactive": {"type": "list_reply", "list_reply": {"id": "priority_express", "title": "Priority Mail Express", "description": "Next Day to 2 Days"}},
    },
    "order": {
        "order": {"catalog_id": "194836987003835", "text": "Love these!", "product_items": [{"product_retailer_id": "di9ozbzfi4", "quantity": 2, "item_price": 30, "currency": "USD"}]}
    },
    "reaction": {"reaction": {"message_id": "wamid.0", "emoji": "👍"}},
    "system": {"system": {"body": "User Sheena Nelson changed their security code", "type": "customer_identity_changed"}},
    "unsupported": {
        "errors": [{"code": 131051, "title": "Message type unknown", "message": "Message type unknown", "error_data": {"details": "Message type is currently not supported."}}],
        "unsupported": {"type": "poll_creation"},
    },
    "request_welcome": {},
}  # fmt: skip
"""The part of a message that its type is about, for every type of the reference."""


def message(kind: str = "text", wamid: str = "wamid.1", sender: str | None = PHONE, **more: Any) -> dict[str, Any]:
    """A message of a type; without sender, as from somebody who has a username."""
    known = {} if sender is None else {"from": sender}
    return {**known, "id": wamid, "timestamp": "1749416383", "type": kind, **CONTENT.get(kind, {}), **more}


def contact(wa_id: str | None = PHONE, user_id: str | None = None, username: str | None = None) -> dict[str, Any]:
    """A contact as it comes with a message."""
    profile = {"name": "Sheena Nelson", **({"username": username} if username else {})}
    ids = {"wa_id": wa_id, "user_id": user_id}
    return {"profile": profile, **{key: value for key, value in ids.items() if value}}


def value(*messages: dict[str, Any], contacts: Any = None, number: str = NUMBER, **more: Any) -> dict[str, Any]:
    """What a change is about."""
    return {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": number},
        **({"contacts": contacts} if contacts is not None else {}),
        **({"messages": list(messages)} if messages else {}),
        **more,
    }


def delivery(*values: dict[str, Any], field: str = "messages") -> dict[str, Any]:
    """A webhook with one entry, and one change for each value."""
    changes = [{"value": value, "field": field} for value in values]
    return {"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "changes": changes}]}


def from_both(*messages: dict[str, Any], username: str | None = None) -> dict[str, Any]:
    """From somebody whose phone Meta still names beside the user id."""
    both = [{**message, "from": PHONE, "from_user_id": USER_ID} for message in messages]
    return delivery(value(*both, contacts=[contact(PHONE, USER_ID, username)]))


def from_user_id(*messages: dict[str, Any], user_id: str = USER_ID, username: str | None = "@sheena") -> dict[str, Any]:
    """From somebody with a username, whose phone Meta leaves out."""
    only = [{**{k: v for k, v in message.items() if k != "from"}, "from_user_id": user_id} for message in messages]
    return delivery(value(*only, contacts=[contact(None, user_id, username)]))


def from_phone(*messages: dict[str, Any], phone: str = PHONE) -> dict[str, Any]:
    """As before there were user ids."""
    return delivery(value(*[{**message, "from": phone} for message in messages], contacts=[contact(phone)]))


def changed_number(wamid: str = "wamid.change", **system: Any) -> dict[str, Any]:
    """The system message of a new phone, to which a new user id belongs."""
    said = {
        "body": f"User Sheena Nelson changed from {PHONE} to {NEW_PHONE}",
        "wa_id": NEW_PHONE,
        "user_id": NEW_USER_ID,
        "previous_user_id": USER_ID,
        "type": "user_changed_number",
    }
    return delivery(value(message("system", wamid, system={**said, **system})))


def changed_user_id(wamid: str = "wamid.change", **system: Any) -> dict[str, Any]:
    """The system message of a new user id, without a phone."""
    said = {
        "body": f"User Sheena Nelson changed from {USER_ID} to {NEW_USER_ID}",
        "user_id": NEW_USER_ID,
        "previous_user_id": USER_ID,
        "type": "user_changed_user_id",
    }
    return delivery(value(message("system", wamid, None, system={**said, **system})))
