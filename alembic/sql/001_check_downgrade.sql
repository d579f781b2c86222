{{check_both}}
CASE WHEN current_setting('transaction_isolation') <> 'read committed' THEN
    format('this transaction is %s, and a rollback must see what others commit while it waits: run it in a READ COMMITTED one', upper(current_setting('transaction_isolation'))) END,
CASE WHEN to_regnamespace('multi_tenant_archive') IS NOT NULL THEN
    'the schema multi_tenant_archive exists already, and a rollback would need the name: rename it (ALTER SCHEMA multi_tenant_archive RENAME TO ...)' END,
CASE WHEN NOT has_database_privilege(current_database(), 'CREATE') THEN
    format('role %s may not create the schema multi_tenant_archive: as an administrator run GRANT CREATE ON DATABASE %I TO %I',
           current_user, current_database(), current_user) END,
(SELECT format('the foreign key %s of table %s refers to business_id of %s, which the single-business schema does not have: drop it first (ALTER TABLE %2$s DROP CONSTRAINT %1$I)',
               conname, conrelid::regclass, confrelid::regclass)
   FROM pg_constraint
  WHERE contype = 'f' AND conrelid NOT IN {{new}} AND conname NOT IN {{keys}} AND confrelid IN {{both}} AND EXISTS (
             SELECT FROM pg_attribute WHERE attrelid = confrelid AND attnum = ANY (confkey) AND attname = 'business_id')
  LIMIT 1),
-- Of the columns that go, or change their type, all that depends on them and neither goes with them nor is ours.
(WITH gone (oid, place, retyped) AS (
    SELECT attrelid, attnum, false FROM pg_attribute WHERE attrelid IN {{both}} AND attname IN {{new_columns}}
    UNION ALL SELECT attrelid, attnum, true FROM pg_attribute JOIN pg_class AS t ON t.oid = attrelid
                JOIN {{memory}} ON phase = relname || ' times' AND kind = 'type' AND needs_column = attname
               WHERE attrelid IN {{both}})
 SELECT format('this depends on what the rollback takes away: %s; drop it first, and create it again after the next upgrade',
               string_agg(DISTINCT pg_describe_object(classid, objid, 0), ', '))
   FROM pg_depend JOIN gone ON refclassid = 'pg_class'::regclass AND refobjid = oid AND refobjsubid = place
  CROSS JOIN LATERAL pg_identify_object_as_address(classid, objid, objsubid) AS o (kind, names, arguments)
  WHERE retyped AND ({{rebuilt}})
     OR deptype = 'n' AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.oid = objid AND kind = 'table constraint' AND (contype = 'f' OR conrelid = gone.oid))
        AND NOT (names[1] = current_schema() AND kind IN ('policy', 'trigger') AND names[2] = ANY ('{{{all_tables}}}')
                 AND names[3] IN ('app_tenant', 'app_service', 'single_business', 'set_updated_at'))
 HAVING count(*) > 0)
