"""Numbers with access tokens, and what looks like a secret in a text."""

import re
from typing import Any
from uuid import UUID

from argon2 import PasswordHasher

from tests.support import DEFAULT_ID

TOKEN = "EAAG-plain-token-of-meta"
HASH = PasswordHasher(time_cost=1, memory_cost=64).hash("correct horse battery staple")


def number(i: int = 0, token: str | None = TOKEN, business: str = DEFAULT_ID) -> dict[str, Any]:
    """The columns of a number of a business."""
    return {"business_id": UUID(business), "phone_number": f"+57300{i:07}", "access_token": token}


def secrets_in(shown: str) -> list[str]:
    """Tokens, ciphertext and hashes in a text (the CHECK's own pattern is none)."""
    return re.findall(r"EAAG\S*|gAAAA[\w-]{20,}\S*|\$argon2\S*|correct horse", shown)
