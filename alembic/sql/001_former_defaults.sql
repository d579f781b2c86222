SELECT format('ALTER TABLE {{table}} ALTER COLUMN %I ', attname) || coalesce('SET DEFAULT ' || pg_get_expr(adbin, adrelid), 'DROP DEFAULT'), attname, NULL
  FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE attrelid = '{{table}}'::regclass AND attname = ANY ('{{{times}}}') ORDER BY attname
