-- What keeps the schema from the form that Citus takes. JSON of sentences; a query gives one.
SELECT jsonb_build_array(
CASE WHEN {{state}} <> '{{multi}}' THEN 'the database is not at revision 001: run alembic upgrade head;' END,
CASE WHEN to_regclass('alembic_version_scale') IS NOT NULL AND EXISTS (
         SELECT FROM pg_attribute WHERE attrelid IN {{tables}} AND attname = 'id' AND atttypid <> 'bigint'::regtype) THEN
    jsonb_build_object('query', 'SELECT ''the ids are integer, although alembic_version_scale says bigint: run alembic -n scale stamp base;'' FROM alembic_version_scale WHERE version_num = ''bigint''') END,
(SELECT jsonb_agg(format('role %s does not own table %s: do this as its owner, %s', current_user, oid::regclass, relowner::regrole))
   FROM pg_class WHERE oid IN {{all}} AND NOT pg_has_role(relowner, 'USAGE')),
(SELECT jsonb_agg(format('the foreign key %s of table %s refers to %s, whose key becomes (id, business_id): run ALTER TABLE %2$s DROP CONSTRAINT %1$I;',
                          conname, conrelid::regclass, confrelid::regclass) ORDER BY conname)
   FROM pg_constraint WHERE contype = 'f' AND confrelid IN {{tables}} AND conparentid = 0),
(SELECT jsonb_agg(format('the foreign key %s of %s refers to %s, which stays on one server: run ALTER TABLE %2$s DROP CONSTRAINT %1$I;',
                          conname, conrelid::regclass, confrelid::regclass) ORDER BY conname)
   FROM pg_constraint WHERE contype = 'f' AND conrelid IN {{tables}} AND confrelid NOT IN {{tables}} AND conname NOT IN {{keys}}),
(SELECT jsonb_agg(format('%s of table %s is unique across businesses: run %s;', i.relname, indrelid::regclass,
                          CASE WHEN conname IS NULL THEN format('DROP INDEX %s', indexrelid::regclass)
                               ELSE format('ALTER TABLE %s DROP CONSTRAINT %I', indrelid::regclass, conname) END) ORDER BY i.relname)
   FROM pg_index JOIN pg_class AS i ON i.oid = indexrelid LEFT JOIN pg_constraint ON conindid = indexrelid AND conrelid = indrelid AND contype IN ('u', 'x')
   JOIN pg_attribute AS b ON b.attrelid = indrelid AND b.attname = 'business_id'
  WHERE indrelid IN {{tables}} AND (indisunique OR indisexclusion) AND NOT indisprimary AND i.relname !~ '_pkey_(business|id)$'
    AND b.attnum <> ALL ((indkey::int2[])[0:indnkeyatts - 1])),
(SELECT jsonb_agg(format('the trigger %s of table %s would run on the workers, where what it names is not: run DROP TRIGGER %1$I ON %2$s;', tgname, tgrelid::regclass) ORDER BY tgname)
   FROM pg_trigger WHERE tgrelid IN {{all}} AND NOT tgisinternal AND tgname NOT IN ('set_updated_at', 'truncate_trigger')
    AND tgname !~ '^citus_|^truncate_trigger_'),
(SELECT jsonb_agg(format('the rule %s of table %s is not taken by Citus: run DROP RULE %1$I ON %2$s;', rulename, ev_class::regclass))
   FROM pg_rewrite WHERE ev_class IN {{all}}),
(SELECT jsonb_agg(format('table %s inherits from %s, which Citus does not take: run ALTER TABLE %1$s NO INHERIT %2$s;', inhrelid::regclass, inhparent::regclass))
   FROM pg_inherits WHERE inhrelid IN {{all}} OR inhparent IN {{all}}),
(SELECT jsonb_agg(format('the policy %s of table %s holds a subquery, which Citus takes in a function only; keep its definition: run DROP POLICY %1$I ON %2$s;', polname, polrelid::regclass))
   FROM pg_policy WHERE polrelid IN {{all}} AND polname <> 'app_tenant'
    AND replace(concat(pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)), '( SELECT current_business_id() AS current_business_id)', '') ~* '\mselect\M')
) AS sentences
