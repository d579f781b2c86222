-- What the rollback took from roles that were new at 001. What a team dropped or renamed since is skipped, and named.
DO $restore$
DECLARE
    archived record;
BEGIN
    FOR archived IN SELECT statement, needs_role FROM multi_tenant_archive.privileges ORDER BY statement LOOP
        BEGIN
            IF to_regrole(quote_ident(archived.needs_role)) IS NULL THEN
                RAISE undefined_object USING MESSAGE = format('there is no role %I', archived.needs_role);
            END IF;
            EXECUTE archived.statement;
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name THEN
            RAISE NOTICE 'not given back, for %: %', SQLERRM, archived.statement;
        END;
    END LOOP;
    DROP TABLE multi_tenant_archive.privileges;
END $restore$
