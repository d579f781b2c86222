"""What hand-written versions of this schema did in production, by number: none of it can happen here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import CONNECT_ARGS, get_engine, session_scope
from app.models import DEFAULT_BUSINESS_ID, Business, Conversation, Customer, WhatsappNumber
from app.tenancy.queries import record_message, route_webhook
from tests.support import OTHER_ID, add_business, check, execute, migrate, rows, scalar, script

PHONE = "+573001234567"
MESSAGE = {"business_id": DEFAULT_BUSINESS_ID, "whatsapp_id": "1", "message": "hola", "role": "user"}


@pytest.mark.parametrize(
    "change",
    [
        "DROP INDEX ix_conversations_whatsapp_id",
        "ALTER TABLE customers DROP CONSTRAINT uq_customers_business_id_whatsapp_id",
        "ALTER TABLE conversations ALTER COLUMN message DROP NOT NULL",
        "ALTER TABLE users DROP COLUMN full_name",
        "ALTER TABLE businesses ALTER COLUMN settings DROP DEFAULT",
    ],
)
def test_01_models_and_database_do_not_drift_unnoticed(database: URL, change: str) -> None:
    check(database)
    execute(database, change)
    with pytest.raises(CommandError):
        check(database)


def test_02_a_message_without_a_timestamp_is_stored(database: URL, session: Session) -> None:
    execute(database, "INSERT INTO conversations (whatsapp_id, message, role) VALUES ('1', 'hola', 'user')")
    session.add(Conversation(**MESSAGE))
    session.commit()
    recent = "timestamp BETWEEN now() - interval '1 min' AND now()"
    assert rows(database, f"SELECT {recent}, created_at IS NOT NULL FROM conversations") == [(True, True)] * 2
    needed = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
        "AND data_type LIKE 'timestamp%' AND (column_default IS NULL OR is_nullable = 'YES')"
    )
    assert rows(database, needed) == []


def test_03_the_daily_report_takes_the_right_day(canonical: URL) -> None:
    """22:00 in Bogota on June 1, which the single-business bot wrote as 03:00 UTC of June 2."""
    evening = "VALUES ('9', 'tarde', 'user', '2025-06-02 03:00', '2025-06-02 03:00')"
    execute(canonical, f"INSERT INTO conversations (whatsapp_id, message, role, timestamp, created_at) {evening}")
    migrate(canonical)
    for zone in ("UTC", "America/Bogota", "Asia/Tokyo"):
        execute(canonical, f"ALTER DATABASE {canonical.database} SET timezone TO '{zone}'")
        report = (
            "SELECT (timestamp AT TIME ZONE 'America/Bogota')::date::text FROM conversations WHERE whatsapp_id = '9'"
        )
        assert scalar(canonical, report) == "2025-06-01"
        assert scalar(
            canonical, "SELECT extract(epoch FROM timestamp)::int FROM conversations WHERE whatsapp_id = '9'"
        ) == (1748833200)
    naive = "SELECT column_name FROM information_schema.columns WHERE data_type = 'timestamp without time zone' AND table_schema = 'public'"
    assert rows(canonical, naive) == []


def test_04_a_number_is_found_however_it_is_written(database: URL, session: Session) -> None:
    session.add(WhatsappNumber(business_id=DEFAULT_BUSINESS_ID, phone_number="whatsapp:+57 300 123 4567"))
    session.commit()
    for written in ("573001234567", "whatsapp:+573001234567", "+57 300 123 4567"):
        assert session.execute(route_webhook(phone_number=written)).one()[0].phone_number == PHONE
    for written in ("573009999999", "whatsapp:+573009999999", "+57 300 9999999"):
        with pytest.raises(IntegrityError, match="phone_number_is_e164"):
            execute(database, f"INSERT INTO whatsapp_numbers (phone_number) VALUES ('{written}')")


def test_05_numbers_of_other_providers_need_no_phone_number_id(session: Session) -> None:
    numbers = [WhatsappNumber(business_id=DEFAULT_BUSINESS_ID, phone_number=f"{PHONE[:-1]}{n}") for n in range(2)]
    session.add_all(numbers)
    session.commit()
    assert [number.phone_number_id for number in numbers] == [None, None]


def test_06_two_businesses_have_a_customer_each(database: URL, session: Session) -> None:
    add_business(database)
    for business, name in ((str(DEFAULT_BUSINESS_ID), "José"), (OTHER_ID, "Pepe")):
        session.add(Customer(business_id=business, whatsapp_id="1", name=name))
    session.commit()
    assert sorted(rows(database, "SELECT name FROM customers")) == [("José",), ("Pepe",)]
    session.add(Customer(business_id=DEFAULT_BUSINESS_ID, whatsapp_id="1", name="again"))
    with pytest.raises(IntegrityError, match="uq_customers_business_id_whatsapp_id"):
        session.commit()


def test_07_row_level_security_is_on_and_needs_no_role_of_a_provider(legacy: URL) -> None:
    assert scalar(legacy, "SELECT count(*) FROM pg_roles WHERE rolname = 'service_role'") == 0
    migrate(legacy)
    ours = "('businesses', 'whatsapp_numbers', 'users', 'user_businesses', 'customers', 'conversations', 'alembic_version')"
    on = f"SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname IN {ours} AND relrowsecurity"
    assert scalar(legacy, on) == 7
    execute(legacy, "ALTER TABLE customers DISABLE ROW LEVEL SECURITY")
    with pytest.raises(CommandError):
        check(legacy)


def test_08_no_view_bypasses_row_level_security(legacy: URL) -> None:
    migrate(legacy)
    assert rows(legacy, "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('v', 'm') AND oid >= 16384") == []


def test_09_no_administrator_is_seeded(legacy: URL) -> None:
    migrate(legacy)
    assert rows(legacy, "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM user_businesses)") == [(0, 0)]
    assert "INSERT INTO users" not in script("upgrade", "head")


def test_10_a_connection_that_was_dropped_costs_no_message(bot_settings: URL) -> None:
    with session_scope() as session:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
    assert scalar(bot_settings, f"SELECT pg_terminate_backend({pid}, 30000)")
    with session_scope() as session:
        assert session.get(Business, DEFAULT_BUSINESS_ID)
    assert get_engine().pool._recycle <= 180
    assert CONNECT_ARGS["keepalives"] == 1
    get_engine().dispose()


def test_11_a_replayed_webhook_is_stored_once(database: URL, session: Session) -> None:
    known = [record_message(session, **MESSAGE, whatsapp_message_id="wamid.1")[1] for _ in range(3)]  # type: ignore[arg-type]
    session.commit()
    assert known == [True, False, False]
    with pytest.raises(IntegrityError, match="uq_conversations_business_id_whatsapp_message_id"):
        execute(
            database,
            "INSERT INTO conversations (whatsapp_id, message, role, whatsapp_message_id) VALUES ('1', 'x', 'user', 'wamid.1')",
        )
    assert scalar(database, "SELECT count(*) FROM conversations") == 1


def test_12_the_models_are_imported_without_a_database_url(tmp_path: Path) -> None:
    code = "from app.models import Business, Conversation, Customer, User, UserBusiness, WhatsappNumber; import app.db, app.tenancy.queries"
    env = {key: value for key, value in os.environ.items() if key == "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []
