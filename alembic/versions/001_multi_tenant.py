"""The multi-tenant schema: many businesses, their numbers, users and roles, kept apart by the database.

Why: the bot takes on more shops. Every existing row goes to the default business, and the single-business bot
goes on working: business_id has a DEFAULT, and the indexes of its queries stay.

Locks: customers and conversations are locked ACCESS EXCLUSIVE only for catalogue changes, milliseconds each and
one table at a time; indexes are built concurrently and keys validated under SHARE UPDATE EXCLUSIVE. Writers wait
once in the rollback, while the rows of other businesses move to the schema multi_tenant_archive.

Every step asks the catalogue whether it is done: the same command finishes an interrupted run.

Revision ID: 001
Revises: 000
Create Date: 2025-10-11 00:00:00+00:00
"""

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from alembic import op
from app.migration import ops
from app.migration.ops import has_column, has_table
from app.migration.scripts import script
from app.migration.steps import emit, literal, options, outside_transaction, step, stop_after_dry_run

revision = "001"
down_revision = "000"
branch_labels = None
depends_on = None

DEFAULT = "00000000-0000-0000-0000-000000000001"
IN_SCOPE = sa.text(f"COALESCE(NULLIF(current_setting('app.business_id', true), '')::uuid, '{DEFAULT}'::uuid)")
PASSWORD_HASH = (
    r"^\$(argon2(id|i|d)|2[abxy]|scrypt|pbkdf2[a-z0-9-]*|5|6|7|y|gy)\$.{20,}$"
    r"|^(scrypt:[0-9]+:[0-9]+:[0-9]+|pbkdf2:[a-z0-9]+(:[0-9]+)?)\$[^$]+\$[0-9a-f]{40,}$"
    r"|^(pbkdf2_sha1|pbkdf2_sha256|argon2|bcrypt|bcrypt_sha256|scrypt)\$.{20,}$"
)

NEW_TABLES = {
    "businesses": "Businesses: the tenants of the bot",
    "whatsapp_numbers": "WhatsApp numbers, each of one business",
    "users": "People who manage businesses",
    "user_businesses": "Which user has which role in which business",
}
TIMES = {"customers": "created_at,updated_at", "conversations": "timestamp,created_at"}
LEGACY_COMMENTS = {
    "customers": {
        "id": "Identifier",
        "whatsapp_id": "WhatsApp id (wa_id) as Meta sends it",
        "name": "Name of the customer",
        "age": "Age in years",
        "created_at": "When the row was inserted",
        "updated_at": "When the row was last changed; set by the trigger set_updated_at",
    },
    "conversations": {
        "id": "Identifier",
        "whatsapp_id": "WhatsApp id of the customer",
        "message": "Text of the message",
        "role": "Who wrote it: user, assistant, or another role",
        "timestamp": "When the message was sent",
        "created_at": "When the row was inserted",
    },
}
LEGACY_TABLE_COMMENTS = {
    "customers": "Customers, each of one business",
    "conversations": "Messages; a row is one message",
}
NEW_COLUMNS = {
    "customers": ["business_id"],
    "conversations": ["business_id", "whatsapp_number_id", "whatsapp_message_id"],
}
BY_CUSTOMER = "ix_conversations_business_id_whatsapp_id_timestamp"
BY_NUMBER = "ix_conversations_business_id_whatsapp_number_id"
BY_MESSAGE_ID = "uq_conversations_business_id_whatsapp_message_id"
ONE_PER_BUSINESS = "uq_customers_business_id_whatsapp_id"
DEFAULT_CHANGED = (
    f"id = '{DEFAULT}' AND (name, business_type, settings, is_active) "
    "IS DISTINCT FROM ('Default business'::varchar, 'barberia'::varchar, '{}'::jsonb, true)"
)


def upgrade() -> None:
    emit(script("001_check_upgrade.sql", new_tables=_pairs(NEW_TABLES), bot_roles=script("001_bot_roles.sql")))
    stop_after_dry_run()
    with outside_transaction():
        create_roles()
        create_new_tables()
        rename_equal_indexes()
        extend("customers")
        extend("conversations")
        build_indexes()
        validate_keys()
        swap_unique_customers()
        restore_archive()


def downgrade() -> None:
    check = script("001_check_downgrade.sql", tables=_names([*NEW_TABLES, *TIMES]), default=DEFAULT)
    emit(check)
    emit(script("001_report.sql", default=DEFAULT, changed=DEFAULT_CHANGED))
    stop_after_dry_run()
    with outside_transaction():
        archive(check)
        rebuild_unique_customers()
        give_back("customers")
        give_back("conversations")
        rebuild_time_indexes()
        drop_new_tables()


