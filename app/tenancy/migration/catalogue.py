"""What a schema holds, as PostgreSQL writes it down: the same text for the same thing, whatever the schema's name.

Two questions are asked. The first finds the objects, with nothing but pg_catalog in sight, so that no object of the
schema is taken for a function of PostgreSQL's. The second has PostgreSQL write expressions down with the schema as its
search_path, which is how it leaves the schema's name away.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text

from app.tenancy.migration.access import WATCHED

Catalogue = dict[tuple[str, str], str]
"""(object, aspect) to value, such as ("column customers.name", "type") to "character varying(100)"."""


@contextmanager
def search_path(connection: Connection, path: str) -> Iterator[None]:
    """Names are looked up in `path` only: a list of quoted names. Needs a transaction, and lasts no longer."""
    ask = text("SELECT pg_catalog.set_config('search_path', :path, true)")
    before = connection.scalar(text("SELECT pg_catalog.current_setting('search_path')"))
    connection.execute(ask, {"path": path})
    yield
    connection.execute(ask, {"path": before})


def quoted(name: str) -> str:
    """The name in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def catalogue(connection: Connection, schema: str) -> Catalogue:
    """Every object of `schema` (its name without quotes), aspect by aspect. Needs a transaction."""
    with search_path(connection, "pg_catalog"):
        found = connection.execute(OBJECTS, {"schema": schema, "roles": list(WATCHED)}).all()
    wanted: dict[str, list[int]] = defaultdict(list)
    for row in found:
        if row.deparse:
            wanted[row.deparse].append(row.oid)
    written: dict[tuple[str, int], str | None] = {}
    with search_path(connection, f"{quoted(schema)}, pg_temp"):
        for what, oids in wanted.items():
            for oid, value in connection.execute(DEPARSE[what], {"oids": oids}):
                written[what, oid] = value
    values: Catalogue = {}
    for name, aspect, value, deparse, oid in found:
        said = written.get((deparse, oid), "none") if deparse else value
        values[name, aspect] = (said or "none").removesuffix(value or "") if deparse == "constraint" else said or "none"
        if deparse == "body":
            # is_colleague names two objects of the schema, in text.
            named = rf"({re.escape(quoted(schema))}|{re.escape(schema)})\.(?=user_businesses |current_business_id\(\))"
            values[name, aspect] = re.sub(named, "", values[name, aspect])
        if deparse in {"index", "trigger"} and value:
            values[name, aspect] = values[name, aspect].replace(value, "()" if deparse == "trigger" else "")
    return values


# Functions are named with their schema and operators have operands of exactly their types: these run with the schema
# in sight, and nothing in it can be taken for them.
DEPARSE = {
    what: text(
        f"SELECT o.oid, {expression} FROM pg_catalog.{table} AS o WHERE o.oid = ANY (CAST(:oids AS pg_catalog.oid[]))"
    )
    for what, table, expression in (
        ("default", "pg_attrdef", "pg_catalog.pg_get_expr(o.adbin, o.adrelid)"),
        ("constraint", "pg_constraint", "pg_catalog.pg_get_constraintdef(o.oid)"),
        ("using", "pg_policy", "pg_catalog.pg_get_expr(o.polqual, o.polrelid)"),
        ("with check", "pg_policy", "pg_catalog.pg_get_expr(o.polwithcheck, o.polrelid)"),
        ("index", "pg_class", "pg_catalog.pg_get_indexdef(o.oid, 0, true)"),
        ("trigger", "pg_trigger", "pg_catalog.pg_get_triggerdef(o.oid, true)"),
        ("arguments", "pg_proc", "pg_catalog.pg_get_function_arguments(o.oid)"),
        ("result", "pg_proc", "pg_catalog.pg_get_function_result(o.oid)"),
        ("body", "pg_proc", "coalesce(pg_catalog.pg_get_function_sqlbody(o.oid), o.prosrc)"),
    )
}

COLLATION = """CASE WHEN attcollation <> typcollation THEN (
        SELECT format('%I.%I', n.nspname, collname) FROM pg_collation AS k JOIN pg_namespace AS n ON n.oid = collnamespace WHERE k.oid = attcollation)
        ELSE 'default' END"""
NUMBERS = """SELECT refobjid FROM pg_attrdef
      JOIN pg_depend ON (classid, objid, refclassid) = ('pg_attrdef'::regclass, pg_attrdef.oid, 'pg_class'::regclass)
      JOIN pg_sequence ON seqrelid = refobjid WHERE adrelid = attrelid AND adnum = attnum
    UNION ALL SELECT objid FROM pg_depend WHERE (classid, refclassid, refobjid, refobjsubid, deptype)
        = ('pg_class'::regclass, 'pg_class'::regclass, attrelid, attnum, 'i')"""
