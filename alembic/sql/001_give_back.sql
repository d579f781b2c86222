-- The columns of the single-business table as they were; an index on a timestamp is built again concurrently.
DO $back$
DECLARE
    legacy jsonb;
    found record;
    statement text;
BEGIN
    SELECT obj_description(oid, 'pg_constraint')::jsonb INTO legacy FROM pg_constraint
     WHERE conrelid = '{{table}}'::regclass AND conname = 'fk_{{table}}_businesses';
    FOR found IN SELECT i.indexrelid::regclass AS name, pg_get_indexdef(i.indexrelid) AS definition
                   FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                  WHERE i.indrelid = '{{table}}'::regclass AND a.attname = ANY ('{{{columns}}}') AND a.atttypid = 'timestamptz'::regtype
                    AND coalesce(legacy #>> ARRAY['columns', a.attname, 'type'], '') NOT LIKE '%with time zone'
                    AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_attribute n ON n.attrelid = d.refobjid AND n.attnum = d.refobjsubid
                                     WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND n.attname IN ({{new_columns}}))
                  GROUP BY 1, 2 LOOP
        EXECUTE format('DROP INDEX %s', found.name);
        EXECUTE format('COMMENT ON FUNCTION single_business_only() IS %L',
            obj_description('single_business_only()'::regprocedure, 'pg_proc')::jsonb || to_jsonb(found.definition));
    END LOOP;
    EXECUTE 'ALTER TABLE {{table}} ' || (SELECT string_agg('DROP COLUMN IF EXISTS ' || name, ', ') FROM (VALUES ({{new_rows}})) AS t (name));
    FOR found IN SELECT a.attname AS name, a.atttypid = 'timestamptz'::regtype AND a.attname = ANY ('{{{columns}}}') AS dated,
                        coalesce(legacy #>> ARRAY['columns', a.attname, 'type'], '') NOT LIKE '%with time zone' AS naive,
                        legacy #>> ARRAY['columns', a.attname, 'default'] AS expression, legacy #>> ARRAY['columns', a.attname, 'comment'] AS about
                   FROM pg_attribute a WHERE a.attrelid = '{{table}}'::regclass AND a.attnum > 0 AND NOT a.attisdropped
                    AND (legacy -> 'columns' ? a.attname::text OR a.attname = ANY ('{{{columns}}}')) LOOP
        IF found.dated THEN
            EXECUTE format('ALTER TABLE {{table}} ALTER COLUMN %I DROP DEFAULT', found.name);
            IF found.naive THEN
                EXECUTE format('ALTER TABLE {{table}} ALTER COLUMN %I TYPE timestamp', found.name);
            END IF;
            IF found.expression IS NOT NULL THEN
                EXECUTE format('ALTER TABLE {{table}} ALTER COLUMN %I SET DEFAULT %s', found.name, found.expression);
            END IF;
        END IF;
        EXECUTE format('COMMENT ON COLUMN {{table}}.%I IS %L', found.name, found.about);
    END LOOP;
    EXECUTE format('COMMENT ON TABLE {{table}} IS %L', legacy ->> 'comment');
    IF (legacy ->> 'row_security')::boolean THEN
        ALTER TABLE {{table}} ENABLE ROW LEVEL SECURITY;
    END IF;
    FOR statement IN SELECT jsonb_array_elements_text(legacy -> 'grants') WHERE jsonb_typeof(legacy -> 'grants') = 'array' LOOP
        EXECUTE statement;
    END LOOP;
END $back$
