"""The shape of `Business.settings`. Imported when the first settings are written: pydantic takes its time."""

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from app.models.types import LONGEST_RETENTION

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
SPELLED_OUT = BeforeValidator(lambda day: {"closed": True} if day in (None, "closed") else day)
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
    retention_days: int | None = Field(None, gt=0, le=LONGEST_RETENTION)
    """How many days messages are kept; without it, as long as `python -m app.tenancy.manage purge --days` says."""
