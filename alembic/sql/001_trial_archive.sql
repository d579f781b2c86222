-- Insert the archived rows into a copy of their table, which is gone again at the end: what does not fit any more is named before
-- any change. Inputs: table; times; new_columns; when, without which nothing is tried.
DO $trial$
DECLARE
    said text[] := '{}';
    common text;
BEGIN
    IF {{when}} THEN
        BEGIN
            CREATE UNLOGGED TABLE multi_tenant_trial (LIKE {{table}} INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED);
            SELECT string_agg(quote_ident(attname), ', ') INTO common
              FROM pg_attribute AS old JOIN pg_attribute AS new USING (attname)
             WHERE old.attrelid = to_regclass('multi_tenant_archive.{{table}}') AND old.attnum > 0 AND NOT old.attisdropped
               AND new.attrelid = '{{table}}'::regclass AND new.attgenerated = '' AND attname NOT IN {{new_columns}};
            EXECUTE (SELECT string_agg(format('ALTER TABLE multi_tenant_trial ALTER COLUMN %I TYPE %s', attname, CASE atttypid WHEN 'varchar'::regtype THEN 'varchar' ELSE 'timestamptz' END), ';')
                       FROM pg_attribute WHERE attrelid = 'multi_tenant_trial'::regclass AND attname = ANY ('{whatsapp_id,{{times}}}') AND atttypid <> 'text'::regtype);
            EXECUTE format('INSERT INTO multi_tenant_trial (%1$s) SELECT %1$s FROM multi_tenant_archive.{{table}}', common);
            RAISE SQLSTATE 'TRIAL';
        EXCEPTION
            WHEN SQLSTATE 'TRIAL' OR insufficient_privilege OR read_only_sql_transaction THEN
                NULL;
            WHEN datatype_mismatch THEN
                said := ARRAY(SELECT format('the column %1$s of {{table}} is %2$s, and was %3$s when a rollback archived rows of it: run ALTER TABLE multi_tenant_archive.{{table}} ALTER COLUMN %4$I TYPE %2$s USING %4$I::%2$s;',
                                            attname, format_type(new.atttypid, new.atttypmod), format_type(old.atttypid, old.atttypmod), attname)
                                FROM pg_attribute AS old JOIN pg_attribute AS new USING (attname)
                               WHERE old.attrelid = to_regclass('multi_tenant_archive.{{table}}') AND old.attnum > 0 AND NOT old.attisdropped
                                 AND new.attrelid = '{{table}}'::regclass AND attname NOT IN {{new_columns}} AND attname <> ALL ('{whatsapp_id,{{times}}}')
                                 AND old.atttypid <> new.atttypid AND NOT EXISTS (
                                     SELECT FROM pg_cast WHERE (castsource, casttarget) = (old.atttypid, new.atttypid) AND castcontext <> 'e'));
                IF said = '{}' THEN
                    said := ARRAY[format('the archive''s rows of %s do not fit the table any more (%s): change them in multi_tenant_archive, or the table', '{{table}}', SQLERRM)];
                END IF;
            WHEN OTHERS THEN
                said := ARRAY[format('a row of %s in the archive does not fit the table any more (%s): change it in multi_tenant_archive, or the table', '{{table}}', SQLERRM)];
        END;
    END IF;
    PERFORM set_config('multi_tenant.trial_archive_{{table}}', said::text, false);
END $trial$
