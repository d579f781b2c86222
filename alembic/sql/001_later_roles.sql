-- Privileges on the table and on its sequences of whoever held none there before the upgrade. Row level security, which binds
-- them now, goes in a rollback. `again`: the next upgrade grants it again. Inputs: table; memory.
SELECT object, columns, relowner, entry.*, coalesce(quote_ident(rolname), 'PUBLIC') AS role, rolname,
       coalesce(rolname NOT IN ('anon', 'authenticated'), false) AS again
  FROM (SELECT '{{table}}', '', relowner, relacl FROM pg_class WHERE oid = to_regclass('{{table}}')
        UNION ALL SELECT '{{table}}', format(' (%I)', attname), relowner, attacl
          FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped WHERE c.oid = to_regclass('{{table}}')
        UNION ALL SELECT 'SEQUENCE ' || c.oid::regclass, '', relowner, relacl
          FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
         WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('{{table}}') AND deptype IN ('a', 'i')) AS part (object, columns, relowner, acl)
 CROSS JOIN LATERAL aclexplode(acl) AS entry LEFT JOIN pg_roles ON pg_roles.oid = grantee
 WHERE grantee <> relowner AND coalesce(rolname NOT IN ('app_tenant', 'app_service'), true)
   AND (rolname IS NULL OR rolname IN ('anon', 'authenticated') OR rolname NOT IN (SELECT statement FROM {{memory}} WHERE kind = 'role of {{table}}'))
