-- One customer per business instead of one per database; the old bot's look-up keeps an index of its own.
DO $swap$
DECLARE
    old record;
BEGIN
    FOR old IN SELECT i.indexrelid::regclass AS name, c.conname FROM pg_index i
                 LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype = 'u'
                WHERE i.indrelid = 'customers'::regclass AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
                  AND i.indkey::text = (SELECT attnum::text FROM pg_attribute WHERE attrelid = 'customers'::regclass AND attname = 'whatsapp_id') LOOP
        IF old.conname IS NULL THEN
            EXECUTE format('DROP INDEX %s', old.name);
        ELSE
            EXECUTE format('ALTER TABLE customers DROP CONSTRAINT %I', old.conname);
        END IF;
    END LOOP;
END $swap$
