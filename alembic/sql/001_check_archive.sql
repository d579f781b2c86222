-- What the archive lacks that a rollback kept there, or has too much. JSON of sentences.
SELECT jsonb_build_array(
(SELECT format('the schema multi_tenant_archive lacks what a rollback kept there: %s; restore it from a backup, or run DROP SCHEMA multi_tenant_archive CASCADE to go on without all that it holds',
               string_agg(name, ', ' ORDER BY name))
   FROM (SELECT concat('table ', t) FROM unnest('{user_businesses,users,whatsapp_numbers,businesses,customers,conversations,default_customers,default_messages}'::text[]) AS t
          WHERE to_regclass('multi_tenant_archive.' || t) IS NULL
         UNION ALL SELECT concat('column ', t, '.', c)
           FROM (VALUES ('customers', '{{columns_customers}}'), ('conversations', '{{columns_conversations}}'),
                        ('default_customers', 'id,whatsapp_id,created_at,whatsapp_user_id,username'),
                        ('default_messages', 'id,whatsapp_id,created_at,whatsapp_number_id,whatsapp_message_id')) AS archived (t, columns)
          CROSS JOIN unnest(string_to_array(columns, ',')) AS c
          WHERE to_regclass('multi_tenant_archive.' || t) IS NOT NULL
            AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('multi_tenant_archive.' || t) AND attname = c)) AS lacking (name)
 HAVING count(*) > 0),
(SELECT format('the archive holds a column that the table has no more: %s; add it to the table again, or drop it from the archive',
               string_agg(format('%s.%s', old.attrelid::regclass, old.attname), ', '))
   FROM (VALUES ('customers'), ('conversations')) AS t (name)
   JOIN pg_attribute AS old ON old.attrelid = to_regclass('multi_tenant_archive.' || name) AND old.attnum > 0 AND NOT old.attisdropped
  WHERE old.attname NOT IN {{new_columns}}
    AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(name) AND attname = old.attname) HAVING count(*) > 0)
) AS sentences
