-- Statements, in their order, that put the wide column in the place of the narrow one. What costs nothing to make again is
-- made from what PostgreSQL writes down before the column is renamed.
-- Inputs of `Widening.fill`: aside, c, grantee, keeper, kept, n, t.
WITH w AS (SELECT * FROM {{> widen_column.sql}} AS w),
x AS ({{> widen_held_indexes.sql}}),
k AS ({{> widen_held_constraints.sql}}),
q AS ({{> widen_sequences.sql}}),
n AS (SELECT conname FROM pg_constraint, w WHERE conrelid = tab AND contype = 'n' AND conkey = ARRAY[old]),  -- from PostgreSQL 18 on
g AS (
    SELECT g.*, format('CREATE TRIGGER %I ', tgname) AS head, pg_get_triggerdef(g.oid) AS def,
           ' OF ' || (SELECT string_agg(quote_ident(attname), ', ' ORDER BY place) FROM unnest(tgattr::int2[]) WITH ORDINALITY AS u (num, place)
                        JOIN pg_attribute ON attrelid = tgrelid AND attnum = num) || ' ' AS columns,
           EXISTS (SELECT FROM pg_trigger AS keeper WHERE keeper.tgrelid = w.tab AND keeper.tgname = {{'kept'}}
                      AND encode(convert_to(g.tgname, getdatabaseencoding()), 'escape') = ANY (string_to_array(encode(keeper.tgargs, 'escape'), '\000'))) AS narrowed
      FROM w JOIN pg_trigger AS g ON tgrelid = w.tab AND NOT tgisinternal AND tgname <> {{'kept'}}
       AND EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_trigger'::regclass AND objid = g.oid AND refobjid = w.tab AND refobjsubid = w.old)
)
SELECT statement FROM (
    -- What has a twin goes.
    SELECT 10, format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM k
    UNION ALL SELECT 11, CASE WHEN con IS NULL THEN format('DROP INDEX %s', indexrelid::regclass) ELSE format('ALTER TABLE {{t}} DROP CONSTRAINT %I', conname) END FROM x
    -- NOT NULL costs no scan: the CHECK proves it.
    UNION ALL SELECT 20, CASE WHEN n.conname IS NOT NULL THEN format('ALTER TABLE {{t}} ADD CONSTRAINT %I NOT NULL {{n}}', 'widened_' || md5(n.conname)) ELSE 'ALTER TABLE {{t}} ALTER COLUMN {{n}} SET NOT NULL' END
      FROM w LEFT JOIN n ON true WHERE required
    UNION ALL SELECT 21, 'ALTER TABLE {{t}} DROP CONSTRAINT {{keeper}}' FROM w
    UNION ALL SELECT 22, 'DROP TRIGGER {{keeper}} ON {{t}}' FROM w
    UNION ALL SELECT 23, 'DROP FUNCTION {{keeper}}()' FROM w
    -- Default, sequence, identity.
    UNION ALL SELECT 30, format('ALTER TABLE {{t}} ALTER COLUMN {{n}} SET DEFAULT %s', pg_get_expr(adbin, adrelid)) FROM w JOIN pg_attrdef ON adrelid = tab AND adnum = old
    UNION ALL SELECT 31, format('ALTER SEQUENCE %s OWNED BY {{t}}.{{n}}', oid::regclass) FROM q WHERE deptype = 'a'
    UNION ALL SELECT DISTINCT 32, format('ALTER SEQUENCE %s AS bigint', oid::regclass) FROM q WHERE seqtypid <> 'int8'::regtype AND deptype <> 'i'
    UNION ALL SELECT 33, 'ALTER TABLE {{t}} ALTER COLUMN {{c}} DROP IDENTITY' FROM q WHERE deptype = 'i'
    UNION ALL SELECT 34, format('ALTER TABLE {{t}} ALTER COLUMN {{n}} ADD GENERATED %s AS IDENTITY (SEQUENCE NAME %s START %s INCREMENT %s MINVALUE %s %s CACHE %s %s)',
                                CASE identity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, oid::regclass, seqstart, seqincrement,
                                CASE WHEN seqmin IN (-2147483648, -32768) THEN -9223372036854775808 ELSE seqmin END,
                                CASE WHEN seqmax IN (2147483647, 32767) THEN '' ELSE 'MAXVALUE ' || seqmax END, seqcache,
                                CASE WHEN seqcycle THEN 'CYCLE' ELSE '' END) FROM w, q WHERE deptype = 'i'
    UNION ALL SELECT 35, format('SELECT setval(%L, current_setting(''widen.last_value'')::bigint, current_setting(''widen.is_called'')::boolean)', oid::regclass)
      FROM q WHERE deptype = 'i'
    UNION ALL SELECT DISTINCT 36, format('REVOKE ALL ON SEQUENCE %s FROM %s', q.oid::regclass, CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE e.grantee::regrole::text END)
      FROM q, pg_default_acl, aclexplode(defaclacl) AS e WHERE deptype = 'i' AND defaclobjtype = 'S' AND e.grantee <> relowner
    UNION ALL SELECT 37, format('GRANT %s ON SEQUENCE %s TO %s%s', e.privilege_type, q.oid::regclass, CASE e.grantee WHEN 0 THEN 'PUBLIC' ELSE e.grantee::regrole::text END,
                                CASE WHEN e.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) FROM q, aclexplode(relacl) AS e WHERE deptype = 'i' AND e.grantee <> relowner
    UNION ALL SELECT 38, format('COMMENT ON SEQUENCE %s IS %L', oid::regclass, obj_description(oid, 'pg_class')) FROM q WHERE deptype = 'i' AND obj_description(oid, 'pg_class') IS NOT NULL
    -- Exactly the privileges of the old column; what describes it.
    UNION ALL SELECT DISTINCT 40, format('REVOKE ALL ({{n}}) ON {{t}} FROM %s CASCADE', {{grantee}}) FROM w, aclexplode(new_acl)
    UNION ALL SELECT 41, format('GRANT %s ({{n}}) ON {{t}} TO %s%s', privilege_type, {{grantee}},
                                CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) FROM w, aclexplode(acl)
    UNION ALL SELECT 42, format('COMMENT ON COLUMN {{t}}.{{n}} IS %L', col_description(tab, old)) FROM w WHERE col_description(tab, old) IS NOT NULL
    UNION ALL SELECT 43, format('ALTER TABLE {{t}} ALTER COLUMN {{n}} SET STATISTICS %s', target) FROM w WHERE target IS NOT NULL
    UNION ALL SELECT 44, format('ALTER TABLE {{t}} ALTER COLUMN {{n}} SET (%s)', string_agg(setting, ', '))
      FROM w, unnest(settings) AS setting WHERE setting NOT LIKE 'pg_attver=%' HAVING count(*) > 0  -- PostgreSQL's own count of changes
    -- From here on the name means the wide column.
    UNION ALL SELECT 50, 'ALTER TABLE {{t}} RENAME COLUMN {{c}} TO {{aside}}' FROM w
    UNION ALL SELECT 51, 'ALTER TABLE {{t}} RENAME COLUMN {{n}} TO {{c}}' FROM w
    UNION ALL SELECT 60, concat(format('ALTER POLICY %I ON %s', polname, polrelid::regclass), ' USING (' || pg_get_expr(polqual, polrelid) || ')',
                                ' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')')
      FROM w, pg_policy AS p WHERE EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_policy'::regclass AND objid = p.oid AND refobjid = tab AND refobjsubid = old)
    UNION ALL SELECT 61, 'CREATE OR REPLACE ' || substr(CASE WHEN narrowed THEN overlay(def PLACING ' ' FROM strpos(def, columns) FOR length(columns)) ELSE def END, 8) FROM g
    UNION ALL SELECT 62, format('ALTER TABLE {{t}} %s TRIGGER %I', CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, tgname)
      FROM g WHERE tgenabled <> 'O'
    UNION ALL SELECT 63 + n, line FROM w JOIN pg_statistic_ext AS s ON stxrelid = tab JOIN pg_namespace AS space ON space.oid = stxnamespace AND EXISTS (
                  SELECT FROM pg_depend WHERE classid = 'pg_statistic_ext'::regclass AND objid = s.oid AND refobjid = tab AND refobjsubid = old), LATERAL (VALUES
              (0, format('DROP STATISTICS %I.%I', nspname, stxname)), (1, pg_get_statisticsobjdef(s.oid)),
              (2, format('COMMENT ON STATISTICS %I.%I IS %L', nspname, stxname, obj_description(s.oid, 'pg_statistic_ext'))),
              (3, format('ALTER STATISTICS %I.%I SET STATISTICS ', nspname, stxname) || nullif(stxstattarget, -1))) AS l (n, line)
    -- The twins get the names.
    UNION ALL SELECT 70, format('ALTER TABLE %I RENAME COLUMN {{n}} TO {{c}}', twin) FROM w, x WHERE old = ANY (indkey::int2[])
    UNION ALL SELECT 71, format('ALTER INDEX %I RENAME TO %I', twin, name) FROM x
    UNION ALL SELECT 72, format('ALTER TABLE {{t}} ADD CONSTRAINT %1$I %2$s USING INDEX %1$I%3$s%4$s', conname, CASE contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END,
                                CASE WHEN condeferrable THEN ' DEFERRABLE' ELSE '' END, CASE WHEN condeferred THEN ' INITIALLY DEFERRED' ELSE '' END) FROM x WHERE con IS NOT NULL
    UNION ALL SELECT 73, format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', conrelid::regclass, twin, conname) FROM k
    UNION ALL SELECT 74, format('ALTER TABLE {{t}} CLUSTER ON %I', name) FROM x WHERE indisclustered
    UNION ALL SELECT 75, format('ALTER TABLE {{t}} REPLICA IDENTITY USING INDEX %I', name) FROM x WHERE indisreplident
    UNION ALL SELECT 76, format('COMMENT ON CONSTRAINT %I ON %s IS %L', conname, rel, said) FROM (
                             SELECT conname, conrelid::regclass AS rel, obj_description(oid, 'pg_constraint') AS said FROM k
                             UNION ALL SELECT conname, indrelid::regclass, obj_description(con, 'pg_constraint') FROM x) AS c WHERE said IS NOT NULL
    UNION ALL SELECT 77, format('COMMENT ON INDEX %I IS %L', name, obj_description(indexrelid, 'pg_class')) FROM x WHERE obj_description(indexrelid, 'pg_class') IS NOT NULL
    UNION ALL SELECT 90, 'ALTER TABLE {{t}} DROP COLUMN {{aside}}' FROM w
    UNION ALL SELECT 91, format('ALTER TABLE {{t}} RENAME CONSTRAINT %I TO %I', 'widened_' || md5(conname), conname) FROM n
) AS s (place, statement) WHERE statement IS NOT NULL ORDER BY place
