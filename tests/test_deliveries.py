"""What a webhook says is read whole: every kind of message, whoever sent it, and nothing costs another piece."""

import hashlib
import hmac
import json
from typing import Any

import pytest

from app.models.types import InvalidValueError
from app.tenancy.messages import Inbound, Sender
from app.tenancy.webhooks import ANSWERED, address, is_from_meta, read_delivery
from tests.deliveries import (
    CONTENT,
    NEW_PHONE,
    NEW_USER_ID,
    NUMBER,
    PARENT_ID,
    PHONE,
    USER_ID,
    changed_number,
    changed_user_id,
    contact,
    delivery,
    from_both,
    from_phone,
    from_user_id,
    message,
    value,
)


def only(payload: object) -> Inbound:
    """The one message of a delivery that was read whole."""
    read = read_delivery(payload)
    assert read.unreadable == []
    (inbound,) = read.messages
    return inbound


TEXTS = {
    "text": "Does it come in another color?",
    "image": "[image] Taj Mahal",
    "audio": "[audio]",
    "video": "[video] Check out the new inventory!",
    "document": "[document] invoice.pdf Invoice",
    "sticker": "[sticker]",
    "location": "[location] 40.782910059774, -73.959075808525 Solomon R. Guggenheim Museum "
    "1071 5th Ave, New York, NY 10128",
    "contacts": "[contacts] Barbara J. Johnson +1 (650) 555-8000",
    "button": "Unsubscribe",
    "interactive": "Priority Mail Express Next Day to 2 Days",
    "order": "[order] 2 x di9ozbzfi4, Love these!",
    "reaction": "[reaction] 👍",
    "system": "[system] User Sheena Nelson changed their security code",
    "unsupported": "[unsupported] Message type unknown",
    "request_welcome": "[request_welcome]",
}


@pytest.mark.parametrize("kind", CONTENT)
def test_every_kind_of_message_is_read(kind: str) -> None:
    inbound = only(delivery(value(message(kind), contacts=[contact()])))
    assert (inbound.number, inbound.id, inbound.kind) == ({"phone_number_id": NUMBER}, "wamid.1", kind)
    assert inbound.text == TEXTS[kind]
    assert inbound.sender == Sender(phone=PHONE, name="Sheena Nelson")
    assert inbound.content == message(kind)
    assert inbound.wants_answer is (kind in ANSWERED)
    assert inbound.is_from_user is (kind != "system")


@pytest.mark.parametrize(
    ("interactive", "text"),
    [
        ({"type": "button_reply", "button_reply": {"id": "change", "title": "Change"}}, "Change"),
        ({"type": "nfm_reply", "nfm_reply": {"name": "flow", "body": "Sent", "response_json": '{"day": 3}'}}, 'Sent {"day": 3}'),
        ({"type": "call_permission_reply", "call_permission_reply": {"response": "accept"}}, "[interactive]"),
        ({}, "[interactive]"),
    ],
)  # fmt: skip
def test_what_a_customer_chose_is_the_text(interactive: dict[str, Any], text: str) -> None:
    assert only(delivery(value(message("interactive", interactive=interactive)))).text == text


def test_a_text_is_kept_as_it_is() -> None:
    assert only(delivery(value(message(text={"body": " a\n\nb "})))).text == " a\n\nb "


def test_a_kind_that_meta_adds_later_is_read() -> None:
    inbound = only(delivery(value(message("poll", poll={"name": "?"}))))
    assert (inbound.kind, inbound.text, inbound.wants_answer) == ("poll", "[poll]", False)


def test_what_is_said_in_a_group_is_not_answered() -> None:
    assert not only(delivery(value(message(group_id="Y2FwaV9ncm91cDo")))).wants_answer


