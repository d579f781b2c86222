-- Sentences (place, said) about what holds the column and can be made neither beside it nor again, or would count columns
-- that change places.
-- Inputs of `Widening.fill`: c, column, kept, n, t, table, wide.
SELECT 1, CASE WHEN a.attnum IS NULL THEN 'there is no column {{table}}.{{column}} here: run alembic upgrade head first'
               WHEN a.atttypid NOT IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
               THEN format('{{table}}.{{column}} is %s, not an integer: it cannot be widened', format_type(a.atttypid, a.atttypmod))
               WHEN a.atttypid <> 'int8'::regtype AND (relkind <> 'r' OR relispartition OR reloftype <> 0 OR a.attinhcount > 0 OR relhassubclass AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid))
               THEN 'table {{table}} is partitioned, of a type, or has children or parents; in a quiet hour, for who uses it waits about 10 s for a million rows: run ALTER TABLE {{t}} ALTER COLUMN {{c}} TYPE bigint;'
               END
  FROM (VALUES (to_regclass({{'t'}}))) AS t (oid) LEFT JOIN pg_class AS c ON c.oid = t.oid
  LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = {{'column'}} AND a.attnum > 0
UNION ALL
SELECT 2, format('role %1$s does not own table %2$s: do this as its owner, or as an administrator: run GRANT %3$s TO %1$s;', quote_ident(current_user), c.oid::regclass, relowner::regrole)
  FROM {{> widen_column.sql}} AS w JOIN pg_class AS c ON c.oid = tab OR c.oid IN (SELECT conrelid FROM ({{> widen_held_constraints.sql}}) AS k)
       OR c.oid IN (SELECT p.polrelid FROM pg_policy AS p JOIN pg_depend AS d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.refobjid = tab AND d.refobjsubid = old)
 WHERE NOT pg_has_role(relowner, 'USAGE')
UNION ALL
SELECT DISTINCT 3, format('role %1$s does not own sequence %2$s; as an administrator: run GRANT %3$s TO %1$s;', quote_ident(current_user), oid::regclass, relowner::regrole)
  FROM ({{> widen_sequences.sql}}) AS q WHERE NOT pg_has_role(relowner, 'USAGE')
UNION ALL
SELECT 4, format('role %1$s may not make temporary tables: run GRANT TEMPORARY ON DATABASE %2$I TO %1$s;', quote_ident(current_user), current_database())
  FROM {{> widen_column.sql}} AS w WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
UNION ALL
SELECT 5, 'row level security of {{table}} hides rows from its owner; take it off, and force it again afterwards: run ALTER TABLE {{t}} NO FORCE ROW LEVEL SECURITY;'
  FROM {{> widen_column.sql}} AS w JOIN pg_class ON oid = tab WHERE relforcerowsecurity
UNION ALL
SELECT 6, 'column {{table}}.{{wide}} is there, and is not of this command: run ALTER TABLE {{t}} RENAME COLUMN {{n}} TO {{column}}_old_attempt;'
  FROM {{> widen_column.sql}} AS w WHERE new IS NOT NULL AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = tab AND tgname = {{'kept'}})
UNION ALL
SELECT 7, format('rule %1$I rewrites statements on {{table}}: run DROP RULE %1$I ON {{t}};', rulename) FROM {{> widen_column.sql}} AS w JOIN pg_rewrite ON ev_class = tab
UNION ALL
SELECT 8, format('trigger %1$I %2$s, and cannot be moved; drop it, and create it again afterwards (%3$s): run DROP TRIGGER %1$I ON {{t}};', tgname,
                 CASE WHEN tgconstraint <> 0 THEN 'is a constraint trigger' ELSE 'has transition tables' END, replace(pg_get_triggerdef(g.oid), E'\n', ' '))
  FROM {{> widen_column.sql}} AS w JOIN pg_trigger AS g ON tgrelid = tab AND NOT tgisinternal AND tgname <> {{'kept'}}
 WHERE tgtype & 16 > 0 AND tgattr::text = '' AND (tgconstraint <> 0 OR tgoldtable IS NOT NULL OR tgnewtable IS NOT NULL)
    OR tgconstraint <> 0 AND EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_trigger'::regclass AND objid = g.oid AND refobjid = tab AND refobjsubid = old)
UNION ALL
SELECT 9, format('function %s counts the columns of {{table}}, of which {{column}} becomes the last: name them in its INSERT, or drop the trigger: run DROP TRIGGER %I ON {{t}};', tgfoid::regprocedure, tgname)
  FROM {{> widen_column.sql}} AS w JOIN pg_trigger ON tgrelid = tab AND NOT tgisinternal JOIN pg_proc AS p ON p.oid = tgfoid
 WHERE prosrc ~* '\minsert\s+into\s+[^\s(]+\s+(values\s*\(|select\M)([^;]*,)?\s*\(?(new|old)\)?\s*\.\s*\*'
UNION ALL
SELECT 10, format('function %1$s inserts into {{table}} without naming the columns, of which {{column}} becomes the last; name them, or drop it: run DROP FUNCTION %1$s;', p.oid::regprocedure)
  FROM {{> widen_column.sql}} AS w, pg_proc AS p JOIN pg_language AS l ON l.oid = prolang
 WHERE lanname IN ('sql', 'plpgsql') AND prosrc ~* ('\minsert\s+into\s+([^\s(.]+\.)?"?' || {{'table'}} || '"?\s+(values|select|overriding|default\s+values\M.)')
