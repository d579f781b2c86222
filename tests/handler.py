"""The README's webhook handler, as written there."""

from collections.abc import Callable
from typing import Any

from app.models import Conversation
from app.tenancy.messages import Sender
from tests.documents import blocks

Reply = Callable[[list[Conversation]], str]


class Handler:
    """The README's names, and what the bot sent."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        _, code = blocks("README.md", "python")
        exec(code, self.names)  # noqa: S102
        self.sent: list[tuple[Sender, str]] = []

    def __call__(self, payload: dict[str, Any], reply_to: Reply = lambda history: f"re: {history[-1].message}") -> Any:
        return self.names["handle_webhook"](payload, reply_to, lambda *sent: self.sent.append(sent))
