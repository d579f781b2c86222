"""Ids without an end: customers.id and conversations.id of an adopted database become bigint.

Why: an integer ends at 2,147,483,647, and PostgreSQL then refuses every insert. A history of its own with its own
version table, for not every team needs it and `alembic downgrade -1` keeps its meaning. It runs at revision 000 as
at 001, and changes nothing where the ids are bigint already.

Locks: ACCESS EXCLUSIVE for milliseconds, three times a table; rows are copied some thousand at a time, indexes are
built concurrently, constraints validated under SHARE UPDATE EXCLUSIVE. Every step asks the catalogue whether it is
done: the same command finishes an interrupted run.

Revision ID: bigint
Revises:
Create Date: 2026-11-25 00:00:00+00:00
"""

from alembic import op
from app.tenancy.migration import ops
from app.tenancy.migration.state import ROLLING_BACK, STATE, UPGRADING
from app.tenancy.migration.steps import emit, literal, outside_transaction, refuse, step, wait_to_read
from app.tenancy.migration.widen import refuse_to_widen, widen_to_bigint

revision = "bigint"
down_revision = None
branch_labels = None
depends_on = None
steps_only = True

IDS = (("customers", "id"), ("conversations", "id"))
INTERRUPTED = {
    UPGRADING: "an upgrade of this database was interrupted: finish it with alembic upgrade head, then widen the ids",
    ROLLING_BACK: "a rollback of this database was interrupted: finish it with alembic downgrade 000, then widen the ids",
}
"""What is under way ends before something else begins."""


def check_upgrade() -> None:
    wait_to_read("customers", "conversations")
    for state, sentence in INTERRUPTED.items():
        refuse(literal(sentence), when=f"({STATE}) = {literal(state)}")
    refuse_to_widen(*IDS)


def upgrade() -> None:
    with outside_transaction():
        history = op.get_context().version_table
        closed = f"(SELECT relrowsecurity FROM pg_class WHERE oid = to_regclass({literal(history)}))"
        with step(f"close {history}", done=closed):
            ops.close_table(history)
            emit(f"ALTER TABLE {history} ENABLE ROW LEVEL SECURITY")
        for table, column in IDS:
            widen_to_bigint(table, column)


def downgrade() -> None:
    """Only the record goes: narrower ids would be a rewrite that serves nobody, and both revisions take bigint."""
    emit("DO $said$ BEGIN RAISE NOTICE 'the ids stay bigint: both revisions of the schema go on with them'; END $said$")
