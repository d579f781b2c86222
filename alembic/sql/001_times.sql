-- An index on a time would be built anew under the lock: dropped here, it is built again concurrently.
DO $times$
BEGIN
    EXECUTE coalesce((SELECT string_agg(format('DROP INDEX %s', i), ';') FROM ({{time_indexes}}) AS t (i)), '');
    EXECUTE (SELECT string_agg(format('ALTER TABLE {{table}} ALTER COLUMN %I SET DEFAULT now()', attname)
                               || CASE WHEN atttypid = 'timestamp'::regtype THEN format(', ALTER COLUMN %I TYPE timestamptz', attname) ELSE '' END, ';')
               FROM pg_attribute WHERE attrelid = '{{table}}'::regclass AND attname = ANY ('{{{times}}}'));
END $times$
