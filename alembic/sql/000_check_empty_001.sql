-- What `downgrade base` would leave in the archive alone, at revision 001.
SELECT format('%s: downgrade base would leave them in the schema multi_tenant_archive alone: run alembic downgrade 000, and only to have no tables but that schema alembic -x drop-data=yes downgrade base',
              string_agg(name || ' holds rows', ' and '))
  FROM (SELECT 'businesses' WHERE EXISTS (SELECT FROM businesses OFFSET 1)
        UNION ALL SELECT 'whatsapp_numbers' WHERE EXISTS (SELECT FROM whatsapp_numbers)
        UNION ALL SELECT 'users' WHERE EXISTS (SELECT FROM users)) AS t (name)
HAVING count(*) > 0
