SELECT DISTINCT acl.grantee::regrole::text FROM (
            SELECT (aclexplode(relacl)).grantee FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations'))
            UNION ALL SELECT (aclexplode(attacl)).grantee FROM pg_attribute
             WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations'))) AS acl
          JOIN pg_roles r ON r.oid = acl.grantee
         WHERE NOT r.rolsuper AND NOT r.rolbypassrls AND r.rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
           AND r.oid NOT IN (SELECT relowner FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')))
           AND NOT EXISTS (SELECT FROM pg_auth_members WHERE member = r.oid AND roleid = to_regrole('app_service'))
