-- The table as the single-business schema has it, by what the upgrade kept in the comment on the foreign key.
DO $back$
DECLARE
    legacy jsonb := (SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint
                      WHERE conrelid = '{{table}}'::regclass AND conname = 'fk_{{table}}_businesses');
    naive text[] := ARRAY(SELECT jsonb_array_elements_text(legacy -> 'naive'));
    indexes regclass[];
BEGIN
    ALTER TABLE {{table}} {{drop_columns}};
    -- An index on a time is dropped here, and built again concurrently.
    indexes := ARRAY({{time_indexes}});
    EXECUTE format('COMMENT ON FUNCTION single_business_only() IS %L',
        obj_description('single_business_only()'::regprocedure, 'pg_proc')::jsonb || to_jsonb(ARRAY(SELECT pg_get_indexdef(i) FROM unnest(indexes) AS i)));
    EXECUTE coalesce((SELECT string_agg(format('DROP INDEX %s', i), ';') FROM unnest(indexes) AS i), '');
    EXECUTE coalesce((SELECT string_agg(undo ->> 1, ';') FROM jsonb_array_elements(legacy -> 'undo') AS undo
                       WHERE undo ->> 0 IS NULL OR EXISTS (
                           SELECT FROM pg_attribute WHERE attrelid = '{{table}}'::regclass AND attname = undo ->> 0)), '');
END $back$;
{{run_remembered}}
