-- Wide enough for Meta's user ids (131 characters); a wider varchar is a change of the catalogue only.
SELECT format('ALTER TABLE {{table}} ALTER COLUMN whatsapp_id TYPE varchar(255)%s',
              CASE WHEN attcollation <> typcollation THEN format(' COLLATE %s', attcollation::regcollation) END)
  FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid
 WHERE attrelid = '{{table}}'::regclass AND attname = 'whatsapp_id' AND atttypid = 'varchar'::regtype AND atttypmod BETWEEN 4 AND 258
