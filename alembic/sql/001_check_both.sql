(SELECT format('the replica identity of %s is the index %s, which changes here, and updates of published rows would then fail: run ALTER TABLE %1$s REPLICA IDENTITY FULL (or DEFAULT, the primary key) first',
               indrelid::regclass, indexrelid::regclass)
   FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
  WHERE indrelid IN {{both}} AND indisreplident AND attname IN ('whatsapp_id', 'business_id', 'created_at', 'updated_at', 'timestamp')
  LIMIT 1),
(SELECT format('the table cannot change while its row type is used by %s; drop that first, and create it again afterwards',
               string_agg(format('column %s.%I', attrelid::regclass, attname), ', '))
   FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid JOIN pg_type AS t ON atttypid IN (t.oid, t.typarray)
  WHERE typrelid IN {{both}} AND relkind IN ('r', 'p', 'm') AND t.typtype = 'c' HAVING count(*) > 0),
