-- What a team added to these tables comes back with them, as columns that may be empty.
SELECT format('ALTER TABLE %I ADD COLUMN %I %s', relname, attname, format_type(atttypid, atttypmod))
  FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = attrelid
 WHERE relnamespace = to_regnamespace('multi_tenant_archive') AND relname = ANY ('{{{new_tables}}}') AND attnum > 0 AND NOT attisdropped
   AND NOT EXISTS (SELECT FROM pg_attribute AS n WHERE n.attrelid = to_regclass(relname) AND n.attname = a.attname)
