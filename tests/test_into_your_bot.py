"""docs/into-your-bot.md, from top to bottom, on a bot of the usual shape whose old version goes on running."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.documents import blocks, clone, shell
from tests.support import DEFAULT_ID, OTHER_ID, ROOT, add_business, execute, plain, rows, scalar
from tests.usual_bot import FLASK, write_bot

PAGE = "docs/into-your-bot.md"
RECEIVE = """
import app
app.create_app()
from app.services.whatsapp import handle_webhook
contact = {{"wa_id": "573007654321", "profile": {{"name": "Ana"}}}}
message = {{"from": "573007654321", "id": "wamid.1", "type": "text", "text": {{"body": "{text}"}}}}
value = {{"metadata": {{"phone_number_id": "{number}"}}, "contacts": [contact], "messages": [message]}}
handle_webhook({{"entry": [{{"changes": [{{"value": value}}]}}]}})
"""


@pytest.fixture
def bot(tmp_path: Path) -> Path:
    """The bot that runs."""
    return write_bot(tmp_path / "old")


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """The bot after steps 1 to 5 of the page. What stands in for flask is in a folder of its own."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/flask.py").write_text(FLASK)
    folder = write_bot(tmp_path / "new")
    clone(tmp_path / "whatsapp-bot-schema")
    copy, *_ = blocks(PAGE, "bash")
    done = shell(copy, folder)
    assert done.returncode == 0, done.stderr
    for diff in blocks(PAGE, "diff"):
        subprocess.run(["git", "apply", "-"], cwd=folder, input=diff, text=True, check=True, env={"GIT_DIR": "none"})
    return folder


def receive(bot: Path, url: URL, text: str, number: str = "106540352242922") -> str:
    """The bot handles a webhook; what it sends."""
    done = subprocess.run(
        [sys.executable, "-c", RECEIVE.format(text=text, number=number)], cwd=bot, capture_output=True, text=True, check=False,
        env={"PATH": _path(), "DATABASE_URL": plain(url), "APP_SECRET": "s", "PYTHONPATH": str(bot.parent / "site")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def _path() -> str:
    return str(Path(sys.executable).parent)


def test_the_bot_moves_as_the_page_says(bot: Path, changed: Path, empty: URL) -> None:
    assert receive(bot, empty, "one") == "573007654321 You said: one\n"
    _, migrate, add_number, go_back = blocks(PAGE, "bash")

    def run(commands: str, **env: str) -> None:
        done = shell(commands, changed, DATABASE_URL=plain(empty), **env)
        assert done.returncode == 0, done.stdout + done.stderr

    run(migrate)  # neither flask nor APP_SECRET are there: the bot's __init__ would fail
    receive(bot, empty, "two")  # the old code, on the new schema
    run(add_number, APP_SECRET="s", PYTHONPATH=str(bot.parent / "site"))
    assert receive(changed, empty, "three") == "573007654321 You said: three\n"
    said = "SELECT message FROM conversations WHERE role = 'user' ORDER BY id"
    assert rows(empty, said) == [("one",), ("two",), ("three",)]
    assert receive(changed, empty, "lost", number="unknown") == ""

    add_business(empty)
    execute(empty, "INSERT INTO whatsapp_numbers (business_id, phone_number_id, phone_number) "
            f"VALUES ('{OTHER_ID}', '7', '+573009999999')")  # fmt: skip
    assert receive(changed, empty, "other", number="7") == "573007654321 You said: other\n"
    owners = "SELECT business_id::text, count(*) FROM customers GROUP BY 1 ORDER BY 1"
    assert rows(empty, owners) == [(DEFAULT_ID, 1), (OTHER_ID, 1)]

    run(go_back)
    assert receive(bot, empty, "four") == "573007654321 You said: four\n"
    assert rows(empty, said) == [("one",), ("two",), ("three",), ("four",)]
    assert scalar(empty, "SELECT version_num FROM alembic_version") == "000"


def test_alembic_does_not_start_the_bot(changed: Path, empty: URL) -> None:
    (changed / "app/__init__.py").write_text("raise SystemExit('the bot was started')\n")
    for command in ("upgrade head", "current", "check", "downgrade -1", "upgrade head --sql"):
        done = shell(f"alembic {command}", changed, DATABASE_URL=plain(empty))
        assert done.returncode == 0, done.stderr
        assert "the bot was started" not in done.stdout + done.stderr


def test_a_bot_with_an_alembic_of_its_own(changed: Path, empty: URL, server: URL) -> None:
    """Beside it, as docs/own-alembic.md says: this schema's folder has another name."""
    (changed / "alembic").rename(changed / "schema")
    (changed / "alembic/versions").mkdir(parents=True)
    (changed / "alembic/env.py").write_text("raise SystemExit('the environment of the team')\n")
    (changed / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/alembic\npath_separator = os\n")
    beside, _ = blocks("docs/own-alembic.md", "ini")
    ini = beside.replace("app:alembic", "%(here)s/schema\nprepend_sys_path = %(here)s")
    (changed / "schema.ini").write_text(ini)
    done = shell("alembic -c schema.ini upgrade head\nalembic -c schema.ini check", changed, DATABASE_URL=plain(empty))
    assert done.returncode == 0, done.stderr
    assert rows(empty, "SELECT version_num FROM alembic_version_whatsapp") == [("001",)]
    (changed / "conftest.py").write_text('pytest_plugins = ["app.tenancy.testing"]\n')
    (changed / "test_bot.py").write_text("def test_schema(schema_database):\n    pass\n")
    site = f"{changed}:{changed.parent / 'site'}"
    done = shell(
        "pytest -q -p no:cacheprovider", changed, TEST_DATABASE_URL=plain(server), PYTHONPATH=site, APP_SECRET="s"
    )
    assert done.returncode == 0, done.stdout


def test_the_requirements_are_those_of_the_package() -> None:
    (diff, *_) = blocks(PAGE, "diff")
    added = re.findall(r"^\+(\w.*)$", diff, re.MULTILINE)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert added == declared, f"{PAGE} lists other requirements than pyproject.toml"
