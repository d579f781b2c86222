-- With an archive the new tables go there as they are, with all that a team added; without one they held nothing.
DROP TRIGGER single_business_only ON businesses;
DROP TRIGGER single_business_only ON whatsapp_numbers;
DROP TRIGGER single_business_only ON users;
DROP TRIGGER single_business_only ON user_businesses;
DROP FUNCTION single_business_only();
DO $aside$ BEGIN
IF to_regnamespace('multi_tenant_archive') IS NOT NULL THEN
    ALTER TABLE businesses SET SCHEMA multi_tenant_archive;
    ALTER TABLE whatsapp_numbers SET SCHEMA multi_tenant_archive;
    ALTER TABLE users SET SCHEMA multi_tenant_archive;
    ALTER TABLE user_businesses SET SCHEMA multi_tenant_archive;
    IF to_regprocedure(quote_ident(current_schema()) || '.current_business_id()') IS NOT NULL THEN
        ALTER FUNCTION current_business_id() SET SCHEMA multi_tenant_archive;
    END IF;
    IF to_regprocedure(quote_ident(current_schema()) || '.set_updated_at()') IS NOT NULL THEN
        ALTER FUNCTION set_updated_at() SET SCHEMA multi_tenant_archive;
    END IF;
ELSE
    DROP TABLE businesses, whatsapp_numbers, users, user_businesses;
    EXECUTE format('DROP FUNCTION IF EXISTS %1$I.current_business_id(), %1$I.set_updated_at()', current_schema());
END IF;
END $aside$
