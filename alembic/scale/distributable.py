"""The form that Citus takes, on one server: keys that hold business_id, policies without a subquery.

Why: a distributed table's keys hold the column that it is distributed by, its policies no subquery, its foreign keys no
action on that column, and an identity column would not come back. All of it is plain PostgreSQL. On one server it has
no advantage: scans of a whole table by app_tenant are slower, for the policy's function is asked row by row.

Locks: ACCESS EXCLUSIVE for milliseconds, one table at a time; indexes are built concurrently, keys validated under
SHARE UPDATE EXCLUSIVE. Every step asks the catalogue whether it is done: the same command finishes an interrupted run.

Revision ID: distributable
Revises: bigint
Create Date: 2026-11-25 00:00:00+00:00
"""

from app.tenancy.migration import access, ops
from app.tenancy.migration.distribution import (
    FLAT,
    KEYS,
    NULL_KEY,
    NUMBER_INDEX,
    NUMBER_INDEX_ON,
    NUMBER_KEY,
    REFERENCE_TABLES,
    TABLES,
    WRAPPED,
    add_number_keys,
    create_is_colleague,
    grant_insert_on_shards,
)
from app.tenancy.migration.ops import has_constraint, has_table
from app.tenancy.migration.scripts import answer
from app.tenancy.migration.state import MULTI, STATE, function
from app.tenancy.migration.steps import emit, emit_statements, literal, outside_transaction, refuse, step, wait_to_read

revision = "distributable"
down_revision = "bigint"
branch_labels = None
depends_on = None
steps_only = True

OLD_INDEX = "ix_conversations_business_id_whatsapp_number_id"
OLD_INDEX_ON = "(business_id, whatsapp_number_id) WHERE whatsapp_number_id IS NOT NULL"
WRITTEN = (*TABLES, "whatsapp_numbers")
"""The tables into which app_tenant inserts."""
HIGHEST_ID = "4611686018427387904"
"""Half of all bigints: above an id up to here the sequence goes on, and does not come to its end."""


def check_upgrade() -> None:
    wait_to_read(*TABLES)
    values = {"state": STATE, "multi": MULTI, "tables": _oids(TABLES), "all": _oids((*TABLES, *REFERENCE_TABLES)), "keys": _names(KEYS)}  # fmt: skip
    refuse(answer("distributable_check.sql", **values))


def upgrade() -> None:
    with outside_transaction():
        with step("function is_colleague", done=f"{function('is_colleague(uuid)')} IS NOT NULL"):
            create_is_colleague()
        flatten_policies()
        for table in TABLES:
            number_by_sequence(table)
            swap_primary_key(table, "id, business_id")
        with step("app_tenant inserts into shards", done=_may_insert_ids(), lock="conversations"):
            for table in WRITTEN:
                grant_insert_on_shards(table)
        ops.create_index_concurrently("conversations", NUMBER_INDEX, NUMBER_INDEX_ON)
        ops.drop_index_concurrently("conversations", OLD_INDEX)
        with step("a pair of keys to whatsapp_numbers", done=has_constraint("conversations", NULL_KEY), lock="conversations"):  # fmt: skip
            emit(f"ALTER TABLE conversations DROP CONSTRAINT IF EXISTS {NUMBER_KEY}")
            add_number_keys()
        for key in (NULL_KEY, NUMBER_KEY):
            ops.validate_constraint("conversations", key)


def check_downgrade() -> None:
    wait_to_read(*TABLES)
    for table in TABLES:
        values = {"table": table, "sequence": _sequence(table), "highest": HIGHEST_ID}
        refuse(answer("distributable_check_ids.sql", **values), when=has_table(table))


def downgrade() -> None:
    with outside_transaction():
        give_no_ids()
        with step("one key to whatsapp_numbers", done=f"NOT {has_constraint('conversations', NULL_KEY)}", lock="conversations"):  # fmt: skip
            emit(f"ALTER TABLE conversations DROP CONSTRAINT {NULL_KEY}")
            emit(f"ALTER TABLE conversations DROP CONSTRAINT IF EXISTS {NUMBER_KEY}")
            emit(
                f"ALTER TABLE conversations ADD CONSTRAINT {NUMBER_KEY} FOREIGN KEY (business_id, whatsapp_number_id) "
                "REFERENCES whatsapp_numbers (business_id, id) ON DELETE SET NULL (whatsapp_number_id) NOT VALID"
            )
        ops.validate_constraint("conversations", NUMBER_KEY)
        ops.create_index_concurrently("conversations", OLD_INDEX, OLD_INDEX_ON)
        ops.drop_index_concurrently("conversations", NUMBER_INDEX)
        for table in TABLES:
            swap_primary_key(table, "id")
            number_by_identity(table)
            number_on(table)
        wrap_policies()
        with step("drop function is_colleague", done=f"{function('is_colleague(uuid)')} IS NULL"):
            emit("DROP FUNCTION is_colleague(uuid)")


