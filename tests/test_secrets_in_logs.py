"""No token and no password hash is seen in a log, an error, a traceback or a pickled error."""

import io
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from sqlalchemy import URL, Table, insert, select, text
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session

from app.db import get_engine
from app.models import User, WhatsappNumber
from app.models.types import InvalidValueError
from tests.tokens import HASH, TOKEN, number, secrets_in

N = WhatsappNumber
TABLE = cast(Table, N.__table__)


@pytest.fixture
def heard(bot_settings: URL) -> Iterator[io.StringIO]:
    """What the project's engine says at its most talkative."""
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    loggers = [logging.getLogger(name) for name in ("sqlalchemy", "sqlalchemy.engine.Engine", "sqlalchemy.pool")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    yield heard
    for logger in loggers:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    get_engine().dispose()


@pytest.mark.parametrize("echo", [True, "debug"])
def test_echo_shows_no_secret(heard: io.StringIO, echo: Any, capfd: pytest.CaptureFixture[str]) -> None:
    engine = get_engine()
    engine.echo = echo
    with Session(engine) as session:
        session.add(N(**number()))
        session.add(User(email="ana@example.com", password_hash=HASH))
        session.flush()
        session.execute(insert(N), [number(1), number(2)])
        session.expire_all()
        assert {n.access_token for n in session.scalars(select(N))} == {TOKEN}
        found = session.execute(select(User.email, User.password_hash)).all()
        assert found == [("ana@example.com", HASH)]
        print(found, session.execute(select(N.access_token)).all())
    shown = heard.getvalue() + "".join(capfd.readouterr())
    assert "INSERT INTO whatsapp_numbers" in shown
    assert echo is True or "Row (" in shown
    assert secrets_in(shown) == []


FAILURES: dict[str, Callable[[Session], Any]] = {
    "CHECK": lambda s: s.execute(text("UPDATE whatsapp_numbers SET phone_number = 'x'")),
    "CHECK of the token": lambda s: s.execute(text("UPDATE whatsapp_numbers SET access_token = :t"), {"t": TOKEN}),
    "NOT NULL": lambda s: s.execute(text("UPDATE whatsapp_numbers SET phone_number = NULL")),
    "NOT NULL of a user": lambda s: s.execute(text("UPDATE users SET email = NULL")),
    "unique": lambda s: s.execute(insert(N), [number()]),
    "foreign key": lambda s: s.execute(insert(N), [number(5, TOKEN, "11111111-1111-1111-1111-111111111111")]),
    "a line of the statement": lambda s: s.execute(
        text("INSERT INTO users (password_hash, nowhere) VALUES (:h, 1)"), {"h": HASH}
    ),
    "a value of another type": lambda s: s.execute(
        text("INSERT INTO users (id, password_hash) VALUES ('no uuid', :h)"), {"h": HASH}
    ),
    "too long": lambda s: s.execute(insert(N), [number(6) | {"phone_number_id": "1" * 256}]),
    "another parameter": lambda s: s.execute(insert(N), [number(7) | {"phone_number": 5}]),
    "executemany": lambda s: s.execute(insert(TABLE), [number(8), number(8)]),
    "plaintext password": lambda s: s.execute(insert(User), [{"email": "b@c.de", "password_hash": "correct horse"}]),
}


@pytest.mark.parametrize("fail", FAILURES.values(), ids=FAILURES)
def test_errors_show_no_secret(heard: io.StringIO, fail: Callable[[Session], Any]) -> None:
    with Session(get_engine()) as session:
        session.add_all([N(**number()), User(email="ana@example.com", password_hash=HASH)])
        session.commit()
        with pytest.raises((StatementError, InvalidValueError)) as caught:
            fail(session)
    error = caught.value
    shown = "".join(traceback.format_exception(error)) + str(error) + repr(error)
    shown += "".join(f"{e} {e!r}" for e in (error.__cause__, error.__context__, getattr(error, "orig", None)))
    lines = [line for line in shown.splitlines() if "lambda" not in line and not line.startswith("    ")]
    assert secrets_in("\n".join(lines)) == []
    assert secrets_in(heard.getvalue()) == []
