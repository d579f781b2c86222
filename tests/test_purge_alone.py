"""No business keeps the messages of another from being purged, whatever it writes into its settings."""

import re

import pytest
from sqlalchemy import URL, text

from app.db import session_scope, tenant_session
from app.models import Business
from app.models.types import InvalidValueError
from app.tenancy import businesses as admin
from tests.managing import done, manage
from tests.support import DEFAULT_ID, OTHER_ID, add_business, execute, rows, scalar

LATER = "00000000-0000-0000-0000-0000000000b1"
"""A business whose name comes after that of the one with the setting."""

BAD = ["1000000", "36501", "0", "-1", "30.5", "true", '"x"', '"30"', "[]", "{}", "1e5000", "1" * 5000]


@pytest.fixture
def shops(bot_settings: URL) -> URL:
    """Three businesses, each with an old message and a new one."""
    add_business(bot_settings)
    add_business(bot_settings, LATER, "Zebra")
    for business in (DEFAULT_ID, OTHER_ID, LATER):
        execute(
            bot_settings,
            "INSERT INTO conversations (business_id, whatsapp_id, message, role, timestamp) "
            f"SELECT '{business}', '57300', at, 'user', at FROM unnest(ARRAY[now(), now() - interval '60 days']) AS at",
        )
    return bot_settings


def left(url: URL) -> list[tuple[str, int]]:
    query = "SELECT name, count(*) FROM conversations JOIN businesses b ON b.id = business_id GROUP BY name ORDER BY 1"
    return [(name, count) for name, count in rows(url, query)]


def set_as_tenant(setting: str) -> None:
    """As SQL of the tenant's writes it, past the model."""
    with tenant_session(OTHER_ID) as session:
        session.execute(text("UPDATE businesses SET settings = CAST(:given AS jsonb)"), {"given": setting})
        session.commit()


@pytest.mark.parametrize("value", BAD, ids=lambda value: value[:9])
def test_a_bad_setting_of_one_business_is_named_and_the_others_are_purged(shops: URL, value: str) -> None:
    set_as_tenant(f'{{"retention_days": {value}, "own": 1}}')
    ran = manage(shops, "purge", "--days", "30")
    assert (ran.returncode, ran.stdout) == (1, "Default business: deleted 1 messages.\nZebra: deleted 1 messages.\n")
    assert ran.stderr.startswith("Messages of 1 businesses were not purged: retention_days of 'Other' is ")
    assert len(ran.stderr) < 400
    assert left(shops) == [("Default business", 1), ("Other", 2), ("Zebra", 1)]
    (command,) = re.findall(r"run (UPDATE .*)\.$", ran.stderr.strip())
    execute(shops, command)
    assert scalar(shops, f"SELECT settings::text FROM businesses WHERE id = '{OTHER_ID}'") == '{"own": 1}'
    assert done(shops, "purge", "--days", "30") == "Other: deleted 1 messages.\n"


@pytest.mark.parametrize("days", [0, 36_501, 10**9])
def test_the_model_refuses_such_a_setting(shops: URL, days: int) -> None:
    with tenant_session(OTHER_ID) as session:
        session.get_one(Business, OTHER_ID).settings = {"retention_days": days}
        with pytest.raises(InvalidValueError, match=r"settings\.retention_days"):
            session.commit()


def test_a_setting_of_null_keeps_messages_for_ever(shops: URL) -> None:
    set_as_tenant('{"retention_days": null}')
    done(shops, "purge", "--days", "30")
    assert left(shops) == [("Default business", 1), ("Other", 2), ("Zebra", 1)]


def test_what_the_database_refuses_for_one_business_costs_no_other(shops: URL) -> None:
    execute(
        shops,
        "CREATE TABLE stars (message bigint REFERENCES conversations)",
        f"INSERT INTO stars SELECT id FROM conversations WHERE business_id = '{OTHER_ID}'",
    )
    ran = manage(shops, "purge", "--days", "30")
    assert (ran.returncode, ran.stdout) == (1, "Default business: deleted 1 messages.\nZebra: deleted 1 messages.\n")
    assert "the database refused to delete messages of 'Other': update or delete on table" in ran.stderr


@pytest.mark.parametrize(
    "unread", ['{"a": 1e5000}', f'{{"a": {"[" * 3000}1{"]" * 3000}}}'], ids=["many digits", "deeply nested"]
)
def test_settings_that_python_cannot_read_keep_nobody_from_administering(shops: URL, unread: str) -> None:
    set_as_tenant(unread)
    assert "Zebra" in done(shops, "list")
    assert "not active any more" in done(shops, "deactivate", "Other")
    done(shops, "purge", "--days", "30")
    assert left(shops) == [("Default business", 1), ("Other", 1), ("Zebra", 1)]
    with session_scope() as session:
        admin.invite(session, OTHER_ID, "new@x.co", "owner")
    assert "Erased 1 conversations" in done(shops, "erase-customer", "Other", "57300")
    assert "1 businesses" in done(shops, "erase-business", "Other", "--yes")


def test_messages_filed_under_nothing_are_purged(shops: URL) -> None:
    """Revision 000 has a team fill in '' where whatsapp_id was NULL."""
    execute(shops, f"UPDATE conversations SET whatsapp_id = '' WHERE business_id = '{OTHER_ID}'")
    assert "Other: deleted 1 messages." in done(shops, "purge", "--days", "30")
