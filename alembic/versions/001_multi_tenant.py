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

from collections.abc import Iterable

from app.migration import ops
from app.migration.ops import has_column, has_table
from app.migration.scripts import script
from app.migration.steps import emit, literal, options, outside_transaction, step

revision = "001"
down_revision = "000"
branch_labels = None
depends_on = None

DEFAULT = "00000000-0000-0000-0000-000000000001"
IN_SCOPE = f"COALESCE(NULLIF(current_setting('app.business_id', true), '')::uuid, '{DEFAULT}'::uuid)"
PASSWORD_HASH = (
    r"^\$(argon2(id|i|d)|2[abxy]|scrypt|pbkdf2[a-z0-9-]*|5|6|7|y|gy)\$.{20,}$"
    r"|^(scrypt:[0-9]+:[0-9]+:[0-9]+|pbkdf2:[a-z0-9]+(:[0-9]+)?)\$[^$]+\$[0-9a-f]{40,}$"
    r"|^(pbkdf2_sha1|pbkdf2_sha256|argon2|bcrypt|bcrypt_sha256|scrypt)\$.{20,}$"
)
NEW_TABLES = ("user_businesses", "users", "whatsapp_numbers", "businesses")
NEW_COLUMNS = {
    "customers": ["business_id"],
    "conversations": ["business_id", "whatsapp_number_id", "whatsapp_message_id"],
}
TIMES = {"customers": "created_at,updated_at", "conversations": "timestamp,created_at"}
COMMENTS = {
    "customers": {
        "": "Customers, each of one business",
        "id": "Identifier",
        "whatsapp_id": "WhatsApp id (wa_id) as Meta sends it",
        "name": "Name of the customer",
        "age": "Age in years",
        "business_id": "The business that the row belongs to",
        "created_at": "When the row was inserted",
        "updated_at": "When the row was last changed; set by the trigger set_updated_at",
    },
    "conversations": {
        "": "Messages; a row is one message",
        "id": "Identifier",
        "whatsapp_id": "WhatsApp id of the customer",
        "message": "Text of the message",
        "role": "Who wrote it: user, assistant, or another role",
        "timestamp": "When the message was sent",
        "created_at": "When the row was inserted",
        "business_id": "The business that the row belongs to",
        "whatsapp_number_id": "The number of the business that the message went through",
        "whatsapp_message_id": "Meta's message id (wamid.), unique in a business: webhooks repeat",
    },
}
ONE_PER_BUSINESS = "uq_customers_business_id_whatsapp_id"
KEPT_INDEXES = """
    SELECT jsonb_array_elements_text(CASE jsonb_typeof(legacy -> 'indexes') WHEN 'array' THEN legacy -> 'indexes' END)
      FROM pg_constraint CROSS JOIN LATERAL (SELECT obj_description(oid, 'pg_constraint')::jsonb) AS kept (legacy)"""
DEFAULT_CHANGED = (
    f"id = '{DEFAULT}' AND to_jsonb(businesses) - '{{id,created_at,updated_at}}'::text[] IS DISTINCT FROM "
    """'{"name": "Default business", "business_type": "barberia", "settings": {}, "is_active": true}'"""
)


def upgrade() -> None:
    emit(script("001_check_upgrade.sql", tables=_rows(NEW_TABLES), bot_roles=script("001_bot_roles.sql")))
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
    check = script("001_check_downgrade.sql", tables=_rows((*NEW_TABLES, *TIMES)), default=DEFAULT)
    emit(check)
    emit(script("001_report.sql", default=DEFAULT, changed=DEFAULT_CHANGED))
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
        emit(script("001_new_tables.sql", in_scope=IN_SCOPE, password_hash=PASSWORD_HASH))
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
        ops.rename_equal_index("ix_conversations_whatsapp_id", "conversations", "whatsapp_id")
        ops.rename_equal_index("ix_conversations_timestamp", "conversations", "timestamp")


def extend(table: str) -> None:
    """business_id and what belongs to it, time zones, trigger, tenancy: catalogue changes only."""
    title = f"{table}: business_id, time zones, row level security"
    with step(title, done=_has_constraint(f"fk_{table}_businesses"), lock=table):
        # A literal DEFAULT fills every row without writing it; the expression then serves new rows.
        emit(f"ALTER TABLE {table} ADD COLUMN business_id uuid NOT NULL DEFAULT '{DEFAULT}'")
        emit(f"ALTER TABLE {table} ALTER COLUMN business_id SET DEFAULT {IN_SCOPE}")
        emit(
            f"ALTER TABLE {table} ADD CONSTRAINT fk_{table}_businesses FOREIGN KEY (business_id) "
            "REFERENCES businesses (id) ON DELETE CASCADE NOT VALID"
        )
        emit(script("001_remember.sql", table=table, columns=",".join(filter(None, COMMENTS[table]))))
        emit(script("001_zone.sql", table=table, columns=TIMES[table]))
        if table == "customers":
            ops.create_updated_at_trigger(table)
        else:
            emit("ALTER TABLE conversations ADD COLUMN whatsapp_number_id uuid")
            emit("ALTER TABLE conversations ADD COLUMN whatsapp_message_id varchar(255)")
            emit(
                "ALTER TABLE conversations ADD CONSTRAINT fk_conversations_whatsapp_numbers "
                "FOREIGN KEY (business_id, whatsapp_number_id) REFERENCES whatsapp_numbers (business_id, id) "
                "ON DELETE SET NULL (whatsapp_number_id) NOT VALID"
            )
        ops.comment(table, COMMENTS[table])
        ops.enable_tenancy(table)


