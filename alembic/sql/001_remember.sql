-- What the rollback gives back is kept in the comment on the foreign key, which comes and goes with the revision.
DO $remember$
DECLARE
    legacy jsonb;
BEGIN
    SELECT jsonb_build_object(
        'comment', obj_description(c.oid, 'pg_class'),
        'row_security', c.relrowsecurity,
        'columns', (
            SELECT jsonb_object_agg(a.attname, jsonb_build_object('type', format_type(a.atttypid, a.atttypmod),
                       'default', pg_get_expr(d.adbin, d.adrelid), 'comment', col_description(c.oid, a.attnum)))
              FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = c.oid AND a.attname = ANY ('{{{columns}}}')),
        'grants', (
            SELECT jsonb_agg(format('GRANT %s%s ON %s TO %I%s', privilege_type, columns, object, rolname,
                       CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)) FROM (
                SELECT c.oid::regclass::text AS object, '' AS columns, (aclexplode(c.relacl)).*
                UNION ALL SELECT c.oid::regclass::text, format('(%I)', attname), (aclexplode(attacl)).* FROM pg_attribute WHERE attrelid = c.oid
                UNION ALL SELECT 'SEQUENCE ' || s.oid::regclass, '', (aclexplode(s.relacl)).*
                  FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
                 WHERE d.refobjid = c.oid AND d.deptype IN ('a', 'i')) AS acl
              JOIN pg_roles r ON r.oid = grantee WHERE rolname IN ('anon', 'authenticated')),
        -- An index on a naive timestamp would be rebuilt under the lock: dropped here, built again concurrently.
        'indexes', (
            SELECT jsonb_agg(pg_get_indexdef(i.indexrelid)) FROM pg_index i
             WHERE i.indrelid = c.oid AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid
                     AND a.attnum = ANY (i.indkey) AND a.atttypid = 'timestamp'::regtype AND a.attname = ANY ('{{{columns}}}')))
    ) INTO legacy FROM pg_class c WHERE c.oid = '{{table}}'::regclass;
    EXECUTE format('COMMENT ON CONSTRAINT fk_{{table}}_businesses ON {{table}} IS %L', legacy);
END $remember$
