"""The single-business schema: customers and conversations.

Why: revisions need a first one, and a live database has these tables already. Where they exist they are
checked and left as they are; a misfit stops the run with a sentence that names every one.
Locks: none on existing tables. Both statements run in the transaction that Alembic has open.

Revision ID: 000
Revises:
Create Date: 2025-10-11 00:00:00+00:00
"""

import sqlalchemy as sa

from alembic import op
from app.tenancy.migration.ops import has_table, refuse_hidden_rows, refuse_rows
from app.tenancy.migration.scripts import answer
from app.tenancy.migration.state import HAS_OLD_TABLES, MULTI, OLD_TABLES, STATE
from app.tenancy.migration.steps import emit, options, refuse, step, wait_to_read

revision = "000"
down_revision = None
branch_labels = None
depends_on = None
steps_only = True


def check_upgrade() -> None:
    wait_to_read("customers", "conversations")
    refuse(answer("000_check_server.sql"))
    refuse(answer("000_check_tables.sql"), when=HAS_OLD_TABLES)


def upgrade() -> None:
    with step("the single-business tables", done=has_table("customers")):
        op.create_table(
            "customers",
            sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
            sa.Column("whatsapp_id", sa.String(50), nullable=False),
            sa.Column("name", sa.String(100), nullable=False),
            sa.Column("age", sa.Integer),
            sa.Column("created_at", sa.DateTime, nullable=False),
            sa.Column("updated_at", sa.DateTime, nullable=False),
        )
        op.create_index("ix_customers_whatsapp_id", "customers", ["whatsapp_id"], unique=True)
        op.create_table(
            "conversations",
            sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
            sa.Column("whatsapp_id", sa.String(50), nullable=False),
            sa.Column("message", sa.Text, nullable=False),
            sa.Column("role", sa.String(20), nullable=False),
            sa.Column("timestamp", sa.DateTime, nullable=False),
            sa.Column("created_at", sa.DateTime, nullable=False),
        )
        op.create_index("ix_conversations_whatsapp_id", "conversations", ["whatsapp_id"])
        op.create_index("ix_conversations_timestamp", "conversations", ["timestamp"])


def check_downgrade() -> None:
    wait_to_read("customers", "conversations")
    if not options().drop_data:
        refuse(answer("000_check_empty.sql"), when=has_table("customers"))
        refuse(answer("000_check_empty_001.sql"), when=f"({STATE}) = '{MULTI}'")
        refuse_hidden_rows(*OLD_TABLES)


def downgrade() -> None:
    with step("drop the single-business tables", done=f"NOT {has_table('customers')}", lock="conversations"):
        emit("LOCK TABLE conversations, customers")
        for table in OLD_TABLES:  # asked again: what the bot committed meanwhile is kept
            refuse_rows(table)
        op.drop_table("conversations")
        op.drop_table("customers")
