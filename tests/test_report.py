"""What a support question can quote, and the demo data."""

import os
import subprocess
import sys

from sqlalchemy import URL

from tests.conftest import TOKEN_KEY
from tests.support import ROOT, plain, rows, run_alembic, scalar


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )


def test_the_report_tells_where_it_is_without_secrets(database: URL) -> None:
    url = database.set(password="s3cret")
    done = run("-m", "app.tenancy.report", DATABASE_URL=plain(url), ACCESS_TOKEN_KEYS=TOKEN_KEY)
    assert done.returncode == 0, done.stderr
    said = dict(line.split(":", 1) for line in done.stdout.splitlines())
    assert said["revision"].strip() == "001"
    assert said["archive"].strip() == "none"
    assert said["token keys"].strip() == "1 in ACCESS_TOKEN_KEYS"
    assert "Default business" in said["default business"]
    assert str(database.database) in said["database"]
    assert "s3cret" not in done.stdout
    assert TOKEN_KEY not in done.stdout


def test_the_report_on_an_empty_database(empty: URL) -> None:
    done = run("-m", "app.tenancy.report", DATABASE_URL=plain(empty))
    assert "revision:         none" in done.stdout
    assert "no table yet" in done.stdout


def test_the_report_on_keys(empty: URL) -> None:
    for keys, says in (("", "is not set"), ("not a key", "not a key in ACCESS_TOKEN_KEYS")):
        done = run("-m", "app.tenancy.report", DATABASE_URL=plain(empty), ACCESS_TOKEN_KEYS=keys)
        assert says in done.stdout.splitlines()[-1]


def test_the_report_without_a_server() -> None:
    done = run("-m", "app.tenancy.report", DATABASE_URL="postgresql://bot:s3cret@localhost:1/shop")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "s3cret" not in done.stderr


def test_an_upgrade_ends_with_the_summary(legacy: URL) -> None:
    done = run_alembic(legacy, "upgrade", "head")
    assert "customers 200, " in done.stderr
    assert "conversations 2,000" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Upgraded base -> 001 in ")
    assert run_alembic(legacy, "upgrade", "head").stderr == "Already at 001: nothing to do.\n"
    assert run_alembic(legacy, "current").stderr == ""


def test_demo_data_go_elsewhere_only_when_told(database: URL) -> None:
    refused = run("examples/demo.py", DATABASE_URL=plain(database))
    assert refused.returncode == 1
    assert "--anywhere" in refused.stderr
    assert scalar(database, "SELECT count(*) FROM businesses") == 1
    done = run("examples/demo.py", "--anywhere", DATABASE_URL=plain(database), ACCESS_TOKEN_KEYS=TOKEN_KEY)
    assert done.returncode == 0, done.stderr
    made = rows(
        database, "SELECT name, phone_number FROM businesses JOIN whatsapp_numbers n ON business_id = businesses.id"
    )
    assert sorted(made) == [("Barbería Central", "+573001234567"), ("The Fade Room", "+14155550132")]
    assert rows(database, "SELECT count(*), count(DISTINCT business_id) FROM conversations") == [(6, 2)]
    again = run("examples/demo.py", "--anywhere", DATABASE_URL=plain(database))
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith("The demo data are there already")
    assert scalar(database, "SELECT count(*) FROM businesses") == 3


def test_demo_data_without_the_schema_or_a_server_are_one_sentence(empty: URL) -> None:
    for url, says in ((plain(empty), "alembic upgrade head"), ("postgresql://bot:s3cret@localhost:1/shop", "refused")):
        done = run("examples/demo.py", "--anywhere", DATABASE_URL=url)
        assert (done.returncode, done.stdout) == (1, "")
        assert says in done.stderr
        assert "Traceback" not in done.stderr
        assert "s3cret" not in done.stderr
