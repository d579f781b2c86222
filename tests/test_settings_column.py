"""`Business.settings`: a plain dict to its user, tracked at any depth, validated when written."""

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import URL, insert, select, text, update
from sqlalchemy.orm import Session

from app.db import SessionLocal, get_engine
from app.models import DEFAULT_BUSINESS_ID, Business
from app.models.types import InvalidValueError

SETTINGS: dict[str, Any] = {
    "services": [
        {"name": "Corte", "price": 25000, "duration_minutes": 30, "colour": "red"},
        {"name": "Barba", "price": 0, "duration": 20},
    ],
    "hours": {"monday": {"open": "09:00", "close": "19:30"}, "sunday": "closed", "friday": {"closed": True}},
    "barbers": ["Ana", {"name": "Luis", "days": ["monday"]}],
    "ai_personality": "friendly",
    "unknown": {"deep": [{"deeper": [1, None, "ñ 💈", r"\u0000"]}]},
}


@pytest.fixture
def business(session: Session) -> Business:
    row = session.get_one(Business, DEFAULT_BUSINESS_ID)
    row.settings = copy.deepcopy(SETTINGS)
    session.commit()
    return row


def stored(session: Session) -> Any:
    """What the database has, past the session."""
    session.commit()
    return session.scalar(text(f"SELECT settings FROM businesses WHERE id = '{DEFAULT_BUSINESS_ID}'"))


