"""Access tokens and password hashes: plaintext in Python, ciphertext in the database, nothing in a log or an error."""

import io
import logging
import os
import pickle
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, cast
from uuid import UUID

import pytest
from argon2 import PasswordHasher
from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import URL, Engine, Select, Table, func, insert, select, text, union_all, update
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.orm import Session, aliased

from app.db import get_engine
from app.models import Business, User, WhatsappNumber
from app.models.types import InvalidValueError, TokenError
from app.tenancy.tokens import main, rotate
from tests.conftest import TOKEN_KEY, MakeDatabase
from tests.support import DEFAULT_ID, OTHER_ID, ROOT, add_business, environment, execute, plain, rows, scalar

N = WhatsappNumber
TABLE = cast(Table, N.__table__)
TOKEN = "EAAG-plain-token-of-meta"
HASH = PasswordHasher(time_cost=1, memory_cost=64).hash("correct horse battery staple")
NEW_KEY = Fernet.generate_key().decode()
IN_SUBQUERY = select(N.id, N.access_token.label("secret")).subquery()
WITHOUT_ID = select(N.access_token).subquery()
ID_OF_ANOTHER = select(Business.id, N.access_token).join(N.business).subquery()
ALIAS = aliased(N)


def number(i: int = 0, token: str | None = TOKEN, business: str = DEFAULT_ID) -> dict[str, Any]:
    return {"business_id": UUID(business), "phone_number": f"+57300{i:07}", "access_token": token}


@pytest.fixture(scope="module")
def shared(make_lasting_database: MakeDatabase, migrated_template: URL) -> URL:
    return make_lasting_database(migrated_template)


@pytest.fixture
def database(shared: URL) -> URL:
    """One database at head for the whole file, emptied before each test: faster than one for each."""
    execute(shared, "TRUNCATE whatsapp_numbers, users CASCADE", f"DELETE FROM businesses WHERE id <> '{DEFAULT_ID}'")
    return shared


@pytest.fixture
def stored(engine: Engine) -> Engine:
    with Session(engine) as session, session.begin():
        session.add(N(**number()))
    return engine


def test_ciphertext_is_what_the_database_holds(stored: Engine) -> None:
    ciphertext = scalar(stored.url, "SELECT access_token FROM whatsapp_numbers")
    assert ciphertext.startswith("gAAAA")
    assert Fernet(TOKEN_KEY).decrypt(ciphertext).decode() == TOKEN


READS: dict[str, tuple[Select[Any], bool]] = {
    "ORM": (select(N.access_token), True),
    "Core": (select(TABLE.c.access_token), True),
    "label": (select(N.access_token.label("secret")), True),
    "join": (select(N.access_token).join(N.business).where(Business.is_active), True),
    "from another entity": (select(N.access_token).select_from(Business).join(Business.whatsapp_numbers), True),
    "alias": (select(ALIAS.access_token), True),
    "subquery": (select(IN_SUBQUERY.c.secret), True),
    "CTE": (select(select(N).cte().c.access_token), True),
    "subquery without id": (select(WITHOUT_ID), False),
    "subquery with another id": (select(ID_OF_ANOTHER.c.access_token), False),
    "union": (select(union_all(select(N.id, N.access_token)).subquery().c.access_token), True),
    "scalar subquery": (select(select(N.access_token).limit(1).scalar_subquery()), False),
    "function": (select(func.coalesce(N.access_token, None)), False),
    "order": (select(N.access_token).order_by(N.access_token), True),
}


@pytest.mark.parametrize(("query", "named"), READS.values(), ids=READS)
def test_plain_wherever_it_is_selected_and_errors_name_the_row(stored: Engine, query: Select[Any], named: bool) -> None:
    row = scalar(stored.url, "SELECT id::text FROM whatsapp_numbers")
    with Session(stored) as session:
        assert session.scalars(query).all() == [TOKEN]
        assert [*session.connection().execute(query)] == [(TOKEN,)]
        with environment(ACCESS_TOKEN_KEYS=NEW_KEY), pytest.raises(TokenError) as caught:
            session.scalars(query).all()
    assert (row in str(caught.value)) == named
    assert str(caught.value).count(". ") == 0
    assert re.findall("gAAAA|EAAG|[0-9a-f-]{36}", str(caught.value).replace(row, "")) == []


