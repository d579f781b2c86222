DO $default$
DECLARE
    scoped text;
BEGIN
    -- Where PUBLIC may not use the schema, the two roles need it said.
    FOREACH scoped IN ARRAY '{app_tenant,app_service}'::text[] LOOP
        IF NOT has_schema_privilege(scoped, current_schema(), 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), scoped);
        END IF;
    END LOOP;
    IF to_regclass('multi_tenant_archive.businesses') IS NOT NULL THEN
        INSERT INTO businesses (id, name, business_type, settings, is_active, created_at, updated_at)
            SELECT id, name, business_type, settings, is_active, created_at, updated_at FROM multi_tenant_archive.businesses;
    END IF;
    INSERT INTO businesses (id, name) VALUES ('{{default}}', {{name}}) ON CONFLICT (id) DO NOTHING;
END $default$
