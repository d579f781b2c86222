-- What holds the column is made on an empty copy of its table in which the column is wide, SQL functions on one in which it is
-- also the last; all is gone again at the end. The copy has its table's name: what PostgreSQL wrote down before means the copy.
-- What cannot be made is left as sentences, a text[], in the setting widen.trial_<number>.
-- Inputs of `Widening.fill`: c, column, kept, number, t, table.
DO $trial$
DECLARE
    held jsonb := (
        WITH w AS (SELECT * FROM {{> widen_column.sql}} AS w), x AS ({{> widen_held_indexes.sql}}), k AS ({{> widen_held_constraints.sql}})
        SELECT jsonb_agg(jsonb_build_object('named', named, 'made', made, 'dropped', dropped, 'tab', relname, 'place', nspname)) FROM (
            SELECT format('index %s', indexrelid::regclass), replace(pg_get_indexdef(indexrelid), format(' INDEX %I ON %I.%I USING ', name, nspname, relname), format(' INDEX ON pg_temp.%I USING ', relname)),
                   CASE WHEN con IS NULL THEN format('DROP INDEX %s', indexrelid::regclass) ELSE format('ALTER TABLE {{t}} DROP CONSTRAINT %I', conname) END, indrelid
              FROM x JOIN pg_class AS t ON t.oid = indrelid JOIN pg_namespace AS n ON n.oid = relnamespace
            UNION ALL
            SELECT format('constraint %I', conname), format('ALTER TABLE pg_temp.{{t}} ADD %s', replace(pg_get_constraintdef(oid), ' NOT VALID', '')), format('ALTER TABLE {{t}} DROP CONSTRAINT %I', conname), conrelid
              FROM k WHERE contype = 'c'
            UNION ALL
            SELECT format('policy %I on %s', polname, polrelid::regclass), concat(format('CREATE POLICY %I ON pg_temp.%I', polname, relname), ' USING (' || pg_get_expr(polqual, polrelid) || ')', ' WITH CHECK (' || pg_get_expr(polwithcheck, polrelid) || ')'),
                   format('DROP POLICY %I ON %s', polname, polrelid::regclass), polrelid
              FROM w JOIN pg_depend AS d ON d.classid = 'pg_policy'::regclass AND d.refobjid = tab AND d.refobjsubid = old JOIN pg_policy AS p ON p.oid = d.objid JOIN pg_class AS t ON t.oid = polrelid
            UNION ALL
            SELECT format('trigger %I', tgname), replace(pg_get_triggerdef(g.oid), format(' ON %I.%I ', nspname, relname), format(' ON pg_temp.%I ', relname)), format('DROP TRIGGER %I ON {{t}}', tgname), tgrelid
              FROM w JOIN pg_trigger AS g ON tgrelid = tab AND tgqual IS NOT NULL AND NOT tgisinternal JOIN pg_class AS t ON t.oid = tgrelid JOIN pg_namespace AS n ON n.oid = relnamespace
            UNION ALL
            SELECT format('statistics %I.%I', nspname, stxname), replace(pg_get_statisticsobjdef(s.oid), format('CREATE STATISTICS %I.%I ', nspname, stxname), format('CREATE STATISTICS pg_temp.%I ', stxname)), format('DROP STATISTICS %I.%I', nspname, stxname), stxrelid
              FROM w JOIN pg_statistic_ext AS s ON stxrelid = tab JOIN pg_namespace AS n ON n.oid = stxnamespace
        ) AS h (named, made, dropped, relid) JOIN pg_class AS c ON c.oid = relid JOIN pg_namespace AS n ON n.oid = relnamespace);
    functions jsonb := (
        SELECT jsonb_agg(jsonb_build_object('named', p.oid::regprocedure, 'made', 'CREATE FUNCTION pg_temp.widen_trial(' || regexp_replace(
                   substr(pg_get_functiondef(p.oid), length(format('CREATE OR REPLACE FUNCTION %I.%I(', nspname, proname)) + 1),
                   format('(\m%s|"%1$s")\.("?%s\M"?)', current_schema(), {{'table'}}), 'pg_temp.\2', 'g')))
          FROM {{> widen_column.sql}} AS w JOIN pg_class AS c ON c.oid = tab JOIN pg_type AS t ON t.oid = reltype CROSS JOIN pg_proc AS p
          JOIN pg_namespace AS n ON n.oid = pronamespace JOIN pg_language AS l ON l.oid = prolang
         WHERE lanname = 'sql' AND prokind = 'f' AND prosqlbody IS NULL AND nspname !~ '^(pg_|information_schema$)'
           AND (prosrc ~* ('\m' || {{'table'}} || '\M') OR prorettype IN (t.oid, t.typarray))
           AND prosrc !~* ('\minsert\s+into\s+([^\s(.]+\.)?"?' || {{'table'}} || '"?\s+(values|select|overriding|default\s+values\M.)'));  -- an obstacle by itself
    works jsonb := '[]';
    one record;
    said text[] := '{}';
BEGIN
    IF held IS NOT NULL OR functions IS NOT NULL THEN
        BEGIN
            CREATE TEMPORARY TABLE {{t}} (LIKE {{t}});
            FOR one IN SELECT * FROM jsonb_to_recordset(functions) AS f (named text, made text) LOOP
                BEGIN
                    EXECUTE one.made;
                    RAISE SQLSTATE 'TRIAL';
                EXCEPTION WHEN SQLSTATE 'TRIAL' THEN works := works || to_jsonb(one);
                          WHEN OTHERS THEN NULL;  -- it fails already
                END;
            END LOOP;
            ALTER TABLE pg_temp.{{t}} ALTER COLUMN {{c}} TYPE bigint;
            FOR one IN SELECT * FROM jsonb_to_recordset(held) AS h (named text, made text, dropped text, tab text, place text) LOOP
                EXECUTE format('CREATE TEMPORARY TABLE IF NOT EXISTS %I (LIKE %I.%1$I)', one.tab, one.place);
                BEGIN
                    EXECUTE one.made;
                EXCEPTION WHEN OTHERS THEN
                    said := said || format('%s cannot be made where {{table}}.{{column}} is a bigint (%s); keep its definition, and create one that takes a bigint afterwards: run %s;', one.named, SQLERRM, one.dropped);
                END;
            END LOOP;
            -- SQL functions see where the column is then: at the end.
            ALTER TABLE pg_temp.{{t}} DROP COLUMN {{c}} CASCADE;
            ALTER TABLE pg_temp.{{t}} ADD COLUMN {{c}} bigint;
            FOR one IN SELECT * FROM jsonb_to_recordset(works) AS f (named text, made text) LOOP
                BEGIN
                    EXECUTE one.made;
                    RAISE SQLSTATE 'TRIAL';
                EXCEPTION WHEN SQLSTATE 'TRIAL' THEN NULL;
                          WHEN OTHERS THEN
                    said := said || format('function %s would fail where {{table}}.{{column}} is a bigint and the last column (%s); let it name the columns, or drop it, and create it again afterwards: run DROP FUNCTION %1$s;', one.named, SQLERRM);
                END;
            END LOOP;
            RAISE SQLSTATE 'TRIAL';
        EXCEPTION WHEN SQLSTATE 'TRIAL' OR insufficient_privilege OR read_only_sql_transaction THEN
            NULL;
        END;
    END IF;
    PERFORM set_config('widen.trial_{{number}}', said::text, false);
END $trial$
