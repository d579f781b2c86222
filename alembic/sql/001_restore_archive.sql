DO $restore$
DECLARE
    kept text;
    columns text;
    inserts text;
    links bigint;
    restored bigint;
    {{team_triggers}}
BEGIN
    FOREACH kept IN ARRAY team_triggers LOOP
        EXECUTE regexp_replace(kept, ' ENABLE (ALWAYS )?TRIGGER ', ' DISABLE TRIGGER ');
    END LOOP;
    FOREACH kept IN ARRAY '{users,user_businesses,whatsapp_numbers,customers,conversations}'::text[] LOOP
        SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO columns FROM pg_attribute a
          JOIN pg_attribute b ON b.attrelid = to_regclass(kept) AND b.attname = a.attname AND b.attgenerated = ''
         WHERE a.attrelid = ('multi_tenant_archive.' || kept)::regclass AND a.attnum > 0 AND NOT a.attisdropped;
        inserts := concat_ws(', ', inserts, format('%I_back AS (INSERT INTO %1$I (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM multi_tenant_archive.%1$I)', kept, columns));
    END LOOP;
    EXECUTE format('WITH %s SELECT', inserts);  -- one statement: keys between these tables, a team's own too, are asked at its end
    UPDATE conversations AS c SET whatsapp_number_id = d.whatsapp_number_id, whatsapp_message_id = d.whatsapp_message_id
      FROM multi_tenant_archive.default_messages AS d WHERE d.id = c.id AND c.business_id = '{{default}}';
    GET DIAGNOSTICS restored = ROW_COUNT;
    SET CONSTRAINTS ALL IMMEDIATE;
    FOREACH kept IN ARRAY team_triggers LOOP
        EXECUTE kept;
    END LOOP;
    SELECT count(*) INTO links FROM multi_tenant_archive.default_messages;
    IF links > restored THEN
        RAISE NOTICE '% archived links were dropped: their messages were deleted since', links - restored;
    END IF;
    SET LOCAL client_min_messages = warning;
    DROP SCHEMA multi_tenant_archive CASCADE;
    SET LOCAL client_min_messages = notice;
END $restore$
