-- What `downgrade base` would drop at revision 000.
SELECT format('%s: downgrade base drops the single-business tables, so move these rows away first; to go back to the single-business schema run alembic downgrade 000 at revision 001, and only to delete the rows for good alembic -x drop-data=yes downgrade base',
              string_agg(name || ' holds rows', ' and '))
  FROM (SELECT 'customers' WHERE EXISTS (SELECT FROM customers)
        UNION ALL SELECT 'conversations' WHERE EXISTS (SELECT FROM conversations)
        UNION ALL SELECT 'multi_tenant_archive' WHERE to_regnamespace('multi_tenant_archive') IS NOT NULL) AS t (name)
HAVING count(*) > 0
