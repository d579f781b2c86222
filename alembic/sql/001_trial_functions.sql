-- Write every SQL function that names one of the two tables once against an empty copy of the tables as they are, and once
-- against one as they will be; all is gone again at the end. What fits before and not after is named before any change. A
-- temporary copy is found first under the table's own name. Input: when, without which nothing is tried.
DO $trial$
DECLARE
    functions jsonb;
    tried record;
    works jsonb := '[]';
    said text[] := '{}';
BEGIN
    IF {{when}} THEN
        functions := (
        SELECT jsonb_agg(jsonb_build_object('named', p.oid::regprocedure, 'definition', 'CREATE FUNCTION pg_temp.multi_tenant_trial(' || regexp_replace(
                   substr(pg_get_functiondef(p.oid), length(format('CREATE OR REPLACE FUNCTION %I.%I(', nspname, proname)) + 1),
                   format('(\m%s|"%1$s")\.(customers|conversations)\M', current_schema()), 'pg_temp.\2', 'g')))
          FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace JOIN pg_language AS l ON l.oid = prolang
         WHERE lanname = 'sql' AND prokind = 'f' AND prosqlbody IS NULL AND nspname !~ '^(pg_|information_schema$)'
           AND (prosrc ~* '\m(customers|conversations)\M' OR EXISTS (
                SELECT FROM pg_class AS c JOIN pg_type AS t ON t.oid = reltype WHERE c.oid IN (to_regclass('customers'), to_regclass('conversations')) AND p.prorettype IN (t.oid, t.typarray))));
    END IF;
    IF functions IS NOT NULL THEN
        BEGIN
            CREATE TEMPORARY TABLE customers (LIKE customers);
            CREATE TEMPORARY TABLE conversations (LIKE conversations);
            FOR tried IN SELECT * FROM jsonb_to_recordset(functions) AS f (named text, definition text) LOOP
                BEGIN
                    EXECUTE tried.definition;
                    RAISE SQLSTATE 'TRIAL';
                EXCEPTION WHEN SQLSTATE 'TRIAL' THEN works := works || to_jsonb(tried);
                          WHEN OTHERS THEN NULL;
                END;
            END LOOP;
            EXECUTE (SELECT string_agg(format('ALTER TABLE pg_temp.%I ALTER COLUMN %I TYPE timestamptz', relname, attname), ';')
                       FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid WHERE attrelid IN ('pg_temp.customers'::regclass, 'pg_temp.conversations'::regclass) AND attname IN ('created_at', 'updated_at', 'timestamp'));
            ALTER TABLE pg_temp.customers ADD COLUMN business_id uuid, ADD COLUMN whatsapp_user_id varchar(255), ADD COLUMN username varchar(255);
            ALTER TABLE pg_temp.conversations ADD COLUMN business_id uuid, ADD COLUMN whatsapp_number_id uuid, ADD COLUMN whatsapp_message_id varchar(255);
            FOR tried IN SELECT * FROM jsonb_to_recordset(works) AS f (named text, definition text) LOOP
                BEGIN
                    EXECUTE tried.definition;
                    RAISE SQLSTATE 'TRIAL';
                EXCEPTION WHEN SQLSTATE 'TRIAL' THEN NULL;
                          WHEN OTHERS THEN
                    said := said || format('the function %s would fail after the upgrade, which adds columns and gives the times a zone (%s); let it select all columns by * where it returns a row, or drop it, and create it again afterwards: run DROP FUNCTION IF EXISTS %1$s;', tried.named, SQLERRM);
                END;
            END LOOP;
            RAISE SQLSTATE 'TRIAL';
        EXCEPTION WHEN SQLSTATE 'TRIAL' OR insufficient_privilege OR read_only_sql_transaction OR duplicate_column THEN
            NULL;
        END;
    END IF;
    PERFORM set_config('multi_tenant.trial_functions', said::text, false);
END $trial$
