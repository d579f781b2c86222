-- What stands in the way of a rollback. JSON of sentences.
WITH changing (relid, attnum, is_time, goes) AS (
    SELECT attrelid, attnum, false, true FROM pg_attribute WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations')) AND attname IN {{new_columns}}
    UNION ALL SELECT attrelid, attnum, true, false FROM pg_attribute JOIN pg_class AS t ON t.oid = attrelid
                JOIN {{memory}} ON phase = relname || ' times' AND kind = 'type' AND needs_column = attname
               WHERE attrelid IN (to_regclass('customers'), to_regclass('conversations'))
)
SELECT jsonb_build_array(
CASE WHEN current_setting('transaction_isolation') <> 'read committed' THEN
    format('this transaction is %s, and a rollback must see what others commit while it waits: run it in a READ COMMITTED one', upper(current_setting('transaction_isolation'))) END,
CASE WHEN to_regnamespace('multi_tenant_archive') IS NOT NULL THEN
    'the schema multi_tenant_archive exists already, and a rollback needs the name: run ALTER SCHEMA multi_tenant_archive RENAME TO multi_tenant_archive_before;' END,
CASE WHEN NOT has_database_privilege(current_database(), 'CREATE') THEN
    format('role %s may not create the schema multi_tenant_archive: as an administrator run GRANT CREATE ON DATABASE %I TO %I;',
           current_user, current_database(), current_user) END,
(SELECT jsonb_agg(format('the foreign key %1$s of table %2$s refers to business_id of %3$s, which the single-business schema does not have: run ALTER TABLE %2$s DROP CONSTRAINT IF EXISTS %4$I;',
                          conname, conrelid::regclass, confrelid::regclass, conname) ORDER BY conname)
   FROM pg_constraint
  WHERE contype = 'f' AND conrelid NOT IN (to_regclass('user_businesses'), to_regclass('users'), to_regclass('whatsapp_numbers'), to_regclass('businesses')) AND conname NOT IN ('fk_customers_businesses', 'fk_conversations_businesses', 'fk_conversations_whatsapp_numbers') AND confrelid IN (to_regclass('customers'), to_regclass('conversations')) AND EXISTS (
             SELECT FROM pg_attribute WHERE attrelid = confrelid AND attnum = ANY (confkey) AND attname = 'business_id')),
({{> 000_dependents.sql}})
) AS sentences
