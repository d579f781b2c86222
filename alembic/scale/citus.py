"""Many servers: Citus spreads customers and conversations by business_id; every server has a copy of the other tables.

Why: one server's disk or its rate of writes is full. A business lies on one worker, whole: a statement that names it
goes to that worker only. The bot goes on connecting to the coordinator, which holds no message.

Locks: foreign keys of the two tables are dropped first, so that a table is moved by itself, and added again at the
end: the bot goes on, and waits up to about a second when a table changes place. On the way back Citus has no such
form: who writes waits until all rows are back, which has to be confirmed.

Every step asks the catalogue whether it is done: the same command finishes an interrupted run.

Revision ID: citus
Revises: distributable
Create Date: 2026-11-25 00:00:00+00:00
"""

import re
from typing import Any, cast

from sqlalchemy import Connection

from alembic import op
from app.tenancy.migration import ops
from app.tenancy.migration.distribution import (
    CLOSING,
    HAS_CITUS,
    KEYS,
    REFERENCE_TABLES,
    SETTING_IS_THERE,
    TABLES,
    add_business_key,
    add_number_keys,
    is_distributed,
)
from app.tenancy.migration.ops import has_constraint, has_table
from app.tenancy.migration.scripts import answer, script
from app.tenancy.migration.steps import (
    ALWAYS,
    emit,
    emit_statements,
    literal,
    options,
    outside_transaction,
    refuse,
    step,
    step_per_statement,
)

revision = "citus"
down_revision = "distributable"
branch_labels = None
depends_on = None
steps_only = True

COMMENTS = "citus_comments"
"""Table of the comments that Citus loses while it moves the tables; it is dropped at the end."""

MAY_ASK = "coalesce(has_function_privilege(to_regprocedure('run_command_on_all_nodes(text,boolean,boolean)'), 'EXECUTE'), false)"
"""SQL condition: the nodes can be asked; of an interrupted run this was closed to all but administrators."""

NO_CITUS = (
    "the extension citus is not in this database: as an administrator, on a server that has it: "
    "run CREATE EXTENSION citus;"
)
UNREACHABLE = (
    "app_tenant cannot log in on a worker ({}): let it in there in pg_hba.conf and with GRANT CONNECT, in the way in "
    "which the coordinator connects (trust for its address, a certificate, or a password in its .pgpass)"
)

OTHERS = """(SELECT jsonb_agg(format('the foreign key %s of table %s refers to %s, which comes back to one server: run ALTER TABLE %2$s DROP CONSTRAINT %1$I;',
                          conname, conrelid::regclass, confrelid::regclass) ORDER BY conname)
   FROM pg_constraint WHERE contype = 'f' AND confrelid IN ({tables}) AND conrelid NOT IN ({tables}))"""

REACH = """DO $reach$
DECLARE
    lost text;
BEGIN
    SET LOCAL ROLE app_tenant;
    SELECT string_agg(nodename || ':' || nodeport, ', ') INTO lost FROM pg_dist_node
     WHERE groupid <> 0 AND isactive AND noderole = 'primary' AND NOT citus_check_connection_to_node(nodename, nodeport);
    RESET ROLE;
    IF lost IS NOT NULL THEN
        RAISE EXCEPTION '{sentence}', lost;
    END IF;
END $reach$"""


def check_upgrade() -> None:
    refuse_single_transaction()
    refuse(f"CASE WHEN NOT {HAS_CITUS} THEN {literal(NO_CITUS)} END")
    refuse(answer("citus_check.sql", closing=CLOSING, setting=SETTING_IS_THERE), when=HAS_CITUS)
    refuse(answer("citus_check_nodes.sql"), when=MAY_ASK)
    for error in unreachable():
        refuse(literal(UNREACHABLE.format(error)))


def upgrade() -> None:
    with outside_transaction():
        prepare_tenants()
        keep_comments()
        drop_keys(f"{is_distributed('conversations')}")
        prepare_session()
        for table in REFERENCE_TABLES:
            with step(f"{table}: a copy on every server", done=is_distributed(table), lock=table):
                call(f"create_reference_table('{table}')")
        beside = "none"
        for table in TABLES:
            distribute = (
                f"SELECT create_distributed_table_concurrently('{table}', 'business_id', colocate_with => '{beside}')"
            )
            step_per_statement(
                f"{table}: spread by business_id",
                f"SELECT {literal(distribute)} WHERE NOT {is_distributed(table)}",
                table=table,
            )
            beside = table
        add_keys()
        give_comments_back()
        step_per_statement(
            "remove what lies around", "SELECT 'CALL citus_cleanup_orphaned_resources()'", table="conversations"
        )


def check_downgrade() -> None:
    refuse_single_transaction()
    refuse(OTHERS.format(tables=", ".join(f"to_regclass('{table}')" for table in TABLES)))
    if not options().writers_wait:
        refuse(answer("citus_check_downgrade.sql"))


def downgrade() -> None:
    with outside_transaction():
        keep_comments()
        drop_keys(f"NOT {is_distributed('customers')}")
        prepare_session()
        for table in reversed(TABLES):
            back = f"SELECT undistribute_table('{table}')"
            step_per_statement(
                f"{table}: back to one server", f"SELECT {literal(back)} WHERE {is_distributed(table)}", table=table
            )
        back = "SELECT undistribute_table('businesses', cascade_via_foreign_keys => true)"
        step_per_statement("the other tables: back to one server", f"SELECT {literal(back)} WHERE {is_distributed('businesses')}", table="businesses")  # fmt: skip
        add_keys()
        give_comments_back()
        step_per_statement(
            "remove what lies around", "SELECT 'CALL citus_cleanup_orphaned_resources()'", table="conversations"
        )
        with step(
            "app_tenant logs in nowhere", done="NOT (SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app_tenant')"
        ):
            emit("ALTER ROLE app_tenant NOLOGIN")
        with step("settings stay here", done=f"NOT {SETTING_IS_THERE}"):
            emit_statements("SELECT format('ALTER DATABASE %I RESET citus.propagate_set_commands', current_database())")