"""SQL query on a row of pg_attribute: the sequence that numbers the column, by a DEFAULT or as an identity."""
PERSISTENCE = "CASE relpersistence WHEN 'p' THEN 'logged' ELSE 'unlogged' END"
SEQUENCE_OPTIONS = """concat_ws(', ', 'increment ' || seqincrement, CASE WHEN seqcycle THEN 'cycle' END,
                 CASE WHEN seqmax < CASE seqtypid WHEN 'bigint'::regtype THEN 9223372036854775807 WHEN 'integer'::regtype THEN 2147483647
                                    ELSE 32767 END THEN 'maxvalue ' || seqmax END)"""


# value is what the object is, or for what is to be written down: NOT VALID, the options of an index, the argument of
# the trigger, which are left out. A column's privileges are listed where it has any of its own.
OBJECTS = text(
    r"""
WITH s AS (
    SELECT oid FROM pg_namespace WHERE nspname = :schema
), t AS (
    SELECT c.* FROM pg_class AS c JOIN s ON relnamespace = s.oid WHERE relkind IN ('r', 'p')
), f AS (
    SELECT p.*, format('function %s(%s)', proname, pg_get_function_identity_arguments(p.oid)) AS name
      FROM pg_proc AS p JOIN s ON pronamespace = s.oid WHERE prokind = 'f'
       AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e')
), sequences AS (
    SELECT q.oid, q.relacl, q.relowner, t.relname, attname, seqcycle, seqincrement, seqmax, seqtypid
      FROM t JOIN pg_attribute AS a ON attrelid = t.oid AND attnum > 0 CROSS JOIN LATERAL ("""
    + NUMBERS
    + r""") AS numbers (sequence)
      JOIN pg_class AS q ON q.oid = sequence JOIN pg_sequence ON seqrelid = sequence
), acl AS (
    SELECT format('table %s', relname) AS name, coalesce(relacl, acldefault('r', relowner)) AS acl, relowner AS owner FROM t
    UNION ALL SELECT format('column %s.%s', t.relname, attname), attacl, relowner FROM t JOIN pg_attribute ON attrelid = t.oid AND NOT attisdropped
    UNION ALL SELECT format('sequence of %s.%s', relname, attname), coalesce(relacl, acldefault('s', relowner)), relowner FROM sequences
    UNION ALL SELECT name, coalesce(proacl, acldefault('f', proowner)), proowner FROM f
)
SELECT format('table %s', relname) AS name, aspect, value, NULL AS deparse, NULL::oid AS oid FROM t CROSS JOIN LATERAL (VALUES
    ('definition', CASE relkind WHEN 'r' THEN 'a table' ELSE 'a partitioned table' END),
    ('row level security', CASE WHEN relforcerowsecurity THEN 'forced' WHEN relrowsecurity THEN 'on' ELSE 'off' END),
    ('persistence', """
    + PERSISTENCE
    + r"""),
    ('owner', relowner::regrole::text),
    ('comment', obj_description(oid, 'pg_class'))) AS v (aspect, value)
UNION ALL
SELECT format('column %s.%s', t.relname, attname), aspect, value, deparse, d.oid
  FROM t JOIN pg_attribute AS a ON attrelid = t.oid AND attnum > 0 AND NOT attisdropped
  JOIN pg_type AS y ON y.oid = atttypid
  LEFT JOIN pg_attrdef AS d ON adrelid = t.oid AND adnum = attnum CROSS JOIN LATERAL (VALUES
    ('definition', 'a column', NULL),
    ('type', format_type(atttypid, atttypmod), NULL),
    ('collation', """
    + COLLATION
    + r""", NULL),
    ('nullability', CASE WHEN NOT attnotnull THEN 'NULL' WHEN EXISTS (
        SELECT FROM pg_constraint WHERE conrelid = t.oid AND contype = 'n' AND conkey = ARRAY[attnum] AND NOT convalidated)
        THEN 'NOT NULL, not valid' ELSE 'NOT NULL' END, NULL),
    ('default', CASE WHEN attidentity <> '' THEN 'identity' END, CASE WHEN d.oid IS NOT NULL THEN 'default' END),
    ('kind', CASE WHEN attgenerated <> '' THEN 'generated' ELSE 'stored as written' END, NULL),
    ('comment', col_description(t.oid, attnum), NULL)) AS v (aspect, value, deparse)
UNION ALL
SELECT format('sequence of %s.%s', relname, attname), 'options',
       """
    + SEQUENCE_OPTIONS
    + r""", NULL, NULL
  FROM sequences
UNION ALL
SELECT CASE contype WHEN 'p' THEN format('primary key of %s', t.relname) ELSE format('constraint %s on %s', conname, t.relname) END,
       aspect, value, deparse, c.oid
  FROM t JOIN pg_constraint AS c ON conrelid = t.oid AND contype <> 'n' LEFT JOIN pg_index ON indexrelid = conindid AND contype IN ('p', 'u', 'x')
 CROSS JOIN LATERAL (VALUES
    ('definition', CASE WHEN NOT convalidated THEN ' NOT VALID' END, 'constraint'),
    ('state', CASE WHEN NOT convalidated THEN 'not valid' WHEN NOT indisvalid OR NOT indisready THEN 'invalid' ELSE 'valid' END, NULL),
    ('enforcement', (SELECT CASE WHEN bool_and(tgenabled = 'O') THEN 'on' ELSE 'off: triggers of the key are not plainly enabled' END
                       FROM pg_trigger WHERE tgconstraint = c.oid AND tgisinternal HAVING count(*) > 0), NULL)) AS v (aspect, value, deparse)
UNION ALL
SELECT format('index %s on %s', i.relname, t.relname), aspect, value, deparse, i.oid
  FROM t JOIN pg_index AS x ON indrelid = t.oid JOIN pg_class AS i ON i.oid = indexrelid CROSS JOIN LATERAL (VALUES
    ('definition', (SELECT format(' WITH (%s)', string_agg(format('%s=%s', option_name,
                        CASE WHEN quote_ident(option_value) = option_value THEN option_value ELSE quote_literal(option_value) END), ', '))
                      FROM pg_options_to_table(i.reloptions) HAVING count(*) > 0), 'index'),
    ('state', CASE WHEN indisvalid AND indisready THEN 'valid' ELSE 'invalid' END, NULL)) AS v (aspect, value, deparse)
 WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
UNION ALL
SELECT format('trigger %s on %s', tgname, t.relname), aspect, value, deparse, g.oid
  FROM t JOIN pg_trigger AS g ON tgrelid = t.oid AND NOT tgisinternal CROSS JOIN LATERAL (VALUES
    ('definition', CASE WHEN tgname = 'set_updated_at' AND tgnargs > 0 THEN '(''generated'')' END, 'trigger'),
    ('firing', CASE tgenabled WHEN 'O' THEN 'enabled' WHEN 'D' THEN 'disabled' WHEN 'A' THEN 'always' ELSE 'on replicas' END, NULL))
    AS v (aspect, value, deparse)
UNION ALL
SELECT format('policy %s on %s', polname, t.relname), aspect, value, deparse, p.oid
  FROM t JOIN pg_policy AS p ON polrelid = t.oid CROSS JOIN LATERAL (VALUES
    ('definition', format('%s for %s to %s', CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END,
        CASE polcmd WHEN '*' THEN 'all' WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update' ELSE 'delete' END,
        (SELECT string_agg(coalesce(rolname, 'PUBLIC'), ', ' ORDER BY rolname) FROM unnest(polroles) AS r LEFT JOIN pg_roles ON pg_roles.oid = r)), NULL),
    ('using', NULL, 'using'),
    ('with check', NULL, 'with check')) AS v (aspect, value, deparse)
UNION ALL
SELECT name, aspect, value, deparse, f.oid FROM f JOIN pg_language AS l ON l.oid = prolang CROSS JOIN LATERAL (VALUES
    ('definition', concat_ws(' ', lanname, CASE provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END,
        'parallel ' || CASE proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' ELSE 'unsafe' END,
        CASE WHEN proisstrict THEN 'strict' END, CASE WHEN prosecdef THEN 'security definer' END, CASE WHEN proleakproof THEN 'leakproof' END,
        CASE WHEN proretset THEN 'set' END, 'set ' || array_to_string(proconfig, ', set ')), NULL),
    ('arguments', NULL, 'arguments'),
    ('result', NULL, 'result'),
    ('body', NULL, 'body'),
    ('owner', proowner::regrole::text, NULL)) AS v (aspect, value, deparse)
UNION ALL
SELECT format('privilege of %s on %s', CASE e.grantee WHEN 0 THEN 'PUBLIC' WHEN owner THEN 'the owner' ELSE rolname END, name), 'definition',
       string_agg(privilege_type || CASE WHEN is_grantable AND e.grantee <> owner THEN ' with grant option' ELSE '' END, ', ' ORDER BY privilege_type), NULL, NULL
  FROM acl CROSS JOIN aclexplode(acl) AS e LEFT JOIN pg_roles AS r ON r.oid = e.grantee
 WHERE e.grantee IN (0, owner) OR rolname = ANY (:roles)
 GROUP BY 1
 ORDER BY 1, 2
"""
)
