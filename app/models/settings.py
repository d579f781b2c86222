"""The shape of `Business.settings`, and a dict that knows when it is changed at any depth."""

import re
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator
from sqlalchemy.ext.mutable import Mutable

_T = TypeVar("_T")
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
MINUTES = ("duration_minutes", "duration")
SPELLED_OUT = BeforeValidator(lambda day: {"closed": True} if day in (None, "closed") else day)
HH_MM = r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00"


class _Open(BaseModel):
    """Unknown keys are kept: a team's bot stores more here than this package knows."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, JsonValue]


class Service(_Open):
    """One service: its price in the business's currency, its duration in minutes."""

    name: str = Field(min_length=1)
    price: float = Field(ge=0, strict=True)
    duration_minutes: int | None = Field(None, gt=0, strict=True, validation_alias=AliasChoices(*MINUTES))


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
    """`Business.settings`: services with prices, hours, barbers, the assistant's personality, and unknown keys."""

    services: list[Service] = []
    hours: dict[Weekday, Annotated[OpeningHours, SPELLED_OUT]] = {}
    barbers: list[str | _Open] = []
    ai_personality: str | _Open | None = None


class _Tracked:
    """A container that wraps what is put into it, and tells its owner when it is changed."""

    _owner: "_Tracked | None" = None

    def changed(self) -> None:
        if self._owner is not None:
            self._owner.changed()

    def _adopt(self) -> None:
        """Wrap plain dicts and lists among the values."""
        items: Any = list(self.items() if isinstance(self, dict) else enumerate(cast(list[Any], self)))
        for key, value in items:
            if isinstance(value, dict | list) and getattr(value, "_owner", None) is not self:
                wrapped = TrackedDict(value) if isinstance(value, dict) else TrackedList(value)
                wrapped._owner = self
                wrapped._adopt()
                plain: Any = dict if isinstance(self, dict) else list
                plain.__setitem__(self, key, wrapped)


def _tracking(*methods: str) -> Callable[[type[_T]], type[_T]]:
    """Make the mutating methods of a dict or list adopt new values and report the change."""

    def decorate(cls: type[_T]) -> type[_T]:
        def wrap(name: str) -> Callable[..., Any]:
            plain = getattr(cls, name)

            @wraps(plain)
            def method(self: Any, *args: Any, **kwargs: Any) -> Any:
                result = plain(self, *args, **kwargs)
                self._adopt()
                self.changed()
                return self[args[0]] if name == "setdefault" else result

            return method

        for name in methods:
            setattr(cls, name, wrap(name))
        return cls

    return decorate


@_tracking("__setitem__", "__delitem__", "__ior__", "update", "setdefault", "pop", "popitem", "clear")
class TrackedDict(_Tracked, dict[str, Any]):
    """A dict inside the settings; copies and pickles are plain."""

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


@_tracking(
    *("__setitem__", "__delitem__", "__iadd__", "__imul__", "append", "extend", "insert", "pop", "remove"),
    *("clear", "sort", "reverse"),
)
class TrackedList(_Tracked, list[Any]):
    """A list inside the settings; copies and pickles are plain."""

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


class SettingsDict(TrackedDict, Mutable):
    """The settings as a whole: the owner that tells SQLAlchemy."""

    def changed(self) -> None:
        Mutable.changed(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.coerce, ("settings", dict(self))

    @classmethod
    def coerce(cls, key: str, value: Any) -> Any:
        if isinstance(value, cls) or not isinstance(value, dict):
            return value if isinstance(value, cls) else super().coerce(key, value)
        settings = cls(value)
        settings._adopt()
        return settings