def create_roles() -> None:
    with step("roles app_tenant and app_service", done="false"):
        emit(script("001_roles.sql", bot_roles=script("001_bot_roles.sql")))


def create_new_tables() -> None:
    with step("businesses, whatsapp_numbers, users, user_businesses", done=has_table("businesses")):
        op.create_table(
            "businesses",
            _uuid_pk(),
            sa.Column("name", sa.String(255), nullable=False, comment="Name as customers know it"),
            sa.Column(
                "business_type",
                sa.String(50),
                nullable=False,
                server_default=sa.text("'barberia'"),
                comment="Kind of business",
            ),
            sa.Column(
                "settings",
                JSONB,
                nullable=False,
                server_default=sa.text("'{}'::jsonb"),
                comment="Services with prices, hours, barbers, ai_personality; unknown keys are kept",
            ),
            _active("Whether the bot serves the business"),
            *_timestamps(),
            sa.PrimaryKeyConstraint("id", name="businesses_pkey"),
            comment=NEW_TABLES["businesses"],
        )
        op.create_table(
            "whatsapp_numbers",
            _uuid_pk(),
            sa.Column(
                "phone_number_id",
                sa.String(255),
                comment="Meta's phone_number_id; empty for numbers of other providers",
            ),
            sa.Column(
                "phone_number", sa.String(50), nullable=False, comment="The number in E.164, such as +573001234567"
            ),
            sa.Column("access_token", sa.Text, comment="Meta's access token, as Fernet ciphertext only"),
            _active("Whether messages to the number are served"),
            _business_id(),
            *_timestamps(),
            sa.PrimaryKeyConstraint("id", name="whatsapp_numbers_pkey"),
            sa.UniqueConstraint("phone_number_id", name="uq_whatsapp_numbers_phone_number_id"),
            sa.UniqueConstraint("business_id", "id", name="uq_whatsapp_numbers_business_id_id"),
            sa.ForeignKeyConstraint(
                ["business_id"], ["businesses.id"], name="fk_whatsapp_numbers_businesses", ondelete="CASCADE"
            ),
            sa.CheckConstraint(
                r"phone_number ~ '^\+[1-9][0-9]{7,14}$'", name=op.f("ck_whatsapp_numbers_phone_number_is_e164")
            ),
            sa.CheckConstraint(
                "access_token ~ '^gAAAA[A-Za-z0-9_-]{93,}={0,2}$'",
                name=op.f("ck_whatsapp_numbers_access_token_is_ciphertext"),
            ),
            comment=NEW_TABLES["whatsapp_numbers"],
        )
        op.create_index(
            "uq_whatsapp_numbers_phone_number_active",
            "whatsapp_numbers",
            ["phone_number"],
            unique=True,
            postgresql_where=sa.text("is_active"),
        )
        op.create_table(
            "users",
            _uuid_pk(),
            sa.Column("email", sa.String(255), nullable=False, comment="Login, unique without regard to case"),
            sa.Column("password_hash", sa.Text, nullable=False, comment="Hash of the password, never the password"),
            sa.Column("full_name", sa.String(255), comment="Name to show"),
            _active("Whether the user may log in"),
            *_timestamps(),
            sa.PrimaryKeyConstraint("id", name="users_pkey"),
            sa.CheckConstraint(f"password_hash ~ '{PASSWORD_HASH}'", name=op.f("ck_users_password_hash_is_a_hash")),
            comment=NEW_TABLES["users"],
        )
        op.create_index("uq_users_email_lower", "users", [sa.text("lower(email)")], unique=True)
        op.create_table(
            "user_businesses",
            sa.Column("user_id", sa.Uuid, nullable=False, comment="The user"),
            sa.Column(
                "role",
                sa.String(50),
                nullable=False,
                server_default=sa.text("'staff'"),
                comment="owner, admin or staff",
            ),
            _business_id(),
            *_timestamps(),
            sa.PrimaryKeyConstraint("user_id", "business_id", name="user_businesses_pkey"),
            sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_user_businesses_users", ondelete="CASCADE"),
            sa.ForeignKeyConstraint(
                ["business_id"], ["businesses.id"], name="fk_user_businesses_businesses", ondelete="CASCADE"
            ),
            sa.CheckConstraint("role IN ('owner', 'admin', 'staff')", name=op.f("ck_user_businesses_role_is_known")),
            comment=NEW_TABLES["user_businesses"],
        )
        op.create_index("ix_user_businesses_business_id", "user_businesses", ["business_id"])
        ops.create_functions()
        for table in NEW_TABLES:
            ops.create_updated_at_trigger(table)
        ops.enable_tenancy(
            "businesses",
            using="id = (SELECT current_business_id())",
            grant="SELECT, UPDATE (name, business_type, settings)",
        )
        ops.enable_tenancy("whatsapp_numbers")
        ops.enable_tenancy(
            "users",
            using="EXISTS (SELECT FROM user_businesses AS member WHERE member.user_id = users.id "
            "AND member.business_id = (SELECT current_business_id()))",
            grant="SELECT (id, email, full_name, is_active, created_at, updated_at)",
        )
        ops.enable_tenancy("user_businesses", grant="SELECT, UPDATE (role), DELETE")
        ops.close_version_table()
        emit(script("001_default_business.sql", default=DEFAULT, name=literal(options().default_business_name)))


