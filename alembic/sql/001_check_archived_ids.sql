-- Ids of archived rows that newer rows have.
SELECT format('archived ids were given out again: %s; give those newer rows other ids, such as UPDATE customers SET id = DEFAULT WHERE id IN (SELECT id FROM multi_tenant_archive.customers)',
              string_agg(format('%s.id %s', name, id), ', '))
  FROM ((SELECT 'customers' AS name, id FROM multi_tenant_archive.customers JOIN customers USING (id) LIMIT 3)
        UNION ALL (SELECT 'conversations', id FROM multi_tenant_archive.conversations JOIN conversations USING (id) LIMIT 3)) AS t
HAVING count(*) > 0
