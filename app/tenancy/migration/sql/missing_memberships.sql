-- The two roles that the role of this session may not become.
SELECT name FROM unnest('{app_tenant,app_service}'::text[]) AS name
         -- PostgreSQL 16 and later: whoever creates a role may grant it, but not yet become it
         WHERE NOT pg_has_role(to_regrole(name), CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END)
