SELECT format('ALTER TABLE {{table}} ALTER COLUMN whatsapp_id TYPE %s%s', format_type(atttypid, atttypmod),
              CASE WHEN attcollation <> typcollation THEN format(' COLLATE %s', attcollation::regcollation) END), attname, NULL
  FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid
 WHERE attrelid = '{{table}}'::regclass AND attname = 'whatsapp_id' AND atttypid = 'varchar'::regtype AND atttypmod BETWEEN 4 AND 258
