-- Make the two roles, which belong to the whole server.
DO $roles$
DECLARE
    missing text;
BEGIN
    FOREACH missing IN ARRAY '{app_tenant,app_service}'::text[] LOOP
        CONTINUE WHEN to_regrole(missing) IS NOT NULL;
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', missing);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- the migration of another database of this server was faster
        END;
    END LOOP;
END $roles$
