-- Run what the upgrade remembered for a phase of the rollback, in its order. What a team dropped, renamed or gave away since
-- is skipped, and a notice names it. Inputs: phase; former, a query of the roles that work with the table (role).
DO $remembered$
DECLARE
    remembered record;
    gone text;
BEGIN
    FOR remembered IN
        SELECT statement, CASE
               WHEN needs_role IS NOT NULL AND to_regrole(quote_ident(needs_role)) IS NULL THEN format('there is no role %I', needs_role)
               WHEN needs_column IS NOT NULL AND NOT EXISTS (
                    SELECT FROM pg_attribute WHERE attrelid = to_regclass(split_part(phase, ' ', 1)) AND attname = needs_column)
                    THEN format('there is no column %I', needs_column)
               WHEN kind = 'privilege' AND quote_ident(needs_role) NOT IN ({{former}})
                    THEN format('role %I has no other privilege there any more', needs_role) END AS gone
          FROM multi_tenant_rollback WHERE phase = '{{phase}}' ORDER BY id
    LOOP
        gone := remembered.gone;
        BEGIN
            IF gone IS NULL THEN
                EXECUTE remembered.statement;
            END IF;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name OR dependent_objects_still_exist THEN
            gone := SQLERRM;  -- the first is the class of what does not exist, or exists already
        END;
        IF gone IS NOT NULL THEN
            RAISE NOTICE 'not given back, for %: %', gone, remembered.statement;
        END IF;
    END LOOP;
END $remembered$
