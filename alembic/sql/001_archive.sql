DO $archive$
DECLARE
    kept text;
    sequence text;
    highest bigint;
    grantee text;
    {{team_triggers}}
BEGIN
    -- From here on until the columns are gone, nothing that the old schema cannot hold is written.
    CREATE FUNCTION single_business_only() RETURNS trigger LANGUAGE plpgsql SET search_path = '' AS $function$
    BEGIN
        IF TG_TABLE_NAME = 'customers' THEN
            IF NEW.business_id = '{{default}}' THEN RETURN NEW; END IF;
        ELSIF TG_TABLE_NAME = 'conversations' THEN
            IF NEW.business_id = '{{default}}' THEN
                IF TG_OP = 'INSERT' AND NEW.whatsapp_number_id IS NULL AND NEW.whatsapp_message_id IS NULL THEN RETURN NEW; END IF;
                IF TG_OP = 'UPDATE' THEN
                    IF (NEW.whatsapp_number_id, NEW.whatsapp_message_id)
                       IS NOT DISTINCT FROM (OLD.whatsapp_number_id, OLD.whatsapp_message_id) THEN RETURN NEW; END IF;
                END IF;
            END IF;
        END IF;
        RAISE EXCEPTION 'this database is being rolled back to one business, which cannot hold this row';
    END $function$;
    FOREACH kept IN ARRAY '{customers,conversations}'::text[] LOOP
        EXECUTE format('CREATE TRIGGER single_business_only BEFORE INSERT OR UPDATE ON %I FOR EACH ROW EXECUTE FUNCTION single_business_only()', kept);
    END LOOP;
    FOREACH kept IN ARRAY '{businesses,whatsapp_numbers,users,user_businesses}'::text[] LOOP
        EXECUTE format('CREATE TRIGGER single_business_only BEFORE INSERT OR UPDATE OR DELETE ON %I FOR EACH STATEMENT EXECUTE FUNCTION single_business_only()', kept);
    END LOOP;
    EXECUTE format('COMMENT ON FUNCTION single_business_only() IS %L', '[]');

    IF NOT EXISTS (SELECT FROM businesses WHERE id <> '{{default}}' OR {{changed}}) AND NOT EXISTS (SELECT FROM whatsapp_numbers)
       AND NOT EXISTS (SELECT FROM users) AND NOT EXISTS (SELECT FROM user_businesses)
       AND NOT EXISTS (SELECT FROM conversations WHERE whatsapp_message_id IS NOT NULL) THEN
        RETURN;  -- a row of another business, or with a number, is not without these
    END IF;
    CREATE SCHEMA multi_tenant_archive;
    EXECUTE format('COMMENT ON SCHEMA multi_tenant_archive IS %L', format(
        'What the single-business schema cannot hold, kept by the downgrade of revision 001 of whatsapp-bot-schema on %s. '
        'alembic upgrade head restores it. To delete it for good: DROP SCHEMA multi_tenant_archive CASCADE', now()));
    FOREACH kept IN ARRAY '{businesses,whatsapp_numbers,users,user_businesses,customers,conversations}'::text[] LOOP
        EXECUTE format('CREATE TABLE multi_tenant_archive.%I (LIKE %1$I)', kept);
        EXECUTE format('INSERT INTO multi_tenant_archive.%I SELECT * FROM %1$I WHERE %s', kept,
            CASE WHEN kept IN ('customers', 'conversations') THEN 'business_id <> ''{{default}}''' ELSE 'true' END);
    END LOOP;
    CREATE TABLE multi_tenant_archive.default_messages AS
        SELECT id, whatsapp_number_id, whatsapp_message_id FROM conversations
         WHERE business_id = '{{default}}' AND (whatsapp_number_id IS NOT NULL OR whatsapp_message_id IS NOT NULL);
    FOREACH kept IN ARRAY '{customers,conversations}'::text[] LOOP
        sequence := coalesce(pg_get_serial_sequence(kept, 'id'), (
            SELECT s.oid::regclass::text FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
              JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
              JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S' WHERE f.adrelid = kept::regclass AND a.attname = 'id'));
        EXECUTE format('SELECT max(id) FROM (SELECT id FROM multi_tenant_archive.%I UNION ALL SELECT id FROM multi_tenant_archive.default_messages WHERE %1$L = ''conversations'') AS ids', kept) INTO highest;
        IF sequence IS NOT NULL AND highest IS NOT NULL THEN
            EXECUTE format('SELECT setval(%L, %s) FROM %s WHERE last_value < %2$s OR last_value = %2$s AND NOT is_called', sequence, highest, sequence);
        END IF;
    END LOOP;
    FOREACH kept IN ARRAY team_triggers LOOP
        EXECUTE regexp_replace(kept, ' ENABLE (ALWAYS )?TRIGGER ', ' DISABLE TRIGGER ');
    END LOOP;
    -- One statement: a team's own keys between the two tables find both sides gone.
    WITH messages AS (DELETE FROM conversations WHERE business_id <> '{{default}}')
        DELETE FROM customers WHERE business_id <> '{{default}}';
    SET CONSTRAINTS ALL IMMEDIATE;
    FOREACH kept IN ARRAY team_triggers LOOP
        EXECUTE kept;
    END LOOP;
    FOR kept, grantee IN SELECT format('TABLE %s', c.oid::regclass), coalesce(quote_ident(r.rolname), 'PUBLIC') FROM pg_class c
                           CROSS JOIN aclexplode(c.relacl) AS acl LEFT JOIN pg_roles r ON r.oid = acl.grantee
                          WHERE c.relnamespace = 'multi_tenant_archive'::regnamespace AND acl.grantee <> c.relowner
                          UNION SELECT 'SCHEMA multi_tenant_archive', coalesce(quote_ident(r.rolname), 'PUBLIC') FROM pg_namespace n
                           CROSS JOIN aclexplode(n.nspacl) AS acl LEFT JOIN pg_roles r ON r.oid = acl.grantee
                          WHERE n.nspname = 'multi_tenant_archive' AND acl.grantee <> n.nspowner LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', kept, grantee);
    END LOOP;
END $archive$