WRITES: dict[str, Callable[[Session], Any]] = {
    "unit of work": lambda s: s.add_all([N(**number(1)), N(**number(2))]),
    "ORM bulk": lambda s: s.execute(insert(N), [number(1), number(2)]),
    "ORM bulk returning": lambda s: s.scalars(insert(N).returning(N), [number(1), number(2)]).all(),
    "Core": lambda s: s.connection().execute(insert(TABLE), [number(1), number(2)]),
    "Core values": lambda s: s.connection().execute(insert(TABLE).values([number(1), number(2)])),
    "legacy bulk": lambda s: s.bulk_insert_mappings(N.__mapper__, [number(1), number(2)]),
    "update": lambda s: (
        s.execute(insert(N), [number(1, "EAAG-other")]),
        s.execute(update(N).values(access_token=TOKEN)),
    ),
    "update by key": lambda s: s.execute(
        update(N),
        [{"id": key, "access_token": TOKEN} for key in s.scalars(insert(N).returning(N.id), [number(1, None)])],
    ),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_every_way_to_write_encrypts(engine: Engine, write: Callable[[Session], Any]) -> None:
    with Session(engine) as session:
        write(session)
        session.commit()
        assert set(session.scalars(select(N.access_token))) == {TOKEN}
    ciphertexts = rows(engine.url, "SELECT access_token FROM whatsapp_numbers")
    assert {Fernet(TOKEN_KEY).decrypt(c).decode() for (c,) in ciphertexts} == {TOKEN}
    assert len({*ciphertexts}) == len(ciphertexts)


@pytest.mark.parametrize("written", [TOKEN + "\ud800", TOKEN.encode(), {"t": TOKEN}])
def test_what_is_no_text_is_refused_without_repeating_it(engine: Engine, written: Any) -> None:
    with Session(engine) as session:
        session.add(N(**number(1, written)))
        with pytest.raises(InvalidValueError, match="access_token is not text") as caught:
            session.flush()
    assert "EAAG" not in "".join(map(repr, (caught.value, caught.value.__cause__, caught.value.__context__)))


@pytest.mark.parametrize("separator", [" ", "\n", ";"])
def test_keys_that_no_comma_separates_are_refused(stored: Engine, separator: str) -> None:
    keys = environment(ACCESS_TOKEN_KEYS=f"{NEW_KEY}{separator}{TOKEN_KEY}")
    with keys, Session(stored) as session, pytest.raises(TokenError, match="not a Fernet key"):
        session.scalars(select(N)).all()


def test_returning_refresh_and_null(stored: Engine) -> None:
    with Session(stored) as session:
        assert session.execute(update(N).values(access_token="EAAG-2").returning(N.access_token)).all() == [("EAAG-2",)]
        row = session.scalars(update(N).values(access_token="EAAG-3").returning(N)).one()
        assert row.access_token == "EAAG-3"
        session.execute(text("UPDATE whatsapp_numbers SET access_token = NULL"))
        session.refresh(row)
        assert row.access_token is None
        row.access_token = TOKEN
        session.flush()
        session.refresh(row, ["access_token"])
        assert row.access_token == TOKEN
        assert (type(row.access_token).__mro__[1], pickle.loads(pickle.dumps(row.access_token))) == (str, TOKEN)  # noqa: S301
        assert TOKEN not in str(row.to_dict())


@pytest.mark.parametrize("written", [TOKEN, "gAAAA" + TOKEN, "", " gAAAA" + "x" * 120])
def test_plaintext_is_refused_from_any_client(stored: Engine, written: str) -> None:
    with stored.connect() as connection, pytest.raises(DBAPIError, match="access_token_is_ciphertext"):
        connection.execute(text("UPDATE whatsapp_numbers SET access_token = :t"), {"t": written})


@pytest.mark.parametrize("written", [b"$2b$12$" + b"a" * 53, "$bcrypt-sha256$v=2,t=2b,r=12$" + "a" * 53])
def test_a_hash_of_bcrypt_is_stored_as_text(engine: Engine, written: Any) -> None:
    expected = written.decode() if isinstance(written, bytes) else written
    with Session(engine) as session, session.begin():
        user = User(email="a@b.co", password_hash=written)
        assert user.password_hash == expected
        session.add(user)
        session.execute(insert(User).values(email="c@d.co", password_hash=written))
    assert rows(engine.url, "SELECT DISTINCT password_hash FROM users") == [(expected,)]


@pytest.mark.parametrize("written", ["secret", "", "$argon2id$short", "0123456789abcdef0123456789abcdef"])
def test_what_cannot_be_a_hash_is_refused_from_any_client(engine: Engine, written: str) -> None:
    with engine.connect() as connection, pytest.raises(DBAPIError, match="password_hash_is_a_hash"):
        connection.execute(text("INSERT INTO users (email, password_hash) VALUES ('a@b.co', :h)"), {"h": written})
    with pytest.raises(InvalidValueError, match="not a password hash") as caught:
        User(email="a@b.co", password_hash=written)
    assert not written or written not in str(caught.value)


@pytest.mark.parametrize(("keys", "said"), [(None, "is not set"), (" , ", "is not set"), ("abc", "not a Fernet key")])
def test_no_key_is_one_sentence(stored: Engine, keys: str | None, said: str) -> None:
    with environment(ACCESS_TOKEN_KEYS=keys), Session(stored) as session:
        for attempt in (
            lambda: session.scalars(select(N.access_token)).all(),
            lambda: session.execute(insert(N), [number(1)]),
        ):
            with pytest.raises(TokenError, match=said) as caught:
                attempt()
            assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_a_tampered_ciphertext_names_its_row(stored: Engine) -> None:
    execute(
        stored.url, "UPDATE whatsapp_numbers SET access_token = regexp_replace(access_token, '.....==?$', 'AAAAA==')"
    )
    row = scalar(stored.url, "SELECT id::text FROM whatsapp_numbers")
    with Session(stored) as session, pytest.raises(TokenError, match=row):
        session.get_one(N, UUID(row))


# --- logs and errors -------------------------------------------------------------------------------------------------


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


def secrets_in(shown: str) -> list[str]:
    """Tokens, ciphertext and hashes in a text (the CHECK's own pattern is none)."""
    return re.findall(r"EAAG\S*|gAAAA[\w-]{20,}\S*|\$argon2\S*|correct horse", shown)


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


# --- rotation --------------------------------------------------------------------------------------------------------


def keys_in(url: URL, *keys: str) -> list[int]:
    """For each key, how many stored tokens it reads."""
    counts = [0] * len(keys)
    for (ciphertext,) in rows(url, "SELECT access_token FROM whatsapp_numbers WHERE access_token IS NOT NULL"):
        for i, key in enumerate(keys):
            with suppress(InvalidToken):
                Fernet(key).decrypt(ciphertext)
                counts[i] += 1
    return counts


def test_rotation_in_batches(bot_settings: URL, engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    add_business(bot_settings)
    with Session(engine) as session, session.begin():
        session.execute(insert(N), [number(i, f"EAAG-{i}", (DEFAULT_ID, OTHER_ID)[i % 2]) for i in range(7)])
        session.execute(insert(N), [number(8, None)])
    with environment(ACCESS_TOKEN_KEYS=f"{NEW_KEY},{TOKEN_KEY}"):
        assert main(["rotate", "--batch", "3"]) == 0
        assert keys_in(bot_settings, NEW_KEY, TOKEN_KEY) == [7, 0]
        assert rotate(engine, 2) == (0, 7)
    assert capsys.readouterr().out.startswith("7 of 7 tokens")
    with environment(ACCESS_TOKEN_KEYS=NEW_KEY), Session(engine) as session:
        found = session.scalars(select(N.access_token).order_by(N.phone_number)).all()
        assert found == [f"EAAG-{i}" for i in range(7)] + [None]


def test_a_role_that_does_not_see_every_token_rotates_none(stored: Engine) -> None:
    login = "rotates_tokens"
    execute(
        stored.url,
        f"CREATE ROLE {login} LOGIN",
        f"GRANT app_tenant TO {login}",
        f"GRANT CONNECT ON DATABASE {stored.url.database} TO {login}",
    )
    try:
        done = run("rotate", DATABASE_URL=plain(stored.url.set(username=login)))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("Row level security hides tokens from this role: ")
        execute(stored.url, f"GRANT app_service TO {login}")
        assert run("rotate", DATABASE_URL=plain(stored.url.set(username=login))).stdout.startswith("0 of 1 tokens")
    finally:
        execute(stored.url, f"DROP OWNED BY {login}", f"DROP ROLE {login}")


def test_an_interrupted_rotation_goes_on(bot_settings: URL, engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    lost = Fernet.generate_key().decode()
    with Session(engine) as session, session.begin():
        session.execute(insert(N), [number(i) | {"id": UUID(int=i + 1)} for i in range(5)])
    with environment(ACCESS_TOKEN_KEYS=lost), Session(engine) as session, session.begin():
        session.execute(update(N).where(N.id == UUID(int=4)).values(access_token=TOKEN))
    with environment(ACCESS_TOKEN_KEYS=f"{NEW_KEY},{TOKEN_KEY}"):
        assert main(["rotate", "--batch", "2"]) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert str(UUID(int=4)) in said
        assert secrets_in(said) == []
        assert keys_in(bot_settings, NEW_KEY, TOKEN_KEY, lost) == [2, 2, 1]
    with environment(ACCESS_TOKEN_KEYS=f"{NEW_KEY},{TOKEN_KEY},{lost}"):
        assert rotate(engine, 2) == (3, 5)
    assert keys_in(bot_settings, NEW_KEY) == [5]


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.tenancy.tokens", *arguments],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_commands_as_a_user_runs_them(stored: Engine) -> None:
    key = run("new-key").stdout.strip()
    assert Fernet(key).decrypt(Fernet(key).encrypt(b"x")) == b"x"
    done = run("rotate", DATABASE_URL=plain(stored.url), ACCESS_TOKEN_KEYS=f"{key},{TOKEN_KEY}")
    assert (done.returncode, done.stdout) == (0, "1 of 1 tokens were encrypted anew; all are under the first key.\n")
    assert keys_in(stored.url, key) == [1]


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"ACCESS_TOKEN_KEYS": "abc"}, "not a Fernet key"),
        ({"ACCESS_TOKEN_KEYS": ""}, "ACCESS_TOKEN_KEYS is not set"),
        ({"DATABASE_URL": "postgresql://bot:hunter2@127.0.0.1:1/shop"}, "The database refused: connection to server"),
        ({"DATABASE_URL": "mysql://bot:hunter2@127.0.0.1/shop"}, "names 'mysql'"),
    ],
)
def test_a_refusal_is_one_sentence_and_status_1(stored: Engine, env: dict[str, str], said: str) -> None:
    done = run("rotate", **{"DATABASE_URL": plain(stored.url), "ACCESS_TOKEN_KEYS": TOKEN_KEY} | env)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr
