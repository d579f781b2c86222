-- The table as the single-business schema has it, by what the upgrade remembered.
ALTER TABLE {{table}} DROP CONSTRAINT "{{one_business_only}}";
ALTER TABLE {{table}} {{drop_columns}};
{{run_table}};
-- An index on a time is dropped here, and built again concurrently.
INSERT INTO multi_tenant_rollback (phase, kind, statement)
    SELECT 'rollback', again.* FROM ({{> 001_build_again.sql}}) AS again;
DO $back$
DECLARE
    kept text := (SELECT string_agg(statement, ';') FROM ({{> 001_reset_by_type.sql}}) AS k);
    narrow text := (SELECT statement FROM multi_tenant_rollback WHERE phase = '{{table}} whatsapp_id');
BEGIN
    EXECUTE coalesce((SELECT string_agg(format('DROP INDEX %s', i), ';') FROM ({{> 001_time_indexes.sql}}) AS t (i)), '');
    {{run_times}};
    -- A narrower type writes the table anew while everybody waits: only where that is over at once.
    BEGIN
        IF pg_table_size('{{table}}') > {{rewritten_at_once}} THEN
            RAISE feature_not_supported USING MESSAGE = 'everybody would wait while the table is written anew';
        END IF;
        EXECUTE coalesce(narrow, '');
    EXCEPTION WHEN feature_not_supported THEN
        IF narrow IS NOT NULL THEN
            RAISE NOTICE '{{table}}.whatsapp_id stays as wide as it is (%): in a quiet hour run %', SQLERRM, narrow;
        END IF;
    END;
    EXECUTE coalesce(kept, '');
END $back$
