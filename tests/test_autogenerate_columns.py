"""A revision that drops a column keeps its values until somebody says otherwise; a new one is open to whom the table is."""

import re
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.copies import Copy
from tests.support import catalogue, execute, rows

NEW = """    vip: Mapped[bool] = mapped_column(server_default=text("false"), comment="Vip")
    points: Mapped[Decimal] = mapped_column(Numeric(8, 2), server_default=text("0"), comment="Points")
    tags: Mapped[Any] = mapped_column(JSON, server_default=text("'{}'"), comment="Tags")
    note: Mapped[str | None] = mapped_column(String(50), comment="Note")
"""


@pytest.fixture
def copy(tmp_path: Path, database: URL) -> Copy:
    execute(database, "INSERT INTO customers (whatsapp_id, name) VALUES ('573000000001', 'Ana')")
    return Copy(tmp_path, database)


def add_to_customers(copy: Copy, columns: str) -> None:
    """Give the model of customers more columns, before its username."""
    model = copy.folder / "app/models/customer.py"
    text = model.read_text(encoding="utf-8")
    for old, new in (
        ("    username: Mapped", f"{columns}    username: Mapped"),
        ("from sqlalchemy import Index,", "from sqlalchemy import JSON, Index, Numeric,"),
        ("from typing import", "from datetime import datetime\nfrom decimal import Decimal\nfrom typing import"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    model.write_text(text, encoding="utf-8")


def refused_for(column: str, table: str = "customers") -> str:
    return (
        f"FAILED: column {table}.{column} holds values, which this would delete: copy them away first, and empty it, or "
        "delete them for good by running the same command with -x drop-data=yes."
    )


def test_a_column_with_values_is_not_dropped_unasked(copy: Copy) -> None:
    before = catalogue(copy.url)
    add_to_customers(copy, NEW)
    revision = copy.revise("more about customers")
    for column in ("vip", "points", "tags", "note"):
        assert f"    ops.refuse_values('customers', '{column}')\n" in revision
    copy.alembic("upgrade", "head")
    copy.alembic("check")
    copy.alembic("downgrade", "-1")  # nothing but what the DEFAULTs gave
    assert catalogue(copy.url) == before
    copy.alembic("upgrade", "head")
    for column, value in (("note", "'x'"), ("vip", "true"), ("points", "0.5"), ("tags", "'[1]'")):
        execute(copy.url, f"UPDATE customers SET {column} = {value}")
        assert copy.refused("downgrade", "-1") == refused_for(column)
        execute(copy.url, f"UPDATE customers SET {column} = DEFAULT")
    execute(copy.url, "UPDATE customers SET note = 'x', vip = true")
    assert copy.refused("downgrade", "-1").startswith("- ")  # both are named
    execute(copy.url, "UPDATE customers SET vip = false")

    newest = max((copy.folder / "alembic/versions").glob("*more_about*.py"))
    newest.write_text(newest.read_text().replace("def check_downgrade", "def unasked"))
    assert copy.refused("downgrade", "-1") == refused_for("note")  # it came after the check: asked under the lock
    assert rows(copy.url, "SELECT note FROM customers") == [("x",)]
    copy.alembic("-x", "drop-data=yes", "downgrade", "-1")
    assert catalogue(copy.url) == before


def test_a_default_that_is_computed_is_a_value(copy: Copy) -> None:
    add_to_customers(copy, '    seen: Mapped[datetime] = mapped_column(server_default=text("now()"), comment="Seen")\n')
    copy.revise("when they came")
    copy.alembic("upgrade", "head")
    assert copy.refused("downgrade", "-1") == refused_for("seen")


def test_a_column_that_the_model_loses_is_not_dropped_unasked_either(copy: Copy) -> None:
    model = copy.folder / "app/models/user.py"
    text, count = re.subn("    full_name: Mapped.*\n", "", model.read_text(encoding="utf-8"))
    assert count == 1
    model.write_text(text, encoding="utf-8")
    revision = copy.revise("no full names")
    assert "def check_upgrade() -> None:\n    ops.refuse_values('users', 'full_name')" in revision
    execute(
        copy.url,
        "INSERT INTO users (email, full_name, password_hash) VALUES ('ana@example.com', 'Ana', '$2b$12$' || repeat('a', 53))",
    )
    assert copy.refused("upgrade", "head") == refused_for("full_name", "users")
    copy.alembic("-x", "drop-data=yes", "upgrade", "head")
    copy.alembic("downgrade", "-1")


OTHERS = """
from sqlalchemy import Column, DateTime, Integer, MetaData, Table

metadata = MetaData()
Table("orders", metadata, Column("id", Integer, primary_key=True), Column("updated_at", DateTime))
Table("stock", metadata, Column("id", Integer, primary_key=True))
"""


def test_beside_a_teams_own_metadata_its_tables_are_its_own(copy: Copy) -> None:
    """docs/own-alembic.md, "As a branch of yours"."""
    copy.write("shop.py", OTHERS)
    env = copy.folder / "alembic/env.py"
    ours = '"target_metadata": app.models.Base.metadata,'
    text = env.read_text(encoding="utf-8").replace(
        ours, '"target_metadata": [app.models.Base.metadata, shop.metadata],'
    )
    env.write_text(
        text.replace("    import app.models\n", "    import app.models\n    import shop\n", 1), encoding="utf-8"
    )
    execute(
        copy.url,
        "CREATE TABLE orders (id serial PRIMARY KEY, updated_at timestamp)",
        "CREATE TABLE stock (id serial PRIMARY KEY)",
        "CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        "CREATE TRIGGER set_updated_at BEFORE UPDATE ON stock FOR EACH ROW EXECUTE FUNCTION theirs()",
        "ALTER TABLE stock ENABLE ROW LEVEL SECURITY; CREATE POLICY app_tenant ON stock TO app_tenant USING (true)",
    )
    copy.alembic("check")
    add_to_customers(copy, NEW)
    revision = copy.revise("more about customers")
    assert "ops.grant_tenancy('customers')" in revision
    assert "orders" not in revision
    assert "stock" not in revision
    copy.alembic("upgrade", "head")
    copy.alembic("check")
    may = "SELECT has_column_privilege('app_tenant', 'customers', 'note', 'UPDATE')"
    assert rows(copy.url, may) == [(True,)]
    copy.alembic("downgrade", "-1")


def test_a_table_of_our_base_with_a_time_of_its_own_gets_no_trigger(copy: Copy) -> None:
    copy.add_model(
        "stock",
        '"""Stock."""\n\nfrom datetime import datetime\n\nfrom sqlalchemy.orm import Mapped, mapped_column\n\n'
        'from app.models.base import Base\n\n\nclass Stock(Base):\n    """Stock."""\n\n    __tablename__ = "stock"\n\n'
        "    id: Mapped[int] = mapped_column(primary_key=True)\n    updated_at: Mapped[datetime]\n",
    )
    assert "trigger" not in copy.revise("stock")
    copy.alembic("upgrade", "head")
    copy.alembic("check")
