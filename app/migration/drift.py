"""The drift check: what the models declare against what the database has, object by object.

What the models declare is built in a scratch schema, in a transaction that is rolled back, so that PostgreSQL
itself writes both sides down: no text of a CHECK, a predicate, a policy or a function is parsed here.
"""

import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import Operations, ops
from alembic.runtime.migration import MigrationContext
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Connection, MetaData, text

from app.migration import autogenerate
from app.migration import ops as schema_ops

SCRATCH = "whatsapp_bot_schema_drift"
Catalogue = dict[tuple[str, str], str]
"""(object, aspect) to value, such as ("column customers.name", "type") to "character varying(100)"."""

WATCHED_ROLES = ("app_tenant", "app_service", "anon", "authenticated")
OTHERS = {"alembic_version", "current_business_id()", "set_updated_at()"}
FAMILIES = ({"integer", "bigint", "smallint"}, {"character varying", "text"}, {"nextval", "identity"})


@dataclass(frozen=True)
class Drift:
    """One difference; its repr is the line that `alembic check` shows."""

    object: str
    aspect: str
    expected: str | None
    found: str | None

    def __repr__(self) -> str:
        if self.found is None:
            return f"{self.object}: missing, expected {self.expected}"
        if self.expected is None:
            return f"{self.object}: not declared, found {self.found}"
        return f"{self.object}: {self.aspect} expected {self.expected}, found {self.found}"


def find_drift(connection: Connection, metadata: MetaData) -> list[Drift]:
    """Every difference between the models' tables and the current schema; a team's own additions are none.

    Raises:
        sqlalchemy.exc.ProgrammingError: the role may not create the scratch schema in the database.
    """
    schema = connection.scalar(text("SELECT quote_ident(current_schema())"))
    found = catalogue(connection, schema)
    with connection.begin_nested() as scratch:
        connection.execute(text(f"CREATE SCHEMA {SCRATCH}"))
        connection.execute(text(f"SET LOCAL search_path = {SCRATCH}"))
        build(connection, metadata)
        expected = catalogue(connection, SCRATCH)
        scratch.rollback()
    tables = {t.name for t in metadata.tables.values()} | OTHERS
    opened = connection.execute(OPENED, {"schema": schema, "tables": list(tables)})
    return compare(expected, found, tables) + [Drift(o, "definition", None, value) for o, value in opened]


def build(connection: Connection, metadata: MetaData) -> None:
    """Create what the models declare in the current schema: tables, functions, triggers, policies, grants."""
    context = MigrationContext.configure(connection)
    with Operations.context(context):
        schema_ops.create_functions()
        metadata.create_all(connection, checkfirst=False)
        context._version.create(connection)
        schema_ops.close_version_table()
        for table in metadata.sorted_tables:
            if "updated_at" in table.c:
                schema_ops.create_updated_at_trigger(table.name)
        for table in metadata.sorted_tables:
            if tenancy := table.info.get("tenancy"):
                schema_ops.enable_tenancy(table.name, **tenancy)


def compare(expected: Catalogue, found: Catalogue, tables: set[str]) -> list[Drift]:
    """What is missing or different, and what is there although it must not be."""
    drifts = []
    missing = {o for o, _ in expected} - {o for o, _ in found}
    for (name, aspect), value in expected.items():
        if name in missing:
            if aspect == "definition":
                drifts.append(Drift(name, aspect, value, None))
        elif found.get((name, aspect)) != value and not same_family(name, aspect, value, found.get((name, aspect))):
            drifts.append(Drift(name, aspect, value, found.get((name, aspect), "nothing")))
    for (name, aspect), value in found.items():
        kind, owner = name.split()[0], name.split()[-1].split(".")[0]
        if (name, aspect) in expected or owner not in tables:
            continue
        if kind in {"policy", "privilege"} or (aspect == "state" and value != "valid"):
            drifts.append(Drift(name, aspect, None, value))
    return drifts


def same_family(name: str, aspect: str, expected: str, found: str | None) -> bool:
    """Whether an adopted column does what the model's does: bigint for integer, text for varchar, identity for serial."""
    base = {expected.split("(")[0], (found or "").split("(")[0]}
    adopted = name.startswith(("column customers.", "column conversations."))
    if adopted and aspect == "default" and expected == "none":
        return True
    return adopted and aspect in {"type", "default"} and any(base <= family for family in FAMILIES)


