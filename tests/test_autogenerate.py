"""Declared once: a model with the mixins becomes a complete revision, and changing a mixin writes the change."""

import re
from pathlib import Path

import pytest
from sqlalchemy import URL
from sqlalchemy.exc import IntegrityError

from tests.copies import BOOKING, Copy
from tests.support import catalogue, execute, psql, rows


@pytest.fixture
def copy(tmp_path: Path, database: URL) -> Copy:
    return Copy(tmp_path, database)


def test_a_new_model_is_a_complete_revision(copy: Copy) -> None:
    before = catalogue(copy.url)
    copy.add_model("booking", BOOKING)
    revision = copy.revise("bookings")
    for operation in (
        "op.create_table('bookings'",
        "ops.create_updated_at_trigger('bookings')",
        "ops.enable_tenancy('bookings'",
    ):
        assert operation in revision
    copy.alembic("upgrade", "head")
    copy.alembic("check")
    found = catalogue(copy.url)
    assert found["table bookings", "row level security"] == "on"
    assert ("policy app_tenant on bookings", "definition") in found
    assert ("trigger set_updated_at on bookings", "definition") in found
    assert ("index ix_bookings_business_id_whatsapp_id on bookings", "definition") in found
    copy.alembic("downgrade", "-1")
    assert catalogue(copy.url) == before
    copy.alembic("upgrade", "head")
    copy.alembic("check")


def test_mixins_added_and_taken_away_on_a_table_that_exists(copy: Copy) -> None:
    plain_model = (
        BOOKING.replace("Booking(TenantOwned, Timestamped, Base)", "Booking(Base)")
        .replace("from app.models.base import Base, TenantOwned, Timestamped", "from app.models.base import Base")
        .replace('        ForeignKeyConstraint(\n            ["business_id", "whatsapp_id"], ["customers.business_id", '
                 '"customers.whatsapp_id"], ondelete="CASCADE"\n        ),\n', "")
        .replace("DateTime, ForeignKeyConstraint, String", "DateTime, String")
    )  # fmt: skip
    copy.add_model("booking", plain_model)
    copy.revise("bookings")
    copy.alembic("upgrade", "head")
    before = catalogue(copy.url)
    execute(copy.url, "INSERT INTO bookings (whatsapp_id, starts_at) VALUES ('573000000001', now())")
    execute(copy.url, "INSERT INTO customers (whatsapp_id, name) VALUES ('573000000001', 'Ana')")

    copy.add_model("booking", BOOKING)
    added = copy.revise("bookings of tenants")
    for form in (
        "lock='bookings'",
        "op.add_column('bookings'",
        "postgresql_not_valid=True",
        "ops.validate_constraint('bookings', 'fk_bookings_customers')",
        "ops.create_index_concurrently('bookings', 'ix_bookings_business_id_whatsapp_id', '(business_id, whatsapp_id)')",
        "ops.create_updated_at_trigger('bookings')",
        "ops.enable_tenancy('bookings'",
    ):
        assert form in added
    copy.alembic("upgrade", "head")
    copy.alembic("check")
    assert "column bookings.business_id holds values" in copy.run("downgrade", "-1").stderr
    copy.alembic("-x", "drop-data=yes", "downgrade", "-1")
    assert catalogue(copy.url) == before
    copy.alembic("upgrade", "head")

    copy.add_model("booking", plain_model)
    taken = copy.revise("bookings of nobody")
    assert "ops.disable_tenancy('bookings')" in taken
    assert "ops.drop_updated_at_trigger('bookings')" in taken
    copy.alembic("-x", "drop-data=yes", "upgrade", "head")
    copy.alembic("check")
    assert catalogue(copy.url) == before
    assert rows(copy.url, "SELECT whatsapp_id FROM bookings") == [("573000000001",)]


def test_the_generated_revision_works_as_a_script(copy: Copy, make_database: object) -> None:
    copy.add_model("booking", BOOKING)
    copy.revise("bookings")
    head = copy.alembic("heads").split()[0]
    script = copy.alembic("upgrade", f"001:{head}", "--sql").split("INFO")[0]
    done = psql(copy.url, script)
    assert done.returncode == 0, done.stderr
    copy.alembic("check")


