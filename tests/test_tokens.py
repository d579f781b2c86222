"""Access tokens and password hashes: plaintext in Python, ciphertext in the database, nothing in a log or an error."""

import pickle
import re
import traceback
from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import URL, Engine, Select, Table, func, insert, select, text, union_all, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, aliased

from app.models import Business, User, WhatsappNumber
from app.models.types import InvalidValueError, TokenError
from tests.conftest import TOKEN_KEY, MakeDatabase
from tests.support import DEFAULT_ID, environment, execute, rows, scalar
from tests.tokens import TOKEN, number

N = WhatsappNumber
TABLE = cast(Table, N.__table__)
NEW_KEY = Fernet.generate_key().decode()
IN_SUBQUERY = select(N.id, N.access_token.label("secret")).subquery()
WITHOUT_ID = select(N.access_token).subquery()
ID_OF_ANOTHER = select(Business.id, N.access_token).join(N.business).subquery()
ALIAS = aliased(N)


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
