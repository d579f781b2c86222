"""What counts as the same: types that hold as much, defaults that number, and what is a team's own.

The drift check asks it of what PostgreSQL writes down, Alembic's comparison of SQLAlchemy's types and objects.
"""

import math
import re
from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import Column, Integer, String
from sqlalchemy.sql.schema import SchemaItem
from sqlalchemy.types import TypeEngine


def holds_all_of(found: str, expected: str) -> bool:
    """Whether an adopted column of type `found` does what the model's `expected` does, as PostgreSQL names types.

    An integer does for bigint: ids of an adopted table are widened when its team wants it (`migration.widen`).
    """
    if {expected, found} == {"bigint", "integer"}:
        return True
    return 0 < _width(expected) <= _width(found)


def is_wider(wide: str, narrow: str) -> bool:
    """Whether a change from `narrow` to `wide` loses and rewrites nothing: a longer varchar, or text for one."""
    return 0 < _width(narrow) < _width(wide)


def _width(name: str) -> float:
    """How many characters a type has room for; 0 for one that is not of characters."""
    if name in {"text", "character varying"}:
        return math.inf
    limited = re.fullmatch(r"character varying\((\d+)\)", name)
    return int(limited[1]) if limited else 0


def is_numbered(default: str) -> bool:
    """Whether PostgreSQL numbers the column: as an identity, or by a DEFAULT over a sequence."""
    return default.startswith(("identity", "nextval("))


def compare_types(adopted: Collection[str]) -> Callable[..., bool | None]:
    """For Alembic's compare_type: a type of an adopted table is none of its differences; the check compares it."""

    def same_type(
        _: object, column: Column[Any], __: object, found: TypeEngine[Any], declared: TypeEngine[Any]
    ) -> bool | None:
        alike = any(isinstance(found, family) and isinstance(declared, family) for family in (Integer, String))
        return False if alike and str(column.table) in adopted else None

    return same_type


def is_compared(adopted: Collection[str]) -> Callable[..., bool]:
    """For Alembic's include_object: a team's own tables, and its own columns and indexes on adopted ones, are not."""

    def include_object(item: SchemaItem, name: str | None, kind: str, reflected: bool, compare_to: object) -> bool:
        table = getattr(item, "table", None)
        return not (reflected and compare_to is None and (kind == "table" or str(table) in adopted))

    return include_object
