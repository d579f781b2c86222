DO $check$
DECLARE
    found text;
BEGIN
    IF to_regclass('customers') IS NULL THEN
        RETURN;
    END IF;
    SELECT string_agg(format('%s holds rows', name), ' and ') INTO found FROM (
        SELECT 'customers' AS name WHERE EXISTS (SELECT FROM customers)
        UNION ALL SELECT 'conversations' WHERE EXISTS (SELECT FROM conversations)
        UNION ALL SELECT 'multi_tenant_archive' WHERE to_regnamespace('multi_tenant_archive') IS NOT NULL) AS t;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION '%, so revision 000 is not taken back: to delete these rows for good run alembic -x drop-data=yes downgrade base', found;
    END IF;
END $check$
