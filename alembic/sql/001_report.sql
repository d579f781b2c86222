DO $report$
BEGIN
    IF {{fresh}} THEN
        RAISE NOTICE 'multi_tenant_archive keeps: %', coalesce((SELECT string_agg(format('%s %s', n, name), ', ') FROM (
            SELECT count(*) AS n, 'other businesses' AS name FROM businesses WHERE id <> '{{default}}'
            UNION ALL SELECT count(*), 'WhatsApp numbers' FROM whatsapp_numbers
            UNION ALL SELECT count(*), 'users' FROM users
            UNION ALL SELECT count(*), 'customers of other businesses' FROM customers WHERE business_id <> '{{default}}'
            UNION ALL SELECT count(*), 'messages of other businesses' FROM conversations WHERE business_id <> '{{default}}'
            UNION ALL SELECT count(*), 'links of own messages' FROM conversations WHERE business_id = '{{default}}'
                         AND (whatsapp_message_id IS NOT NULL OR whatsapp_number_id IS NOT NULL)
            UNION ALL SELECT count(*), 'change of the default business' FROM businesses WHERE {{changed}}) AS t
             WHERE n > 0), 'nothing, for there is nothing to keep');
    END IF;
END $report$
