-- Build every index of a time whose type changes on an empty copy of the table, which is gone again at the end: what cannot be
-- built again is named before the first is dropped. Inputs: table; times; retyped, the condition on a row of
-- pg_attribute that its type changes; type, the new one; when, without which nothing is tried.
DO $trial$
DECLARE
    said text[] := '{}';
    tried record;
BEGIN
    IF {{when}} THEN
        BEGIN
            CREATE UNLOGGED TABLE multi_tenant_trial (LIKE {{table}});
            EXECUTE coalesce((SELECT string_agg(format('ALTER TABLE multi_tenant_trial ALTER COLUMN %I TYPE {{type}}', attname), ';')
                                FROM pg_attribute WHERE attrelid = '{{table}}'::regclass AND attname = ANY ('{{{times}}}') AND {{retyped}}), '');
            FOR tried IN SELECT index, replace(pg_get_indexdef(index), format(' INDEX %I ON %I.%I USING ', i.relname, nspname, t.relname), ' INDEX ON multi_tenant_trial USING ') AS definition
                           FROM ({{> 001_time_indexes.sql}}) AS x (index) JOIN pg_class AS i ON i.oid = index
                           JOIN pg_class AS t ON t.oid = '{{table}}'::regclass JOIN pg_namespace AS n ON n.oid = t.relnamespace LOOP
                BEGIN
                    EXECUTE tried.definition;
                EXCEPTION WHEN OTHERS THEN
                    said := said || format('the index %1$s cannot be built again when its times of %2$s become %3$s (%4$s); keep its definition, and create one that can be afterwards: run DROP INDEX IF EXISTS %1$s;', tried.index, '{{table}}', '{{type}}', SQLERRM);
                END;
            END LOOP;
            RAISE SQLSTATE 'TRIAL';
        EXCEPTION WHEN SQLSTATE 'TRIAL' OR insufficient_privilege OR read_only_sql_transaction THEN
            NULL;
        END;
    END IF;
    PERFORM set_config('multi_tenant.trial_{{table}}', said::text, false);
END $trial$
