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
from app.migration.ops import has_column, has_constraint, has_table
from app.migration.scripts import script
from app.migration.steps import (
    emit,
    emit_each,
    literal,
    notice,
    options,
    outside_transaction,
    refuse,
    step,
    together,
    wait_to_read,
)

revision = "001"
down_revision = "000"
branch_labels = None
depends_on = None

DEFAULT = "00000000-0000-0000-0000-000000000001"
IN_SCOPE = f"COALESCE(NULLIF(current_setting('app.business_id', true), '')::uuid, '{DEFAULT}'::uuid)"
PASSWORD_HASH = (
    r"^\$(argon2(id|i|d)|2[abxy]|bcrypt-sha256|scrypt|pbkdf2[a-z0-9-]*|5|6|7|y|gy)\$.{20,}$"
    r"|^(scrypt:[0-9]+:[0-9]+:[0-9]+|pbkdf2:[a-z0-9]+(:[0-9]+)?)\$[^$]+\$[0-9a-f]{40,}$"
    r"|^(pbkdf2_sha1|pbkdf2_sha256|argon2|bcrypt|bcrypt_sha256|scrypt)\$.{20,}$"
)
NEW_TABLES = ("user_businesses", "users", "whatsapp_numbers", "businesses")
COLUMNS = {
    "customers": "id,whatsapp_id,name,age,created_at,updated_at",
    "conversations": "id,whatsapp_id,message,role,timestamp,created_at",
}
NEW_COLUMNS = {
    "customers": ("business_id", "whatsapp_user_id", "username"),
    "conversations": ("business_id", "whatsapp_number_id", "whatsapp_message_id"),
}
TIMES = {"customers": "created_at,updated_at", "conversations": "timestamp,created_at"}
KEYS = ("fk_customers_businesses", "fk_conversations_businesses", "fk_conversations_whatsapp_numbers")
ONE_PER_BUSINESS = "uq_customers_business_id_whatsapp_id"
FROZEN = "to_regprocedure('single_business_only()') IS NOT NULL"
"""SQL condition: a rollback has moved what the old schema cannot hold, and is not finished."""
DEFAULT_CHANGED = (
    f"id = '{DEFAULT}' AND to_jsonb(businesses) - '{{id,created_at,updated_at}}'::text[] IS DISTINCT FROM "
    """'{"name": "Default business", "business_type": "barberia", "settings": {}, "is_active": true}'"""
)


def upgrade() -> None:
    wait_to_read(*COLUMNS)
    with together():
        notice(sql("notices"))
        refuse(sql("check_upgrade"))
        refuse(sql("check_archive"), when="to_regclass('multi_tenant_archive.customers') IS NOT NULL")
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
    wait_to_read(*COLUMNS)
    check_downgrade()
    emit(sql("report"))
    with outside_transaction():
        archive()
        rebuild_unique_customers()
        give_back("customers")
        give_back("conversations")
        rebuild_time_indexes()
        drop_new_tables()


def create_roles() -> None:
    with step("roles app_tenant and app_service", done="false"):
        emit(sql("roles"))
        emit_each(sql("grant_roles"))


def create_new_tables() -> None:
    with step("businesses, whatsapp_numbers, users, user_businesses", done=has_table("businesses")):
        emit(sql("new_tables", in_scope=IN_SCOPE, password_hash=PASSWORD_HASH))
        emit_each(sql("comments", tables=",".join(NEW_TABLES)))
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
        emit_each(sql("team_columns"))
        emit_each(sql("bring_back", tables=",".join(NEW_TABLES)))
        name = literal(options().default_business_name)
        emit(f"INSERT INTO businesses (id, name) VALUES ('{DEFAULT}', {name}) ON CONFLICT (id) DO NOTHING")


def rename_equal_indexes() -> None:
    with step("canonical names of equal indexes", done="false"):
        ops.rename_equal_index("ix_conversations_whatsapp_id", "conversations", "whatsapp_id")
        ops.rename_equal_index("ix_conversations_timestamp", "conversations", '"timestamp"')


