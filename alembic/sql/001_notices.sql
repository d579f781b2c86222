-- What does not stop the upgrade, but is better known before it. JSON of sentences.
WITH untouched AS ({{> 001_untouched.sql}})
SELECT jsonb_build_array(
(SELECT jsonb_agg(format('%1$s.%2$s is NOT NULL and has no default, so that an insert that leaves it out fails, those of the models too; unless every insert gives it: run ALTER TABLE %1$s ALTER COLUMN %3$I DROP NOT NULL;', relname, attname, attname) ORDER BY relname, attnum)
   FROM pg_attribute JOIN untouched AS t ON attrelid = relid JOIN pg_type ON pg_type.oid = atttypid
  WHERE attnum > 0 AND NOT attisdropped AND attnotnull AND NOT atthasdef AND attidentity = '' AND typdefault IS NULL
    AND attname NOT IN ('id', 'whatsapp_id', 'name', 'message', 'role', 'created_at', 'updated_at', 'timestamp') AND attname NOT IN {{new_columns}}),
(SELECT jsonb_agg(format('the index %s keeps %s of %s unique across all businesses', indexrelid::regclass, keys, relname) ORDER BY indexrelid)
   FROM (SELECT indexrelid, relname, array_to_string(ARRAY(SELECT pg_get_indexdef(indexrelid, n, true) FROM generate_series(1, indnkeyatts) AS n), ', ') AS keys
           FROM pg_index JOIN untouched AS t ON indrelid = relid WHERE indisunique OR indisexclusion) AS i
  WHERE keys !~ '\m(id|whatsapp_id|business_id)\M'),
(SELECT jsonb_agg(format('the function %s reads SELECT * from customers or conversations, which get more columns', pg_proc.oid::regprocedure) ORDER BY proname)
   FROM pg_proc JOIN pg_language AS l ON l.oid = prolang
  WHERE l.lanname IN ('sql', 'plpgsql') AND prorettype <> 'trigger'::regtype
    AND pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    AND prosrc ~* '\mselect\s([^;]*,)?\s*(\w+\s*\.\s*)?\*[^;]*\mfrom\s[^;]*\m(customers|conversations)\M'),
(SELECT jsonb_agg(format('look at the function %s: customers and conversations get more columns and their times a zone, which a list of columns for a whole row, or RETURN QUERY of a timestamp, does not fit', p.oid::regprocedure) ORDER BY proname)
   FROM pg_proc AS p JOIN pg_language AS l ON l.oid = prolang
  WHERE l.lanname NOT IN ('sql', 'c', 'internal') AND pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) AND prorettype <> 'trigger'::regtype
    AND (EXISTS (SELECT FROM untouched JOIN pg_class AS c ON c.oid = relid JOIN pg_type AS t ON t.oid = c.reltype WHERE prorettype IN (t.oid, t.typarray))
         OR prosrc ~* '\m(?!(from|join|into|update|table|only|delete|insert)\M)\w+\s+(\w+\.)?(customers|conversations)\s*(%\s*rowtype\s*)?(;|:=|=|\mdefault\M)'
         OR prosrc ~* '\m(customers|conversations)\M' AND prosrc ~* 'return\s+query' AND ('timestamp'::regtype = ANY (proallargtypes) OR prorettype = 'timestamp'::regtype))),
(SELECT jsonb_agg(format('the publication %s sends %s to subscribers: add the new columns to their tables first, or they stop', pubname, tablename) ORDER BY pubname, tablename)
   FROM pg_publication_tables JOIN untouched AS t ON tablename = relname AND schemaname = current_schema()),
(SELECT jsonb_agg(DISTINCT format('the ids of %s end at %s, and %s%% of them are used', relname, to_char(highest, 'FM9,999,999,999,999,999,999'), round(100.0 * last_value / highest)))
   FROM (SELECT c.oid, relname, CASE atttypid WHEN 'smallint'::regtype THEN 32767 WHEN 'integer'::regtype THEN 2147483647 ELSE 9223372036854775807 END AS highest
           FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid AND attname = 'id' WHERE c.oid IN (to_regclass('customers'), to_regclass('conversations'))) AS ids
   JOIN pg_attrdef ON adrelid = ids.oid JOIN pg_depend ON classid = 'pg_attrdef'::regclass AND objid = pg_attrdef.oid
   JOIN pg_sequences ON refobjid = to_regclass(format('%I.%I', schemaname, sequencename))
  WHERE last_value > 0.5 * highest),
(SELECT jsonb_agg(DISTINCT format('role %s sets TimeZone to %s: give it UTC, or let the bot write times with their zone', setrole::regrole, split_part(setting, '=', 2)))
   FROM pg_db_role_setting, unnest(setconfig) AS setting
  WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) AND setrole <> 0 AND setting ILIKE 'timezone=%'
    AND split_part(lower(setting), '=', 2) !~ '^(etc/)?(utc|uct|universal|zulu|gmt)$'),
(SELECT jsonb_agg(format('the function %s sets TimeZone: times without a zone that it writes are read in that', pg_proc.oid::regprocedure) ORDER BY proname)
   FROM pg_proc WHERE proconfig IS NOT NULL AND EXISTS (SELECT FROM unnest(proconfig) AS setting WHERE setting ILIKE 'timezone=%')),
(SELECT format('about %s customers and %s messages: the indexes take about %s of disk and %s to build, while the bot goes on',
               to_char(customers, 'FM9,999,999,999,999'), to_char(messages, 'FM9,999,999,999,999'), pg_size_pretty((customers * 110 + messages * 120)::bigint),
               CASE WHEN customers + messages < 20000000 THEN format('%s seconds', ceil((customers + messages) / 200000)) ELSE format('%s minutes', ceil((customers + messages) / 12000000)) END)
   FROM (SELECT max(n) FILTER (WHERE relname = 'customers') AS customers, max(n) FILTER (WHERE relname = 'conversations') AS messages
           FROM (SELECT relname, CASE WHEN reltuples < 0 OR relpages = 0 THEN pg_relation_size(relid) / 150
                                      ELSE reltuples::float8 / relpages * (pg_relation_size(relid) / current_setting('block_size')::int) END AS n
                   FROM untouched AS t JOIN pg_class USING (relname) WHERE pg_class.oid = relid) AS sizes) AS totals
  WHERE customers + messages >= 100000)
) AS sentences
