"""Columns may have any name: what a revision writes quotes what needs it, and undoes it again."""

from pathlib import Path

import pytest
from sqlalchemy import URL
from sqlalchemy.exc import IntegrityError

from tests.copies import BOOKING, Copy
from tests.support import catalogue, execute, rows

ODD = 'Naïve "x"'
COLUMNS = f"""    order: Mapped[str | None] = mapped_column(String(50), comment="Order")
    user: Mapped[str | None] = mapped_column(String(50), comment="User")
    odd: Mapped[str | None] = mapped_column({ODD!r}, String(50), comment="Odd")
    percent: Mapped[str | None] = mapped_column("100 %", String(50), comment="Percent")
    a_long: Mapped[str | None] = mapped_column({"a_long_name_" * 5!r}, String(50), comment="Long")
"""
KEYS = f"""        UniqueConstraint("business_id", "order"),
        UniqueConstraint("business_id", {ODD!r}, name="uq of {ODD.replace('"', "")}"),
        Index("ix ON bookings", "user"),
        Index(None, {ODD!r}, "order"),
        CheckConstraint('"user" <> "order"', name="not the same"),
"""


@pytest.fixture
def copy(tmp_path: Path, database: URL) -> Copy:
    return Copy(tmp_path, database)


def test_columns_whose_names_need_quotes_are_added_and_kept_from_null(copy: Copy) -> None:
    copy.add_model("booking", BOOKING)
    copy.revise("bookings")
    copy.alembic("upgrade", "head")
    execute(copy.url, "INSERT INTO customers (whatsapp_id, name) VALUES ('573000000001', 'Ana')")
    execute(copy.url, "INSERT INTO bookings (whatsapp_id, starts_at) VALUES ('573000000001', now())")
    before = catalogue(copy.url)

    model = BOOKING + COLUMNS
    copy.add_model("booking", model)
    copy.revise("more columns")
    copy.alembic("upgrade", "head")
    copy.alembic("check")
    filled = ", ".join(
        f"{column} = '{n}'" for n, column in enumerate(('"order"', '"user"', '"Naïve ""x"""', '"100 %"'))
    )
    execute(copy.url, f"UPDATE bookings SET {filled}, {'a_long_name_' * 5} = 'x'")

    model = model.replace("Mapped[str | None]", "Mapped[str]")
    model = model.replace('        {"comment": "Appointments"}', KEYS + '        {"comment": "Appointments"}')
    imports = "import CheckConstraint, DateTime, ForeignKeyConstraint, Index, String, UniqueConstraint"
    copy.add_model("booking", model.replace("import DateTime, ForeignKeyConstraint, String", imports))
    revision = copy.revise("no NULL")
    assert "ops.set_not_null('bookings', 'user')" in revision
    copy.alembic("upgrade", "head")
    copy.alembic("check")
    for column in ('"user"', '"order"', '"Naïve ""x"""', '"100 %"', "a_long_name_" * 5):
        with pytest.raises(IntegrityError, match="null value in column"):
            execute(copy.url, f"UPDATE bookings SET {column} = NULL")
    assert rows(copy.url, "SELECT conname FROM pg_constraint WHERE conname ~ 'is_not_null'") == []

    copy.alembic("downgrade", "-1")
    execute(copy.url, 'UPDATE bookings SET "user" = NULL')
    assert "column bookings.order holds values, which this would delete" in copy.refused("downgrade", "-1")
    copy.alembic("-x", "drop-data=yes", "downgrade", "-1")
    assert catalogue(copy.url) == before


def test_what_is_lost_of_such_a_column_repair_puts_back(copy: Copy) -> None:
    model = (BOOKING + COLUMNS).replace("Mapped[str | None]", "Mapped[str]")
    model = model.replace('        {"comment": "Appointments"}', KEYS + '        {"comment": "Appointments"}')
    imports = "import CheckConstraint, DateTime, ForeignKeyConstraint, Index, String, UniqueConstraint"
    copy.add_model("booking", model.replace("import DateTime, ForeignKeyConstraint, String", imports))
    copy.revise("bookings")
    copy.alembic("upgrade", "head")
    copy.alembic("check")
    before = catalogue(copy.url)
    execute(
        copy.url,
        'ALTER TABLE bookings ALTER "Naïve ""x""" DROP NOT NULL, ALTER "user" DROP NOT NULL',
        'COMMENT ON COLUMN bookings."Naïve ""x""" IS NULL',
        'ALTER TABLE bookings ALTER "100 %" SET DEFAULT 5',
        'ALTER TABLE bookings DROP CONSTRAINT "uq of Naïve x", DROP CONSTRAINT "ck_bookings_not the same"',
        'DROP INDEX "ix ON bookings"; CREATE INDEX "ix ON bookings" ON bookings ("order")',
    )
    said = copy.repair()
    assert "not fixed" not in said
    assert catalogue(copy.url) == before
