SELECT format('ALTER TABLE {{table}} ALTER COLUMN %I DROP DEFAULT, ALTER COLUMN %1$I TYPE timestamp', attname), attname, NULL
  FROM pg_attribute WHERE attrelid = '{{table}}'::regclass AND attname = ANY ('{{{times}}}') AND atttypid = 'timestamp'::regtype ORDER BY attname
