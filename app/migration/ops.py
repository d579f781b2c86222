"""Operations for what Alembic does not know: the updated_at trigger, tenancy, safe indexes and keys.

What a trigger or a policy looks like is written here once; revisions, autogenerate and the drift check use it.
"""

from collections.abc import Mapping

from app.migration.steps import each, emit, literal, step

CURRENT_BUSINESS_ID = """
CREATE FUNCTION current_business_id() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE SET search_path = ''
    AS $function$ SELECT NULLIF(current_setting('app.business_id', true), '')::uuid $function$"""

# *= compares rows as they are stored: it also takes a team's json column, which has no equality. A generated column
# has no value yet in NEW, so a table that has one says so with an argument, and pays for a comparison without it.
SET_UPDATED_AT = """
CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $function$
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

UPDATED_AT_TRIGGER = """
DO $trigger$
BEGIN
    EXECUTE format('CREATE TRIGGER set_updated_at BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION set_updated_at(%s)',
        (SELECT quote_literal('generated') FROM pg_attribute
          WHERE attrelid = to_regclass({name}) AND attgenerated <> '' AND NOT attisdropped LIMIT 1));
END $trigger$"""

# Supabase grants anon and authenticated, whom anyone with the public key can be, ALL on what is new in public.
ACCESS = """
DO $access$
DECLARE
    object text;
    grantee text;
BEGIN
    FOR object IN SELECT 'TABLE {table}' UNION ALL SELECT format('SEQUENCE %s', d.objid::regclass)
                    FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
                   WHERE d.refobjid = to_regclass({name}) AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') LOOP
        FOR grantee IN SELECT 'PUBLIC' UNION ALL SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ({roles}) LOOP
            EXECUTE format('REVOKE ALL ON %s FROM %s', object, grantee);
        END LOOP;
        IF object LIKE 'SEQUENCE %' AND {usage} THEN
            EXECUTE format('GRANT USAGE ON %s TO app_tenant, app_service', object);
        END IF;
    END LOOP;
END $access$"""

REVOKE_FUNCTION = """
DO $revoke$
DECLARE
    grantee text;
BEGIN
    FOR grantee IN SELECT 'PUBLIC' UNION ALL SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ({roles}) LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION {function} FROM %s', grantee);
    END LOOP;
END $revoke$"""

REVOKE_SCHEMA = """
DO $revoke$
DECLARE
    scoped regrole;
BEGIN
    FOR scoped IN SELECT DISTINCT grantee FROM pg_namespace CROSS JOIN aclexplode(nspacl)
                   WHERE nspname = current_schema() AND grantee IN (to_regrole('app_tenant'), to_regrole('app_service')) LOOP
        EXECUTE format('REVOKE USAGE ON SCHEMA %I FROM %s', current_schema(), scoped);
    END LOOP;
END $revoke$"""

PUBLIC_ROLES = "'anon', 'authenticated'"
SERVICE_GRANT = "SELECT, INSERT, UPDATE, DELETE"


def create_functions() -> None:
    """The two functions of the schema: the business in scope, and the trigger's."""
    for function, sql in {"current_business_id()": CURRENT_BUSINESS_ID, "set_updated_at()": SET_UPDATED_AT}.items():
        emit(sql)
        emit(REVOKE_FUNCTION.format(function=function, roles=PUBLIC_ROLES))
    emit("GRANT EXECUTE ON FUNCTION current_business_id() TO app_tenant, app_service")


def drop_functions() -> None:
    """Take `create_functions` back."""
    emit("DROP FUNCTION IF EXISTS current_business_id()")
    emit("DROP FUNCTION IF EXISTS set_updated_at()")


def create_updated_at_trigger(table: str) -> None:
    """updated_at follows every change of a row. Locks: SHARE ROW EXCLUSIVE, milliseconds."""
    emit(UPDATED_AT_TRIGGER.format(table=table, name=literal(table)))


def drop_updated_at_trigger(table: str) -> None:
    """Take `create_updated_at_trigger` back. Locks: ACCESS EXCLUSIVE, milliseconds."""
    emit(f"DROP TRIGGER IF EXISTS set_updated_at ON {table}")


