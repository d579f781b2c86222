"""A business's data: exported whole, erased with a count, and deleted when it is older than the business keeps it."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, event, text
from sqlalchemy.orm import Session

from app.db import SessionLocal
from app.tenancy import personal_data
from app.tenancy.businesses import AdministrationError
from tests.managing import done
from tests.support import DEFAULT_ID, OTHER_ID, add_business, engine_of, execute, rows, scalar

NOW = datetime(2026, 1, 31, tzinfo=UTC)
HASH = "$2b$12$" + "x" * 53
CIPHERTEXT = "gAAAA" + "x" * 95


@pytest.fixture
def shops(bot_settings: URL) -> URL:
    """Two businesses, each with a customer, a user, a number, and a message a day for 30 days."""
    add_business(bot_settings)
    for n, business in enumerate((DEFAULT_ID, OTHER_ID)):
        execute(
            bot_settings,
            f"INSERT INTO customers (business_id, whatsapp_id, name, whatsapp_user_id) VALUES ('{business}', '57300', 'Zoë 💈', 'US.13491208655302741918')",
            f"INSERT INTO whatsapp_numbers (business_id, phone_number, access_token) VALUES ('{business}', '+5730012345{n}0', '{CIPHERTEXT}')",
            f"INSERT INTO users (email, password_hash) VALUES ('{n}@x.co', '{HASH}')",
            f"INSERT INTO user_businesses (user_id, business_id, role) SELECT id, '{business}', 'owner' FROM users WHERE email = '{n}@x.co'",
            "INSERT INTO conversations (business_id, whatsapp_id, message, role, timestamp) "
            f"SELECT '{business}', '57300' || g % 3, 'hola', 'user', timestamptz '2026-01-01 00:00Z' + g * interval '1 day' FROM generate_series(1, 30) g",
            f"INSERT INTO conversations (business_id, whatsapp_id, message, role, timestamp) VALUES ('{business}', '57300', '', 'user', '2026-01-30')",
        )
    return bot_settings


@pytest.fixture
def session(shops: URL) -> Iterator[Session]:
    with SessionLocal() as opened:
        yield opened


def messages(url: URL, business: str = OTHER_ID) -> int:
    return int(scalar(url, f"SELECT count(*) FROM conversations WHERE business_id = '{business}'"))


def test_an_export_holds_every_row_of_the_business_and_no_secret(session: Session, shops: URL, tmp_path: Path) -> None:
    counts = personal_data.export_business(session, OTHER_ID, tmp_path / "out")
    files = {path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir()}
    assert counts == {table: len(found.splitlines()) for table, found in files.items()}
    assert counts == {
        "businesses": 1,
        "users": 1,
        "conversations": 31,
        "customers": 1,
        "user_businesses": 1,
        "whatsapp_numbers": 1,
    }
    assert DEFAULT_ID not in "".join(files.values())
    assert not re.search("gAAAA|password_hash|access_token|0@x.co", "".join(files.values()))
    assert json.loads(files["customers"])["name"] == "Zoë 💈"
    assert json.loads(files["users"])["email"] == "1@x.co"
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "out").iterdir()} == {0}
    with pytest.raises(AdministrationError, match="holds files already"):
        personal_data.export_business(session, OTHER_ID, tmp_path / "out")


@pytest.mark.parametrize("named", ["57300", "US.13491208655302741918"])
def test_a_customer_is_erased_with_the_messages_of_that_business_only(session: Session, shops: URL, named: str) -> None:
    assert personal_data.erase_customer(session, OTHER_ID, named) == {"conversations": 1, "customers": 1}
    session.commit()
    assert messages(shops) == 30
    assert messages(shops, DEFAULT_ID) == 31
    assert rows(shops, "SELECT business_id::text FROM customers") == [(DEFAULT_ID,)]


SHORT, LONG = "525512345678", "5215512345678"


@pytest.mark.parametrize("named", [SHORT, LONG, f"+{LONG}", "whatsapp:+52 55 1234 5678", "MX.1", "MX.2"])
def test_a_customer_is_erased_under_every_id_and_form_of_the_number(
    session: Session, shops: URL, tmp_path: Path, named: str
) -> None:
    """One row under each form of the phone, and messages under both and under both user ids."""
    for business in (DEFAULT_ID, OTHER_ID):
        execute(
            shops,
            "INSERT INTO customers (business_id, whatsapp_id, whatsapp_user_id, name) VALUES "
            f"('{business}', '{SHORT}', 'MX.1', 'Eva'), ('{business}', '{LONG}', 'MX.2', 'Eva')",
            "INSERT INTO conversations (business_id, whatsapp_id, message, role) "
            f"SELECT '{business}', id, 'hola', 'user' FROM unnest(ARRAY['{SHORT}', '{LONG}', 'MX.1', 'MX.2']) AS id",
        )
    before = messages(shops, DEFAULT_ID)
    counts = personal_data.export_customer(session, OTHER_ID, named, tmp_path / "eva")
    assert counts == {"conversations": 4, "customers": 2}
    written = [json.loads(line) for file in (tmp_path / "eva").iterdir() for line in file.read_text().splitlines()]
    assert {row["business_id"] for row in written} == {OTHER_ID}
    assert {row["whatsapp_id"] for row in written} == {SHORT, LONG, "MX.1", "MX.2"}
    assert personal_data.erase_customer(session, OTHER_ID, named) == counts
    session.commit()
    assert (messages(shops), messages(shops, DEFAULT_ID)) == (31, before)
    assert scalar(shops, "SELECT count(*) FROM customers WHERE name = 'Eva'") == 2


def test_messages_without_a_customer_and_odd_ids_are_erased(session: Session, shops: URL) -> None:
    execute(shops, f"UPDATE conversations SET whatsapp_id = 'web-7' WHERE business_id = '{OTHER_ID}'")
    assert personal_data.erase_customer(session, OTHER_ID, "web-7") == {"conversations": 31, "customers": 0}


def test_of_nobody_nothing_is_written(session: Session, shops: URL, tmp_path: Path) -> None:
    with pytest.raises(AdministrationError, match="neither a customer nor messages of 573"):
        personal_data.export_customer(session, OTHER_ID, "573", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_business_is_erased_whole_in_batches(shops: URL) -> None:
    rest = {
        table: f"SELECT count(*) FROM {table} WHERE business_id = '{DEFAULT_ID}'"
        for table in ("conversations", "customers", "whatsapp_numbers", "user_businesses")
    }
    before = {table: scalar(shops, query) for table, query in rest.items()}
    erased = personal_data.erase_business(engine_of(shops), OTHER_ID, batch=10)
    assert erased == {
        "conversations": 31, "customers": 1, "user_businesses": 1, "whatsapp_numbers": 1, "businesses": 1, "users without a role": 1
    }  # fmt: skip
    assert rows(shops, "SELECT id::text FROM businesses") == [(DEFAULT_ID,)]
    assert {table: scalar(shops, query) for table, query in rest.items()} == before


def test_an_interrupted_erasure_is_finished_by_the_same_call(shops: URL) -> None:
    engine = engine_of(shops)

    def stop(connection: object, cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("DELETE") and messages(shops) == 11:
            raise KeyboardInterrupt

    event.listen(engine, "before_cursor_execute", stop)
    with pytest.raises(KeyboardInterrupt):
        personal_data.erase_business(engine, OTHER_ID, batch=10)
    event.remove(engine, "before_cursor_execute", stop)
    assert rows(shops, f"SELECT is_active FROM businesses WHERE id = '{OTHER_ID}'") == [(False,)]
    assert personal_data.erase_business(engine, OTHER_ID, batch=10)["conversations"] == 11


def test_the_commands_say_what_they_erased(shops: URL, tmp_path: Path) -> None:
    assert done(shops, "erase-customer", "Other", "57300") == "Erased 1 conversations, 1 customers.\n"
    assert "30 conversations" in done(shops, "export", "Other", str(tmp_path / "x"))
    assert "Erased 30 conversations, 0 customers" in done(shops, "erase-business", "Other", "--yes")
    assert done(shops, "purge") == "No message is older than its business keeps it.\n"


def purge(url: URL, batch: int = 1000, days: int | None = None) -> Counter[str]:
    deleted: Counter[str] = Counter()
    for name, count in personal_data.purge_messages(engine_of(url), days=days, batch=batch, now=NOW):
        assert 0 < count <= batch
        deleted[name] += count
    return deleted


@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_a_purge_deletes_what_is_older_than_its_business_keeps(shops: URL, batch: int) -> None:
    assert purge(shops, batch) == {}
    execute(shops, f"""UPDATE businesses SET settings = '{{"retention_days": 10}}' WHERE id = '{OTHER_ID}'""")
    assert purge(shops, batch) == {"Other": 19}  # from 2 January to 20 January; the 21st is 10 days ago
    assert scalar(shops, f"SELECT min(timestamp)::text FROM conversations WHERE business_id = '{OTHER_ID}'").startswith(
        "2026-01-21"
    )
    assert messages(shops, DEFAULT_ID) == 31
    assert purge(shops, batch, days=20) == {"Default business": 9}
    assert purge(shops, batch, days=20) == {}


def test_an_interrupted_purge_goes_on(shops: URL) -> None:
    run = personal_data.purge_messages(engine_of(shops), days=5, batch=2, now=NOW)
    next(run)
    run.close()
    assert messages(shops, DEFAULT_ID) == 29
    assert sum(purge(shops, days=5).values()) + 2 == 48


@pytest.mark.parametrize("days", [0, -1, 36_501, 10**12])
def test_a_purge_of_everything_or_of_nothing_is_no_retention(shops: URL, days: int) -> None:
    with pytest.raises(AdministrationError, match="1 day or more, and 36500 at most"):
        purge(shops, days=days)


def test_the_purge_reads_the_index_of_customers(shops: URL) -> None:
    engine: Engine = engine_of(shops)
    execute(
        shops,
        f"INSERT INTO conversations (business_id, whatsapp_id, message, role) SELECT '{OTHER_ID}', '58' || g % 100, 'x', 'user' FROM generate_series(1, 20000) g",
        "ANALYZE conversations",
    )
    values = {"business": OTHER_ID, "after": "", "before": NOW, "batch": 1000, "customers": ["5800", "5801"]}
    with engine.connect() as connection:
        for statement in (personal_data._NEXT_CUSTOMERS, personal_data._OLD_MESSAGES):
            plan = "\n".join(connection.execute(text(f"EXPLAIN {statement.text}"), values).scalars())
            assert "ix_conversations_business_id_whatsapp_id_timestamp" in plan
            assert "Seq Scan on conversations" not in plan
