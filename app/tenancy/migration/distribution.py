"""The form of the schema that Citus takes, and what of it is asked of the catalogue.

Revision `distributable` of the history `scale` gives the tables this form, still on one server; revision `citus` then
distributes them. What differs from the models is written here once, for both revisions, for the operations and for
the drift check.
"""

from app.tenancy.migration import access, state
from app.tenancy.migration.steps import emit, emit_statements, literal

TABLES = state.OLD_TABLES
"""The tables that are distributed by business_id, in this order: the second lies where the first does."""

REFERENCE_TABLES = state.NEW_TABLES
"""The tables of which every node has a copy."""

NUMBER_KEY = "fk_conversations_whatsapp_numbers"
NULL_KEY = "fk_conversations_whatsapp_number_id"
KEYS = ("fk_customers_businesses", "fk_conversations_businesses", NULL_KEY, NUMBER_KEY)
"""The foreign keys of TABLES in this form. NULL_KEY is made before NUMBER_KEY: PostgreSQL acts in that order."""

NUMBER_INDEX = "ix_conversations_whatsapp_number_id_business_id"
NUMBER_INDEX_ON = "(whatsapp_number_id, business_id) WHERE whatsapp_number_id IS NOT NULL"

DIFFERENCES = (NUMBER_KEY, NULL_KEY, NUMBER_INDEX, "ix_conversations_business_id_whatsapp_number_id")
"""Names of keys and indexes that are otherwise in this form than on the models."""

SCALED = (
    "EXISTS (SELECT FROM pg_constraint WHERE conrelid = to_regclass('conversations') AND contype = 'p' "
    "AND cardinality(conkey) = 2)"
)
"""SQL condition: the tables have this form."""

HAS_CITUS = "EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')"
"""SQL condition: the extension is there, and its catalogue can be asked."""

UNDO_FIRST = (
    "this database is distributed, or made ready for it: bring it back to one server first: "
    "run alembic -n scale downgrade bigint;"
)

WRAPPED = "(SELECT current_business_id())"
FLAT = "current_business_id()"

IS_COLLEAGUE = "is_colleague(uuid)"
CREATE_IS_COLLEAGUE = (
    "CREATE OR REPLACE FUNCTION is_colleague(uuid) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE SET search_path = '' AS "
    "$function$ SELECT EXISTS (SELECT FROM %1$I.user_businesses AS member WHERE member.user_id = $1 "
    "AND member.business_id = %1$I.current_business_id()) $function$"
)
"""Its body is text, with the schema's name in it: Citus puts another table beneath the name, which a body that
PostgreSQL has read would not follow."""

OPEN_FUNCTIONS = (
    "^(run_command_on_.*|master_run_on_worker|citus_run_local_command|citus_(dist_)?stat_activity|citus_locks|"
    "citus_lock_waits|citus_query_stats|citus_stat_statements|get_(all|global)_active_transactions|"
    "pg_(cancel|terminate)_backend)$"
)
"""The functions and views of Citus with which a tenant sees, or ends, statements of others that run on the workers."""

CLOSING = f"""SELECT pg_catalog.format('REVOKE ALL ON %s %s FROM PUBLIC', kind, name) AS closing
  FROM (SELECT 'FUNCTION' AS kind, oid::regprocedure::text AS name, 'pg_proc'::regclass AS class, oid, proname AS called,
               coalesce(proacl, acldefault('f', proowner)) AS acl FROM pg_proc
        UNION ALL SELECT 'TABLE', oid::regclass::text, 'pg_class'::regclass, oid, relname, relacl FROM pg_class WHERE relkind = 'v') AS o
  JOIN pg_depend AS d ON d.classid = class AND d.objid = o.oid AND d.deptype = 'e' AND refclassid = 'pg_extension'::regclass
  JOIN pg_extension AS e ON e.oid = refobjid AND extname = 'citus'
 WHERE called ~ '{OPEN_FUNCTIONS}' AND EXISTS (SELECT FROM aclexplode(acl) AS open WHERE grantee = 0)
 ORDER BY 1"""
