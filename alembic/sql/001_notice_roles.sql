-- Whoever works with the two tables is named, and what changes for it. JSON of sentences.
WITH held AS (
    SELECT 'customers' AS place, a.* FROM ({{acl_customers}}) AS a
    UNION ALL SELECT 'conversations', a.* FROM ({{acl_conversations}}) AS a
), named AS (
    SELECT rolname, rolbypassrls OR rolsuper OR pg_has_role(grantee, relowner, 'USAGE') AS above, place, privilege_type || columns AS privilege,
           privilege_type IN ({{unconfined}}) AS unconfined
      FROM held JOIN pg_roles ON pg_roles.oid = grantee
     WHERE rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
), places AS (
    SELECT rolname, above, unconfined, format('%s on %s', string_agg(privilege, ', ' ORDER BY privilege), place) AS what
      FROM named GROUP BY rolname, above, unconfined, place
), lines AS (
    SELECT rolname, above,
           coalesce(string_agg(what, '; ' ORDER BY what DESC) FILTER (WHERE NOT unconfined), 'nothing') AS keeps,
           string_agg(what, '; ' ORDER BY what DESC) FILTER (WHERE unconfined) AS loses
      FROM places GROUP BY rolname, above
)
SELECT jsonb_agg(what_changes) FROM (
    SELECT CASE WHEN above THEN format('role %I is not bound by row level security: it sees every business', rolname)
                ELSE format('role %I keeps %s, and sees the default business only%s%s', rolname, keeps,
                    '; until a rollback it loses ' || loses,
                    CASE WHEN keeps ~ 'SELECT' AND keeps !~ 'INSERT|UPDATE|DELETE' THEN
                         '; a backup with pg_dump stops under row level security: make it as the owner (docs/tenancy.md)' END) END
      FROM lines
    UNION ALL
    SELECT format('role %s, through which %s, goes on in the default business only; a backup with pg_dump stops under row level security', role,
                  (SELECT string_agg(format('%I', rolname), ', ' ORDER BY rolname) || CASE role WHEN 'pg_read_all_data' THEN ' reads' ELSE ' writes' END
                     FROM pg_roles WHERE rolcanlogin AND NOT rolsuper AND NOT rolbypassrls AND pg_has_role(oid, to_regrole(role), 'MEMBER')))
      FROM (SELECT role FROM ({{former_customers}}) AS f UNION SELECT role FROM ({{former_conversations}}) AS f) AS f
     WHERE role IN ('pg_read_all_data', 'pg_write_all_data')
    UNION ALL
    SELECT format('role %I loses its privileges on customers and conversations until a rollback', rolname) FROM pg_roles
     WHERE rolname IN ('anon', 'authenticated') AND oid IN (SELECT grantee FROM held)
    UNION ALL
    SELECT format('%s reaches %s past row level security, and may be used by %s', object, reaches, string_agg(role, ', ' ORDER BY role))
      FROM (
{{> 001_reaching_objects.sql}}
) AS r GROUP BY object, reaches
) AS said (what_changes)
