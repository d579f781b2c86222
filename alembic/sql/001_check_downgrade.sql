CASE WHEN EXISTS (SELECT FROM alembic_version WHERE version_num = '000') THEN
    'an upgrade of this database was interrupted: finish it with alembic upgrade head, then roll back' END,
(SELECT format('role %s does not own %s: run the rollback as the owner', current_user, string_agg(relname, ', '))
   FROM pg_class WHERE oid IN {{ours}} AND NOT pg_has_role(relowner, 'USAGE') HAVING count(*) > 0),
(SELECT format('row level security is forced on %s, which would hide rows from the move: run ALTER TABLE ... NO FORCE ROW LEVEL SECURITY first',
               string_agg(relname, ' and '))
   FROM pg_class JOIN pg_roles ON rolname = current_user
  WHERE pg_class.oid IN {{ours}} AND relforcerowsecurity AND NOT rolsuper AND NOT rolbypassrls HAVING count(*) > 0),
{{check_both}}
CASE WHEN to_regnamespace('multi_tenant_archive') IS NOT NULL THEN
    'the schema multi_tenant_archive exists already, and a rollback would need the name: rename it (ALTER SCHEMA multi_tenant_archive RENAME TO ...)' END,
CASE WHEN NOT has_database_privilege(current_database(), 'CREATE') THEN
    format('role %s may not create the schema multi_tenant_archive: as an administrator run GRANT CREATE ON DATABASE %I TO %I',
           current_user, current_database(), current_user) END,
(SELECT format('the foreign key %s of table %s refers to %s, which the single-business schema does not have: drop it first (ALTER TABLE %2$s DROP CONSTRAINT %1$I)',
               conname, conrelid::regclass, confrelid::regclass)
   FROM pg_constraint
  WHERE contype = 'f' AND conrelid NOT IN {{new}} AND conname NOT IN {{keys}}
    AND (confrelid IN {{new}} OR (confrelid IN {{both}} AND EXISTS (
             SELECT FROM pg_attribute WHERE attrelid = confrelid AND attnum = ANY (confkey) AND attname = 'business_id')))
  LIMIT 1),
-- Of what goes, or changes its type, all that depends on it and neither goes with it nor is ours.
(WITH gone (class, oid, place, retyped) AS (
    SELECT 'pg_class'::regclass, oid, NULL::int, false FROM pg_class WHERE oid IN {{new}}
    UNION ALL SELECT 'pg_type'::regclass, reltype, NULL, false FROM pg_class WHERE oid IN {{new}}
    UNION ALL SELECT 'pg_proc'::regclass, oid, NULL, false FROM pg_proc
               WHERE oid IN (to_regprocedure('current_business_id()'), to_regprocedure('set_updated_at()'))
    UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum, false FROM pg_attribute
               WHERE attrelid IN {{both}} AND attname IN {{new_columns}}
    UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum, true FROM pg_attribute
                JOIN pg_constraint AS k ON conrelid = attrelid AND conname IN {{keys}}
               WHERE obj_description(k.oid, 'pg_constraint')::jsonb -> 'naive' ? attname::text)
 SELECT format('this depends on what the rollback takes away: %s; drop it first, and create it again after the next upgrade',
               string_agg(DISTINCT pg_describe_object(classid, objid, 0), ', '))
   FROM pg_depend JOIN gone ON refclassid = class AND refobjid = oid AND coalesce(refobjsubid = place, true)
  CROSS JOIN LATERAL pg_identify_object_as_address(classid, objid, objsubid) AS o (kind, names, arguments)
  WHERE retyped AND ({{rebuilt}})
     OR deptype = 'n' AND NOT (kind = 'publication relation' AND place IS NULL)
        AND NOT (kind = 'table constraint' AND EXISTS (SELECT FROM pg_constraint AS k WHERE k.oid = objid AND contype = 'f'))
        AND NOT (names[1] = current_schema() AND (
            kind IN ('table constraint', 'default value', 'trigger') AND names[2] = ANY ('{{{new_tables}}}')
            OR kind IN ('policy', 'trigger') AND names[2] = ANY ('{{{all_tables}}}')
               AND names[3] IN ('app_tenant', 'app_service', 'single_business', 'set_updated_at')))
 HAVING count(*) > 0)
