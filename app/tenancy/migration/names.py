"""Names as SQL takes them."""

import hashlib

from sqlalchemy.dialects import postgresql

_PREPARER = postgresql.dialect(paramstyle="named").identifier_preparer  # type: ignore[no-untyped-call]

LONGEST = 63
"""Bytes of a name that PostgreSQL keeps; it cuts off the rest."""


def quoted(name: str) -> str:
    """The name in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def ident(name: str) -> str:
    """The name in double quotes where it needs them, as a person writes it."""
    return str(_PREPARER.quote(name))


def short(name: str) -> str:
    """The name, or a hash that stands for one that is too long for PostgreSQL."""
    return name if len(name.encode()) <= LONGEST else hashlib.sha256(name.encode()).hexdigest()[:32]
