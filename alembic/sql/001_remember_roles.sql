-- Who held a privilege on the table or its sequences before the upgrade: what others are granted after it goes in a rollback.
-- Input: table.
SELECT DISTINCT 'fact', 'role of {{table}}', rolname::text, NULL::name, NULL::name
  FROM (SELECT relacl FROM pg_class WHERE oid = to_regclass('{{table}}')
        UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = to_regclass('{{table}}') AND NOT attisdropped
        UNION ALL SELECT relacl FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
                   WHERE classid = 'pg_class'::regclass AND refobjid = to_regclass('{{table}}') AND deptype IN ('a', 'i')) AS part (acl)
 CROSS JOIN LATERAL aclexplode(acl) AS entry JOIN pg_roles ON pg_roles.oid = grantee