UNION ALL
SELECT 12 - depth / 100.0, format('%1$s %2$s names {{table}}.{{column}}, and cannot be moved; drop it, and create it again afterwards (%4$s): run DROP %3$s %2$s;',
                               lower(kind), v::regclass, kind, btrim(regexp_replace(pg_get_viewdef(v), '\s+', ' ', 'g'), ' ;'))
  FROM (
    WITH RECURSIVE reading (v, depth) AS (
        SELECT ev_class, 1 FROM {{> widen_column.sql}} AS w JOIN pg_depend AS d ON d.refobjid = tab AND d.refobjsubid = old AND d.classid = 'pg_rewrite'::regclass
          JOIN pg_rewrite AS r ON r.oid = d.objid AND ev_class <> tab
        UNION SELECT r.ev_class, depth + 1 FROM reading JOIN pg_depend AS d ON d.refobjid = v AND d.classid = 'pg_rewrite'::regclass
          JOIN pg_rewrite AS r ON r.oid = d.objid AND ev_class <> v)
    SELECT v, max(depth) AS depth, CASE relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind FROM reading JOIN pg_class ON oid = v GROUP BY v, relkind) AS views
UNION ALL
SELECT 12, format('%s holds {{table}}.{{column}}, and cannot be moved; drop it, and make it again afterwards: run %s;', pg_describe_object(d.classid, d.objid, d.objsubid),
                  CASE d.classid WHEN 'pg_attrdef'::regclass THEN format('ALTER TABLE {{t}} DROP COLUMN %I', (SELECT attname FROM pg_attrdef AS f JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum WHERE f.oid = d.objid))
                                 WHEN 'pg_proc'::regclass THEN 'DROP FUNCTION ' || d.objid::regprocedure
                                 WHEN 'pg_publication_rel'::regclass THEN (SELECT format('ALTER PUBLICATION %I DROP TABLE {{t}}', pubname) FROM pg_publication_rel AS r JOIN pg_publication AS p ON p.oid = prpubid WHERE r.oid = d.objid)
                                 WHEN 'pg_constraint'::regclass THEN (SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint WHERE oid = d.objid)
                                 ELSE 'DROP for it' END)
  FROM {{> widen_column.sql}} AS w JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = tab AND d.refobjsubid = old
  LEFT JOIN pg_constraint AS con ON d.classid = 'pg_constraint'::regclass AND con.oid = d.objid
  LEFT JOIN pg_attrdef AS def ON d.classid = 'pg_attrdef'::regclass AND def.oid = d.objid
 WHERE d.classid NOT IN ('pg_rewrite'::regclass, 'pg_trigger'::regclass, 'pg_policy'::regclass, 'pg_statistic_ext'::regclass)
   AND NOT (d.classid = 'pg_class'::regclass)
   AND (def.oid IS NULL OR (def.adrelid, def.adnum) <> (tab, old))
   AND (con.oid IS NULL OR contype = 'x'
        OR contype = 'f' AND ((SELECT relkind FROM pg_class WHERE oid = conrelid) <> 'r' OR conrelid = tab AND old = ANY (confdelsetcols)))
UNION ALL
SELECT 13 - CASE WHEN relkind IN ('i', 'I') THEN 0.5 ELSE depth / 1000.0 END, CASE WHEN relkind = 'm' THEN format('materialized view %1$s holds rows of {{table}} as one value, which would lose {{column}}; create it again afterwards: run DROP MATERIALIZED VIEW %1$s;', attrelid::regclass)
                WHEN relkind IN ('i', 'I') THEN format('index %1$s holds rows of {{table}} as one value, which would lose {{column}}; create it again afterwards: run DROP INDEX %1$s;', attrelid::regclass)
                ELSE format('column %1$s.%2$I holds rows of {{table}} as one value, which would lose {{column}}: run ALTER TABLE %1$s ALTER COLUMN %2$I DROP DEFAULT, ALTER COLUMN %2$I TYPE jsonb USING to_jsonb(%2$I);', attrelid::regclass, attname) END
  FROM (
    WITH RECURSIVE holding (typ, depth) AS (  -- arrays, domains, ranges and row types, each of another one too
        SELECT reltype, 1 FROM {{> widen_column.sql}} AS w JOIN pg_class ON oid = tab
        UNION
        SELECT next.typ, depth + 1 FROM holding CROSS JOIN LATERAL (
            SELECT typarray FROM pg_type WHERE oid = holding.typ AND typarray <> 0
            UNION ALL SELECT oid FROM pg_type WHERE typbasetype = holding.typ
            UNION ALL SELECT unnest(ARRAY[rngtypid, rngmultitypid]) FROM pg_range WHERE rngsubtype = holding.typ
            UNION ALL SELECT reltype FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid WHERE atttypid = holding.typ AND NOT attisdropped AND reltype <> 0
        ) AS next (typ))
    SELECT attrelid, attname, relkind, depth FROM (SELECT typ, max(depth) AS depth FROM holding GROUP BY typ) AS types
      JOIN pg_attribute ON atttypid = typ JOIN pg_class ON pg_class.oid = attrelid
     WHERE relkind IN ('r', 'p', 'm', 'i', 'I') AND NOT relispartition AND NOT attisdropped) AS held
UNION ALL
SELECT 14, format('constraint %1$I of {{table}} was never validated, and a row that breaks it cannot be copied; validate it, or drop it and add it again afterwards (%2$s): run ALTER TABLE {{t}} DROP CONSTRAINT %1$I;', conname, pg_get_constraintdef(con.oid))
  FROM {{> widen_column.sql}} AS w JOIN pg_constraint AS con ON conrelid = tab AND contype = 'c' AND NOT convalidated AND conname <> {{'kept'}} AND left(conname, 8) <> 'widened_'
