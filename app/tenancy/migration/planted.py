"""Whether anything that a run takes by its name is somebody else's: asked at the head of every run.

Whoever may create objects in the schema, or in the database, could make something under a name that the run looks for.
Its triggers and functions would then run with the rights of whoever migrates.
"""

from collections.abc import Iterable

from app.tenancy.migration.state import MEMORY, NEW_TABLES
from app.tenancy.migration.steps import literal, shown

ARCHIVED = (*NEW_TABLES, "customers", "conversations", "default_customers", "default_messages", "privileges")
SCALE = ("alembic_version_scale", "citus_comments")


def nothing_planted(version_table: str, *, made: bool = False) -> str:
    """A statement that stops where another role owns what the run takes by name, or code that such a thing runs.

    Trusted are superusers, extensions, roles whose privileges the migrating role has (which for a superuser would be
    all, and counts for nobody), and whoever may act as the owner of customers and conversations. It names everything
    with its schema until it has looked, so that it calls nothing planted itself.

    Args:
        version_table: name of the version table of this run.
        made: whether the new tables are this schema's, for this run has made them. Before that, only those that have
            its policies are taken for its own; others are refused by revision 001.
    """
    kept = _listed((MEMORY, *SCALE))
    new = _listed(NEW_TABLES)
    return f"""DO $planted$
DECLARE
    before pg_catalog.text := pg_catalog.current_setting('search_path');
    places pg_catalog.name[] := pg_catalog.current_schemas(true);
    versions pg_catalog.regclass := pg_catalog.to_regclass({literal(version_table)});
    customers pg_catalog.regclass := pg_catalog.to_regclass('customers');
    here pg_catalog.name := pg_catalog.current_schema();
    planted pg_catalog.text[];
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog', true);
    here := coalesce((SELECT nspname FROM pg_namespace AS n JOIN pg_class AS c ON n.oid = relnamespace WHERE c.oid = customers), here);
    planted := ARRAY(
    WITH me AS (SELECT rolsuper FROM pg_roles WHERE rolname = current_user
    ), old AS (SELECT c.oid, relowner FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
                WHERE nspname = here AND relname IN ('customers', 'conversations')
    ), trusted AS (
        SELECT r.oid FROM pg_roles AS r CROSS JOIN me
         WHERE r.rolsuper OR NOT me.rolsuper AND pg_has_role(r.oid, 'USAGE')
            OR EXISTS (SELECT FROM old) AND NOT EXISTS (SELECT FROM old WHERE NOT pg_has_role(r.oid, relowner, 'MEMBER'))
    ), relations AS (
        SELECT c.oid, relname, relowner, nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
         WHERE nspname = here AND (relname IN ({kept}) OR relname IN ({new}) AND (
                   {str(made).lower()} OR EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polname = 'app_service')))
            OR nspname = 'multi_tenant_archive' AND relname IN ({_listed(ARCHIVED)})
            OR c.oid = versions
    ), functions AS (
        SELECT p.oid, proname, proowner, nspname FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace
         WHERE nspname IN (here, 'multi_tenant_archive')
           AND (pronargs = 0 AND (proname IN ('current_business_id', 'set_updated_at', 'single_business_only')
                                  OR proname ~ '^widen_(customers|conversations)_') OR pronargs = 1 AND proname = 'is_colleague')
    ), attached AS (
        SELECT DISTINCT held.classid, held.objid, r.oid AS relation, p.oid AS function, proowner
          FROM relations AS r JOIN pg_depend AS held ON held.refclassid = 'pg_class'::regclass AND held.refobjid = r.oid
          JOIN pg_depend AS called ON (called.classid, called.objid) = (held.classid, held.objid) AND called.refclassid = 'pg_proc'::regclass
          JOIN pg_proc AS p ON p.oid = called.refobjid
         WHERE proowner NOT IN (SELECT oid FROM trusted) AND relowner IN (SELECT oid FROM trusted)
    ), ours (owner) AS (  -- whose a table or a function of ours is where the upgrade has made it: it only lost its owner
        SELECT min(relowner::regrole::text) FROM old JOIN pg_attribute ON attrelid = old.oid AND attname = 'business_id' HAVING count(*) > 0
    ), look_alikes AS (
        SELECT format('DROP ROUTINE %s', p.oid::regprocedure) AS statement, proowner AS maker, pronamespace AS place
          FROM pg_proc AS p LEFT JOIN pg_depend AS e ON e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e'
         WHERE e.objid IS NULL AND EXISTS (SELECT FROM pg_proc AS b WHERE b.pronamespace = 'pg_catalog'::regnamespace AND b.proname = p.proname)
           AND NOT EXISTS (SELECT FROM pg_proc AS b WHERE b.pronamespace = 'pg_catalog'::regnamespace AND b.proname = p.proname
                              AND b.proargtypes = p.proargtypes)
        UNION ALL
        SELECT format('DROP OPERATOR %s', o.oid::regoperator), oprowner, oprnamespace
          FROM pg_operator AS o LEFT JOIN pg_depend AS e ON e.classid = 'pg_operator'::regclass AND e.objid = o.oid AND e.deptype = 'e'
         WHERE e.objid IS NULL AND EXISTS (SELECT FROM pg_operator AS b WHERE b.oprnamespace = 'pg_catalog'::regnamespace AND b.oprname = o.oprname)
           AND NOT EXISTS (SELECT FROM pg_operator AS b WHERE b.oprnamespace = 'pg_catalog'::regnamespace AND b.oprname = o.oprname
                              AND (b.oprleft, b.oprright) = (o.oprleft, o.oprright))
    ), said (place, sentence) AS (
        SELECT 1, format('search_path names pg_catalog after %1$s, where a name could be taken for one of PostgreSQL (a role that sets its own search_path needs another): run ALTER DATABASE %2$I SET search_path TO %1$s;',
                         string_agg(quote_ident(p.place), ', ' ORDER BY n), current_database())
          FROM unnest(places) WITH ORDINALITY AS p (place, n) WHERE p.place <> 'pg_catalog' AND p.place !~ '^pg_temp_' HAVING min(n) < array_position(places, 'pg_catalog')
        UNION ALL
        SELECT 2, format('another role made a function or an operator with the name of one of PostgreSQL, which the migration would call: run %s;', string_agg(statement, '; '))
          FROM look_alikes JOIN pg_namespace AS n ON n.oid = place AND nspname = ANY (places) AND nspname <> 'pg_catalog'
          JOIN pg_roles AS theirs ON theirs.oid = maker AND NOT theirs.rolsuper
          JOIN me ON me.rolsuper OR NOT pg_has_role(maker, 'USAGE')
        HAVING count(*) > 0
        UNION ALL
        SELECT 3, format('the schema multi_tenant_archive belongs to role %s, which could run code as whoever migrates, and is taken for the archive of a rollback; as an administrator: run ALTER SCHEMA multi_tenant_archive RENAME TO multi_tenant_archive_before;', nspowner::regrole)
          FROM pg_namespace WHERE nspname = 'multi_tenant_archive' AND nspowner NOT IN (SELECT oid FROM trusted)
        UNION ALL
        SELECT 4, format('%s belongs to role %s, which could run code as whoever migrates, and is taken for a table of this schema%s; as an administrator: run %s;',
                         r.oid::regclass, relowner::regrole,
                         CASE WHEN r.oid = versions THEN ' (if another Alembic uses it, set version_table in alembic.ini instead, docs/own-alembic.md)' END,
                         coalesce((SELECT format('ALTER TABLE %s OWNER TO %s', r.oid::regclass, owner) FROM ours WHERE relname IN ({new})),
                             concat((SELECT string_agg(format('ALTER INDEX %s RENAME TO %I; ', i.oid::regclass, left(i.relname, 56) || '_before'), '' ORDER BY i.relname)
                                       FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid WHERE indrelid = r.oid),
                                    format('ALTER TABLE IF EXISTS %s RENAME TO %I', r.oid::regclass, left(relname, 56) || '_before'))))
          FROM relations AS r WHERE relowner NOT IN (SELECT oid FROM trusted)
        UNION ALL
        SELECT 5, format('%s of role %s, which could change it at will, has the name of one of this schema; as an administrator: run ALTER ROUTINE %1$s %3$s;', f.oid::regprocedure, proowner::regrole,
                         coalesce((SELECT 'OWNER TO ' || owner FROM ours WHERE proname IN ('current_business_id', 'set_updated_at')),
                                  format('RENAME TO %I', left(proname, 56) || '_before')))
          FROM functions AS f WHERE proowner NOT IN (SELECT oid FROM trusted)
        UNION ALL
        SELECT 6, format('%s runs %s of role %s, which could change it at will%s', pg_describe_object(classid, objid, 0), function::regprocedure, proowner::regrole,
                         CASE WHEN t.oid IS NOT NULL THEN format(': run DROP TRIGGER %I ON %s;', tgname, relation::regclass)
                              WHEN p.oid IS NOT NULL THEN format(': run DROP POLICY %I ON %s;', polname, relation::regclass)
                              ELSE ', and this migration works with ' || relation::regclass END)
          FROM attached LEFT JOIN pg_trigger AS t ON classid = 'pg_trigger'::regclass AND t.oid = objid
          LEFT JOIN pg_policy AS p ON classid = 'pg_policy'::regclass AND p.oid = objid
    )
    SELECT {shown("sentence")} FROM said ORDER BY place, sentence);
    PERFORM set_config('search_path', before, true);
    IF cardinality(planted) = 1 THEN
        RAISE EXCEPTION '%', planted[1];
    ELSIF cardinality(planted) > 1 THEN
        RAISE EXCEPTION E'% things stand in the way:\\n- %', cardinality(planted), array_to_string(planted, E'\\n- ');
    END IF;
END $planted$"""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(literal, names))