def test_it_is_a_plain_dict_and_comes_back_as_it_was_given(session: Session, business: Business) -> None:
    assert stored(session) == SETTINGS
    assert business.settings == SETTINGS
    assert isinstance(business.settings["unknown"]["deep"], list)
    assert json.loads(json.dumps(business.settings)) == SETTINGS
    assert business.settings | {"a": 1} == {**SETTINGS, "a": 1}


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "set": lambda s: s.__setitem__("ai_personality", "formal"),
    "delete": lambda s: s.__delitem__("unknown"),
    "update": lambda s: s.update(x=1),
    "update many": lambda s: s.update({str(n): {} for n in range(2000)}),
    "or": lambda s: s.__ior__({"x": 1}),
    "setdefault": lambda s: s.setdefault("x", {}).update(y=1),
    "pop": lambda s: s.pop("barbers"),
    "popitem": lambda s: s.popitem(),
    "clear": lambda s: s.clear(),
    "nested dict": lambda s: s["hours"]["monday"].update(close="20:00"),
    "nested list": lambda s: s["services"].append({"name": "Cejas", "price": 1}),
    "dict in list": lambda s: s["services"][0].__setitem__("price", 30000),
    "five deep": lambda s: s["unknown"]["deep"][0]["deeper"].insert(0, {"new": []}),
    "slice": lambda s: s["services"].__setitem__(slice(0, 1), [{"name": "New", "price": 2}]),
    "del slice": lambda s: s["services"].__delitem__(slice(0, 1)),
    "extend": lambda s: s["barbers"].extend(["Eva", {"name": "Zoe"}]),
    "iadd": lambda s: s["barbers"].__iadd__(["Eva"]),
    "imul": lambda s: s["barbers"].__imul__(2),
    "remove": lambda s: s["barbers"].remove("Ana"),
    "pop of list": lambda s: s["barbers"].pop(),
    "clear of list": lambda s: s["barbers"].clear(),
    "reverse": lambda s: s["barbers"].reverse(),
    "sort": lambda s: s["services"].sort(key=lambda service: service["price"]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_in_place_is_stored(
    session: Session, business: Business, change: Callable[[dict[str, Any]], object]
) -> None:
    expected = json.loads(json.dumps(business.settings))  # jsonb has its own order of keys
    change(business.settings)
    assert session.is_modified(business)
    change(expected)
    assert stored(session) == expected != SETTINGS


def test_a_change_inside_of_what_was_put_in_is_stored(session: Session, business: Business) -> None:
    business.settings["new"] = {"list": [[]]}
    session.commit()
    business.settings["new"]["list"][0].append({"a": 1})
    session.commit()
    business.settings["new"]["list"][0][0]["b"] = 2
    assert stored(session)["new"] == {"list": [[{"a": 1, "b": 2}]]}


def test_what_is_moved_within_the_settings_stays_tracked(session: Session, business: Business) -> None:
    business.settings["moved"] = business.settings.pop("unknown")
    session.commit()
    business.settings["moved"]["deep"].append(1)
    session.commit()
    business.settings = business.settings["moved"]
    session.flush()
    business.settings["deep"].append(2)
    assert stored(session) == {"deep": [*SETTINGS["unknown"]["deep"], 1, 2]}


def test_a_copy_is_not_the_row(session: Session, business: Business) -> None:
    copies = [copy.deepcopy(business.settings), pickle.loads(pickle.dumps(business.settings))]  # noqa: S301
    for other in copies:
        assert other == SETTINGS
        other["services"].clear()
    assert not session.is_modified(business)
    assert business.settings == SETTINGS


def test_one_dict_can_serve_two_businesses(session: Session, business: Business) -> None:
    other = Business(name="Other", settings=business.settings)
    session.add(other)
    session.commit()
    other.settings["services"].clear()
    session.commit()
    assert business.settings["services"] == SETTINGS["services"]
    assert other.settings["services"] == []


def test_settings_of_one_business_are_copied_to_another(bot_settings: URL) -> None:
    with SessionLocal() as session:  # which does not expire what it commits
        one = Business(name="One", settings=copy.deepcopy(SETTINGS))
        session.add(one)
        session.commit()
        other = Business(name="Other", settings=one.settings)
        session.add(other)
        session.commit()
        kept = one.settings
        one.settings = kept
        assert one.settings is kept
        other.settings["services"].clear()
        one.settings["barbers"].clear()
        session.commit()
    with SessionLocal() as session:
        found = {row.name: row.settings for row in session.scalars(select(Business))}
    assert found["One"] == SETTINGS | {"barbers": []}
    assert found["Other"] == SETTINGS | {"services": []}
    get_engine().dispose()


NESTED: list[Any] = []
for _ in range(2000):
    NESTED = [NESTED]

FAULTS: dict[str, tuple[Any, str]] = {
    "not an object": ([], "settings: "),
    "name missing": ({"services": [{"price": 1}]}, "settings.services.0.name: Field required"),
    "name empty": ({"services": [{"name": "", "price": 1}]}, "settings.services.0.name: "),
    "price missing": ({"services": [{"name": "a"}]}, "settings.services.0.price: Field required"),
    "price below 0": (
        {"services": [{"name": "a", "price": 1}, {"name": "b", "price": -1}]},
        "settings.services.1.price: Input should be greater than or equal to 0",
    ),
    "price as text": ({"services": [{"name": "a", "price": "25"}]}, "settings.services.0.price: "),
    "price not a number": ({"services": [{"name": "a", "price": float("nan")}]}, "settings.services.0.price: "),
    "no minutes": ({"services": [{"name": "a", "price": 1, "duration": 0}]}, "settings.services.0.duration: "),
    "half minutes": (
        {"services": [{"name": "a", "price": 1, "duration_minutes": 1.5}]},
        "settings.services.0.duration_minutes: ",
    ),
    "services no list": ({"services": {"a": 1}}, "settings.services: "),
    "weekday unknown": ({"hours": {"lunes": "closed"}}, "settings.hours.lunes"),
    "no closing time": ({"hours": {"monday": {"open": "09:00"}}}, "settings.hours.monday: "),
    "closes before it opens": ({"hours": {"monday": {"open": "19:00", "close": "09:00"}}}, "settings.hours.monday: "),
    "hour as a number": ({"hours": {"monday": {"open": 9, "close": 19}}}, "settings.hours.monday.open: "),
    "no such time": ({"hours": {"monday": {"open": "09:00", "close": "25:00"}}}, "settings.hours.monday: "),
    "barbers no list": ({"barbers": "Ana"}, "settings.barbers: "),
    "barber a number": ({"barbers": ["Ana", 7]}, "settings.barbers.1"),
    "personality a number": ({"ai_personality": 1}, "settings.ai_personality"),
    "not for JSON": ({"x": {"y": {1, 2}}}, "settings.x"),
    "a set": ({"barbers": {"Ana"}}, "settings.barbers: "),
    "a tuple": ({"barbers": ("Ana",)}, "settings.barbers: "),
    "a generator": ({"services": (x for x in "a")}, "settings.services: "),
    "bytes": ({"services": [{"name": b"Corte", "price": 1}]}, "settings.services.0.name: "),
    "closed as text": ({"hours": {"monday": {"closed": "off"}}}, "settings.hours.monday.closed: "),
    "both durations": (
        {"services": [{"name": "a", "price": 1, "duration_minutes": 30, "duration": -5}]},
        "settings.services.0.duration: ",
    ),
    "nested without end": ({"x": NESTED}, "settings.x"),
    "NUL": ({"x": ["\\\0"]}, "settings: a NUL"),
    "NUL in a key": ({"\0": 1}, "settings: a NUL"),
    "half of a pair": ({"x": "\ud83d"}, "settings: half of a surrogate pair"),
    "a number without end": ({"x": 10**5000}, "settings: half of a surrogate pair, or a number of thousands"),
    "infinite": ({"x": float("inf")}, "settings.x"),
}


@pytest.mark.parametrize(("settings", "says"), FAULTS.values(), ids=FAULTS)
def test_bad_settings_raise_one_error_that_names_path_and_fault(session: Session, settings: Any, says: str) -> None:
    with pytest.raises(InvalidValueError) as core_insert:
        session.execute(insert(Business).values(name="x", settings=settings))
    with pytest.raises(InvalidValueError) as core_update:
        session.execute(update(Business).values(settings=settings))
    with pytest.raises(InvalidValueError) as many:
        session.execute(insert(Business), [{"name": "x", "settings": settings}] * 2)
    errors = [core_insert, core_update, many]
    if settings != []:  # which cannot even be assigned
        session.add(Business(name="x", settings=settings))
        with pytest.raises(InvalidValueError) as orm:
            session.flush()
        errors.append(orm)
    else:
        with pytest.raises(ValueError, match="settings"):
            Business(name="x", settings=settings)
    for error in errors:
        assert str(error.value).startswith(f"Business settings are not valid: {says}")


def test_null_is_not_stored(session: Session, business: Business) -> None:
    with pytest.raises(InvalidValueError, match="are not valid: settings: "):
        session.execute(update(Business).values(settings=None))
    business.settings = None  # type: ignore[assignment]
    with pytest.raises(InvalidValueError, match="are not valid: settings: "):
        session.commit()
    session.rollback()
    session.add(Business(name="without", settings=None))
    session.commit()
    assert session.scalars(select(Business.settings).where(Business.name == "without")).one() == {}


def test_a_bad_change_in_place_is_refused_and_the_row_stays(session: Session, business: Business) -> None:
    business.settings["services"][0]["price"] = -1
    with pytest.raises(InvalidValueError, match=r"settings\.services\.0\.price"):
        session.commit()
    session.rollback()
    assert business.settings == SETTINGS


def test_every_fault_is_named_in_the_one_error() -> None:
    column = Business.__table__.c.settings.type
    with pytest.raises(InvalidValueError, match=r"services\.0\.name: .*; settings\.services\.0\.price: "):
        column.process_bind_param({"services": [{"name": "", "price": -1}]}, None)  # type: ignore[attr-defined]


def test_without_settings_the_database_gives_an_empty_object(session: Session) -> None:
    business = Business(name="x")
    session.add(business)
    session.commit()
    assert business.settings == {}
    business.settings["barbers"] = ["Ana"]
    session.commit()
    session.expire_all()
    assert business.settings == {"barbers": ["Ana"]}


def test_the_column_can_be_searched(session: Session, business: Business) -> None:
    for found in (
        Business.settings["ai_personality"].astext == "friendly",
        Business.settings.contains({"barbers": ["Ana"]}),
        Business.settings.has_key("hours"),
    ):
        assert session.scalars(select(Business).where(found)).all() == [business]