@pytest.mark.parametrize(
    ("payload", "sender"),
    [
        (from_phone(message()), Sender(phone=PHONE, name="Sheena Nelson")),
        (from_both(message()), Sender(phone=PHONE, user_id=USER_ID, name="Sheena Nelson")),
        (from_user_id(message()), Sender(user_id=USER_ID, name="Sheena Nelson", username="sheena")),
        (delivery(value(message(sender=None, from_user_id=USER_ID))), Sender(user_id=USER_ID)),
        (delivery(value(message(sender=USER_ID))), Sender(user_id=USER_ID)),
        (delivery(value(message(sender=None), contacts=[contact(None, USER_ID)])), Sender(user_id=USER_ID, name="Sheena Nelson")),
        (delivery(value(message(sender="5511987654321"), contacts=[contact("551187654321")])), Sender(phone="551187654321", name="Sheena Nelson")),
        (delivery(value(message(from_user_id="no id"), contacts=[contact()])), Sender(phone=PHONE, name="Sheena Nelson")),
        (delivery(value(message(from_user_id=PARENT_ID))), Sender(phone=PHONE, user_id=PARENT_ID)),
    ],
)  # fmt: skip
def test_a_sender_is_known_by_phone_user_id_or_both(payload: dict[str, Any], sender: Sender) -> None:
    assert only(payload).sender == sender


def test_each_message_has_its_own_contact() -> None:
    two = [contact(PHONE, USER_ID), {**contact(NEW_PHONE, NEW_USER_ID), "profile": {"name": "Pablo"}}]
    messages = message(sender=NEW_PHONE), message(sender=None, from_user_id=USER_ID), message(sender="573001234567")
    read = read_delivery(delivery(value(*messages, contacts=two)))
    assert [inbound.sender for inbound in read.messages] == [
        Sender(phone=NEW_PHONE, user_id=NEW_USER_ID, name="Pablo"),
        Sender(phone=PHONE, user_id=USER_ID, name="Sheena Nelson"),
        Sender(phone="573001234567"),
    ]
    stranger = delivery(value(message(sender=None, from_user_id=NEW_USER_ID), contacts=[contact(PHONE, USER_ID)]))
    assert only(stranger).sender == Sender(user_id=NEW_USER_ID)


BOTH_OLD, BOTH_NEW = Sender(phone=PHONE, user_id=USER_ID), Sender(phone=NEW_PHONE, user_id=NEW_USER_ID)


@pytest.mark.parametrize(
    ("payload", "previous", "sender"),
    [
        (changed_number(), BOTH_OLD, BOTH_NEW),
        (changed_number(user_id=None, previous_user_id=None), Sender(phone=PHONE), Sender(phone=NEW_PHONE)),
        (changed_number(wa_id=None, new_wa_id=NEW_PHONE), BOTH_OLD, BOTH_NEW),
        (changed_number(type="customer_changed_number", customer=PHONE), BOTH_OLD, BOTH_NEW),
        (changed_user_id(), Sender(user_id=USER_ID), Sender(user_id=NEW_USER_ID)),
        (changed_user_id(previous_user_id=None), Sender(user_id=USER_ID), Sender(user_id=NEW_USER_ID)),
        (changed_user_id(user_id=None), Sender(user_id=USER_ID), Sender(user_id=NEW_USER_ID)),
    ],
)
def test_a_change_of_number_or_user_id_names_both(payload: dict[str, Any], previous: Sender, sender: Sender) -> None:
    inbound = only(payload)
    assert (inbound.previous, inbound.sender) == (previous, sender)
    assert not inbound.wants_answer


def test_a_phone_that_the_user_shares_on_request_is_the_senders() -> None:
    card = [{"vcard": "BEGIN:VCARD", "phones": [{"phone": "+1 650-555-1234"}]}]
    assert only(from_user_id(message("contacts", contacts=card, origin="contact_request"))).sender.phone == PHONE
    assert only(from_user_id(message("contacts", contacts=card, origin="other"))).sender.phone is None


