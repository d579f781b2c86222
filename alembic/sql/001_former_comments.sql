SELECT format('COMMENT ON COLUMN {{table}}.%I IS %L', attname, col_description(attrelid, attnum)), attname, NULL
  FROM pg_attribute WHERE attrelid = '{{table}}'::regclass AND attname = ANY ('{{{columns}}}')
 UNION ALL SELECT format('COMMENT ON TABLE {{table}} IS %L', obj_description('{{table}}'::regclass, 'pg_class')), NULL, NULL
