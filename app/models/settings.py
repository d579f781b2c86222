"""The shape of `Business.settings`, and a dict that knows when it is changed at any depth."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator
from sqlalchemy.ext.mutable import MutableDict, MutableList

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
SPELLED_OUT = BeforeValidator(lambda day: {"closed": True} if day in (None, "closed") else day)
DEEPEST = 255
"""What is nested deeper than this is refused by pydantic, and so needs no tracking."""

HH_MM = r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00"


class _Open(BaseModel):
    """Unknown keys are kept: a team's bot stores more here than this package knows."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, strict=True)
    __pydantic_extra__: dict[str, JsonValue]


class Service(_Open):
    """One service: its price in the business's currency, its duration in minutes (under either name)."""

    name: str = Field(min_length=1)
    price: float = Field(ge=0)
    duration_minutes: int | None = Field(None, gt=0)
    duration: int | None = Field(None, gt=0)


class OpeningHours(_Open):
    """Opening and closing time of a day, as HH:MM in the business's own time zone, or closed: also null, "closed"."""

    open: str | None = None
    close: str | None = None
    closed: bool = False

    @model_validator(mode="after")
    def _open_and_close_or_closed(self) -> Self:
        opens, closes = self.open or "", self.close or ""
        if not self.closed and not (re.fullmatch(HH_MM, opens) and re.fullmatch(HH_MM, closes) and opens < closes):
            raise ValueError("give open and, later, close as HH:MM, or closed")
        return self


class BusinessSettings(_Open):
    """`Business.settings`: services with prices, hours, barbers, the assistant's personality, how long messages
    are kept, and unknown keys."""

    services: list[Service] = []
    hours: dict[Weekday, Annotated[OpeningHours, SPELLED_OUT]] = {}
    barbers: list[str | _Open] = []
    ai_personality: str | _Open | None = None
    retention_days: int | None = Field(None, gt=0)
    """How many days messages are kept; without it, as long as `python -m app.tenancy.manage purge --days` says."""


class TrackedDict(MutableDict[str, Any]):
    """A dict of the settings. All parts of a row's settings share one `_parents`, by which `changed` finds the row."""

    def changed(self) -> None:
        dict.update(self, {key: _tracked(value, self._parents) for key, value in self.items()})
        super().changed()

    def setdefault(self, key: str, default: Any = None) -> Any:
        super().setdefault(key, default)
        return self[key]


class TrackedList(MutableList[Any]):
    """A list of the settings, as `TrackedDict`."""

    def changed(self) -> None:
        list.__setitem__(self, slice(None), [_tracked(value, self._parents) for value in self])
        super().changed()


def _tracked(value: Any, parents: Any, depth: int = 0) -> Any:
    """Dicts and lists as tracked ones, at any depth, that share `_parents` with what they were put into."""
    tracked: TrackedDict | TrackedList
    if getattr(value, "_parents", None) is parents or depth > DEEPEST:
        return value
    if isinstance(value, dict):
        tracked = TrackedDict({key: _tracked(inner, parents, depth + 1) for key, inner in value.items()})
    elif isinstance(value, list):
        tracked = TrackedList([_tracked(inner, parents, depth + 1) for inner in value])
    else:
        return value
    tracked._parents = parents
    return tracked


class SettingsDict(TrackedDict):
    """The settings as a whole."""

    @classmethod
    def coerce(cls, key: str, value: Any) -> Any:
        settings = super().coerce(key, value)
        if settings is not None:
            settings.changed()
        return settings
