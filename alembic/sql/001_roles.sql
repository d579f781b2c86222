DO $roles$
DECLARE
    bot text;
BEGIN
    FOR bot IN SELECT name FROM (VALUES ('app_tenant'), ('app_service')) AS needed (name)
                WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', bot);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- the migration of another database of this server was faster
        END;
    END LOOP;
    FOR bot IN SELECT name FROM (VALUES ('app_tenant'), ('app_service')) AS needed (name)
                WHERE NOT EXISTS (SELECT FROM pg_auth_members m WHERE roleid = to_regrole(name)
                                     AND member = to_regrole(quote_ident(current_user))
                                     -- PostgreSQL 16 and later: whoever creates a role may grant it, but not yet become it
                                     AND coalesce((to_jsonb(m) ->> 'set_option')::boolean, true)) LOOP
        EXECUTE format('GRANT %I TO %I', bot, current_user);
    END LOOP;
    -- Whoever worked with the tables before goes on seeing them all.
    FOR bot IN {{bot_roles}} LOOP
        EXECUTE format('GRANT app_service TO %s', bot);
    END LOOP;
END $roles$
