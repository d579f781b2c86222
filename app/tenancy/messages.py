"""What every provider's webhooks come down to: who wrote what to which number. Plain values, which need no database.

`app.tenancy.webhooks` reads those of Meta. For another provider, read its webhooks into these (docs/other-providers.md).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.models.types import InvalidValueError, check_user_id, phone_forms


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Who a customer is to WhatsApp: a phone, a business-scoped user id ("BSUID"), or both.

    Attributes:
        phone: the number with its country code, digits without `+`: WhatsApp's "wa_id".
        user_id: the business-scoped user id, by which Meta names who has a username.
        name: the name of the profile.
        username: the username, without `@`.

    Raises:
        InvalidValueError: neither phone nor user_id is given, or one has not its shape.
    """

    phone: str | None = None
    user_id: str | None = None
    name: str | None = None
    username: str | None = None

    def __post_init__(self) -> None:
        if self.phone is None and self.user_id is None:
            raise InvalidValueError("A sender has neither phone nor user_id: give one of them.")
        if self.phone is not None and not re.fullmatch("[1-9][0-9]{4,14}", self.phone):
            raise InvalidValueError(
                f"The phone {self.phone!r} of a sender is not a wa_id: give the country code and the number, digits only."
            )
        if self.user_id is not None:
            check_user_id(self.user_id)

    @property
    def phones(self) -> list[str]:
        """The phone, and its other form where it has one."""
        return [form[1:] for form in phone_forms(f"+{self.phone}")] if self.phone else []

    @property
    def ids(self) -> list[str]:
        """Every id under which messages of this sender may be filed, the right one first."""
        return [*self.phones, *([self.user_id] if self.user_id else [])]


@dataclass(frozen=True, kw_only=True)
class Inbound:
    """One message to a business.

    Attributes:
        number: what names the number of the business, as `route_webhook` takes it: `{"phone_number": "+57..."}`, or
            `{"phone_number_id": "1065..."}` of Meta.
        id: the provider's id of the message, the same whenever it is delivered; or "".
        kind: text, image, system, ...
        text: what to file and to show to the model: the text or caption, and in brackets what it is besides.
        sender: who wrote it; of a change of number or user id, who they are now.
        previous: who they were, of such a change.
        is_from_user: whether the customer did something; a system message is WhatsApp's own.
        wants_answer: whether a customer said something to the business, outside of a group.
        content: the message as it came, with media ids and the like.
    """

    number: Mapping[str, str]
    id: str
    kind: str = "text"
    text: str
    sender: Sender
    previous: Sender | None = None
    is_from_user: bool = True
    wants_answer: bool = True
    content: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Status:
    """What became of a message of the business: sent, delivered, read, failed (with errors). `number` as of `Inbound`."""

    number: Mapping[str, str]
    id: str
    status: str
    recipient: Sender | None
    errors: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """The content of one webhook. `unreadable` says of each message that names no sender or number what it lacks."""

    messages: list[Inbound] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
