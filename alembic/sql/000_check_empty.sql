(SELECT format('%s: this is revision 000, the single-business schema, and there is nothing more to roll back; only to delete these rows for good: alembic -x drop-data=yes downgrade base',
               string_agg(name || ' holds rows', ' and '))
   FROM (SELECT 'customers' WHERE EXISTS (SELECT FROM customers)
         UNION ALL SELECT 'conversations' WHERE EXISTS (SELECT FROM conversations)
         UNION ALL SELECT 'multi_tenant_archive' WHERE to_regnamespace('multi_tenant_archive') IS NOT NULL) AS t (name)
 HAVING count(*) > 0)
