-- The times of {{table}} get a zone and a default. What gives the table back as it was is kept in the comment on the
-- foreign key, which comes and goes with the revision: statements, each with the column that it needs.
DO $times$
DECLARE
    naive text[] := ARRAY(SELECT attname::text FROM pg_attribute
                           WHERE attrelid = '{{table}}'::regclass AND attname = ANY ('{{{times}}}') AND atttypid = 'timestamp'::regtype ORDER BY 1);
    indexes regclass[] := ARRAY({{time_indexes}});
    legacy jsonb := jsonb_build_object('naive', naive, 'indexes', ARRAY(SELECT pg_get_indexdef(i) FROM unnest(indexes) AS i), 'undo', (
        SELECT jsonb_agg(jsonb_build_array(col, statement) ORDER BY statement) FROM (
            SELECT attname, concat(
                       format('ALTER TABLE {{table}} ALTER COLUMN %I DROP DEFAULT', attname),
                       CASE WHEN attname = ANY (naive) THEN format(', ALTER COLUMN %I TYPE timestamp', attname) END,
                       format(', ALTER COLUMN %I SET DEFAULT ', attname) || pg_get_expr(adbin, adrelid))
              FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
             WHERE attrelid = '{{table}}'::regclass AND attname = ANY ('{{{times}}}')
            UNION ALL SELECT attname, format('COMMENT ON COLUMN {{table}}.%I IS %L', attname, col_description(attrelid, attnum))
              FROM pg_attribute WHERE attrelid = '{{table}}'::regclass AND attname = ANY ('{{{columns}}}')
            UNION ALL SELECT attname, format('ALTER TABLE {{table}} ALTER COLUMN whatsapp_id TYPE %s%s', format_type(atttypid, atttypmod),
                                             CASE WHEN attcollation <> typcollation THEN format(' COLLATE %s', attcollation::regcollation) END)
              FROM pg_attribute JOIN pg_type AS t ON t.oid = atttypid
             WHERE attrelid = '{{table}}'::regclass AND attname = 'whatsapp_id' AND atttypid = 'varchar'::regtype AND atttypmod BETWEEN 4 AND 258
            UNION ALL SELECT NULL, format('COMMENT ON TABLE {{table}} IS %L', obj_description('{{table}}'::regclass, 'pg_class'))
            UNION ALL SELECT NULL, 'ALTER TABLE {{table}} ENABLE ROW LEVEL SECURITY'
              FROM pg_class WHERE oid = '{{table}}'::regclass AND relrowsecurity
            UNION ALL SELECT NULL, format('GRANT %s%s ON %s TO %s', privilege_type, columns, object, grantee::regrole)
                                   || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
              FROM (SELECT '{{table}}' AS object, '' AS columns, (aclexplode(relacl)).* FROM pg_class WHERE oid = '{{table}}'::regclass
                    UNION ALL SELECT '{{table}}', format('(%I)', attname), (aclexplode(attacl)).*
                      FROM pg_attribute WHERE attrelid = '{{table}}'::regclass
                    UNION ALL SELECT 'SEQUENCE ' || c.oid::regclass, '', (aclexplode(relacl)).*
                      FROM pg_depend JOIN pg_class AS c ON c.oid = objid AND relkind = 'S'
                     WHERE refobjid = '{{table}}'::regclass AND deptype IN ('a', 'i')) AS acl
             WHERE grantee IN (to_regrole('anon'), to_regrole('authenticated'))) AS u (col, statement)));
BEGIN
    EXECUTE format('COMMENT ON CONSTRAINT fk_{{table}}_businesses ON {{table}} IS %L', legacy);
    -- An index on a time would be built anew under the lock: dropped here, it is built again concurrently.
    EXECUTE coalesce((SELECT string_agg(format('DROP INDEX %s', i), ';') FROM unnest(indexes) AS i), '');
    EXECUTE (SELECT string_agg(format('ALTER TABLE {{table}} ALTER COLUMN %I SET DEFAULT now()', col)
                               || CASE WHEN col = ANY (naive) THEN format(', ALTER COLUMN %I TYPE timestamptz', col) ELSE '' END, ';')
               FROM unnest('{{{times}}}'::text[]) AS col);
END $times$