"""SQL query of statements: what closes them to everybody but who was granted them by name."""


SETTING = "citus.propagate_set_commands=local"
SETTING_IS_THERE = (
    "EXISTS (SELECT FROM pg_db_role_setting JOIN pg_database AS d ON d.oid = setdatabase "
    f"WHERE datname = current_database() AND setrole = 0 AND '{SETTING}' = ANY (setconfig))"
)
"""SQL condition: what a transaction sets with SET LOCAL, the business, reaches the workers."""


def condition(using: str, flat: str | None = None) -> str:
    """SQL expression of type text: the condition of a policy, as the tables have it in the form that they have.

    Args:
        using: the condition on the models' form.
        flat: the same without a subquery, for the form that Citus takes; by default `using`, with the business in scope
            asked for every row.
    """
    return f"CASE WHEN {SCALED} THEN {literal(flat or using.replace(WRAPPED, FLAT))} ELSE {literal(using)} END"


def grant_insert_on_shards(table: str) -> None:
    """Let app_tenant name every column in an INSERT, as the coordinator does when it passes one on to a shard.

    Ids of one business cannot stand in the way of another's any more: the key holds the business.
    """
    emit_statements(
        f"SELECT format('GRANT INSERT (%s) ON {table} TO app_tenant', string_agg(quote_ident(attname), ', ' ORDER BY attnum)) "
        f"FROM pg_attribute WHERE attrelid = to_regclass({literal(table)}) AND attnum > 0 AND NOT attisdropped "
        f"AND attgenerated = '' AND {SCALED} HAVING count(*) > 0"
    )


def create_is_colleague() -> None:
    """The function that stands for the subquery of the policy of users."""
    emit_statements(f"SELECT format({literal(CREATE_IS_COLLEAGUE)}, current_schema())")
    emit_statements(access.revoke_all(access.held_on_function(IS_COLLEAGUE)))
    emit(f"GRANT EXECUTE ON FUNCTION {IS_COLLEAGUE} TO app_tenant, app_service")


def add_number_keys(not_valid: str = " NOT VALID") -> None:
    """The pair that does what SET NULL (whatsapp_number_id) does: Citus takes no action on the distribution column.

    Args:
        not_valid: what ends each statement.
    """
    emit(
        f"ALTER TABLE conversations ADD CONSTRAINT {NULL_KEY} FOREIGN KEY (whatsapp_number_id) "
        f"REFERENCES whatsapp_numbers (id) ON DELETE SET NULL{not_valid}"
    )
    emit(
        f"ALTER TABLE conversations ADD CONSTRAINT {NUMBER_KEY} FOREIGN KEY (business_id, whatsapp_number_id) "
        f"REFERENCES whatsapp_numbers (business_id, id){not_valid}"
    )


def add_business_key(table: str) -> None:
    """The key to businesses as revision 001 adds it."""
    emit(
        f"ALTER TABLE {table} ADD CONSTRAINT fk_{table}_businesses FOREIGN KEY (business_id) "
        "REFERENCES businesses (id) ON DELETE CASCADE NOT VALID"
    )


def is_distributed(table: str) -> str:
    """SQL condition: Citus manages the table. It needs the extension."""
    return f"EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = to_regclass({literal(table)}) AND (partmethod = 'h' OR repmodel = 't'))"


def give_form() -> None:
    """Give empty tables, as the models make them, this form at once: for the drift check."""
    create_is_colleague()
    for table in TABLES:
        emit(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey")
        emit(f"ALTER TABLE {table} ADD CONSTRAINT {table}_pkey PRIMARY KEY (id, business_id)")
    emit("DROP INDEX ix_conversations_business_id_whatsapp_number_id")
    emit(f"CREATE INDEX {NUMBER_INDEX} ON conversations {NUMBER_INDEX_ON}")
    emit(f"ALTER TABLE conversations DROP CONSTRAINT {NUMBER_KEY}")
    add_number_keys("")
