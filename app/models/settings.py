"""The shape of `Business.settings`, and a dict that knows when it is changed at any depth."""

from collections.abc import Iterable, Mapping
from datetime import time
from typing import Any, Literal, Self, SupportsIndex

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator
from sqlalchemy.ext.mutable import Mutable

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class _Open(BaseModel):
    """Unknown keys are kept: a team's bot stores more here than this package knows."""

    model_config = ConfigDict(extra="allow")


class Service(_Open):
    """One service: its price in the business's currency, its duration in minutes."""

    name: str = Field(min_length=1)
    price: float = Field(ge=0, allow_inf_nan=False, strict=True)
    duration_minutes: int | None = Field(
        default=None, gt=0, strict=True, validation_alias=AliasChoices("duration_minutes", "duration")
    )


class OpeningHours(_Open):
    """Opening and closing time of a day, as HH:MM in the business's own time zone, or closed."""

    open: time | None = None
    close: time | None = None
    closed: bool = False

    @model_validator(mode="after")
    def _open_and_close_or_closed(self) -> Self:
        if not self.closed:
            if self.open is None or self.close is None:
                raise ValueError("give open and close as HH:MM, or closed")
            if self.open >= self.close:
                raise ValueError("open must be before close")
        return self


class BusinessSettings(_Open):
    """`Business.settings`: services with prices, hours, barbers, the assistant's personality, and unknown keys."""

    services: list[Service] = []
    hours: dict[Weekday, OpeningHours | Literal["closed"] | None] = {}
    barbers: list[str | dict[str, Any]] = []
    ai_personality: str | dict[str, Any] | None = None


class _Tracked:
    """A container that reports a change to its owner; one that is no longer part of the settings still may."""

    _owner: "_Tracked | None" = None

    def changed(self) -> None:
        if self._owner is not None:
            self._owner.changed()

    def _track(self, value: Any) -> Any:
        tracked: TrackedDict | TrackedList
        if isinstance(value, Mapping):
            tracked = TrackedDict()
            dict.update(tracked, {k: tracked._track(v) for k, v in value.items()})
        elif isinstance(value, list | tuple):
            tracked = TrackedList()
            list.extend(tracked, [tracked._track(v) for v in value])
        else:
            return value
        tracked._owner = self
        return tracked


class TrackedDict(_Tracked, dict[str, Any]):
    """A dict inside the settings."""

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, self._track(value))
        self.changed()

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self.changed()

    def update(self, *args: Any, **kwargs: Any) -> None:
        super().update({k: self._track(v) for k, v in dict(*args, **kwargs).items()})
        self.changed()

    def __ior__(self, other: Any) -> Self:  # type: ignore[override,misc]
        self.update(other)
        return self

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, *args: Any) -> Any:
        value = super().pop(*args)
        self.changed()
        return value

    def popitem(self) -> tuple[str, Any]:
        item = super().popitem()
        self.changed()
        return item

    def clear(self) -> None:
        super().clear()
        self.changed()


class TrackedList(_Tracked, list[Any]):
    """A list inside the settings."""

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)

    def __setitem__(self, index: Any, value: Any) -> None:
        tracked = [self._track(v) for v in value] if isinstance(index, slice) else self._track(value)
        super().__setitem__(index, tracked)
        self.changed()

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        super().__delitem__(index)
        self.changed()

    def append(self, value: Any) -> None:
        super().append(self._track(value))
        self.changed()

    def extend(self, values: Iterable[Any]) -> None:
        super().extend([self._track(v) for v in values])
        self.changed()

    def __iadd__(self, values: Iterable[Any]) -> Self:  # type: ignore[override,misc]
        self.extend(values)
        return self

    def __imul__(self, times: SupportsIndex) -> Self:
        self[:] = list(self) * int(times)
        return self

    def insert(self, index: SupportsIndex, value: Any) -> None:
        super().insert(index, self._track(value))
        self.changed()

    def pop(self, index: SupportsIndex = -1) -> Any:
        value = super().pop(index)
        self.changed()
        return value

    def remove(self, value: Any) -> None:
        super().remove(value)
        self.changed()

    def clear(self) -> None:
        super().clear()
        self.changed()

    def sort(self, **kwargs: Any) -> None:
        super().sort(**kwargs)
        self.changed()

    def reverse(self) -> None:
        super().reverse()
        self.changed()


class SettingsDict(TrackedDict, Mutable):
    """The settings as a whole: the owner that tells SQLAlchemy."""

    def __reduce__(self) -> tuple[Any, ...]:
        return self.coerce, ("settings", dict(self))

    def changed(self) -> None:
        Mutable.changed(self)

    @classmethod
    def coerce(cls, key: str, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if isinstance(value, dict):
            settings = cls()
            dict.update(settings, {k: settings._track(v) for k, v in value.items()})
            return settings
        return super().coerce(key, value)