def test_slow_changes_of_a_table_that_exists_take_safe_forms(copy: Copy) -> None:
    model = copy.folder / "app/models/customer.py"
    text = model.read_text(encoding="utf-8")
    text = text.replace("age: Mapped[int | None]", "age: Mapped[int]").replace(
        'UniqueConstraint("business_id", "whatsapp_id"),',
        'UniqueConstraint("business_id", "whatsapp_id"),\n        Index("by_name", "name", postgresql_using="hash"),'
        'Index("by_age", "age", postgresql_include=["name"], postgresql_where="name LIKE \'a%\'"),',
    )
    model.write_text(text.replace("import String,", "import Index, String,"), encoding="utf-8")
    execute(copy.url, "INSERT INTO customers (whatsapp_id, name, age) VALUES ('1', 'Ana', 30)")
    business = copy.folder / "app/models/business.py"
    business.write_text(
        re.sub(r"(name: Mapped\[str\] = mapped_column\(String)\(\d+\)", r"\1(300)", business.read_text("utf-8"))
    )
    revision = copy.revise("ages")
    assert "ops.set_not_null('customers', 'age')" in revision
    assert "ops.gather_statistics('businesses')" in revision  # which a change of a type drops
    assert "ops.create_index_concurrently('customers', 'by_name', 'USING hash (name)')" in revision
    assert "'customers', 'by_age', \"(age) INCLUDE (name) WHERE name LIKE 'a%'\")" in revision
    copy.alembic("upgrade", "head")
    copy.alembic("check")
    with pytest.raises(IntegrityError, match='null value in column "age"'):
        execute(copy.url, "INSERT INTO customers (whatsapp_id, name) VALUES ('2', 'Zoë')")
    copy.alembic("downgrade", "-1")


def test_a_trigger_a_unique_key_and_a_key_to_another_table_of_a_table_that_exists(copy: Copy) -> None:
    key = BOOKING[BOOKING.index("        ForeignKeyConstraint(") : BOOKING.index('        {"comment"')]
    index = '        Index(None, "business_id", "whatsapp_id"),\n'  # which a key brings along
    copy.add_model("booking", BOOKING.replace(key, index).replace("ForeignKeyConstraint", "Index"))
    copy.revise("bookings")
    copy.alembic("upgrade", "head")
    copy.add_model("booking", BOOKING)
    assert "done=ops.has_constraint('bookings', 'fk_bookings_customers'), lock='bookings'" in copy.revise("a key")
    copy.alembic("upgrade", "head")
    for lost in (
        "TRIGGER set_updated_at ON bookings",
        "POLICY app_tenant ON customers",
        "POLICY app_service ON customers",
    ):
        execute(copy.url, f"DROP {lost}")
    unique = '        UniqueConstraint("business_id", "whatsapp_id", "starts_at"),\n'
    copy.add_model(
        "booking", BOOKING.replace(key, unique).replace("ForeignKeyConstraint, String", "String, UniqueConstraint")
    )
    revision = copy.revise("once at a time")
    for form in (
        "done=ops.has_policy('customers'), lock='customers'",
        "op.drop_constraint(op.f('fk_bookings_customers'), 'bookings', type_='foreignkey')",
        "ops.create_unique_concurrently('bookings', 'uq_bookings_business_id_whatsapp_id_starts_at', "
        "'business_id, whatsapp_id, starts_at')",
    ):
        assert form in revision
    copy.alembic("upgrade", "head")
    copy.alembic("check")
    copy.alembic("downgrade", "-1")


def test_a_revision_names_types_as_they_are_in_the_database_and_each_percent_sign_once(copy: Copy) -> None:
    model = BOOKING.replace(
        '{"comment": "Appointments"},',
        'CheckConstraint("id % 2 >= 0", name="even"),\n        Index("ix_a", "phone", postgresql_where=text("phone LIKE \'+57%\'")),\n        {"comment": "Appointments"},',
    )
    model = model.replace("import DateTime, ", "import CheckConstraint, DateTime, Index, text, ")
    model = model.replace(
        "\nclass", "from app.models.types import EncryptedToken, PhoneNumber, SettingsJson\n\n\nclass", 1
    )
    for name, kind in (("phone", "PhoneNumber"), ("token", "EncryptedToken"), ("more", "SettingsJson")):
        model += f'    {name}: Mapped[Any] = mapped_column({kind}, comment="{name}")\n'
    copy.add_model("booking", model)
    revision = copy.revise("bookings")
    assert "app.models" not in revision
    assert "%%" not in revision
    for kind in ("'phone', sa.String(length=50)", "'token', sa.Text()", "'more', postgresql.JSONB("):
        assert kind in revision
    copy.alembic("upgrade", "head")
    copy.alembic("check")
    copy.add_model("booking", model.replace("+57%", "+58%").replace('"ix_a"', '"ix_b"'))
    assert "LIKE '+58%'" in copy.revise("another index")
    copy.alembic("upgrade", "head")
    copy.alembic("check")