def prepare_session() -> None:
    """Triggers are taken along: ours change nothing but their row. What Citus says of its insides is left out."""
    emit("SET citus.enable_unsafe_triggers = on")
    emit("SET client_min_messages = warning")


def refuse_single_transaction() -> None:
    """Stop where one transaction is asked for.

    Raises:
        ValueError: `-x single-transaction=yes`.
    """
    if options().single_transaction:
        raise ValueError(
            "Citus moves a table in transactions of its own, so that nobody waits: run it without -x single-transaction=yes."
        )


def call(function: str) -> None:
    """Call a function inside of a step."""
    emit(f"DO $call$ BEGIN PERFORM {function}; END $call$")


def unreachable() -> list[str]:
    """Why app_tenant does not get into workers, as they say; that it may not log in yet is no reason."""
    context = op.get_context()
    if context.as_sql:
        return []
    connection = cast(Connection, context.impl.connection)
    asked = f"SELECT {HAS_CITUS} AND EXISTS (SELECT FROM pg_roles WHERE rolname = 'app_tenant' AND pg_has_role(oid, 'MEMBER'))"
    if not connection.exec_driver_sql(asked).scalar():
        return []
    raw: Any = connection.connection.dbapi_connection
    before, raw.notices = raw.notices, []
    try:
        with raw.cursor() as cursor:
            cursor.execute("SAVEPOINT asked; SET LOCAL ROLE app_tenant; SELECT pg_catalog.dump_global_wait_edges()")
            cursor.execute("ROLLBACK TO SAVEPOINT asked")
        said = "\n".join(raw.notices)
    finally:
        raw.notices = before
    errors = re.findall(r"connection to the remote node (\S+) failed with the following error: (.*)", said)
    return [f"{node}: {error}" for node, error in errors if "is not permitted to log in" not in error]


def prepare_tenants() -> None:
    """A tenant's statements reach the workers as app_tenant, with its business, and show it nothing of others."""
    with step("settings of a transaction reach the workers", done=SETTING_IS_THERE):
        emit_statements(
            "SELECT format('ALTER DATABASE %I SET citus.propagate_set_commands = local', current_database())"
        )
    with step(
        "app_tenant logs in on the workers", done="(SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app_tenant')"
    ):
        emit("ALTER ROLE app_tenant LOGIN")
    with step("app_tenant reaches every worker", done=ALWAYS):
        emit(REACH.format(sentence=UNREACHABLE.format("%")))
    with step("nobody sees or ends statements of others", done=f"NOT EXISTS ({CLOSING})"):
        emit_statements(CLOSING)


def keep_comments() -> None:
    with step("keep comments", done=has_table(COMMENTS)):
        emit(f"CREATE TABLE {COMMENTS} AS {script('citus_comments.sql')}")
        ops.close_table(COMMENTS)
        emit(f"ALTER TABLE {COMMENTS} ENABLE ROW LEVEL SECURITY")
    ops.refuse_planted()


def give_comments_back() -> None:
    with step("comments", done=f"NOT {has_table(COMMENTS)}"):
        emit(script("citus_give_comments_back.sql", comments=COMMENTS))
        emit(f"DROP TABLE {COMMENTS}")


def drop_keys(unless: str) -> None:
    """Without them each table is moved by itself: with them Citus locks all tables that they connect."""
    for key in KEYS:
        table = key.split("_")[1]
        with step(f"drop {key}", done=f"{unless} OR NOT {has_constraint(table, key)}", lock=table):
            emit(f"ALTER TABLE {table} DROP CONSTRAINT {key}")


def add_keys() -> None:
    """The keys again, and what they would have done in between: then nothing keeps them from being valid."""
    for table in TABLES:
        key = f"fk_{table}_businesses"
        with step(f"add {key}", done=has_constraint(table, key), lock=table):
            add_business_key(table)
    with step("add the keys to whatsapp_numbers", done=has_constraint("conversations", KEYS[-1]), lock="conversations"):
        add_number_keys()
    for table in TABLES:
        key = f"fk_{table}_businesses"
        missing = f"DELETE FROM {table} WHERE NOT EXISTS (SELECT FROM businesses AS b WHERE b.id = {table}.business_id)"
        step_per_statement(
            f"what {key} would have done", f"SELECT {literal(missing)} WHERE {not_valid(table, key)}", table=table
        )
    missing = (
        "UPDATE conversations SET whatsapp_number_id = NULL WHERE whatsapp_number_id IS NOT NULL AND NOT EXISTS "
        "(SELECT FROM whatsapp_numbers AS n WHERE n.id = conversations.whatsapp_number_id)"
    )
    step_per_statement("what the keys to whatsapp_numbers would have done", f"SELECT {literal(missing)} WHERE {not_valid('conversations', KEYS[-1])}", table="conversations")  # fmt: skip
    for key in KEYS:
        ops.validate_constraint(key.split("_")[1], key)


def not_valid(table: str, key: str) -> str:
    """SQL condition: the key is there and was not validated."""
    return f"EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('{table}') AND conname = '{key}' AND NOT convalidated)"