def rename_equal_indexes() -> None:
    with step("canonical names of equal indexes", done="false"):
        ops.rename_equal_index("ix_conversations_whatsapp_id", "conversations", ["whatsapp_id"])
        ops.rename_equal_index("ix_conversations_timestamp", "conversations", ["timestamp"])


def extend(table: str) -> None:
    """business_id and what belongs to it, time zones, trigger, tenancy: catalogue changes only."""
    with step(
        f"{table}: business_id, time zones, row level security", done=_has_key(f"fk_{table}_businesses"), lock=table
    ):
        # A literal DEFAULT fills every row without writing it; the expression then serves new rows.
        op.add_column(
            table,
            sa.Column(
                "business_id",
                sa.Uuid,
                nullable=False,
                server_default=sa.text(f"'{DEFAULT}'"),
                comment=_business_id().comment,
            ),
        )
        op.alter_column(table, "business_id", server_default=IN_SCOPE)
        emit(
            f"ALTER TABLE {table} ADD CONSTRAINT fk_{table}_businesses FOREIGN KEY (business_id) REFERENCES businesses (id) ON DELETE CASCADE NOT VALID"
        )
        emit(script("001_remember.sql", table=table, columns=",".join(LEGACY_COMMENTS[table])))
        emit(script("001_zone.sql", table=table, columns=TIMES[table]))
        if table == "customers":
            ops.create_updated_at_trigger(table)
        else:
            op.add_column(
                table,
                sa.Column(
                    "whatsapp_number_id", sa.Uuid, comment="The number of the business that the message went through"
                ),
            )
            op.add_column(
                table,
                sa.Column(
                    "whatsapp_message_id",
                    sa.String(255),
                    comment="Meta's message id (wamid.), unique in a business: webhooks repeat",
                ),
            )
            emit(
                "ALTER TABLE conversations ADD CONSTRAINT fk_conversations_whatsapp_numbers FOREIGN KEY (business_id, whatsapp_number_id) "
                "REFERENCES whatsapp_numbers (business_id, id) ON DELETE SET NULL (whatsapp_number_id) NOT VALID"
            )
        ops.comment(table, LEGACY_TABLE_COMMENTS[table], LEGACY_COMMENTS[table])
        ops.enable_tenancy(table)


def build_indexes() -> None:
    concurrently = ops.create_index_concurrently
    for table in TIMES:
        ops.rebuild_indexes(
            table,
            f"SELECT jsonb_array_elements_text(CASE jsonb_typeof(d -> 'indexes') WHEN 'array' THEN d -> 'indexes' END) FROM (SELECT obj_description(oid)::jsonb AS d FROM pg_constraint WHERE conname = 'fk_{table}_businesses' AND conrelid = to_regclass('{table}')) AS c",
        )
    concurrently("ix_conversations_timestamp", "conversations", ["timestamp"])
    concurrently("ix_conversations_whatsapp_id", "conversations", ["whatsapp_id"])
    concurrently(BY_CUSTOMER, "conversations", ["business_id", "whatsapp_id", "timestamp"])
    concurrently(
        BY_NUMBER, "conversations", ["business_id", "whatsapp_number_id"], where="whatsapp_number_id IS NOT NULL"
    )
    concurrently(
        BY_MESSAGE_ID,
        "conversations",
        ["business_id", "whatsapp_message_id"],
        unique=True,
        where="whatsapp_message_id IS NOT NULL",
    )
    concurrently(ONE_PER_BUSINESS, "customers", ["business_id", "whatsapp_id"], unique=True)
    concurrently("ix_customers_whatsapp_id_001", "customers", ["whatsapp_id"], unless=_plain_customer_index())


