SELECT 'ALTER TABLE {{table}} ENABLE ROW LEVEL SECURITY', NULL, NULL FROM pg_class WHERE oid = '{{table}}'::regclass AND relrowsecurity
 UNION ALL SELECT format('GRANT %s%s ON %s TO %s', privilege_type, columns, object, grantee::regrole)
                  || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, col, rolname
   FROM (SELECT '{{table}}' AS object, '' AS columns, NULL AS col, (aclexplode(relacl)).* FROM pg_class WHERE oid = '{{table}}'::regclass
         UNION ALL SELECT '{{table}}', format('(%I)', attname), attname, (aclexplode(attacl)).*
           FROM pg_attribute WHERE attrelid = '{{table}}'::regclass
         UNION ALL SELECT 'SEQUENCE ' || c.oid::regclass, '', NULL, (aclexplode(relacl)).*
           FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
          WHERE refobjid = '{{table}}'::regclass AND deptype IN ('a', 'i')) AS acl
   JOIN pg_roles ON pg_roles.oid = grantee
  WHERE rolname IN ('anon', 'authenticated')
