"""The multi-tenant schema: many businesses, their numbers, users and roles, kept apart by the database.

Why: the bot takes on more shops. Every existing row goes to the default business, and the single-business bot
goes on working: business_id has a DEFAULT, and the indexes of its queries stay.

Locks: customers and conversations are locked ACCESS EXCLUSIVE only for catalogue changes, milliseconds each and
one table at a time; indexes are built concurrently and keys validated under SHARE UPDATE EXCLUSIVE. Rows of other
businesses move, in a rollback, while the default business goes on.

Every step asks the catalogue whether it is done: the same command finishes an interrupted run.

Revision ID: 001
Revises: 000
Create Date: 2025-10-11 00:00:00+00:00
"""

from collections.abc import Iterable

from app.tenancy.migration import access, ops
from app.tenancy.migration.distribution import SCALED, UNDO_FIRST
from app.tenancy.migration.ops import has_column, has_constraint, has_table
from app.tenancy.migration.scripts import answer, script
from app.tenancy.migration.state import HAS_OLD_TABLES, MEMORY, ROLLBACK_BEGAN, relation
from app.tenancy.migration.steps import (
    ALWAYS,
    announce,
    emit,
    emit_statements,
    literal,
    notice,
    options,
    outside_transaction,
    refuse,
    shown,
    step,
    step_per_statement,
    wait_to_read,
)

revision = "001"
down_revision = "000"
branch_labels = None
depends_on = None
steps_only = True
next_after = {
    "upgrade": "alembic check, add the WhatsApp numbers, and give the bot a login that owns nothing (docs/tenancy.md)",
    "downgrade": "run the single-business bot; what it has no place for is in the schema multi_tenant_archive, and "
    "alembic upgrade head brings it back (docs/rolling-back.md)",
}

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
GLOBAL_UNIQUE = (
    "(indisunique AND NOT indisprimary AND indnkeyatts = 1 AND pg_get_indexdef(indexrelid, 1, true) = 'whatsapp_id')"
)
"""SQL condition on a row of pg_index: it keeps whatsapp_id unique in the whole database."""
NAIVE = "atttypid = 'timestamp'::regtype"
TIMES = {"customers": "created_at,updated_at", "conversations": "timestamp,created_at"}
KEYS = ("fk_customers_businesses", "fk_conversations_businesses", "fk_conversations_whatsapp_numbers")
ONE_PER_BUSINESS = "uq_customers_business_id_whatsapp_id"
INDEXES = {
    "ix_conversations_timestamp": '("timestamp")',
    "ix_conversations_whatsapp_id": "(whatsapp_id)",
    "ix_conversations_business_id_whatsapp_id_timestamp": '(business_id, whatsapp_id, "timestamp")',
    "ix_conversations_business_id_whatsapp_number_id": (
        "(business_id, whatsapp_number_id) WHERE whatsapp_number_id IS NOT NULL"
    ),
    "uq_conversations_business_id_whatsapp_message_id": (
        "(business_id, whatsapp_message_id) WHERE whatsapp_message_id IS NOT NULL"
    ),
    "uq_customers_business_id_whatsapp_user_id": ("(business_id, whatsapp_user_id) WHERE whatsapp_user_id IS NOT NULL"),
    ONE_PER_BUSINESS: "(business_id, whatsapp_id)",
}
"""The indexes of the two tables, by name; prefix and table are in the name."""
NO_MEMORY = (
    f"the table {MEMORY}, which says what the rollback is to give back, is missing: restore it from a backup, or run "
    "alembic -x canonical=yes downgrade 000, which gives the two tables the form of revision 000"
)
MEMORY_IS_OURS = f"EXISTS (SELECT FROM pg_class WHERE oid = {relation(MEMORY)} AND pg_has_role(relowner, 'USAGE'))"
HAVE_MEMBERS = (
    "EXISTS (SELECT FROM pg_auth_members WHERE roleid IN (to_regrole('app_tenant'), to_regrole('app_service')))"
)
ONE_BUSINESS_ONLY = "this database is being rolled back to one business"
"""Name of the CHECK that keeps a table to one business while it is rolled back; PostgreSQL quotes it to who writes."""
REWRITTEN_AT_ONCE = 8 * 1024 * 1024
"""Bytes of a table that the rollback may write anew under its lock (0.1 s)."""
DEFAULT_CHANGED = (
    f"id = '{DEFAULT}' AND to_jsonb(businesses) - '{{id,created_at,updated_at}}'::text[] IS DISTINCT FROM "
    """'{"name": "Default business", "business_type": "barberia", "settings": {}, "is_active": true}'"""
)


