-- Statements that take from later roles what row level security confined until now. What a role with the grant option granted
-- falls with that option only: the owner then grants anew what others keep. Inputs: those of 001_later_roles.sql.
WITH later AS ({{> 001_later_roles.sql}}),
by_others AS (SELECT DISTINCT object, privilege_type, grantor FROM later WHERE grantor <> relowner),
held AS (
    SELECT '{{table}}' AS object, '' AS columns, relowner, relacl AS acl FROM pg_class WHERE oid = to_regclass('{{table}}')
    UNION ALL SELECT '{{table}}', format(' (%I)', attname), relowner, attacl
      FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped WHERE c.oid = to_regclass('{{table}}')
)
SELECT statement FROM (
    SELECT 1, format('REVOKE GRANT OPTION FOR %s ON %s FROM %s CASCADE', privilege_type, object, grantor::regrole) FROM by_others
    UNION SELECT 2, format('GRANT %s%s ON %s TO %s%s', e.privilege_type, columns, object, e.grantee::regrole, CASE WHEN e.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
      FROM held CROSS JOIN LATERAL aclexplode(acl) AS e
     WHERE e.grantee NOT IN (0, relowner) AND e.grantee NOT IN (SELECT later.grantee FROM later) AND (object, e.privilege_type) IN (SELECT object, privilege_type FROM by_others)
    UNION SELECT 3, format('REVOKE %s%s ON %s FROM %s CASCADE', privilege_type, columns, object, role) FROM later
) AS s (stage, statement) ORDER BY stage, statement
