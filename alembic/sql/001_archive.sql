DO $archive$
DECLARE
    kept text;
    numbers text;
    highest bigint;
    triggers_off text;
    triggers_on text;
BEGIN
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
        EXECUTE format('CREATE TABLE multi_tenant_archive.%I AS SELECT * FROM %1$I', kept)
                || CASE WHEN kept IN ('customers', 'conversations') THEN ' WHERE business_id <> ''{{default}}''' ELSE '' END;
    END LOOP;
    CREATE TABLE multi_tenant_archive.default_messages AS
        SELECT id, whatsapp_number_id, whatsapp_message_id FROM conversations
         WHERE business_id = '{{default}}' AND (whatsapp_number_id IS NOT NULL OR whatsapp_message_id IS NOT NULL);
    -- No sequence hands out an archived id again, even one that was given by hand.
    FOR kept, highest IN SELECT 'customers', max(id) FROM multi_tenant_archive.customers
                         UNION ALL SELECT 'conversations', max(id) FROM (SELECT id FROM multi_tenant_archive.conversations
                                       UNION ALL SELECT id FROM multi_tenant_archive.default_messages) AS ids LOOP
        numbers := coalesce(pg_get_serial_sequence(kept, 'id'), (
            SELECT substring(pg_get_expr(adbin, adrelid) FROM $$^nextval\('(.*)'::regclass\)$$)
              FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum WHERE adrelid = kept::regclass AND attname = 'id'));
        CONTINUE WHEN numbers IS NULL OR highest IS NULL;
        EXECUTE format('SELECT setval(%L, %s) FROM %s WHERE last_value < %2$s OR last_value = %2$s AND NOT is_called', numbers, highest, numbers);
    END LOOP;
    {{team_triggers}}
    -- One statement: a team's own keys between the two tables find both sides gone.
    WITH messages AS (DELETE FROM conversations WHERE business_id <> '{{default}}')
        DELETE FROM customers WHERE business_id <> '{{default}}';
    SET CONSTRAINTS ALL IMMEDIATE;
    EXECUTE coalesce(triggers_on, '');
END $archive$
