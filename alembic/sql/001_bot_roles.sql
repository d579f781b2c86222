SELECT DISTINCT grantee::regrole::text
          FROM (SELECT (aclexplode(relacl)).grantee FROM pg_class WHERE oid IN {{both}}
                UNION ALL SELECT (aclexplode(attacl)).grantee FROM pg_attribute WHERE attrelid IN {{both}}
                UNION ALL SELECT member FROM pg_auth_members
                 WHERE roleid IN ('pg_read_all_data'::regrole, 'pg_write_all_data'::regrole) AND pg_has_role(member, roleid, 'USAGE')) AS acl
          JOIN pg_roles AS r ON r.oid = grantee
         WHERE NOT rolsuper AND NOT rolbypassrls AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
           AND grantee NOT IN (SELECT relowner FROM pg_class WHERE oid IN {{both}})
           AND NOT EXISTS (SELECT FROM pg_auth_members WHERE member = grantee AND roleid = to_regrole('app_service'))