def catalogue(connection: Connection, schema: str) -> Catalogue:
    """What `schema` holds, as PostgreSQL writes it down; names of the schema itself are left out."""
    rows = connection.execute(CATALOGUE, {"schema": schema, "roles": list(WATCHED_ROLES)})
    prefix = f"{schema}."
    return {(o, a): v.replace(prefix, "") for o, a, v in rows}


class DriftOp(ops.MigrateOperation):
    """Carries a difference that no operation of Alembic describes to `alembic check`."""

    def __init__(self, drift: Drift) -> None:
        self.drift = drift

    def to_diff_tuple(self) -> Any:
        return self.drift

    def reverse(self) -> "DriftOp":
        return self


@renderers.dispatch_for(DriftOp)
def _render_drift(_: AutogenContext, op: DriftOp) -> str:
    return f"pass  # drift, to be mended by hand: {' '.join(repr(op.drift).split())}"


def compare_catalogues(context: AutogenContext, upgrade_ops: ops.UpgradeOps) -> PriorityDispatchResult:
    """The comparator: every difference as a line on stderr, and as an operation where Alembic found none."""
    metadata = context.metadata
    if context.connection is not None and isinstance(metadata, MetaData):
        new_tables = {o.table_name for o in upgrade_ops.ops if isinstance(o, ops.CreateTableOp)}
        drifts = find_drift(context.connection, metadata)
        drifts = [d for d in drifts if not any(f" {t}" in d.object.replace(".", " ") for t in new_tables)]
        for drift in drifts:
            print(f"drift: {drift!r}", file=sys.stderr)
        if not upgrade_ops.ops:
            upgrade_ops.ops.extend(DriftOp(drift) for drift in drifts)
    return PriorityDispatchResult.CONTINUE


@cache
def register() -> str:
    """Make the comparators known to Alembic, once a process, and return their name for `autogenerate_plugins`."""
    plugin = Plugin("app.drift")
    plugin.add_autogenerate_comparator(autogenerate.compare_mixins, "table")
    plugin.add_autogenerate_comparator(compare_catalogues, "autogenerate", priority=DispatchPriority.LAST)
    return plugin.name


CATALOGUE = text("""
WITH t AS (
    SELECT * FROM pg_class WHERE relnamespace = to_regnamespace(:schema) AND relkind IN ('r', 'p')
), acl AS (
    SELECT format('table %s', relname) AS name, relname AS owner, relacl AS acl FROM t
    UNION ALL SELECT format('column %s.%s', t.relname, attname), t.relname, attacl FROM t JOIN pg_attribute a ON attrelid = t.oid
    UNION ALL SELECT format('sequence of %s.%s', t.relname, attname), t.relname, s.relacl
      FROM t JOIN pg_depend d ON d.refobjid = t.oid AND d.deptype IN ('a', 'i') JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
      JOIN pg_attribute ON attrelid = t.oid AND attnum = d.refobjsubid
    UNION ALL SELECT format('function %s()', proname), 'functions',
           coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE pronamespace = to_regnamespace(:schema)
              AND proname IN ('current_business_id', 'set_updated_at')
)
SELECT format('table %s', relname), aspect, value FROM t CROSS JOIN LATERAL (VALUES
    ('definition', 'a table'),
    ('row level security', CASE WHEN relforcerowsecurity THEN 'forced' WHEN relrowsecurity THEN 'on' ELSE 'off' END),
    ('comment', coalesce(obj_description(oid, 'pg_class'), 'none'))) AS v (aspect, value)
UNION ALL
SELECT format('column %s.%s', t.relname, attname), aspect, value
  FROM t JOIN pg_attribute a ON attrelid = t.oid AND attnum > 0 AND NOT attisdropped
  LEFT JOIN pg_attrdef d ON adrelid = t.oid AND adnum = attnum CROSS JOIN LATERAL (VALUES
    ('definition', 'a column'),
    ('type', format_type(atttypid, atttypmod)),
    ('nullability', CASE WHEN attnotnull THEN 'NOT NULL' ELSE 'NULL' END),
    ('default', coalesce(pg_get_expr(adbin, adrelid), CASE WHEN attidentity <> '' THEN 'identity' END, 'none')),
    ('comment', coalesce(col_description(t.oid, attnum), 'none'))) AS v (aspect, value)
UNION ALL
SELECT format('constraint %s on %s', conname, t.relname), aspect, value
  FROM t JOIN pg_constraint c ON conrelid = t.oid AND contype <> 'n' CROSS JOIN LATERAL (VALUES
    ('definition', replace(pg_get_constraintdef(c.oid), ' NOT VALID', '')),
    ('state', CASE WHEN convalidated THEN 'valid' ELSE 'not valid' END)) AS v (aspect, value)
UNION ALL
SELECT format('index %s on %s', i.relname, t.relname), aspect, value
  FROM t JOIN pg_index x ON indrelid = t.oid JOIN pg_class i ON i.oid = indexrelid CROSS JOIN LATERAL (VALUES
    ('definition', pg_get_indexdef(indexrelid)),
    ('state', CASE WHEN indisvalid AND indisready THEN 'valid' ELSE 'invalid' END)) AS v (aspect, value)
UNION ALL
SELECT format('trigger %s on %s', tgname, t.relname), aspect, value
  FROM t JOIN pg_trigger g ON tgrelid = t.oid AND NOT tgisinternal CROSS JOIN LATERAL (VALUES
    ('definition', replace(pg_get_triggerdef(g.oid), '(''generated'')', '()')),
    ('firing', CASE tgenabled WHEN 'O' THEN 'enabled' WHEN 'D' THEN 'disabled' ELSE tgenabled::text END)) AS v (aspect, value)
UNION ALL
SELECT format('policy %s on %s', polname, t.relname), 'definition',
       format('%s for %s to %s using (%s) with check (%s)', CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END,
              polcmd, (SELECT string_agg(coalesce(rolname, 'PUBLIC'), ', ' ORDER BY rolname)
                         FROM unnest(polroles) AS r LEFT JOIN pg_roles ON oid = r),
              pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
  FROM t JOIN pg_policy ON polrelid = t.oid
UNION ALL
SELECT format('function %s(%s)', proname, pg_get_function_identity_arguments(oid)), 'definition', pg_get_functiondef(oid)
  FROM pg_proc WHERE pronamespace = to_regnamespace(:schema) AND prokind = 'f'
   AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e')
UNION ALL
SELECT format('privilege of %s on %s', coalesce(rolname, 'PUBLIC'), acl.name), 'definition',
       string_agg(privilege_type || CASE WHEN is_grantable THEN ' with grant option' ELSE '' END, ', ' ORDER BY privilege_type)
  FROM acl CROSS JOIN aclexplode(acl.acl) AS e LEFT JOIN pg_roles r ON r.oid = e.grantee
 WHERE e.grantee = 0 OR rolname = ANY (:roles)
 GROUP BY 1, acl.name
 ORDER BY 1, 2
""")

