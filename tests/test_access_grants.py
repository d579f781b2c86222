"""What a tenant may write follows from the catalogue, and default privileges open nothing that a revision makes."""

from pathlib import Path

import pytest
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from tests.copies import BOOKING, Copy
from tests.roles import as_role, held
from tests.support import DEFAULT_ID, check, execute, migrate, scalar

IN_SCOPE = f"SET app.business_id = '{DEFAULT_ID}'; "
ADDED = IN_SCOPE + "INSERT INTO customers (whatsapp_id, name) VALUES ('new', 'x') RETURNING id > 0"
SEQUENCES = {
    "of nobody": "CREATE SEQUENCE numbers START 5000; ALTER TABLE customers ALTER id SET DEFAULT nextval('numbers')",
    "in another schema": (
        "CREATE SCHEMA counters; CREATE SEQUENCE counters.numbers START 5000; "
        "ALTER TABLE customers ALTER id SET DEFAULT nextval('counters.numbers')"
    ),
    "under a name that needs quotes": (
        'ALTER SEQUENCE customers_id_seq RENAME TO "the Numbers"; COMMENT ON SEQUENCE "the Numbers" IS NULL'
    ),
}


@pytest.mark.parametrize("sql", SEQUENCES.values(), ids=SEQUENCES)
def test_a_tenant_draws_ids_from_the_sequence_of_the_default(canonical: URL, sql: str) -> None:
    execute(canonical, *sql.split("; "))
    migrate(canonical)
    check(canonical)
    assert as_role(canonical, "app_tenant", ADDED) == [(True,)]
    used = "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'customers'::regclass AND adnum = 1"
    sequence = scalar(canonical, used).split("'")[1]
    for attack in (f"SELECT setval('{sequence}', 2147483647)", f"ALTER SEQUENCE {sequence} RESTART"):
        assert as_role(canonical, "app_tenant", attack) == []
    migrate(canonical, "downgrade", "-1")
    assert not scalar(canonical, f"SELECT has_sequence_privilege('app_tenant', '{sequence}', 'USAGE, SELECT, UPDATE')")


def test_a_teams_own_columns_are_written_by_its_tenants(canonical: URL) -> None:
    execute(
        canonical,
        'ALTER TABLE customers ADD "the Note" text, ADD twice int GENERATED ALWAYS AS (age * 2) STORED, ADD place serial',
    )
    migrate(canonical)
    check(canonical)
    granted = "SELECT has_column_privilege('app_tenant', 'customers', '{}', 'INSERT, UPDATE')"
    assert [scalar(canonical, granted.format(c)) for c in ("the Note", "twice", "place", "id")] == [
        True,
        False,
        False,
        False,
    ]
    assert as_role(canonical, "app_tenant", ADDED.replace("RETURNING id", "RETURNING place")) == [(True,)]


def test_default_privileges_open_nothing_that_a_revision_makes(tmp_path: Path, database: URL) -> None:
    execute(
        database,
        *(
            f"ALTER DEFAULT PRIVILEGES {where} GRANT ALL ON {kind} TO PUBLIC, app_tenant, app_service"
            for kind in ("TABLES", "SEQUENCES", "FUNCTIONS")
            for where in ("", "IN SCHEMA public")
        ),
    )
    before = held(database)
    copy = Copy(tmp_path, database)
    copy.add_model("booking", BOOKING)
    copy.add_model(
        "price",
        """from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Price(Base):
    __tablename__ = "prices"

    id: Mapped[int] = mapped_column(primary_key=True)
""",
    )
    copy.alembic("revision", "--autogenerate", "-m", "more")
    copy.alembic("upgrade", "head")
    new = held(database) - before
    assert {role for role, *_ in new} == {"app_tenant", "app_service"}
    assert {thing.split(".")[0] for _, thing, _ in new} == {"bookings", "bookings_id_seq"}
    assert {p for role, thing, p in new if (role, thing) == ("app_tenant", "bookings")} == {"SELECT", "DELETE"}
    assert {p for _, thing, p in new if thing == "bookings_id_seq"} == {"USAGE"}


def test_a_column_of_a_revision_is_written_by_its_tenants(tmp_path: Path, database: URL) -> None:
    copy = Copy(tmp_path, database)
    copy.add_model("booking", BOOKING)
    copy.alembic("revision", "--autogenerate", "-m", "bookings")
    copy.alembic("upgrade", "head")
    extended = (
        BOOKING
        + """    note: Mapped[str | None] = mapped_column(String(50), comment="What else")
"""
    )
    copy.add_model("booking", extended)
    copy.alembic("revision", "--autogenerate", "-m", "note")
    copy.alembic("upgrade", "head")
    assert scalar(database, "SELECT has_column_privilege('app_tenant', 'bookings', 'note', 'INSERT, UPDATE')")
    assert not scalar(database, "SELECT has_column_privilege('app_tenant', 'bookings', 'id', 'INSERT, UPDATE')")
    copy.alembic("check")
    copy.alembic("downgrade", "-1")
    copy.alembic("upgrade", "head")
    copy.alembic("check")


def test_two_tenants_do_not_disturb_each_others_numbers(database: URL) -> None:
    given = IN_SCOPE + "INSERT INTO customers (id, whatsapp_id, name) VALUES (1, 'squat', 'x')"
    with pytest.raises(DBAPIError, match="permission denied"):
        execute(database, f"SET ROLE app_tenant; {given}")
    assert as_role(database, "app_tenant", ADDED) == [(True,)]
