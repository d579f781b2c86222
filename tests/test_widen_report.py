"""The report says how much of an integer id's range is used, and when it ends."""

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from app.tenancy.report import report
from tests.interruptions import connection_lost_before
from tests.support import engine_of, execute
from tests.widening import widen


def ids(url: URL) -> str:
    with engine_of(url).connect() as connection:
        (line,) = [line for line in report(connection) if line.startswith("ids:")]
    return line.removeprefix("ids:").strip()


@pytest.mark.parametrize(
    ("apart", "says"),
    [
        ("1 day", "5.6 % used, ends in about 56 years at the present rate"),
        ("1 hour", "5.6 % used, ends in about 2 years at the present rate"),
        ("10 minutes", "5.6 % used, ends in about 5 months at the present rate"),
        ("1 minute", "5.6 % used, ends in about 14 days at the present rate"),
        ("0 minutes", "5.6 % used"),
        ("-1 day", "5.6 % used"),
        ("10 days", "5.6 % used"),
    ],
)
def test_when_an_integer_ends(apart: str, says: str, canonical: URL) -> None:
    execute(
        canonical,
        "DELETE FROM customers",
        "INSERT INTO customers (id, whatsapp_id, name, created_at, updated_at) VALUES (1, '1', 'a', '2020-01-01', '2020-01-01')",
        "INSERT INTO customers (id, whatsapp_id, name, created_at, updated_at) SELECT 120000000 - 1000 * n, 'n' || n, 'a', "
        f"timestamp '2026-01-01' - n * interval '{apart}' / 100, '2026-01-01' FROM generate_series(0, 200) AS n",
    )
    assert ids(canonical).split(", conversations")[0] == f"customers integer, {says}".replace(" %", "%")


def test_wide_ids_and_the_way_to_them(canonical: URL, empty: URL) -> None:
    assert ids(empty) == "none"
    assert ids(canonical).startswith("customers integer, 0.0% used")
    with connection_lost_before("DO $copy$", canonical), pytest.raises(CommandError):
        widen(canonical)
    assert "(being widened: finish it with alembic -n scale upgrade bigint), conversations integer" in ids(canonical)
    widen(canonical)
    assert ids(canonical) == "customers bigint, conversations bigint"
    execute(canonical, "TRUNCATE customers")
    assert ids(canonical) == "customers bigint, conversations bigint"
