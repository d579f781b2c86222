DO $restore$
DECLARE
    kept text;
    columns text;
    links bigint;
    restored bigint;
BEGIN
    FOREACH kept IN ARRAY '{users,user_businesses,whatsapp_numbers,customers,conversations}'::text[] LOOP
        SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO columns FROM pg_attribute a
          JOIN pg_attribute b ON b.attrelid = to_regclass(kept) AND b.attname = a.attname AND b.attgenerated = ''
         WHERE a.attrelid = ('multi_tenant_archive.' || kept)::regclass AND a.attnum > 0 AND NOT a.attisdropped;
        EXECUTE format('INSERT INTO %I (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM multi_tenant_archive.%1$I', kept, columns);
    END LOOP;
    UPDATE conversations AS c SET whatsapp_number_id = d.whatsapp_number_id, whatsapp_message_id = d.whatsapp_message_id
      FROM multi_tenant_archive.default_messages AS d WHERE d.id = c.id AND c.business_id = '{{default}}';
    GET DIAGNOSTICS restored = ROW_COUNT;
    SELECT count(*) INTO links FROM multi_tenant_archive.default_messages;
    IF links > restored THEN
        RAISE NOTICE '% archived links were dropped: their messages were deleted since', links - restored;
    END IF;
    SET LOCAL client_min_messages = warning;
    DROP SCHEMA multi_tenant_archive CASCADE;
    SET LOCAL client_min_messages = notice;
END $restore$