# What switches tenancy off without a change of what the models declare.
OPENED = text("""
WITH t AS (
    SELECT * FROM pg_class WHERE relnamespace = to_regnamespace(:schema) AND relname = ANY (:tables)
)
SELECT format('role %s', rolname), concat_ws(' ', CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END)
  FROM pg_roles WHERE rolname IN ('app_tenant', 'app_service') AND (rolsuper OR rolbypassrls)
UNION ALL
SELECT format('role %s', m.rolname), format('membership of %s', r.rolname)
  FROM pg_roles m JOIN pg_roles r ON r.oid <> m.oid AND NOT m.rolsuper AND pg_has_role(m.oid, r.oid, 'MEMBER')
 WHERE m.rolname = 'app_tenant' OR m.rolname IN ('anon', 'authenticated') AND r.rolname IN ('app_tenant', 'app_service')
UNION ALL
SELECT 'privilege of app_tenant on schema', privilege_type FROM pg_namespace, aclexplode(nspacl)
 WHERE oid = to_regnamespace(:schema) AND grantee = to_regrole('app_tenant') AND privilege_type = 'CREATE'
UNION ALL
SELECT DISTINCT format('foreign keys of %s', relname), 'disabled triggers'
  FROM t JOIN pg_trigger ON tgrelid = t.oid AND tgisinternal AND tgenabled = 'D'
UNION ALL
SELECT format('rule %s on %s', rulename, relname), pg_get_ruledef(r.oid) FROM t JOIN pg_rewrite r ON ev_class = t.oid AND is_instead
UNION ALL
SELECT DISTINCT format('view %s', v.oid::regclass), format('a reading of %s without security_invoker that app_tenant may use', t.relname)
  FROM t JOIN pg_depend d ON d.refobjid = t.oid AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = ev_class AND v.relkind IN ('v', 'm')
 WHERE has_any_column_privilege(to_regrole('app_tenant'), v.oid, 'SELECT')
   AND NOT coalesce((SELECT option_value::boolean FROM pg_options_to_table(v.reloptions) WHERE option_name = 'security_invoker'), false)
""")
