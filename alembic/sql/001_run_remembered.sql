-- Run what the upgrade remembered for a phase of the rollback, in its order. Input: phase.
DO $remembered$
DECLARE
    remembered text;
BEGIN
    FOR remembered IN SELECT statement FROM multi_tenant_rollback
                       WHERE phase = '{{phase}}' AND (needs_role IS NULL OR to_regrole(quote_ident(needs_role)) IS NOT NULL)
                         AND (needs_column IS NULL OR EXISTS (
                             SELECT FROM pg_attribute WHERE attrelid = to_regclass(split_part(phase, ' ', 1)) AND attname = needs_column))
                       ORDER BY id LOOP
        EXECUTE remembered;
    END LOOP;
END $remembered$
