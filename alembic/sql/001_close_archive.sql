SELECT DISTINCT format('REVOKE ALL ON SCHEMA multi_tenant_archive FROM %1$s; REVOKE ALL ON ALL TABLES IN SCHEMA multi_tenant_archive FROM %1$s',
                       CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM pg_namespace AS n LEFT JOIN pg_class ON relnamespace = n.oid, aclexplode(nspacl || relacl)
 WHERE nspname = 'multi_tenant_archive' AND grantee <> nspowner