def validate_keys() -> None:
    ops.validate_constraint("fk_customers_businesses", "customers")
    ops.validate_constraint("fk_conversations_businesses", "conversations")
    ops.validate_constraint("fk_conversations_whatsapp_numbers", "conversations")


def swap_unique_customers() -> None:
    with step("customers: unique in a business", done=_has_key(ONE_PER_BUSINESS), lock="customers"):
        emit(f"ALTER TABLE customers ADD CONSTRAINT {ONE_PER_BUSINESS} UNIQUE USING INDEX {ONE_PER_BUSINESS}")
        emit(script("001_swap_unique.sql"))
        ops.rename_equal_index("ix_customers_whatsapp_id", "customers", ["whatsapp_id"])


def restore_archive() -> None:
    with step(
        "restore multi_tenant_archive", done="to_regnamespace('multi_tenant_archive') IS NULL", lock="conversations"
    ):
        emit(script("001_restore_archive.sql", default=DEFAULT))


def archive(check: str) -> None:
    done = f"to_regclass('businesses') IS NULL OR {_frozen()}"
    with step("move what one business cannot hold to multi_tenant_archive", done=done, lock="conversations"):
        emit(script("001_lock_for_move.sql"))
        emit(check)
        emit(script("001_archive.sql", default=DEFAULT, changed=DEFAULT_CHANGED))


def rebuild_unique_customers() -> None:
    ops.create_index_concurrently(
        "ix_customers_whatsapp_id_000",
        "customers",
        ["whatsapp_id"],
        unique=True,
        unless=f"NOT {has_column('customers', 'business_id')}",
    )


def give_back(table: str) -> None:
    """The table as the single-business schema has it: catalogue changes only."""
    with step(f"{table}: back to one business", done=f"NOT {has_column(table, 'business_id')}", lock=table):
        emit(f"DROP TRIGGER single_business_only ON {table}")
        ops.disable_tenancy(table)
        if table == "customers":
            ops.drop_updated_at_trigger(table)
            emit("DROP INDEX IF EXISTS ix_customers_whatsapp_id")
            emit("ALTER INDEX ix_customers_whatsapp_id_000 RENAME TO ix_customers_whatsapp_id")
        names = NEW_COLUMNS[table]
        emit(
            script(
                "001_give_back.sql",
                table=table,
                columns=TIMES[table],
                new_columns=", ".join(map(literal, names)),
                new_rows="), (".join(map(literal, names)),
            )
        )


def rebuild_time_indexes() -> None:
    kept = (
        "SELECT jsonb_array_elements_text(obj_description(to_regprocedure('single_business_only()'), 'pg_proc')::jsonb)"
    )
    ops.rebuild_indexes("conversations", kept)


def drop_new_tables() -> None:
    with step(
        "drop the new tables, functions and privileges", done=f"NOT {has_table('businesses')}", lock="businesses"
    ):
        ops.disable_tenancy("users")  # its policy reads user_businesses
        for table in ("user_businesses", "users", "whatsapp_numbers", "businesses"):
            op.drop_table(table)
        emit("DROP FUNCTION single_business_only()")
        ops.open_version_table()
        ops.drop_functions()


def _uuid_pk() -> sa.Column[object]:
    return sa.Column("id", sa.Uuid, nullable=False, server_default=sa.text("gen_random_uuid()"), comment="Identifier")


def _active(comment: str) -> sa.Column[bool]:
    return sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.text("true"), comment=comment)


def _business_id() -> sa.Column[object]:
    return sa.Column(
        "business_id", sa.Uuid, nullable=False, server_default=IN_SCOPE, comment="The business that the row belongs to"
    )


def _timestamps() -> Iterator[sa.Column[object]]:
    for name in ("created_at", "updated_at"):
        yield sa.Column(
            name,
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("now()"),
            comment=LEGACY_COMMENTS["customers"][name],
        )


def _has_key(name: str) -> str:
    return (
        f"EXISTS (SELECT FROM pg_constraint WHERE conname = '{name}' AND connamespace = current_schema()::regnamespace)"
    )


def _frozen() -> str:
    return "to_regprocedure('single_business_only()') IS NOT NULL"


def _plain_customer_index() -> str:
    return f"EXISTS ({ops.EQUAL_INDEX.format(table=literal('customers'), columns=literal('{whatsapp_id}'))})"


def _names(tables: list[str]) -> str:
    return ", ".join(f"({literal(t)})" for t in tables)


def _pairs(comments: dict[str, str]) -> str:
    return ", ".join(f"({literal(k)}, {literal(v)})" for k, v in comments.items())