def test_a_generated_downgrade_refuses_to_delete_rows(copy: Copy) -> None:
    copy.add_model("booking", BOOKING)
    revision = copy.revise("bookings")
    assert "def check_downgrade() -> None:\n    ops.refuse_rows('bookings')\n\n\ndef downgrade()" in revision
    assert "def check_upgrade" not in revision
    copy.alembic("upgrade", "head")
    execute(
        copy.url,
        "INSERT INTO customers (whatsapp_id, name) VALUES ('573000000001', 'Ana')",
        "INSERT INTO bookings (whatsapp_id, starts_at) VALUES ('573000000001', now())",
    )
    assert copy.refused("downgrade", "-1") == (
        "FAILED: table bookings holds rows, which this would delete: move them away first, or delete them for good by "
        "running the same command with -x drop-data=yes."
    )
    newest = max((copy.folder / "alembic/versions").glob("*bookings.py"))
    newest.write_text(newest.read_text().replace("def check_downgrade", "def unasked"))
    assert "table bookings holds rows" in copy.refused(
        "downgrade", "-1"
    )  # it came after the check: asked under the lock
    assert rows(copy.url, "SELECT count(*) FROM bookings") == [(1,)]
    copy.alembic("-x", "drop-data=yes", "downgrade", "-1")
    copy.alembic("upgrade", "head")
    copy.alembic("downgrade", "-1")


def test_without_this_schemas_template_no_revision_is_written_that_drops_a_table_unasked(copy: Copy) -> None:
    template = copy.folder / "alembic/script.py.mako"
    template.write_text(template.read_text().replace("def check_downgrade", "def something"))
    copy.add_model("booking", BOOKING)
    assert "writes no check_downgrade(), which keeps the rows of bookings" in copy.refused(
        "revision", "--autogenerate", "-m", "bookings"
    )


@pytest.mark.parametrize(
    ("name", "column", "says"),
    [
        ("order", "mapped_column(String(5))", 'The table name "order" needs quotes in SQL: '),
        ("bookings", "mapped_column(Enum('a', name='kind'))", "The enum bookings.kind would be a type of its own: "),
    ],
)
def test_what_a_revision_cannot_name_or_take_back_is_refused(copy: Copy, name: str, column: str, says: str) -> None:
    model = BOOKING.replace('"bookings"', f'"{name}"').replace("import DateTime, ", "import DateTime, Enum, ")
    copy.add_model("booking", f"{model}    kind: Mapped[str] = {column}\n")
    assert copy.refused("revision", "--autogenerate", "-m", "bookings").startswith(f"FAILED: {says}")


def test_autogenerate_that_finds_nothing_writes_no_revision(copy: Copy) -> None:
    copy.write("app/models/booking.py", BOOKING)
    before = sorted((copy.folder / "alembic/versions").glob("*.py"))
    assert copy.refused("revision", "--autogenerate", "-m", "bookings") == (
        "FAILED: No difference found between models and database that a revision can write: is the model imported in "
        "app/models/__init__.py? What was changed by hand alembic check names."
    )
    assert sorted((copy.folder / "alembic/versions").glob("*.py")) == before
    copy.alembic("revision", "-m", "by hand")


def test_drift_alone_writes_no_revision(copy: Copy) -> None:
    execute(copy.url, "ALTER POLICY app_tenant ON customers USING (true)")
    assert "What was changed by hand alembic check names." in copy.refused(
        "revision", "--autogenerate", "-m", "nothing"
    )


def test_an_env_that_names_no_models_is_told_what_is_missing(copy: Copy) -> None:
    env = copy.folder / "alembic/env.py"
    env.write_text(re.sub(r'    "declared": .*\n', "", env.read_text()))
    assert "give context.configure(...) the option declared=app.tenancy.declared.declared()." in copy.refused("check")
