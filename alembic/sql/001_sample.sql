-- A column whose type has changed has lost its statistics: to find the last messages of one customer the planner would then
-- read those of everybody by time. A sample of 300 rows takes milliseconds, and serves until statistics are gathered anew.
-- Inputs: table; columns, the names of its columns.
DO $sample$
DECLARE
    without text[] := ARRAY(
        SELECT attname FROM pg_attribute AS a WHERE attrelid = '{{table}}'::regclass AND attname = ANY ('{{{columns}}}') AND NOT EXISTS (
            SELECT FROM pg_stats WHERE schemaname = current_schema() AND tablename = '{{table}}' AND pg_stats.attname = a.attname));
    keep text := (
        SELECT string_agg(format('ALTER TABLE {{table}} ALTER COLUMN %I SET STATISTICS %s', attname, coalesce(attstattarget, -1)), ';')
          FROM pg_attribute WHERE attrelid = '{{table}}'::regclass AND attname = ANY (without));
BEGIN
    IF keep IS NOT NULL THEN
        EXECUTE (SELECT string_agg(format('ALTER TABLE {{table}} ALTER COLUMN %I SET STATISTICS 1', c), ';') FROM unnest(without) AS c);
        EXECUTE (SELECT format('ANALYZE {{table}} (%s)', string_agg(quote_ident(c), ', ')) FROM unnest(without) AS c);
        EXECUTE keep;
    END IF;
END $sample$
