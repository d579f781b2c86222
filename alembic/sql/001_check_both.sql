-- What stands in the way of an upgrade, and of a rollback. JSON of sentences.
SELECT jsonb_build_array(
(SELECT jsonb_agg(format('the replica identity of %1$s is the index %2$s, which changes here, and updates of published rows would then fail: run ALTER TABLE %1$s REPLICA IDENTITY FULL;',
               indrelid::regclass, indexrelid::regclass) ORDER BY indexrelid)
   FROM pg_index
  WHERE indrelid IN (to_regclass('customers'), to_regclass('conversations')) AND indisreplident
    AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = indrelid AND attnum = ANY (indkey)
                   AND attname IN ('whatsapp_id', 'business_id', 'created_at', 'updated_at', 'timestamp'))),
({{> 000_row_types.sql}}),
(SELECT jsonb_agg(format('the rule %1$s on %2$s would take the place of what is written here, and rows would be lost; create it again afterwards: run DROP RULE %1$I ON %2$s;', rulename, ev_class::regclass) ORDER BY rulename)
   FROM pg_rewrite WHERE ev_class IN (to_regclass('customers'), to_regclass('conversations')) AND rulename <> '_RETURN'),
(SELECT jsonb_agg(format('the table %1$s inherits from %2$s, and its rows would be taken for that one''s: run ALTER TABLE %1$s NO INHERIT %2$s;', inhrelid::regclass, inhparent::regclass) ORDER BY inhrelid)
   FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent IN (to_regclass('customers'), to_regclass('conversations')) AND NOT relispartition)
) AS sentences
