"""${message}

Why: (say it in a sentence.)
Locks: (what each step locks, on which table, for how long. A table that the bot uses takes short steps only:
NOT VALID, then validate; indexes concurrently; one such table a step.)
Code that still runs: (what the version of the bot before this revision writes and reads must go on working.)

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
Create Date: ${create_date}
"""

import sqlalchemy as sa

from alembic import op
from app.tenancy.migration import ops
from app.tenancy.migration.ops import has_column, has_table
from app.tenancy.migration.steps import ALWAYS, outside_transaction, step
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


% if check_upgrade:
def check_upgrade() -> None:
    ${check_upgrade}


% endif
def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


% if check_downgrade:
def check_downgrade() -> None:
    ${check_downgrade}


% endif
def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