def check_upgrade() -> None:
    wait_to_read(*COLUMNS)
    notice(lines("notices"), when=HAS_OLD_TABLES)
    refuse(answer("000_check_server.sql"))
    refuse(answer("000_check_tables.sql"), when=HAS_OLD_TABLES)  # a database may have come to 000 long ago
    for check in ("check_upgrade", "check_both", "check_tables", "check_policies"):
        refuse(lines(check), when=HAS_OLD_TABLES)
    for check in ("check_names", "check_time_zone", "check_roles"):
        refuse(lines(check))
    refuse(lines("check_strangers"), when=HAVE_MEMBERS)
    refuse(lines("check_new_strangers"), when=access.USED_ELSEWHERE)
    for table in COLUMNS:
        try_times(table, NAIVE, "timestamptz", when=has_table(table))
    both = " AND ".join((*(has_table(table) for table in COLUMNS), f"NOT {has_column('customers', 'business_id')}"))
    emit(sql("trial_functions", when=both))
    refuse(tried("functions"))
    archived = f"to_regnamespace('multi_tenant_archive') IS NOT NULL AND NOT {has_table('businesses')}"
    refuse(lines("check_archive"), when=archived)
    refuse(lines("not_archived"))
    refuse(lines("check_archive_readers"), when=archived)
    for table in COLUMNS:
        there = f"{archived} AND {has_table(table)} AND {has_table(f'multi_tenant_archive.{table}')}"
        emit(sql("trial_archive", table=table, times=TIMES[table], when=there))
        refuse(tried(f"archive_{table}"))
    ids = f"{has_table('multi_tenant_archive.conversations')} AND {has_table('conversations')}"
    refuse(lines("check_archived_ids"), when=ids)
    untouched = f"{HAS_OLD_TABLES} AND NOT {has_constraint('conversations', 'fk_conversations_businesses')}"
    notice(lines("notice_roles"), when=untouched)


def upgrade() -> None:
    with outside_transaction():
        create_memory()
        create_roles()
        create_new_tables()
        ops.refuse_planted(made=True)
        rename_equal_indexes()
        extend("customers")
        extend("conversations")
        gather_statistics()  # before the indexes of the times are there again
        build_indexes()
        validate_keys()
        swap_unique_customers()
        restore_archive()
    complete_memory()  # in the transaction that records the revision


def check_downgrade() -> None:
    wait_to_read(*COLUMNS)
    refuse_rollback()
    announce(lines("report"), when=_rollback_not_begun())


def downgrade() -> None:
    with outside_transaction():
        create_memory()
        keep_to_one_business("customers")
        keep_to_one_business("conversations")
        close_new_tables()
        archive()
        prove_one_business("customers")
        prove_one_business("conversations")
        rebuild_unique_customers()
        back_to_one_business("customers")
        back_to_one_business("conversations")
        gather_statistics()
        rebuild_time_indexes()
    put_new_tables_aside()  # in the transaction that records the revision: what is gone is never still recorded


def create_memory() -> None:
    with step("what a rollback gives back", done=has_table(MEMORY)):
        emit(sql("memory"))
        ops.close_table(MEMORY)
    ops.refuse_planted()  # again, before anything is written to it: nobody else can make it any more
    if options().canonical:
        with step("the form of revision 000", done=f"NOT {has_table('businesses')}"):
            emit(f"DELETE FROM {MEMORY} WHERE phase ~ '^(customers|conversations|unique)' OR kind = 'number of rows'")
            columns = "phase, kind, statement, needs_column"
            emit(f"INSERT INTO {MEMORY} ({columns}) SELECT {columns} FROM {_canonical()}")


def try_times(table: str, retyped: str, type_: str, *, when: str) -> None:
    """Refuse an index of the times that cannot be built again, found out on an empty copy of the table."""
    emit(sql("trial_times", table=table, times=TIMES[table], retyped=retyped, type=type_, when=when))
    refuse(tried(table))


def tried(name: str) -> str:
    """SQL expression: what a trial found, a sentence a line."""
    return f"to_jsonb(nullif(current_setting('multi_tenant.trial_{name}', true), '')::text[])"


