"""A dict that knows when it is changed, at any depth: so that a change of `Business.settings` is written."""

from typing import Any

from sqlalchemy.ext.mutable import MutableDict, MutableList

DEEPEST = 255
"""What is nested deeper than this is refused by pydantic, and so needs no tracking."""


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