def give_no_ids() -> None:
    """From here on no tenant gives an id that another business may have."""
    with step("app_tenant gives no ids", done=f"NOT ({_may_insert_ids()})", lock="conversations"):
        for table in WRITTEN:
            # Of what a tenant may write it may insert and update the same columns.
            emit_statements(
                f"SELECT format('REVOKE INSERT (%I) ON {table} FROM app_tenant', attname) FROM pg_attribute "
                f"WHERE attrelid = {_oid(table)} AND attnum > 0 AND NOT attisdropped "
                "AND NOT has_column_privilege('app_tenant', attrelid, attnum, 'UPDATE')"
            )


def flatten_policies() -> None:
    """`(SELECT current_business_id())` becomes `current_business_id()`, and the subquery of users a function."""
    with step("users: a policy without a subquery", done=f"NOT {_is_wrapped('= ' + _oid('users'))}", lock="users"):
        emit("ALTER POLICY app_tenant ON users USING (is_colleague(id)) WITH CHECK (is_colleague(id))")
    _rewrite_policies("( SELECT current_business_id() AS current_business_id)", FLAT)


def wrap_policies() -> None:
    """Take `flatten_policies` back."""
    _rewrite_policies(FLAT, WRAPPED)
    with step("users: a policy with a subquery", done=_is_wrapped("= " + _oid("users")), lock="users"):
        using = (
            "EXISTS (SELECT FROM user_businesses AS member WHERE member.user_id = users.id "
            f"AND member.business_id = {WRAPPED})"
        )
        emit(f"ALTER POLICY app_tenant ON users USING ({using}) WITH CHECK ({using})")


def _rewrite_policies(old: str, new: str) -> None:
    """Of each table by itself, and of a team's own tables together; nothing is left to do where no policy holds `old`."""
    ours = (*TABLES, *REFERENCE_TABLES)
    places = {name: f"= {_oid(name)}" for name in ours} | {
        "other tables": f"<> ALL (ARRAY[{_oids(ours)[1:-1]}]::oid[])"
    }
    wrapped = old != FLAT
    for name, which in places.items():
        there = _is_wrapped(which) if wrapped else _is_flat(which)
        with step(f"{name}: policies {'without' if wrapped else 'with'} a subquery", done=f"NOT {there}", lock=name if name in ours else None):  # fmt: skip
            change = f"replace(pg_get_expr({{}}, polrelid), {literal(old)}, {literal(new)})"
            emit_statements(
                "SELECT format('ALTER POLICY %I ON %s', polname, polrelid::regclass) || "
                f"coalesce(format(' USING (%s)', {change.format('polqual')}), '') || "
                f"coalesce(format(' WITH CHECK (%s)', {change.format('polwithcheck')}), '') "
                f"FROM pg_policy JOIN pg_class AS c ON c.oid = polrelid AND relnamespace = quote_ident(current_schema())::regnamespace WHERE {_holds(which, wrapped)}"
            )


def _holds(which: str, wrapped: bool) -> str:
    text = "concat(pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))"
    like = f"{text} LIKE '%( SELECT current_business_id() AS current_business_id)%'"
    flat = f"{text} LIKE '%current_business_id()%' AND NOT {like}"
    return f"polrelid {which} AND {like if wrapped else flat}"


def _is_wrapped(which: str) -> str:
    return f"EXISTS (SELECT FROM pg_policy WHERE {_holds(which, True)})"


def _is_flat(which: str) -> str:
    return f"EXISTS (SELECT FROM pg_policy WHERE {_holds(which, False)})"


