-- The two old tables that this migration has not extended yet.
SELECT oid AS relid, relname FROM pg_class
 WHERE oid IN (to_regclass('customers'), to_regclass('conversations')) AND NOT (EXISTS (SELECT FROM pg_constraint WHERE conrelid = pg_class.oid AND conname = 'fk_' || relname || '_businesses')
                                AND EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid AND polname = 'app_tenant'))
