"""Operations for what Alembic does not know: the updated_at trigger, tenancy, safe indexes and keys.

What a trigger or a policy looks like is written here once; revisions, autogenerate and the drift check use it.
Every operation takes the table first, then the name of what it makes or drops.
"""

import re

from alembic import op
from app.tenancy.migration import access, distribution
from app.tenancy.migration.names import ident, short
from app.tenancy.migration.planted import nothing_planted
from app.tenancy.migration.state import relation
from app.tenancy.migration.steps import emit, emit_statements, literal, options, refuse, step, step_per_statement

CURRENT_BUSINESS_ID = """
CREATE OR REPLACE FUNCTION current_business_id() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE SET search_path = ''
    AS $function$ SELECT NULLIF(current_setting('app.business_id', true), '')::uuid $function$"""

# *= compares rows as they are stored: it also takes a team's json column, which has no equality. A generated column
# has no value yet in NEW, so a table that has one says so with an argument, and pays for a comparison without it.
SET_UPDATED_AT = """
CREATE OR REPLACE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $function$
DECLARE
    computed text[];
BEGIN
    IF OLD *= NEW THEN
        RETURN NEW;
    END IF;
    IF TG_NARGS > 0 THEN
        computed := ARRAY(SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = TG_RELID AND attgenerated <> '');
        IF to_jsonb(OLD) - computed = to_jsonb(NEW) - computed THEN
            RETURN NEW;
        END IF;
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END $function$"""

FUNCTIONS = {"current_business_id()": CURRENT_BUSINESS_ID, "set_updated_at()": SET_UPDATED_AT}

EVERYTHING = "SELECT, INSERT, UPDATE, DELETE"

TENANT_ROWS = "business_id = (SELECT current_business_id())"
"""SQL condition: the row belongs to the business in scope."""


def create_functions() -> None:
    """The two functions of the schema: the business in scope, and the trigger's."""
    for function, sql in FUNCTIONS.items():
        emit(sql)
        emit_statements(access.revoke_all(access.held_on_function(function)))
    emit("GRANT EXECUTE ON FUNCTION current_business_id() TO app_tenant, app_service")


def create_updated_at_trigger(table: str) -> None:
    """updated_at follows every change of a row. Locks: SHARE ROW EXCLUSIVE, milliseconds."""
    generated = f"SELECT FROM pg_attribute WHERE attrelid = to_regclass({literal(table)}) AND attgenerated <> ''"
    emit_statements(
        f"SELECT format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON {table} FOR EACH ROW "
        f"EXECUTE FUNCTION set_updated_at(%s)', CASE WHEN EXISTS ({generated}) THEN quote_literal('generated') END)"
    )


def drop_updated_at_trigger(table: str) -> None:
    """Take `create_updated_at_trigger` back. Locks: ACCESS EXCLUSIVE, milliseconds."""
    emit(f"DROP TRIGGER IF EXISTS set_updated_at ON {table}")


def close_table(table: str, *, when: str = "true") -> None:
    """Take every privilege on the table and the sequences of its columns from all but the owner.

    ALTER DEFAULT PRIVILEGES may have granted them to anybody when the table was made.

    Args:
        table: the table.
        when: SQL condition without which nothing is taken.
    """
    objects = access.held_on(table, access.owned_sequences(table))
    emit_statements(access.revoke_all(objects, f"grantee <> owner AND ({when})"))


def enable_tenancy(
    table: str, *, using: str = TENANT_ROWS, using_flat: str | None = None, grant: str = EVERYTHING, made: str = "true"
) -> None:
    """Bind `app_tenant` to the business in scope, show `app_service` all rows, and close the table to the rest.

    Args:
        table: the table.
        using: condition that a row must meet for app_tenant, for reading and for writing.
        using_flat: the same without a subquery, for tables in the form that Citus takes; needed where `using` has
            another subquery than `(SELECT current_business_id())`.
        grant: what app_tenant may do, as `grant_tenancy` takes it.
        made: SQL condition: the table is new, and the rest has come in by default privileges only.

    Locks: ACCESS EXCLUSIVE, milliseconds.
    """
    close_table(table, when=made)
    create_tenant_policies(table, using=using, using_flat=using_flat)
    grant_tenancy(table, grant=grant, made=made)


