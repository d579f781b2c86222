-- What stands in the way of changing the two tables: what hangs on them, and triggers. JSON of sentences.
WITH untouched AS ({{> 001_untouched.sql}}),
changing (relid, attnum, is_time, goes) AS (
    SELECT attrelid, attnum, attname <> 'whatsapp_id', false FROM pg_attribute
     WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations'))
       AND (attname IN ('created_at', 'updated_at', 'timestamp') AND atttypid = 'timestamp'::regtype
            OR attname = 'whatsapp_id' AND atttypid = 'varchar'::regtype AND atttypmod BETWEEN 4 AND 258)
)
SELECT jsonb_build_array(
({{> 000_dependents.sql}}),
(SELECT jsonb_agg(format('%1$s is a partition of %2$s, and its columns cannot change: run ALTER TABLE %2$s DETACH PARTITION %1$s;', inhrelid::regclass, inhparent::regclass))
   FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhrelid IN (to_regclass('customers'), to_regclass('conversations')) AND relispartition),
(SELECT jsonb_agg(format('%1$s inherits columns of %2$s, which cannot change here: run ALTER TABLE %1$s NO INHERIT %2$s;', inhrelid::regclass, inhparent::regclass))
   FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhrelid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT relispartition),
(SELECT jsonb_agg(format('%1$s is a table of the type %2$s, and its columns cannot change: run ALTER TABLE %1$s NOT OF;', relname, reloftype::regtype))
   FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND reloftype <> 0),
(SELECT jsonb_agg(format('row level security is forced on %1$s, which hides rows from the migration: run ALTER TABLE %1$s NO FORCE ROW LEVEL SECURITY;', relname) ORDER BY relname)
   FROM pg_class WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND relforcerowsecurity),
-- Trigger functions that write a row by the number of its columns, which changes. NEW.* and OLD.* by themselves in a list
-- are counted; as the argument of a function, such as to_jsonb(NEW.*), they are not.
(SELECT jsonb_agg(format('the trigger function %s (%s) copies rows by the number of their columns, and every write of the bot would fail after the upgrade; let it name the columns%s: run %s;',
                          f, triggers, CASE WHEN named THEN '' ELSE ', or do without it until it does' END,
                          CASE WHEN named THEN format('DO %L', format('BEGIN EXECUTE regexp_replace(pg_get_functiondef(%L::regprocedure), %L, (SELECT %L || string_agg(format(''\2.%%I'', attname), '', '' ORDER BY attnum) FROM pg_attribute WHERE attrelid = ''%s''::regclass AND attnum > 0 AND NOT attisdropped), ''gi''); END',
                                                      f, '(\mvalues\s*\(|\mselect\s|,)\s*\(?\m(new|old)\M\)?\s*\.\s*\*', '\1 ', of_table))
                               ELSE disable END) ORDER BY f::text)
   FROM (SELECT tgfoid::regprocedure AS f, string_agg(DISTINCT format('trigger %I on %s', tgname, relname), ', ') AS triggers,
                string_agg(DISTINCT format('ALTER TABLE %s DISABLE TRIGGER %I', relname, tgname), '; ') AS disable,
                count(DISTINCT relid) = 1 AND NOT bool_or(rest ~* by_star) AS named, min(relname) AS of_table
           FROM untouched AS t
           JOIN pg_trigger ON tgrelid = relid AND NOT tgisinternal AND tgenabled <> 'D' JOIN pg_proc ON pg_proc.oid = tgfoid
          CROSS JOIN regexp_replace(regexp_replace(prosrc, '--[^\n]*', '', 'g'), '/\*.*?\*/', '', 'g') AS bare
          CROSS JOIN regexp_replace(bare, '\m(?!values\M|select\M)\w+\s*\(\s*\(?(new|old)\)?\s*\.\s*\*\s*\)', 'x', 'gi') AS source
          CROSS JOIN regexp_replace(source, '(\mvalues\s*\(|\mselect\s|,)\s*\(?\m(new|old)\M\)?\s*\.\s*\*', '\1 x', 'gi') AS rest
          CROSS JOIN LATERAL (SELECT format('insert\s+into\s[^;]*((\m(new|old)\M|\$\d+)\)?\s*\.\s*\*|select\s([^;]*,)?\s*(\w+\s*\.\s*)?\*[^;]*\mfrom\s[^;]*\m(%s)\M)',
                                             concat_ws('|', 'customers', 'conversations', tgnewtable, tgoldtable)) AS by_star) AS p
          WHERE source ~* by_star
          GROUP BY tgfoid) AS counted)
) AS sentences
