-- Writers wait while rows move, those of tables with foreign keys to them too; readers do not.
DO $lock$
DECLARE
    other text;
BEGIN
    LOCK TABLE customers, conversations, businesses, whatsapp_numbers, users, user_businesses IN SHARE ROW EXCLUSIVE MODE;
    FOR other IN SELECT DISTINCT conrelid::regclass::text FROM pg_constraint
                  WHERE contype = 'f' AND confrelid IN ('customers'::regclass, 'conversations'::regclass) LOOP
        EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', other);
    END LOOP;
END $lock$
