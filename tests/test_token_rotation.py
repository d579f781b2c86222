"""A new key: tokens are encrypted again in batches, while the bot goes on, and an interrupted rotation goes on."""

import os
import subprocess
import sys
from contextlib import suppress
from uuid import UUID

import pytest
from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import URL, Engine, insert, select, update
from sqlalchemy.orm import Session

from app.models import WhatsappNumber
from app.tenancy.tokens import main, rotate
from tests.conftest import TOKEN_KEY
from tests.support import DEFAULT_ID, OTHER_ID, ROOT, add_business, environment, execute, plain, rows
from tests.tokens import TOKEN, number, secrets_in

N = WhatsappNumber
NEW_KEY = Fernet.generate_key().decode()


@pytest.fixture
def stored(engine: Engine) -> Engine:
    with Session(engine) as session, session.begin():
        session.add(N(**number()))
    return engine


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
