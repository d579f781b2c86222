-- What a team keeps in the schema multi_tenant_archive, which the upgrade drops. JSON of sentences.
WITH ours (oid) AS (
    SELECT oid FROM pg_class
     WHERE relnamespace = to_regnamespace('multi_tenant_archive') AND relkind = 'r'
       AND relname IN ('user_businesses', 'users', 'whatsapp_numbers', 'businesses', 'customers', 'conversations', 'default_customers', 'default_messages', 'privileges')
), not_ours (classid, objid) AS (
    SELECT classid, objid FROM pg_depend AS d
     WHERE refclassid = 'pg_namespace'::regclass AND refobjid = to_regnamespace('multi_tenant_archive') AND deptype = 'n'
       AND (classid <> 'pg_class'::regclass OR objid NOT IN (SELECT oid FROM ours))
       AND (classid <> 'pg_proc'::regclass OR (objid IN (to_regprocedure('multi_tenant_archive.current_business_id()'), to_regprocedure('multi_tenant_archive.set_updated_at()'))) IS NOT TRUE)
       -- what belongs to a column of ours comes and goes with it
       AND NOT EXISTS (SELECT FROM pg_depend AS own WHERE (own.classid, own.objid) = (d.classid, d.objid) AND own.deptype IN ('a', 'i')
                          AND own.refclassid = 'pg_class'::regclass AND own.refobjid IN (SELECT oid FROM ours))
)
SELECT jsonb_build_array(
(SELECT jsonb_agg(format('%s is in the schema multi_tenant_archive, which goes: run ALTER %s %s SET SCHEMA %I;', pg_describe_object(classid, objid, 0),
                         upper(replace(replace(type, 'composite ', ''), ' object', '')), identity, current_schema()) ORDER BY identity)
   FROM not_ours CROSS JOIN LATERAL pg_identify_object(classid, objid, 0))
) AS sentences