def number_by_sequence(table: str) -> None:
    """An identity becomes a default over a sequence: a distributed table with an identity could not come back."""
    numbers = f"{table}_id_numbers"
    identity = (
        f"EXISTS (SELECT FROM pg_attribute WHERE attrelid = {_oid(table)} AND attname = 'id' AND attidentity <> '')"
    )
    with step(f"{table}: ids from a sequence", done=f"NOT {identity}", lock=table):
        emit(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        emit(f"CREATE SEQUENCE {numbers}")
        go_on(table, f"'{numbers}'", f"pg_get_serial_sequence('{table}', 'id')")
        emit(f"ALTER TABLE {table} ALTER COLUMN id DROP IDENTITY")
        emit(f"ALTER SEQUENCE {numbers} OWNED BY {table}.id")
        emit(f"ALTER TABLE {table} ALTER COLUMN id SET DEFAULT nextval('{numbers}')")
        emit_statements(
            f"SELECT DISTINCT format('GRANT USAGE ON SEQUENCE {numbers} TO %s', CASE grantee WHEN 0 THEN 'PUBLIC' "
            f"ELSE grantee::regrole::text END) FROM ({access.acl(table)}) AS held WHERE privilege_type = 'INSERT' AND grantee <> relowner"
        )


def number_by_identity(table: str) -> None:
    """Take `number_by_sequence` back, where it was done."""
    numbers = f"{table}_id_numbers"
    with step(f"{table}: ids from an identity", done=f"to_regclass('{numbers}') IS NULL", lock=table):
        emit(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        emit(f"ALTER TABLE {table} ALTER COLUMN id DROP DEFAULT")
        emit(f"ALTER TABLE {table} ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY")
        identity = (  # the column still owns the other one, too
            "SELECT objid::regclass FROM pg_depend JOIN pg_sequence ON seqrelid = objid "
            f"WHERE classid = 'pg_class'::regclass AND deptype = 'i' AND refobjid = to_regclass('{table}')"
        )
        go_on(table, f"({identity})", f"'{numbers}'")
        emit(f"DROP SEQUENCE {numbers}")


def number_on(table: str) -> None:
    """No id that a tenant gave comes up again, whatever the sequence."""
    sequence = _sequence(table)
    behind = f"coalesce({_highest(table)} > coalesce(pg_sequence_last_value({sequence}), 0), false)"
    with step(f"{table}: ids go on above the highest", done=f"NOT {behind}", lock=table):
        emit(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        go_on(table, sequence, sequence)


def go_on(table: str, sequence: str, former: str) -> None:
    """Let a sequence go on where another one has come to, and above every id of the table.

    Args:
        table: whose ids it numbers, locked so that none is added.
        sequence: SQL expression of its name.
        former: the same of the other one.
    """
    fresh = f"greatest(nextval({former}), {_highest(table)} + 1)"
    emit(f"DO $go_on$ BEGIN PERFORM setval({sequence}, {fresh}, false); END $go_on$")


def _highest(table: str) -> str:
    """SQL expression: the highest id above which the sequence can go on, or NULL."""
    return f"(SELECT max(id) FROM {table} WHERE id <= {HIGHEST_ID})"


def swap_primary_key(table: str, columns: str) -> None:
    """Another primary key, over an index that was built concurrently, under the name of the old one."""
    fresh, size = f"{table}_pkey_{'business' if ',' in columns else 'id'}", columns.count(",") + 1
    key = f"conrelid = {_oid(table)} AND contype = 'p'"
    done = f"EXISTS (SELECT FROM pg_constraint WHERE {key} AND cardinality(conkey) = {size})"
    ops.create_index_concurrently(table, fresh, f"({columns})", unique=True, unless=done)
    with step(f"{table}: primary key ({columns})", done=done, lock=table):
        emit_statements(
            f"SELECT format('ALTER TABLE {table} DROP CONSTRAINT %1$I; ALTER TABLE {table} ADD CONSTRAINT %1$I PRIMARY KEY USING INDEX {fresh}', "
            f"conname) FROM pg_constraint WHERE {key}"
        )


def _sequence(table: str) -> str:
    """SQL expression (regclass): the sequence that numbers the table, by a default or as an identity, or NULL."""
    return f"""coalesce((SELECT refobjid FROM pg_attribute JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
                 JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid AND refclassid = 'pg_class'::regclass
                 JOIN pg_sequence ON seqrelid = refobjid WHERE attrelid = {_oid(table)} AND attname = 'id' LIMIT 1),
        pg_get_serial_sequence('{table}', 'id')::regclass)::regclass"""


def _may_insert_ids() -> str:
    """SQL condition: the last of the tables was done."""
    return f"has_column_privilege('app_tenant', {_oid(WRITTEN[-1])}, 'id', 'INSERT')"


def _oid(name: str) -> str:
    return f"to_regclass({literal(name)})"


def _oids(names: tuple[str, ...]) -> str:
    return f"({', '.join(map(_oid, names))})"


def _names(names: tuple[str, ...]) -> str:
    return f"({', '.join(map(literal, names))})"
