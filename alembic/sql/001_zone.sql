DO $zone$
DECLARE
    found text;
BEGIN
    FOR found IN SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                  WHERE i.indrelid = '{{table}}'::regclass AND a.atttypid = 'timestamp'::regtype AND a.attname = ANY ('{{{columns}}}')
                  GROUP BY 1 LOOP
        EXECUTE format('DROP INDEX %s', found);
    END LOOP;
    FOR found IN SELECT attname FROM pg_attribute WHERE attrelid = '{{table}}'::regclass AND attname = ANY ('{{{columns}}}') LOOP
        EXECUTE format('ALTER TABLE {{table}} ALTER COLUMN %I SET DEFAULT now()', found);
        IF (SELECT atttypid = 'timestamp'::regtype FROM pg_attribute WHERE attrelid = '{{table}}'::regclass AND attname = found) THEN
            EXECUTE format('ALTER TABLE {{table}} ALTER COLUMN %I TYPE timestamptz', found);
        END IF;
    END LOOP;
END $zone$