def close_to_public(table: str) -> None:
    """Enable row level security, take every privilege from PUBLIC, anon and authenticated, grant use of sequences."""
    emit(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    emit(ACCESS.format(table=table, name=literal(table), roles=PUBLIC_ROLES, usage="true"))


def enable_tenancy(
    table: str, *, using: str = "business_id = (SELECT current_business_id())", grant: str = SERVICE_GRANT
) -> None:
    """Bind `app_tenant` to the business in scope, show `app_service` all rows, and close the table to the rest.

    Args:
        table: the table.
        using: condition that a row must meet for app_tenant, for reading and for writing.
        grant: what app_tenant may do, as in GRANT.

    Locks: ACCESS EXCLUSIVE, milliseconds.
    """
    close_to_public(table)
    emit(f"CREATE POLICY app_tenant ON {table} TO app_tenant USING ({using}) WITH CHECK ({using})")
    emit(f"CREATE POLICY app_service ON {table} TO app_service USING (true) WITH CHECK (true)")
    emit(f"GRANT {grant} ON {table} TO app_tenant")
    emit(f"GRANT {SERVICE_GRANT} ON {table} TO app_service")


def close_version_table() -> None:
    """Close alembic_version to all but the owner and, for reading, `app_service`."""
    close_to_public("alembic_version")
    emit("CREATE POLICY app_service ON alembic_version TO app_service USING (true)")
    emit("GRANT SELECT ON alembic_version TO app_service")


def open_version_table() -> None:
    """Take `close_version_table` back, and the use of the schema."""
    emit("DROP POLICY IF EXISTS app_service ON alembic_version")
    emit("ALTER TABLE alembic_version DISABLE ROW LEVEL SECURITY")
    emit("REVOKE ALL ON alembic_version FROM app_service")
    emit(REVOKE_SCHEMA)


def disable_tenancy(table: str) -> None:
    """Take the policies and privileges of `enable_tenancy` back. Locks: ACCESS EXCLUSIVE, milliseconds."""
    emit(f"DROP POLICY IF EXISTS app_tenant ON {table}")
    emit(f"DROP POLICY IF EXISTS app_service ON {table}")
    emit(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    emit(ACCESS.format(table=table, name=literal(table), roles="'app_tenant', 'app_service'", usage="false"))


def comment(table: str, comments: Mapping[str, str]) -> None:
    """Comments by column, "" for the table. Locks: SHARE UPDATE EXCLUSIVE, milliseconds."""
    for column, about in comments.items():
        target = f'COLUMN {table}."{column}"' if column else f"TABLE {table}"
        emit(f"COMMENT ON {target} IS {literal(about)}")


def create_index_concurrently(
    name: str, table: str, definition: str, *, unique: bool = False, unless: str = "false"
) -> None:
    """Build an index while the bot goes on; an invalid leftover of an interrupted build is dropped first.

    `definition` is what follows the table in CREATE INDEX, such as `(business_id) WHERE is_active`.
    Nothing is built where an index of that name is there, or the SQL condition `unless` holds.
    Locks: SHARE UPDATE EXCLUSIVE; waits, blocking nobody, for transactions older than itself.
    """
    each(f"drop what an interrupted run left of {name}", DROP_INVALID.format(name=literal(name)), table=table)
    build = f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY {name} ON {table} {definition}"
    missing = f"SELECT {literal(build)} WHERE to_regclass({literal(name)}) IS NULL AND NOT ({unless})"
    each(f"index {name}", missing, table=table)


def drop_index_concurrently(name: str) -> None:
    """Drop an index while the bot goes on. Locks: SHARE UPDATE EXCLUSIVE."""
    there = f"SELECT 'DROP INDEX CONCURRENTLY {name}' WHERE to_regclass({literal(name)}) IS NOT NULL"
    each(f"drop index {name}", there, table=name)


def create_unique_concurrently(name: str, table: str, columns: str) -> None:
    """Add a unique constraint over an index that was built concurrently. Locks: ACCESS EXCLUSIVE, milliseconds."""
    there = has_constraint(table, name)
    create_index_concurrently(name, table, f"({columns})", unique=True)
    with step(f"unique constraint {name}", done=there, lock=table):
        emit(f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}")


def rebuild_indexes(table: str, definitions: str) -> None:
    """Build again, concurrently, the indexes that a change of type dropped.

    Args:
        table: the table.
        definitions: SQL query of their CREATE INDEX statements, kept in the database until they are built.
    """
    name = """(regexp_match(d, 'INDEX ("([^"]|"")+"|[^ ]+) ON '))[1]"""
    listed = f"SELECT d, {name} AS name FROM ({definitions}) AS kept (d)"
    each(
        f"drop what an interrupted run left of the indexes of {table}",
        f"SELECT 'DROP INDEX CONCURRENTLY ' || name FROM ({listed}) AS t "
        "JOIN pg_index i ON i.indexrelid = to_regclass(name) AND NOT i.indisvalid",
        table=table,
    )
    each(
        f"an index of {table}",
        f"SELECT regexp_replace(d, '^CREATE( UNIQUE)? INDEX ', 'CREATE\\1 INDEX CONCURRENTLY ') "
        f"FROM ({listed}) AS t WHERE to_regclass(name) IS NULL",
        table=table,
    )


def rename_equal_index(name: str, table: str, column: str) -> None:
    """Give a plain index that does the same under another name its canonical name, so that none is built twice."""
    equal = EQUAL_INDEX.format(table=literal(table), columns=literal("{" + column + "}"))
    emit(f"""DO $rename$
DECLARE
    equal regclass;
BEGIN
    equal := ({equal});
    IF equal IS NOT NULL AND to_regclass({literal(name)}) IS NULL THEN
        EXECUTE format('ALTER INDEX %s RENAME TO {name}', equal);
    END IF;
END $rename$""")


def set_not_null(column: str, table: str) -> None:
    """NOT NULL without a scan under a lock: a CHECK is validated first, which PostgreSQL then takes as proof."""
    proof, done = (
        f"{table}_{column}_is_not_null",
        f"EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass({literal(table)}) AND attname = {literal(column)} AND attnotnull)",
    )
    with step(f"{table}.{column}: no new NULL", done=f"{done} OR {has_constraint(table, proof)}", lock=table):
        emit(f"ALTER TABLE {table} ADD CONSTRAINT {proof} CHECK ({column} IS NOT NULL) NOT VALID")
    validate_constraint(proof, table)
    with step(f"{table}.{column}: NOT NULL", done=done, lock=table):
        emit(f"ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL")
        emit(f"ALTER TABLE {table} DROP CONSTRAINT {proof}")


def validate_constraint(name: str, table: str) -> None:
    """Validate a NOT VALID constraint. Locks: SHARE UPDATE EXCLUSIVE (and ROW SHARE on a referenced table)."""
    each(
        f"validate {name}",
        f"SELECT 'ALTER TABLE {table} VALIDATE CONSTRAINT {name}' FROM pg_constraint "
        f"WHERE conrelid = to_regclass({literal(table)}) AND conname = {literal(name)} AND NOT convalidated",
        table=table,
    )


def has_column(table: str, column: str) -> str:
    """SQL condition: the table has the column."""
    return (
        f"EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass({literal(table)}) "
        f"AND attname = {literal(column)} AND NOT attisdropped)"
    )


def has_constraint(table: str, name: str) -> str:
    """SQL condition: the table has a constraint of that name."""
    return f"EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass({literal(table)}) AND conname = {literal(name)})"


def has_policy(table: str) -> str:
    """SQL condition: tenancy is enabled on the table."""
    return f"EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass({literal(table)}) AND polname = 'app_tenant')"


def has_trigger(table: str) -> str:
    """SQL condition: the table has the updated_at trigger."""
    return (
        f"EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass({literal(table)}) AND tgname = 'set_updated_at')"
    )


def has_table(table: str) -> str:
    """SQL condition: the table, view or index exists."""
    return f"to_regclass({literal(table)}) IS NOT NULL"


DROP_INVALID = """SELECT 'DROP INDEX CONCURRENTLY ' || indexrelid::regclass
  FROM pg_index WHERE indexrelid = to_regclass({name}) AND NOT indisvalid"""

EQUAL_INDEX = """SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
          JOIN pg_am a ON a.oid = c.relam
         WHERE i.indrelid = to_regclass({table}) AND i.indisvalid AND NOT i.indisunique AND a.amname = 'btree'
           AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = i.indnatts
           AND 0 = ALL (i.indoption::int2[])
           AND (SELECT array_agg(t.attname::text ORDER BY k.place) FROM unnest(i.indkey) WITH ORDINALITY k(attnum, place)
                  JOIN pg_attribute t ON t.attrelid = i.indrelid AND t.attnum = k.attnum) = {columns}::text[]
         ORDER BY i.indexrelid LIMIT 1"""