def extend(table: str) -> None:
    """business_id and what belongs to it, time zones, trigger, tenancy: catalogue changes only."""
    done = has_constraint(table, f"fk_{table}_businesses")
    with step(f"{table}: business_id, time zones, row level security", done=done, lock=table):
        # A literal DEFAULT fills every row without writing it; the expression then serves new rows.
        emit(f"ALTER TABLE {table} ADD COLUMN business_id uuid NOT NULL DEFAULT '{DEFAULT}'")
        emit(f"ALTER TABLE {table} ALTER COLUMN business_id SET DEFAULT {IN_SCOPE}")
        emit(
            f"ALTER TABLE {table} ADD CONSTRAINT fk_{table}_businesses FOREIGN KEY (business_id) "
            "REFERENCES businesses (id) ON DELETE CASCADE NOT VALID"
        )
        emit(sql("times", table=table, times=TIMES[table], columns=COLUMNS[table]))
        emit_each(sql("widen_whatsapp_id", table=table))
        if table == "customers":
            emit("ALTER TABLE customers ADD COLUMN whatsapp_user_id varchar(255)")
            emit("ALTER TABLE customers ADD COLUMN username varchar(255)")
            ops.create_updated_at_trigger(table)
        else:
            emit("ALTER TABLE conversations ADD COLUMN whatsapp_number_id uuid")
            emit("ALTER TABLE conversations ADD COLUMN whatsapp_message_id varchar(255)")
            emit(
                "ALTER TABLE conversations ADD CONSTRAINT fk_conversations_whatsapp_numbers "
                "FOREIGN KEY (business_id, whatsapp_number_id) REFERENCES whatsapp_numbers (business_id, id) "
                "ON DELETE SET NULL (whatsapp_number_id) NOT VALID"
            )
        emit_each(sql("comments", tables=table))
        ops.enable_tenancy(table)


def build_indexes() -> None:
    for table in TIMES:
        kept = (
            "SELECT jsonb_array_elements_text(obj_description(oid, 'pg_constraint')::jsonb -> 'indexes') "
            f"FROM pg_constraint WHERE conrelid = to_regclass('{table}') AND conname = 'fk_{table}_businesses'"
        )
        ops.build_indexes(f"an index of {table}", table, kept)
    index = ops.create_index_concurrently
    index("ix_conversations_timestamp", "conversations", '("timestamp")')
    index("ix_conversations_whatsapp_id", "conversations", "(whatsapp_id)")
    by_customer = '(business_id, whatsapp_id, "timestamp")'
    index("ix_conversations_business_id_whatsapp_id_timestamp", "conversations", by_customer)
    by_number = "(business_id, whatsapp_number_id) WHERE whatsapp_number_id IS NOT NULL"
    index("ix_conversations_business_id_whatsapp_number_id", "conversations", by_number)
    by_message = "(business_id, whatsapp_message_id) WHERE whatsapp_message_id IS NOT NULL"
    index("uq_conversations_business_id_whatsapp_message_id", "conversations", by_message, unique=True)
    by_user_id = "(business_id, whatsapp_user_id) WHERE whatsapp_user_id IS NOT NULL"
    index("uq_customers_business_id_whatsapp_user_id", "customers", by_user_id, unique=True)
    index(ONE_PER_BUSINESS, "customers", "(business_id, whatsapp_id)", unique=True)
    there = f"{ops.equal_index('customers', 'whatsapp_id')} IS NOT NULL"
    index("ix_customers_whatsapp_id_001", "customers", "(whatsapp_id)", unless=there)


def validate_keys() -> None:
    for key in KEYS:
        ops.validate_constraint(key, key.split("_")[1])