def build_indexes() -> None:
    for table in TIMES:
        ops.rebuild_indexes(table, f"{KEPT_INDEXES} WHERE conname = 'fk_{table}_businesses'")
    index = ops.create_index_concurrently
    index("ix_conversations_timestamp", "conversations", '("timestamp")')
    index("ix_conversations_whatsapp_id", "conversations", "(whatsapp_id)")
    by_customer = '(business_id, whatsapp_id, "timestamp")'
    index("ix_conversations_business_id_whatsapp_id_timestamp", "conversations", by_customer)
    by_number = "(business_id, whatsapp_number_id) WHERE whatsapp_number_id IS NOT NULL"
    index("ix_conversations_business_id_whatsapp_number_id", "conversations", by_number)
    by_message = "(business_id, whatsapp_message_id) WHERE whatsapp_message_id IS NOT NULL"
    index("uq_conversations_business_id_whatsapp_message_id", "conversations", by_message, unique=True)
    index(ONE_PER_BUSINESS, "customers", "(business_id, whatsapp_id)", unique=True)
    there = ops.EQUAL_INDEX.format(table=literal("customers"), columns=literal("{whatsapp_id}"))
    index("ix_customers_whatsapp_id_001", "customers", "(whatsapp_id)", unless=f"EXISTS ({there})")


def validate_keys() -> None:
    ops.validate_constraint("fk_customers_businesses", "customers")
    ops.validate_constraint("fk_conversations_businesses", "conversations")
    ops.validate_constraint("fk_conversations_whatsapp_numbers", "conversations")


def swap_unique_customers() -> None:
    with step("customers: unique in a business", done=_has_constraint(ONE_PER_BUSINESS), lock="customers"):
        emit(f"ALTER TABLE customers ADD CONSTRAINT {ONE_PER_BUSINESS} UNIQUE USING INDEX {ONE_PER_BUSINESS}")
        emit(script("001_swap_unique.sql"))
        ops.rename_equal_index("ix_customers_whatsapp_id", "customers", "whatsapp_id")


def restore_archive() -> None:
    with step(
        "restore multi_tenant_archive", done="to_regnamespace('multi_tenant_archive') IS NULL", lock="conversations"
    ):
        emit(script("001_restore_archive.sql", default=DEFAULT, team_triggers=script("001_team_triggers.sql")))


def archive(check: str) -> None:
    done = f"to_regclass('businesses') IS NULL OR {_frozen()}"
    with step("move what one business cannot hold to multi_tenant_archive", done=done, lock="conversations"):
        emit(script("001_lock_for_move.sql"))
        emit(check)
        emit(
            script(
                "001_archive.sql",
                default=DEFAULT,
                changed=DEFAULT_CHANGED,
                team_triggers=script("001_team_triggers.sql"),
            )
        )


def rebuild_unique_customers() -> None:
    gone = f"NOT {has_column('customers', 'business_id')}"
    ops.create_index_concurrently(
        "ix_customers_whatsapp_id_000", "customers", "(whatsapp_id)", unique=True, unless=gone
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
    ops.rebuild_indexes(
        "conversations",
        "SELECT jsonb_array_elements_text(obj_description(to_regprocedure('single_business_only()'), 'pg_proc')::jsonb)",
    )


def drop_new_tables() -> None:
    with step(
        "drop the new tables, functions and privileges", done=f"NOT {has_table('businesses')}", lock="businesses"
    ):
        emit(f"DROP TABLE {', '.join(NEW_TABLES)}")
        emit("DROP FUNCTION single_business_only()")
        ops.open_version_table()
        ops.drop_functions()


def _has_constraint(name: str) -> str:
    return (
        f"EXISTS (SELECT FROM pg_constraint WHERE conname = '{name}' AND connamespace = current_schema()::regnamespace)"
    )


def _frozen() -> str:
    return "to_regprocedure('single_business_only()') IS NOT NULL"


def _rows(names: Iterable[str]) -> str:
    return ", ".join(f"({literal(name)})" for name in names)
