DO $default$
DECLARE
    scoped text;
    columns text;
BEGIN
    -- Where PUBLIC may not use the schema, the two roles need it said.
    FOREACH scoped IN ARRAY '{app_tenant,app_service}'::text[] LOOP
        IF NOT has_schema_privilege(scoped, current_schema(), 'USAGE') THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), scoped);
        END IF;
    END LOOP;
    IF to_regclass('multi_tenant_archive.businesses') IS NOT NULL THEN
        -- What a team added to these tables comes back with them, as columns that may be empty.
        FOR columns IN SELECT format('ALTER TABLE %I ADD COLUMN %I %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod))
                         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relnamespace = 'multi_tenant_archive'::regnamespace
                        WHERE c.relname IN ('businesses', 'whatsapp_numbers', 'users', 'user_businesses') AND a.attnum > 0 AND NOT a.attisdropped
                          AND NOT EXISTS (SELECT FROM pg_attribute n WHERE n.attrelid = to_regclass(c.relname) AND n.attname = a.attname) LOOP
            EXECUTE columns;
        END LOOP;
        SELECT string_agg(quote_ident(attname), ', ') INTO columns FROM pg_attribute
         WHERE attrelid = 'multi_tenant_archive.businesses'::regclass AND attnum > 0 AND NOT attisdropped;
        EXECUTE format('INSERT INTO businesses (%s) SELECT %1$s FROM multi_tenant_archive.businesses', columns);
    END IF;
END $default$;
-- Outside of the block, whose dollar quotes the name may contain.
INSERT INTO businesses (id, name) VALUES ('{{default}}', {{name}}) ON CONFLICT (id) DO NOTHING
