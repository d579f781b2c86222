"""docs/other-providers.md, as written: the README's handler serves a provider that is not Meta."""

from typing import Any

import pytest
from sqlalchemy import URL

from tests.documents import blocks, shell
from tests.handler import Handler
from tests.support import ROOT, plain, rows

(MODULE,) = blocks("docs/other-providers.md", "python")
(ADD,) = blocks("docs/other-providers.md", "bash")
FORM = {
    "MessageSid": "SM1", "From": "whatsapp:+573001234567", "To": "whatsapp:+573007654321", "Body": "¿Tienen cita?",
    "ProfileName": "Ana", "NumMedia": "0",
}  # fmt: skip


@pytest.fixture
def handle(bot_settings: URL) -> Handler:
    """The handler, with the document's function in the place of Meta's."""
    added = shell(ADD, ROOT, DATABASE_URL=plain(bot_settings))
    assert added.returncode == 0, added.stderr
    names: dict[str, Any] = {}
    exec(MODULE, names)  # noqa: S102
    handler = Handler()
    handler.names["read_delivery"] = names["read_form"]
    return handler


def test_a_message_is_stored_and_answered_once(bot_settings: URL, handle: Handler) -> None:
    assert handle(FORM) == ["re: ¿Tienen cita?"]
    assert handle(FORM) == []
    assert [f"whatsapp:+{sender.phone}" for sender, _ in handle.sent] == [FORM["From"]]
    assert rows(
        bot_settings, "SELECT whatsapp_id, role, message, whatsapp_message_id FROM conversations ORDER BY id"
    ) == [("573001234567", "user", "¿Tienen cita?", "SM1"), ("573001234567", "assistant", "re: ¿Tienen cita?", None)]
    assert rows(bot_settings, "SELECT b.name, c.name FROM customers c JOIN businesses b ON b.id = business_id") == [
        ("Barbería Norte", "Ana")
    ]


def test_media_and_what_names_nobody(handle: Handler, caplog: pytest.LogCaptureFixture) -> None:
    assert handle({**FORM, "NumMedia": "1", "Body": ""}) == ["re: [media] "]
    assert handle({**FORM, "From": "whatsapp:"}) == []
    assert "message SM1 names no sender" in caplog.text
