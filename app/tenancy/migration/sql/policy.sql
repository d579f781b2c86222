-- A row of pg_policy in words: an SQL expression.
format('%s for %s to %s', CASE WHEN polpermissive THEN 'permissive' ELSE 'restrictive' END,
       CASE polcmd WHEN '*' THEN 'all' WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update' ELSE 'delete' END,
       (SELECT string_agg(coalesce(rolname, 'PUBLIC'), ', ' ORDER BY rolname)
          FROM unnest(polroles) AS named LEFT JOIN pg_roles ON pg_roles.oid = named))
