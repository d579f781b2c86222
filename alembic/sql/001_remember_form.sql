-- A table as the upgrade finds it, as statements that give it back: types, defaults, comments, row level security, grants to
-- Supabase's roles, and the indexes that are built anew.
-- Inputs: table; columns and times, the names of its columns and of its times; retyped, as in 001_retype.sql.
SELECT 'fact' AS phase, 'adopted' AS kind, line AS statement, NULL AS needs_column, NULL AS needs_role FROM (
{{> 001_adopted.sql}}
) AS adopted (line)
UNION ALL (
    SELECT '{{table}} times', 'type', format('ALTER TABLE {{table}} ALTER COLUMN %I DROP DEFAULT, ALTER COLUMN %1$I TYPE timestamp', attname), attname, NULL
      FROM pg_attribute WHERE attrelid = '{{table}}'::regclass AND attname = ANY ('{{{times}}}') AND atttypid = 'timestamp'::regtype ORDER BY attname
)
UNION ALL (
    SELECT '{{table}} times', 'default', format('ALTER TABLE {{table}} ALTER COLUMN %I ', attname) || coalesce('SET DEFAULT ' || pg_get_expr(adbin, adrelid), 'DROP DEFAULT'), attname, NULL
      FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
     WHERE attrelid = '{{table}}'::regclass AND attname = ANY ('{{{times}}}') ORDER BY attname
)
UNION ALL SELECT '{{table}} whatsapp_id', 'type', format('ALTER TABLE {{table}} ALTER COLUMN whatsapp_id TYPE %s%s', format_type(atttypid, atttypmod),
              CASE WHEN attcollation <> typcollation THEN format(' COLLATE %s', attcollation::regcollation) END), attname, NULL
  FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid
 WHERE attrelid = '{{table}}'::regclass AND attname = 'whatsapp_id' AND atttypid = 'varchar'::regtype AND atttypmod BETWEEN 4 AND 258
UNION ALL (
    SELECT '{{table}}', 'comment', format('COMMENT ON COLUMN {{table}}.%I IS %L', attname, col_description(attrelid, attnum)), attname, NULL
      FROM pg_attribute WHERE attrelid = '{{table}}'::regclass AND attname = ANY ('{{{columns}}}') ORDER BY attnum
)
UNION ALL SELECT '{{table}}', 'comment', format('COMMENT ON TABLE {{table}} IS %L', obj_description('{{table}}'::regclass, 'pg_class')), NULL, NULL
UNION ALL SELECT '{{table}}', 'access', 'ALTER TABLE {{table}} ENABLE ROW LEVEL SECURITY', NULL, NULL FROM pg_class WHERE oid = '{{table}}'::regclass AND relrowsecurity
UNION ALL SELECT '{{table}}', 'access', format('GRANT %s%s ON %s TO %s', privilege_type, columns, object, grantee::regrole)
                  || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, col, rolname
   FROM (SELECT '{{table}}' AS object, '' AS columns, NULL AS col, (aclexplode(relacl)).* FROM pg_class WHERE oid = '{{table}}'::regclass
         UNION ALL SELECT '{{table}}', format('(%I)', attname), attname, (aclexplode(attacl)).*
           FROM pg_attribute WHERE attrelid = '{{table}}'::regclass AND NOT attisdropped
         UNION ALL SELECT 'SEQUENCE ' || c.oid::regclass, '', attname, (aclexplode(relacl)).*
           FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
           JOIN pg_attribute ON attrelid = refobjid AND attnum = refobjsubid
          WHERE refobjid = '{{table}}'::regclass AND deptype IN ('a', 'i')) AS acl
   JOIN pg_roles ON pg_roles.oid = grantee
  WHERE rolname IN ('anon', 'authenticated')
UNION ALL SELECT 'upgrade', again.*, NULL, NULL FROM ({{> 001_build_again.sql}}) AS again