def test_entries_changes_statuses_and_errors_are_all_read() -> None:
    failed = {
        "id": "wamid.9", "status": "failed", "timestamp": "1", "recipient_id": PHONE, "recipient_user_id": USER_ID,
        "errors": [{"code": 131026, "title": "Message undeliverable"}],
    }  # fmt: skip
    payload = delivery(value(message(wamid="wamid.1")), value(statuses=[failed, {"id": "wamid.8"}]))
    payload["entry"] += delivery(value(message(wamid="wamid.2"), errors=[{"code": 130429}], number="7"))["entry"]
    read = read_delivery(payload)
    assert [(inbound.number["phone_number_id"], inbound.id) for inbound in read.messages] == [
        (NUMBER, "wamid.1"),
        ("7", "wamid.2"),
    ]
    status, bare = read.statuses
    assert (status.id, status.status, status.recipient) == ("wamid.9", "failed", BOTH_OLD)
    assert (status.errors[0]["code"], bare.recipient, read.errors) == (131026, None, [{"code": 130429}])


def test_other_fields_are_not_messages() -> None:
    assert read_delivery(delivery(value(message()), field="message_template_status_update")).messages == []


@pytest.mark.parametrize("payload", [None, [], "x", {}, {"entry": {}}, {"entry": [1, {"changes": [2, {"value": 3}]}]}])
def test_what_is_no_webhook_is_empty(payload: object) -> None:
    assert read_delivery(payload) == read_delivery({})


def test_what_cannot_be_read_costs_nothing_else() -> None:
    """Every part of every message in turn is something else; the message beside it is read all the same."""
    for kind in CONTENT:
        whole = message(kind, "wamid.odd")
        for key in whole:
            for odd in (None, 7, "x", [], ["x"], {}, {"type": 1}):
                payload = delivery(value({**whole, key: odd}, message(), contacts=[odd, contact()]))
                json.dumps(payload)
                assert read_delivery(payload).messages[-1].text == TEXTS["text"]
    read = read_delivery(delivery(value(message("image", sender=None)), value(message("image"), metadata=None)))
    assert read.unreadable == [
        "image message wamid.1 has no wa_id and user_id",
        "image message wamid.1 has no phone_number_id",
    ]


@pytest.mark.parametrize(
    "ids",
    [
        {}, {"phone": "+16505551234"}, {"phone": ""}, {"phone": "x"}, {"phone": "0123456"},
        {"user_id": ""}, {"user_id": "USA.1"}, {"user_id": "US."}, {"user_id": "US.1 "}, {"user_id": "US." + "1" * 129},
        {"user_id": "US.EXT.1"}, {"user_id": "U1.1"}, {"user_id": "US.é"},
    ],
)  # fmt: skip
def test_a_sender_without_an_id_that_can_be_one_is_refused(ids: dict[str, str]) -> None:
    with pytest.raises(InvalidValueError, match=r"sender|business-scoped user id such as US\.13491208655302741918"):
        Sender(**ids)


@pytest.mark.parametrize("user_id", [USER_ID, PARENT_ID, "co.a", "US." + "a1" * 64, "BR.ENT." + "Z" * 128])
def test_an_answer_is_addressed_to_the_phone_or_else_the_user_id(user_id: str) -> None:
    assert address(Sender(phone=PHONE, user_id=user_id)) == {"to": PHONE}
    assert address(Sender(user_id=user_id)) == {"recipient": user_id}


def test_only_metas_signature_of_the_raw_body_is_taken() -> None:
    body = '{"entry": "é"}'.encode()
    signature = "sha256=" + hmac.new(b"secret", body, hashlib.sha256).hexdigest()
    assert is_from_meta(body, signature, "secret")
    for wrong in (None, "", "sha256=", signature[:-1], signature.replace("sha256", "sha1"), signature + "é"):
        assert not is_from_meta(body, wrong, "secret")
    assert not is_from_meta(body + b" ", signature, "secret")
    assert not is_from_meta(body, signature, "other")


@pytest.mark.parametrize("secret", ["", None])
def test_without_a_secret_nothing_is_from_meta(secret: str | None) -> None:
    """Anybody can sign with an empty one, as a bot has whose setting is missing."""
    assert not is_from_meta(b"{}", "sha256=" + hmac.new(b"", b"{}", hashlib.sha256).hexdigest(), secret)
