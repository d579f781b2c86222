-- What the upgrade is about to take from former roles: privileges that row level security does not confine. A role that worked
-- with the table beside gets them back only while it still does. Inputs: table; former, a query of the former roles (role).
WITH held AS (
    SELECT part.*, entry.*, rolname, grantee::regrole::text AS role, privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES') AS unconfined
      FROM pg_class CROSS JOIN LATERAL (
               SELECT '' AS columns, NULL::name AS col, relacl AS acl
               UNION ALL SELECT format(' (%I)', attname), attname, attacl FROM pg_attribute
                          WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
           ) AS part CROSS JOIN LATERAL aclexplode(acl) AS entry JOIN pg_roles ON pg_roles.oid = grantee
     WHERE pg_class.oid = to_regclass('{{table}}') AND NOT rolsuper AND NOT rolbypassrls AND grantee <> relowner
       AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
)
SELECT '{{table}}', CASE WHEN EXISTS (SELECT FROM held AS other WHERE other.role = held.role AND NOT unconfined) THEN 'privilege' ELSE 'only privilege' END,
       format('GRANT %s%s ON {{table}} TO %s%s', privilege_type, columns, role, CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END), col, rolname
  FROM held WHERE unconfined
