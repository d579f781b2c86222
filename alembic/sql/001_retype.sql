-- Times with a zone, and a whatsapp_id wide enough for all: changes of the catalogue only, for the session is in UTC.
-- Inputs: table; times, the names of its times; retyped, the condition on a row of pg_attribute that its type changes.
DO $retype$
DECLARE
    kept text := (SELECT string_agg(statement, ';') FROM ({{> 001_reset_by_type.sql}}) AS k);
BEGIN
    -- An index on a time would be built anew under the lock: dropped here, it is built again concurrently.
    EXECUTE coalesce((SELECT string_agg(format('DROP INDEX %s', i), ';') FROM ({{> 001_time_indexes.sql}}) AS t (i)), '');
    EXECUTE (SELECT string_agg(format('ALTER TABLE {{table}} ALTER COLUMN %I SET DEFAULT now()', attname)
                               || CASE WHEN atttypid = 'timestamp'::regtype THEN format(', ALTER COLUMN %I TYPE timestamptz', attname) ELSE '' END, ';')
               FROM pg_attribute WHERE attrelid = '{{table}}'::regclass AND attname = ANY ('{{{times}}}'));
    -- Wide enough for Meta's user ids (131 characters); a wider varchar is a change of the catalogue only.
    EXECUTE coalesce((
        SELECT format('ALTER TABLE {{table}} ALTER COLUMN whatsapp_id TYPE varchar(255)%s',
                      CASE WHEN attcollation <> typcollation THEN format(' COLLATE %s', attcollation::regcollation) END)
          FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid
         WHERE attrelid = '{{table}}'::regclass AND attname = 'whatsapp_id' AND atttypid = 'varchar'::regtype AND atttypmod BETWEEN 4 AND 258), '');
    EXECUTE coalesce(kept, '');
END $retype$