def swap_unique_customers() -> None:
    done = has_constraint("customers", ONE_PER_BUSINESS)
    with step("customers: unique in a business", done=done, lock="customers"):
        emit(f"ALTER TABLE customers ADD CONSTRAINT {ONE_PER_BUSINESS} UNIQUE USING INDEX {ONE_PER_BUSINESS}")
        emit_each(sql("swap_unique"))
        ops.rename_equal_index("ix_customers_whatsapp_id", "customers", "whatsapp_id")


def restore_archive() -> None:
    done = "to_regnamespace('multi_tenant_archive') IS NULL"
    with step("restore multi_tenant_archive", done=done, lock="conversations"):
        emit(sql("restore_archive", tables=",".join(COLUMNS)))


def check_downgrade() -> None:
    """Everything that could stop the rollback; nothing where an interrupted one goes on."""
    refuse(sql("check_downgrade"), when=f"{has_table('businesses')} AND NOT {FROZEN}")
    emit(sql("check_keys"))


def archive() -> None:
    done = f"NOT {has_table('businesses')} OR {FROZEN}"
    with step("move what one business cannot hold to multi_tenant_archive", done=done, lock="conversations"):
        # Writers wait while rows move, those of tables with foreign keys to them too; readers do not.
        emit(f"LOCK TABLE {', '.join((*COLUMNS, *NEW_TABLES))} IN SHARE ROW EXCLUSIVE MODE")
        emit_each(
            "SELECT DISTINCT format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', conrelid::regclass) FROM pg_constraint "
            f"WHERE contype = 'f' AND confrelid IN {_oids(COLUMNS)}"
        )
        check_downgrade()
        emit(sql("archive"))
        emit_each(sql("close_archive"))
        emit(sql("guard"))
        for table in NEW_TABLES:
            emit(
                f"CREATE TRIGGER single_business_only BEFORE INSERT OR UPDATE OR DELETE ON {table} "
                "EXECUTE FUNCTION single_business_only()"
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
        else:
            emit("DROP TRIGGER single_business_update ON conversations")
        drop = ", ".join(f"DROP COLUMN IF EXISTS {column}" for column in NEW_COLUMNS[table])
        emit(sql("give_back", table=table, drop_columns=drop))


def rebuild_time_indexes() -> None:
    kept = "obj_description(to_regprocedure('single_business_only()'), 'pg_proc')::jsonb"
    ops.build_indexes("an index of a time", "conversations", f"SELECT jsonb_array_elements_text({kept})")


def drop_new_tables() -> None:
    title = "drop the new tables, functions and privileges"
    with step(title, done=f"NOT {has_table('businesses')}", lock="businesses"):
        emit(f"DROP TABLE {', '.join(NEW_TABLES)}")
        emit("DROP FUNCTION single_business_only()")
        ops.drop_functions()
        ops.open_version_table()


def sql(name: str, **values: str) -> str:
    """The script `alembic/sql/001_<name>.sql` with what several of them name."""
    fixed = {
        "check_tables": script("000_check_tables.sql"),
        "dependents": script("000_dependents.sql", retyped=script("001_retyped.sql", both=_oids(COLUMNS))),
        "default": DEFAULT,
        "changed": DEFAULT_CHANGED,
        "fresh": f"({has_table('businesses')} AND NOT {FROZEN})",
        "new_tables": ",".join(NEW_TABLES),
        "all_tables": ",".join((*COLUMNS, *NEW_TABLES)),
        "both": _oids(COLUMNS),
        "new": _oids(NEW_TABLES),
        "ours": _oids((*COLUMNS, *NEW_TABLES)),
        "keys": f"({', '.join(map(literal, KEYS))})",
        "new_columns": f"({', '.join(sorted({literal(c) for columns in NEW_COLUMNS.values() for c in columns}))})",
    }
    return script(f"001_{name}.sql", **fixed, **values)


def _oids(names: Iterable[str]) -> str:
    return f"({', '.join(f'to_regclass({literal(name)})' for name in names)})"
