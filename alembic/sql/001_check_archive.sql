(SELECT format('the archive holds a column that the table has no more: %s; add it to the table again, or drop it from the archive',
               string_agg(format('%s.%s', old.attrelid::regclass, old.attname), ', '))
   FROM (VALUES ('customers'), ('conversations')) AS t (name)
   JOIN pg_attribute AS old ON old.attrelid = to_regclass('multi_tenant_archive.' || name) AND old.attnum > 0 AND NOT old.attisdropped
  WHERE old.attname NOT IN {{new_columns}}
    AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(name) AND attname = old.attname) HAVING count(*) > 0),
(SELECT format('archived ids were given out again: %s; give those newer rows other ids, such as UPDATE customers SET id = DEFAULT WHERE id IN (SELECT id FROM multi_tenant_archive.customers)',
               string_agg(format('%s.id %s', name, id), ', '))
   FROM ((SELECT 'customers' AS name, id FROM multi_tenant_archive.customers JOIN customers USING (id) LIMIT 3)
         UNION ALL (SELECT 'conversations', id FROM multi_tenant_archive.conversations JOIN conversations USING (id) LIMIT 3)) AS t
 HAVING count(*) > 0)