def remember(query: str) -> None:
    """Keep statements for the rollback, in the transaction of the change that they undo; each once.

    Args:
        query: SQL query of five text columns. phase: when it is run: "customers" or "conversations", in the step of
            the rollback that gives that table back, after the new columns are gone; "end", in its last step; other
            phases are asked for by name, "upgrade" by the upgrade itself, and a "fact" is no statement. kind: what it
            gives back, in a word or two, such as "comment". statement: NULL is not kept. needs_column and needs_role:
            a column of the table and a role without which it is not run, or NULL.
    """
    emit(sql("remember", query=query))


def run_remembered(phase: str) -> str:
    """A DO block that runs the statements of the phase.

    What a team dropped or renamed since the upgrade is skipped, and a notice names it.
    """
    table = phase.split()[0]
    return sql("run_remembered", phase=phase, former=access.former_roles(table))


def set_lost_indexes_aside(phase: str) -> None:
    """Remembered indexes that cannot be built any more, such as of a column that was dropped, are named and left out.

    Each is tried on an empty copy of its table, for a concurrent build that fails would stop the run.
    """
    title = "remembered indexes can be built"
    with step(title, done=f"NOT EXISTS (SELECT FROM {MEMORY} WHERE phase = '{phase}')"):
        emit(sql("lost_indexes", phase=phase))


def complete_memory() -> None:
    everything = f"SELECT 'fact', 'number of rows', count(*)::text, NULL, NULL FROM {MEMORY}"
    done = f"EXISTS (SELECT FROM {MEMORY} WHERE kind = 'number of rows')"
    with step("what a rollback gives back is complete", done=done):
        remember(everything)


def create_roles() -> None:
    with step("roles app_tenant and app_service", done=ALWAYS):
        emit(sql("roles"))
        remember(sql("leave_roles"))
        emit_statements(sql("grant_roles"))


def create_new_tables() -> None:
    made = "to_regnamespace('multi_tenant_archive') IS NULL"
    with step("businesses, whatsapp_numbers, users, user_businesses", done=has_table("businesses")):
        emit(sql("new_tables", in_scope=IN_SCOPE, password_hash=PASSWORD_HASH))
        emit_statements(sql("comments", tables=",".join(NEW_TABLES)))
        ops.create_functions()
        for table in NEW_TABLES:
            ops.create_updated_at_trigger(table)
        ops.enable_tenancy(
            "businesses",
            made=made,
            using="id = (SELECT current_business_id())",
            grant="SELECT, UPDATE (name, business_type, settings)",
        )
        ops.enable_tenancy("whatsapp_numbers", made=made)
        ops.enable_tenancy(
            "users",
            made=made,
            using="EXISTS (SELECT FROM user_businesses AS member WHERE member.user_id = users.id "
            "AND member.business_id = (SELECT current_business_id()))",
            grant="SELECT (id, email, full_name, is_active, created_at, updated_at)",
        )
        ops.enable_tenancy("user_businesses", made=made, grant="SELECT, UPDATE (role), DELETE")
        ops.close_version_table()
        name = literal(options().default_business_name)
        emit(f"INSERT INTO businesses (id, name) VALUES ('{DEFAULT}', {name}) ON CONFLICT (id) DO NOTHING")
        # What was brought back holds what a team added: it is always kept.
        as_made = f"SELECT 'fact', 'the new tables as made', {lines('as_made')}, NULL, NULL WHERE {made}"
        remember(as_made)


def rename_equal_indexes() -> None:
    done = has_constraint("conversations", "fk_conversations_businesses")
    by_id, by_time = (ops.equal_index("conversations", column) for column in ("whatsapp_id", '"timestamp"'))
    with step("canonical names of equal indexes", done=done):
        remember(sql("remember_index_names", by_id=by_id, by_time=by_time))
        ops.rename_equal_index("conversations", "ix_conversations_whatsapp_id", "whatsapp_id")
        ops.rename_equal_index("conversations", "ix_conversations_timestamp", '"timestamp"')


def extend(table: str) -> None:
    """business_id and what belongs to it, time zones, trigger, tenancy: catalogue changes only."""
    done = has_constraint(table, f"fk_{table}_businesses")
    with step(f"{table}: business_id, time zones, row level security", done=done, lock=table):
        remember_form(table)
        # A literal DEFAULT fills every row without writing it; the expression then serves new rows.
        emit(f"ALTER TABLE {table} ADD COLUMN business_id uuid NOT NULL DEFAULT '{DEFAULT}'")
        emit(f"ALTER TABLE {table} ALTER COLUMN business_id SET DEFAULT {IN_SCOPE}")
        emit(
            f"ALTER TABLE {table} ADD CONSTRAINT fk_{table}_businesses FOREIGN KEY (business_id) "
            "REFERENCES businesses (id) ON DELETE CASCADE NOT VALID"
        )
        emit(sql("retype", table=table, times=TIMES[table], retyped=NAIVE))
        emit(sql("sample", table=table, columns=COLUMNS[table]))
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
        emit_statements(sql("comments", tables=table))
        confine(table)


