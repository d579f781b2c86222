"""On three nodes a later revision runs as on one server, and a new model of a tenant gets its table."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.util.exc import CommandError
from sqlalchemy import URL

from tests.citus import as_tenant, citus_database, distribute, fill
from tests.documents import blocks, shell
from tests.support import OTHER_ID, ROOT, check, execute, plain, rows, scalar
from tests.widening import commands, widen

pytestmark = pytest.mark.citus

LATER = '''
"""Later."""

from alembic import op
import sqlalchemy as sa
from app.tenancy.migration import ops
from app.tenancy.migration.ops import has_column
from app.tenancy.migration.steps import outside_transaction, step

revision = "later"
down_revision = "001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with outside_transaction():
        with step("change conversations", done=has_column("conversations", "rating"), lock="conversations"):
            op.add_column("conversations", sa.Column("rating", sa.Integer, server_default="3"))
            op.add_column("conversations", sa.Column("plan_id", sa.Uuid))
            op.create_foreign_key("fk_plan", "conversations", "businesses", ["plan_id"], ["id"], postgresql_not_valid=True)
        ops.create_index_concurrently("conversations", "ix_rating", "(business_id, rating)")
        ops.set_not_null("conversations", "rating")
        ops.validate_constraint("conversations", "fk_plan")


def downgrade() -> None:
    with outside_transaction():
        ops.drop_index_concurrently("conversations", "ix_rating")
        with step("change conversations", done=f"NOT {has_column('conversations', 'rating')}", lock="conversations"):
            op.drop_constraint("fk_plan", "conversations")
            op.drop_column("conversations", "plan_id")
            op.drop_column("conversations", "rating")
'''


@pytest.fixture(scope="module")
def spread() -> Iterator[URL]:
    with citus_database(shards=2) as url:
        fill(url)
        distribute(url)
        yield url


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project."""
    for name in ("app", "alembic"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("alembic.ini", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def run(project: Path, commands: str, url: URL) -> str:
    """What commands in the project say; they succeed."""
    done = shell(commands, project, DATABASE_URL=plain(url), PYTHONPATH=str(project))
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_later_revision(spread: URL, project: Path) -> None:
    (project / "alembic/versions/later_later.py").write_text(LATER.lstrip(), encoding="utf-8")
    run(project, "alembic upgrade head", spread)
    assert rows(spread, "SELECT DISTINCT rating FROM conversations") == [(3,)]
    assert scalar(spread, "SELECT convalidated FROM pg_constraint WHERE conname = 'fk_plan'")
    assert {found for (found,) in rows(spread, "SELECT result FROM run_command_on_shards('conversations', $$SELECT attnotnull FROM pg_attribute WHERE attrelid = '%s'::regclass AND attname = 'rating'$$)")} == {"t"}  # fmt: skip
    run(project, "alembic downgrade -1", spread)
    check(spread)


def test_a_new_table_of_tenants(spread: URL, project: Path) -> None:
    """The model of docs/adding-a-table.md, but for its key to customers, which Citus takes of distributed tables only."""
    model, lines = blocks("docs/adding-a-table.md", "python")
    start, end = model.index("        ForeignKeyConstraint("), model.index('        {"comment"')
    model = (model[:start] + model[end:]).replace("ForeignKeyConstraint, ", "").replace('= (\n        {"comment": "Appointments"},\n    )', '= {"comment": "Appointments"}')  # fmt: skip
    (project / "app/models/booking.py").write_text(model, encoding="utf-8")
    init = project / "app/models/__init__.py"
    init.write_text(f"{init.read_text(encoding='utf-8')}\n{lines}", encoding="utf-8")
    walk, _ = blocks("docs/adding-a-table.md", "bash")
    assert "No new upgrade operations detected" in run(project, walk, spread)
    book = "INSERT INTO bookings (whatsapp_id, starts_at) VALUES ('1', now()) RETURNING business_id::text"
    assert as_tenant(spread, book, business=OTHER_ID) == [(OTHER_ID,)]
    execute(spread, f"INSERT INTO bookings (business_id, whatsapp_id, starts_at) VALUES ('{OTHER_ID}', '1', now())")
    assert as_tenant(spread, "SELECT * FROM bookings") == []
    run(project, "alembic -x drop-data=yes downgrade -1", spread)


def test_a_table_of_the_team_beside_its_customers(spread: URL) -> None:
    """As docs/scaling.md has it; the way back names its key first."""
    (distribution,) = blocks("docs/scaling.md", "sql")
    execute(
        spread,
        "CREATE TABLE bookings (id bigserial, business_id uuid NOT NULL REFERENCES businesses ON DELETE CASCADE, whatsapp_id varchar(255), PRIMARY KEY (id, business_id))",
        distribution,
        "ALTER TABLE bookings ADD CONSTRAINT of_customer FOREIGN KEY (business_id, whatsapp_id) REFERENCES customers (business_id, whatsapp_id)",
    )
    with pytest.raises(
        CommandError, match="the foreign key of_customer of table bookings refers to customers"
    ) as refused:
        widen(spread, "downgrade", "bigint", "writers-wait=yes")
    assert commands(str(refused.value)) == ["ALTER TABLE bookings DROP CONSTRAINT of_customer"]
    execute(spread, *commands(str(refused.value)), "DROP TABLE bookings")
