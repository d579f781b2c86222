SELECT format('GRANT %s TO %I', name, current_user) FROM unnest('{app_tenant,app_service}'::text[]) AS name
 WHERE NOT EXISTS (SELECT FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = member
                    WHERE roleid = to_regrole(name) AND rolname = current_user
                      -- PostgreSQL 16 and later: whoever creates a role may grant it, but not yet become it
                      AND coalesce((to_jsonb(m) ->> 'set_option')::boolean, true))
-- Whoever worked with the tables before goes on seeing them all.
UNION ALL SELECT format('GRANT app_service TO %s', bot) FROM ({{bot_roles}}) AS b (bot)
-- Where PUBLIC may not use the schema, the two roles need it said.
UNION ALL SELECT format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), rolname) FROM pg_roles
 WHERE rolname IN ('app_tenant', 'app_service') AND NOT has_schema_privilege(oid, current_schema(), 'USAGE')