def confine(table: str) -> None:
    """Who worked with the table before keeps what it had there, and sees the default business; app_tenant joins."""
    remember(sql("remember_roles", table=table))
    remember(sql("remember_privileges", table=table, former=access.former_roles(table)))
    emit_statements(access.take_from_former_roles(table))
    ops.confine_former_roles(table, DEFAULT, restrictive=was_confined(table))
    ops.create_tenant_policies(table)
    ops.grant_tenancy(table)


def was_confined(table: str) -> str:
    """SQL condition: row level security was on before the upgrade."""
    statement = literal(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    return f"EXISTS (SELECT FROM {MEMORY} WHERE statement = {statement})"


def remember_form(table: str) -> None:
    """The table as it is: types, defaults, comments, row level security, grants, and the indexes built anew."""
    form = {"columns": COLUMNS[table], "times": TIMES[table], "retyped": NAIVE}
    remember(sql("remember_form", table=table, **form))


def gather_statistics() -> None:
    for table in COLUMNS:
        ops.gather_statistics(table)


def build_indexes() -> None:
    set_lost_indexes_aside("upgrade")
    for table in TIMES:
        build_times_again(table, "upgrade")
    for name, definition in INDEXES.items():
        kind, table = name.split("_")[:2]
        ops.create_index_concurrently(table, name, definition, unique=kind == "uq")
    there = f"{ops.equal_index('customers', 'whatsapp_id')} IS NOT NULL"
    ops.create_index_concurrently("customers", "ix_customers_whatsapp_id_001", "(whatsapp_id)", unless=there)


def validate_keys() -> None:
    for key in KEYS:
        ops.validate_constraint(key.split("_")[1], key)


def swap_unique_customers() -> None:
    done = has_constraint("customers", ONE_PER_BUSINESS)
    with step("customers: unique in a business", done=done, lock="customers"):
        equal = ops.equal_index("customers", "whatsapp_id")
        remember(sql("remember_unique", equal=equal))
        emit(f"ALTER TABLE customers ADD CONSTRAINT {ONE_PER_BUSINESS} UNIQUE USING INDEX {ONE_PER_BUSINESS}")
        emit_statements(sql("swap_unique"))
        ops.rename_equal_index("customers", "ix_customers_whatsapp_id", "whatsapp_id")


def restore_archive() -> None:
    archived = "NOT {}".format(has_table("multi_tenant_archive.conversations"))
    with step("restore the rows of multi_tenant_archive", done=archived, lock="conversations"):
        emit(sql("restore_rows", moving=_oids(COLUMNS), events="20", **{"except": "set_updated_at"}))
    done = f"NOT {has_table('multi_tenant_archive.privileges')}"
    with step("restore the privileges of roles that were new", done=done, lock="customers"):
        emit(sql("restore_privileges"))
    done = "to_regnamespace('multi_tenant_archive') IS NULL"
    with step("restore user names, drop multi_tenant_archive", done=done, lock="customers"):
        values = {"moving": _oids(["customers"]), "events": "16", "except": "", "shown": shown("sentence #>> '{}'")}
        emit(sql("restore_names", **values))


def refuse_rollback() -> None:
    """Everything that could stop the rollback; nothing where an interrupted one goes on."""
    refuse(answer("000_check_server.sql"))
    refuse(literal(UNDO_FIRST), when=SCALED)
    fresh = f"{_rollback_not_begun()} AND NOT {SCALED}"
    refuse(lines("check_owner"), when=has_table("businesses"))
    if not options().canonical:
        refuse(literal(NO_MEMORY), when=f"{has_table('businesses')} AND NOT {has_table(MEMORY)}")
        refuse(lines("check_memory"), when=f"{has_table('businesses')} AND {MEMORY_IS_OURS}")
    refuse(lines("check_both"), when=fresh)
    refuse(lines("check_downgrade"), when=fresh)
    refuse(lines("check_keys"), when=fresh)
    memory = _canonical() if options().canonical else MEMORY
    for table in COLUMNS:
        try_times(table, _zoned(table, memory), "timestamp", when=f"{_rollback_not_begun()} AND {has_table(table)}")


def keep_to_one_business(table: str) -> None:
    """From here on nothing that the single-business schema cannot hold is written to the table."""
    done = f"{has_constraint(table, ONE_BUSINESS_ONLY)} OR NOT {has_column(table, 'business_id')}"
    with step(f"{table}: only the default business writes", done=done, lock=table):
        new, old = (", ".join(f"{row}.{column}" for column in NEW_COLUMNS[table][1:]) for row in ("NEW", "OLD"))
        longest = _longest(table, MEMORY)
        emit(sql("one_business_only", table=table, new_values=new, old_values=old, longest=longest))


def close_new_tables() -> None:
    closed = (
        "EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass('businesses') AND tgname = 'single_business_only')"
    )
    done = f"{closed} OR NOT {has_table('businesses')}"
    with step(f"{', '.join(NEW_TABLES)}: read only", done=done, lock="businesses"):
        for table in NEW_TABLES:
            emit(
                f"CREATE TRIGGER single_business_only BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} "
                "EXECUTE FUNCTION single_business_only()"
            )
            emit(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER single_business_only")


def archive() -> None:
    gone = f"NOT {has_column('customers', 'business_id')}"
    done = f"NOT {has_table('businesses')} OR to_regnamespace('multi_tenant_archive') IS NOT NULL OR {gone}"
    with step("move what one business cannot hold to multi_tenant_archive", done=done):
        emit(sql("archive", moving=_oids(COLUMNS), events="8", when="true", **{"except": ""}))
        emit_statements(sql("close_archive"))


def prove_one_business(table: str) -> None:
    """A snapshot later than the move finds nothing of another business, and the CHECK lets nothing new in."""
    there = (
        f"EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('{table}') "
        f"AND conname = '{ONE_BUSINESS_ONLY}' AND NOT convalidated)"
    )
    validate = f"SELECT 'ALTER TABLE {table} VALIDATE CONSTRAINT \"{ONE_BUSINESS_ONLY}\"' WHERE {there}"
    step_per_statement(f"prove that {table} holds one business", validate, table=table)


def rebuild_unique_customers() -> None:
    set_lost_indexes_aside("unique")
    there = has_column("customers", "business_id")
    former = f"SELECT statement FROM {MEMORY} WHERE phase = 'unique' AND {there}"
    ops.build_indexes("customers", "what kept whatsapp_id unique", former)


def back_to_one_business(table: str) -> None:
    """The table as the single-business schema has it: catalogue changes only."""
    with step(f"{table}: back to one business", done=f"NOT {has_column(table, 'business_id')}", lock=table):
        emit(f"DROP TRIGGER single_business_only ON {table}")
        emit(f"DROP TRIGGER single_business_update ON {table}")
        emit_statements(sql("take_from_later_roles", table=table))
        ops.disable_tenancy(table)
        if table == "customers":
            ops.drop_updated_at_trigger(table)
        emit(
            sql(
                "give_back",
                table=table,
                drop_columns=", ".join(f"DROP COLUMN IF EXISTS {column}" for column in NEW_COLUMNS[table]),
                run_table=run_remembered(table),
                run_times=run_remembered(f"{table} times"),
                times=TIMES[table],
                retyped=_zoned(table),
                rewritten_at_once=str(REWRITTEN_AT_ONCE),
            )
        )
        emit(sql("sample", table=table, columns=COLUMNS[table]))


def rebuild_time_indexes() -> None:
    set_lost_indexes_aside("rollback")
    for table in TIMES:
        build_times_again(table, "rollback")


def build_times_again(table: str, phase: str) -> None:
    dropped = f"SELECT statement FROM {MEMORY} WHERE phase = '{phase}' AND kind = 'index of {table}'"
    marks = (
        f"SELECT statement FROM {MEMORY} WHERE phase = '{phase}' AND kind LIKE 'mark of {table} %' "
        f"AND to_regclass(substr(kind, length('mark of {table} ') + 1)) IS NOT NULL"
    )
    ops.build_indexes(table, f"indexes of the times of {table}", dropped, marks=marks)


def put_new_tables_aside() -> None:
    title = "put the new tables aside, drop functions and privileges"
    with step(title, done=f"NOT {has_table('businesses')}", lock="businesses"):
        emit(sql("put_aside"))
        emit_statements(sql("close_archive"))
        emit(run_remembered("end"))
        emit(f"DROP TABLE {MEMORY}")
        ops.open_version_table()
    with step("forget what a rollback gives back", done=f"NOT {has_table(MEMORY)}"):
        emit(f"DROP TABLE {MEMORY}")


def sql(name: str, **values: str) -> str:
    """The script `alembic/sql/001_<name>.sql` with what several of them name."""
    memory = _canonical() if options().canonical else MEMORY
    longest = {f"longest_{table}": _longest(table, memory) for table in COLUMNS}
    moved = f"business_id <> '{DEFAULT}' OR length(whatsapp_id) > {{}}"
    new_columns = f"({', '.join(sorted({literal(c) for columns in NEW_COLUMNS.values() for c in columns}))})"
    as_made = f"SELECT statement FROM {memory} WHERE kind = 'the new tables as made'"
    later = {
        f"later_{table}": script("001_later_roles.sql", table=table, memory=memory)
        for table in COLUMNS
        if name in {"archive", "report"}
    }
    fixed = {
        **later,
        "default": DEFAULT,
        "changed": DEFAULT_CHANGED,
        "changed_tables": f"(({as_made}) IS DISTINCT FROM {answer('001_as_made.sql')})",
        "global_unique": GLOBAL_UNIQUE,
        "one_business_only": ONE_BUSINESS_ONLY,
        "memory": memory,
        "links": f"business_id = '{DEFAULT}' AND num_nonnulls(whatsapp_number_id, whatsapp_message_id) > 0",
        "names": f"business_id = '{DEFAULT}' AND num_nonnulls(whatsapp_user_id, username) > 0",
        "moved_format": literal(
            f"%1$s.business_id <> '{DEFAULT}' OR length(%1$s.whatsapp_id) > coalesce(%2$s, 2147483647)"
        ),
        "our_names": ",".join((*KEYS, *INDEXES)),
        **{f"former_{table}": access.former_roles(table) for table in COLUMNS},
        **{f"acl_{table}": access.acl(table) for table in COLUMNS},
        "strangers": access.strangers(),
        "joins_as_anyone": access.as_anyone("joins.oid", "there"),
        "closing_there": access.close_to_strangers("there", "pg_has_role(who, current_user, 'MEMBER')"),
        "used_elsewhere": access.USED_ELSEWHERE,
        "to_ours": "coalesce(polroles && ARRAY[0, to_regrole('app_tenant')::oid, to_regrole('app_service')::oid], false)",
        "unconfined": access.UNCONFINED,
        "workers": _workers(),
        "upgraded": "EXISTS (SELECT FROM pg_constraint WHERE conrelid = polrelid AND conname = 'fk_' || polrelid::regclass || '_businesses')",
        "new_columns": new_columns,
        **longest,
        **{f"moved_{table}": moved.format(f"coalesce({longest[f'longest_{table}']}, 2147483647)") for table in COLUMNS},
        **_columns(),
    }
    return script(f"001_{name}.sql", **fixed, **values)


def lines(name: str) -> str:
    """A script of sentences, a line each, as an SQL expression."""
    return f"(\n{sql(name)}\n)"


def _canonical() -> str:
    """SQL row source: what an upgrade of the tables that revision 000 makes would have remembered."""
    return f"({script('001_canonical.sql', **_columns())}) AS canonical"


def _rollback_not_begun() -> str:
    """SQL condition: no rollback has begun, and what one gives back can be read."""
    fresh = f"{has_table('businesses')} AND NOT {ROLLBACK_BEGAN}"
    return fresh if options().canonical else f"{fresh} AND {MEMORY_IS_OURS}"


def _columns() -> dict[str, str]:
    return {f"columns_{table}": ",".join((columns, *NEW_COLUMNS[table])) for table, columns in COLUMNS.items()}


def _longest(table: str, memory: str) -> str:
    """SQL expression: how many characters whatsapp_id has room for after the rollback, or NULL."""
    width = r"substring(statement FROM '\((\d+)\)')::int"
    return f"(SELECT {width} FROM {memory} WHERE phase = '{table} whatsapp_id')"


def _zoned(table: str, memory: str = MEMORY) -> str:
    """SQL condition on a row of pg_attribute: the rollback makes it a time without a zone."""
    return f"attname IN (SELECT needs_column FROM {memory} WHERE phase = '{table} times' AND kind = 'type')"


def _oids(names: Iterable[str]) -> str:
    return f"({', '.join(f'to_regclass({literal(name)})' for name in names)})"


def _workers() -> str:
    """SQL query of the roles for which an object that reaches the tables is worth a word."""
    former = " UNION ".join(access.former_roles(table) for table in COLUMNS)
    return (
        f"{former} UNION SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') UNION SELECT 'PUBLIC'"
    )
