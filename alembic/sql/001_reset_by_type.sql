-- What another type of a column resets, as statements that set it again. Input: table.
SELECT format('ALTER TABLE {{table}} ALTER COLUMN whatsapp_id SET STORAGE %s', CASE attstorage WHEN 'p' THEN 'PLAIN' WHEN 'm' THEN 'MAIN' WHEN 'e' THEN 'EXTERNAL' ELSE 'EXTENDED' END) AS statement
  FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid WHERE attrelid = '{{table}}'::regclass AND attname = 'whatsapp_id' AND attstorage <> typstorage
UNION ALL
SELECT format('ALTER TABLE {{table}} ALTER COLUMN whatsapp_id SET COMPRESSION %s', CASE attcompression WHEN 'p' THEN 'pglz' ELSE 'lz4' END)
  FROM pg_attribute WHERE attrelid = '{{table}}'::regclass AND attname = 'whatsapp_id' AND attcompression <> ''
UNION ALL
SELECT format('ALTER STATISTICS %I.%I SET STATISTICS %s', nspname, stxname, stxstattarget)
  FROM pg_statistic_ext JOIN pg_namespace AS n ON n.oid = stxnamespace WHERE stxrelid = '{{table}}'::regclass AND stxstattarget >= 0
