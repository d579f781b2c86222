-- The archive is its owner's; a foreign key to a table in it is asked as that table's owner.
SELECT DISTINCT format('REVOKE ALL ON SCHEMA multi_tenant_archive FROM %s', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM pg_namespace, aclexplode(nspacl) WHERE nspname = 'multi_tenant_archive' AND grantee <> nspowner
UNION ALL SELECT DISTINCT format('REVOKE ALL ON %s FROM %s', pg_class.oid::regclass, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM pg_class, aclexplode(relacl)
 WHERE relnamespace = to_regnamespace('multi_tenant_archive') AND relkind = 'r' AND grantee <> relowner AND relname <> ALL ('{user_businesses,users,whatsapp_numbers,businesses}')
