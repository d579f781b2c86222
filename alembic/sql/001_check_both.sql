(SELECT format('the replica identity of %s is the index %s, which changes here, and updates of published rows would then fail: run ALTER TABLE %1$s REPLICA IDENTITY FULL (or DEFAULT, the primary key) first',
               indrelid::regclass, indexrelid::regclass)
   FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
  WHERE indrelid IN {{both}} AND indisreplident AND attname IN ('whatsapp_id', 'business_id', 'created_at', 'updated_at', 'timestamp')
  LIMIT 1),
(SELECT format('the table cannot change while its row type is used by %s; drop that first, and create it again afterwards',
               string_agg(format('column %s.%I', attrelid::regclass, attname), ', '))
   FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid JOIN pg_type AS t ON atttypid IN (t.oid, t.typarray)
  WHERE typrelid IN {{both}} AND relkind IN ('r', 'p', 'm') AND t.typtype = 'c' HAVING count(*) > 0),
(SELECT format('the rule %s would take the place of what is written here, and rows would be lost: run DROP RULE %1$s first, and create it again afterwards',
               string_agg(format('%I ON %s', rulename, ev_class::regclass), ', DROP RULE '))
   FROM pg_rewrite WHERE ev_class IN {{both}} HAVING count(*) > 0),
(SELECT format('the table %s inherits from %s, and its rows would be taken for that one''s: run ALTER TABLE %1$s NO INHERIT %2$s first',
               inhrelid::regclass, inhparent::regclass)
   FROM pg_inherits WHERE inhparent IN {{both}} LIMIT 1),