def create_tenant_policies(table: str, *, using: str = TENANT_ROWS, using_flat: str | None = None) -> None:
    """Enable row level security with the policies of the two roles. Locks: ACCESS EXCLUSIVE, milliseconds."""
    emit(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    emit_statements(
        f"SELECT format('CREATE POLICY app_tenant ON {table} TO app_tenant USING (%1$s) WITH CHECK (%1$s)', "
        f"{distribution.condition(using, using_flat)})"
    )
    emit(f"CREATE POLICY app_service ON {table} TO app_service USING (true) WITH CHECK (true)")


def grant_tenancy(table: str, *, grant: str = EVERYTHING, made: str = "true", only: str = "true") -> None:
    """Grant `app_tenant` and `app_service` their part of the table; of what they have already nothing is lost.

    A table that was not made here and that app_tenant can work with keeps what app_tenant may do: a column that a
    team kept from tenants stays so.

    Args:
        table: the table.
        grant: what app_tenant may do, as in GRANT. INSERT and UPDATE without columns mean every column, a team's own
            too, but id, created_at and what the database computes or numbers.
        made: SQL condition: the table is new here.
        only: SQL condition on a column's attname, without which it is not granted.
    """
    by_column = re.sub(r"\b(INSERT|UPDATE)\b(?! *\()", r"\1 (%1$s)", grant.replace("%", "%%"))
    emit_statements(
        f"SELECT format({literal(f'GRANT {by_column} ON {table} TO app_tenant')}, "
        f"string_agg(quote_ident(attname), ', ' ORDER BY attnum)) FROM ({access.tenant_columns(table)}) AS c WHERE ({only}) "
        f"HAVING count(*) > 0 AND ({made} OR NOT has_table_privilege('app_tenant', {literal(table)}, 'SELECT'))"
    )
    if "INSERT" in grant:
        distribution.grant_insert_on_shards(table)
    emit(f"GRANT {EVERYTHING} ON {table} TO app_service")
    roles = "app_tenant, app_service" if "INSERT" in grant else "app_service"
    emit_statements(
        f"SELECT format('GRANT USAGE ON SEQUENCE %s TO {roles}', oid::regclass) "
        f"FROM ({access.sequences(table)}) AS numbers (oid)"
    )


def disable_tenancy(table: str) -> None:
    """Take the policies and privileges of `enable_tenancy` back. Locks: ACCESS EXCLUSIVE, milliseconds."""
    for policy in ("app_tenant", "app_service", access.SINGLE_BUSINESS):
        _drop_policy(table, policy)
    emit(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    # The roles may be gone: a dump that is restored on another server comes without them.
    emit_statements(f"SELECT 'REVOKE ALL ON {table} FROM ' || rolname FROM pg_roles WHERE rolname IN ({access.OURS})")
    emit_statements(
        "SELECT format('REVOKE ALL ON SEQUENCE %s FROM %s', numbers.oid::regclass, rolname) "
        f"FROM pg_roles, ({access.sequences(table)}) AS numbers (oid) WHERE rolname IN ({access.OURS})"
    )


def confine_former_roles(table: str, business: str, *, restrictive: str) -> None:
    """Make, or make anew, the policy that shows former roles the default business. Locks: ACCESS EXCLUSIVE, ms.

    Args:
        table: a table that was there before it knew businesses.
        business: id of the default business.
        restrictive: SQL condition, as in `access.single_business_policy`.
    """
    _drop_policy(table, access.SINGLE_BUSINESS)
    emit_statements(access.single_business_policy(table, business, restrictive))


def _drop_policy(table: str, name: str) -> None:
    emit_statements(f"SELECT 'DROP POLICY {name} ON {table}' WHERE {_has('policy', 'pol', table, name)}")


def close_version_table() -> None:
    """Close the version table to all but the owner and, for reading, `app_service`."""
    table = op.get_context().version_table
    close_table(table)
    emit(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    policy = f"CREATE POLICY app_service ON {table} TO app_service USING (true)"
    emit_statements(f"SELECT {literal(policy)} WHERE NOT {_has('policy', 'pol', table, 'app_service')}")
    emit(f"GRANT SELECT ON {table} TO app_service")


def open_version_table() -> None:
    """Take `close_version_table` back, and the use of the schema."""
    table = op.get_context().version_table
    emit(f"DROP POLICY IF EXISTS app_service ON {table}")
    emit(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    emit_statements(f"SELECT 'REVOKE ALL ON {table} FROM app_service' WHERE to_regrole('app_service') IS NOT NULL")
    emit_statements(
        "SELECT format('REVOKE USAGE ON SCHEMA %I FROM %s', nspname, grantee::regrole) "
        "FROM pg_namespace, aclexplode(nspacl) WHERE nspname = current_schema() "
        "AND grantee IN (to_regrole('app_tenant'), to_regrole('app_service'))"
    )


def create_index_concurrently(
    table: str, name: str, definition: str, *, unique: bool = False, unless: str = "false"
) -> None:
    """Build an index while the bot goes on.

    `definition` is what follows the table in CREATE INDEX, such as `(business_id) WHERE is_active`.
    Nothing is built where an index of that name is there, or the SQL condition `unless` holds.
    Locks: SHARE UPDATE EXCLUSIVE; waits, blocking nobody, for transactions older than itself.
    """
    build = f"CREATE {'UNIQUE ' if unique else ''}INDEX {ident(name)} ON {table} {definition}"
    build_indexes(table, f"index {name}", f"SELECT {literal(build)} WHERE NOT ({unless})")


def build_indexes(table: str, title: str, definitions: str, *, marks: str | None = None) -> None:
    """Build, concurrently, each index that is not there; an invalid leftover of an interrupted build is dropped first.

    Args:
        table: their table.
        title: what they are, for the progress line.
        definitions: SQL query of their CREATE INDEX statements.
        marks: SQL query of what is run when they are there, such as COMMENT ON INDEX.
    """
    name = """(regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1]"""
    wanted = f"(SELECT d, {name} AS name FROM ({definitions}) AS wanted (d)) AS w"
    step_per_statement(
        title,
        f"SELECT 'DROP INDEX CONCURRENTLY ' || name FROM {wanted} "
        f"JOIN pg_index ON indexrelid = to_regclass({_schema(table)} || '.' || name) AND NOT indisvalid",
        f"SELECT regexp_replace(d, ' INDEX ', ' INDEX CONCURRENTLY ') FROM {wanted} "
        f"WHERE to_regclass({_schema(table)} || '.' || name) IS NULL",
        *filter(None, [marks]),
        table=table,
    )


def drop_index_concurrently(table: str, name: str) -> None:
    """Drop an index while the bot goes on. Locks: SHARE UPDATE EXCLUSIVE."""
    index = f"to_regclass({_schema(table)} || {literal('.' + ident(name))})"
    there = f"SELECT format('DROP INDEX CONCURRENTLY %s', {index}) WHERE {index} IS NOT NULL"
    step_per_statement(f"drop index {name}", there, table=table)


def create_unique_concurrently(table: str, name: str, columns: str) -> None:
    """Add a unique constraint over an index that was built concurrently. Locks: ACCESS EXCLUSIVE, milliseconds."""
    there = has_constraint(table, name)
    create_index_concurrently(table, name, f"({columns})", unique=True)
    with step(f"unique constraint {name}", done=there, lock=table):
        emit(f"ALTER TABLE {table} ADD CONSTRAINT {ident(name)} UNIQUE USING INDEX {ident(name)}")


def equal_index(table: str, column: str) -> str:
    """SQL expression: a plain index of the column, whatever its name."""
    return (
        f"(SELECT min(indexrelid)::regclass FROM pg_index WHERE indrelid = to_regclass({literal(table)}) "
        "AND indisvalid AND NOT indisunique AND NOT indisexclusion "
        f"AND split_part(pg_get_indexdef(indexrelid), ' USING ', 2) = 'btree ({column})')"
    )


def rename_equal_index(table: str, name: str, column: str) -> None:
    """Give a plain index that does the same under another name its canonical name, so that none is built twice."""
    emit_statements(
        f"SELECT format('ALTER INDEX %s RENAME TO {name}', equal) FROM {equal_index(table, column)} AS e (equal) "
        f"WHERE equal IS NOT NULL AND to_regclass({_schema(table)} || {literal('.' + name)}) IS NULL"
    )


def set_not_null(table: str, column: str) -> None:
    """NOT NULL without a scan under a lock: a CHECK is validated first, which PostgreSQL then takes as proof."""
    proof, done = short(f"{table}_{column}_is_not_null"), _has("attribute", "att", table, column, "AND attnotnull")
    with step(f"{table}.{column}: no new NULL", done=f"{done} OR {has_constraint(table, proof)}", lock=table):
        emit(f"ALTER TABLE {table} ADD CONSTRAINT {ident(proof)} CHECK ({ident(column)} IS NOT NULL) NOT VALID")
    validate_constraint(table, proof)
    with step(f"{table}.{column}: NOT NULL", done=done, lock=table):
        emit(f"ALTER TABLE {table} ALTER COLUMN {ident(column)} SET NOT NULL")
        emit(f"ALTER TABLE {table} DROP CONSTRAINT {ident(proof)}")


def validate_constraint(table: str, name: str) -> None:
    """Validate a NOT VALID constraint. Locks: SHARE UPDATE EXCLUSIVE (and ROW SHARE on a referenced table)."""
    validate = f"ALTER TABLE {table} VALIDATE CONSTRAINT {ident(name)}"
    there = _has("constraint", "con", table, name, "AND NOT convalidated")
    step_per_statement(f"validate {name}", f"SELECT {literal(validate)} WHERE {there}", table=table)


def gather_statistics(table: str) -> None:
    """ANALYZE, where there are rows: a column whose type changes loses what the planner knows of it.

    Locks: SHARE UPDATE EXCLUSIVE; it reads a sample, a second at millions of rows.
    """
    rows = f"SELECT 'ANALYZE {table}' WHERE EXISTS (SELECT FROM {table})"
    step_per_statement(f"statistics of {table}", rows, table=table)


def refuse_rows(table: str) -> None:
    """Stop where a table that is to be dropped holds rows, unless `-x drop-data=yes`.

    A revision asks it twice: in `check_downgrade`, before the first change, and in the step that drops the table, once
    that is locked. Otherwise a row that the bot commits in between would go with the table.
    """
    if not options().drop_data:
        refuse_hidden_rows(table)
        sentence = literal(
            f"table {table} holds rows, which this would delete: move them away first, or delete them for good by "
            "running the same command with -x drop-data=yes"
        )
        refuse(f"CASE WHEN EXISTS (SELECT FROM {table}) THEN {sentence} END", when=has_table(table))


def refuse_hidden_rows(*tables: str) -> None:
    """Stop where this role cannot tell whether the tables hold rows."""
    isolation = literal(
        "this transaction is %s, and what drops a table must see what others commit while it waits: run it in a READ "
        "COMMITTED one"
    )
    refuse(
        f"CASE WHEN current_setting('transaction_isolation') <> 'read committed' THEN "
        f"format({isolation}, upper(current_setting('transaction_isolation'))) END"
    )
    for table in tables:
        hidden = literal(
            f"row level security hides the rows of table {table} from this role: run ALTER TABLE {table} NO FORCE ROW "
            "LEVEL SECURITY;"
        )
        refuse(f"CASE WHEN row_security_active({literal(table)}) THEN {hidden} END", when=has_table(table))


def refuse_values(table: str, column: str) -> None:
    """Stop where a column that is to be dropped holds values other than its DEFAULT, unless `-x drop-data=yes`.

    A DEFAULT that is computed counts as none: every value is then one that somebody may miss.
    """
    if options().drop_data:
        return
    sentence = (
        f"column {table}.{column} holds values, which this would delete: copy them away first, and empty it, or delete "
        "them for good by running the same command with -x drop-data=yes"
    )
    asked = (
        f"SELECT CASE WHEN EXISTS (SELECT FROM {table} WHERE {ident(column)} IS NOT NULL "
        f"AND {ident(column)}::text IS DISTINCT FROM (%s)::%s::text) THEN {literal(sentence)} END"
    )
    refuse(
        f"""(SELECT jsonb_build_object('query', format({literal(asked.replace("%", "%%").replace("(%%s)::%%s", "(%s)::%s"))},
                coalesce(CASE WHEN pg_get_expr(adbin, adrelid) NOT LIKE '%(%' THEN pg_get_expr(adbin, adrelid) END, 'NULL'),
                format_type(atttypid, atttypmod)))
   FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
  WHERE attrelid = to_regclass({literal(table)}) AND attname = {literal(column)} AND attgenerated = '')"""
    )


def has_table(table: str) -> str:
    """SQL condition: the table, view or index exists, in the schema of the run where its name says no other."""
    return f"{f'to_regclass({literal(table)})' if '.' in table else relation(table)} IS NOT NULL"


def has_column(table: str, column: str) -> str:
    """SQL condition: the table has the column."""
    return _has("attribute", "att", table, column)


def has_constraint(table: str, name: str) -> str:
    """SQL condition: the table has a constraint of that name."""
    return _has("constraint", "con", table, name)


def has_policy(table: str) -> str:
    """SQL condition: tenancy is enabled on the table."""
    return _has("policy", "pol", table, "app_tenant")


def has_trigger(table: str) -> str:
    """SQL condition: the table has the updated_at trigger."""
    return _has("trigger", "tg", table, "set_updated_at")


def refuse_planted(*, made: bool = False) -> None:
    """Stop where another role has made what this run takes for its own; see `planted.nothing_planted`."""
    emit(nothing_planted(op.get_context().version_table, made=made))


def _schema(table: str) -> str:
    """SQL expression: the schema of a table, quoted; its indexes are there, too."""
    return f"(SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass({literal(table)}))"


def _has(catalogue: str, prefix: str, table: str, name: str, more: str = "") -> str:
    """SQL condition: something of the table has that name (a dropped column loses its own)."""
    relation = f"{prefix}relid = to_regclass({literal(table)})"
    return f"EXISTS (SELECT FROM pg_{catalogue} WHERE {relation} AND {prefix}name = {literal(name)} {more})"
