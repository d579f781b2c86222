-- Remembered indexes of a phase that cannot be built any more, because a team dropped or renamed what they name. Each is tried on
-- an empty copy of its table. whatsapp_id stays unique without such an extra; any other index is left out. Input: phase.
DO $lost$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT id, statement, tab, regexp_replace(statement, format('^(CREATE (?:UNIQUE )?INDEX) (?:"(?:[^"]|"")+"|[^ ]+) ON (?:(?:"(?:[^"]|"")+"|[^ ".]+)\.)?%s ', tab),
                                                  '\1 ON multi_tenant_rollback_try ') AS trial
          FROM multi_tenant_rollback, coalesce(substring(kind FROM '^index of (.*)'), 'customers') AS tab
         WHERE phase = '{{phase}}' ORDER BY id
    LOOP
        CONTINUE WHEN wanted.trial = wanted.statement;  -- never on the table itself
        BEGIN
            EXECUTE format('CREATE TABLE multi_tenant_rollback_try (LIKE %I)', wanted.tab);
            EXECUTE wanted.trial;
            DROP TABLE multi_tenant_rollback_try;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name THEN
            RAISE NOTICE 'not given back, for %: %', SQLERRM, wanted.statement;
            IF '{{phase}}' = 'unique' THEN
                UPDATE multi_tenant_rollback SET statement = format('CREATE UNIQUE INDEX %s ON customers (whatsapp_id)', substring(statement FROM 'multi_tenant_rollback_\d+'))
                 WHERE id = wanted.id;
            ELSE
                UPDATE multi_tenant_rollback SET phase = 'lost' WHERE id = wanted.id;
            END IF;
        END;
    END LOOP;
END $lost$
