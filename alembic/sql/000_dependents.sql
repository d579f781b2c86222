-- What stands in the way of another type for a column, or of dropping it, and what would be built anew or be read under
-- the lock for it: what hangs on those first. Columns of inheritance children change with their parent's.
-- Input: `changing`, a WITH query of the statement around this one: the columns, whether each is a time, and whether it goes.
WITH RECURSIVE changed (relid, attnum, is_time, goes) AS (
    SELECT relid, attnum, is_time, goes FROM changing
    UNION SELECT inhrelid, child.attnum, is_time, goes FROM changed JOIN pg_inherits ON inhparent = relid
            JOIN pg_attribute AS parent ON parent.attrelid = relid AND parent.attnum = changed.attnum
            JOIN pg_attribute AS child ON child.attrelid = inhrelid AND child.attname = parent.attname
 ), hung (classid, objid, objsubid, of_what, depth) AS (
    SELECT d.classid, d.objid, CASE WHEN d.classid = 'pg_class'::regclass THEN d.objsubid ELSE 0 END,
           format('%s.%s, %s', attrelid::regclass, attname, CASE WHEN is_unique THEN 'whose type changes, and without it doubles could come in and ON CONFLICT fails until it is there again; keep its definition, and create it again afterwards'
                                                                 WHEN goes THEN 'which goes; keep its definition, and create it again after the next upgrade' ELSE 'whose type changes; keep its definition, and create it again afterwards' END), 1
      FROM changed JOIN pg_attribute USING (attnum) JOIN pg_depend AS d ON refclassid = 'pg_class'::regclass AND refobjid = relid AND refobjsubid = attnum
     CROSS JOIN LATERAL (SELECT is_time AND NOT goes AND d.classid = 'pg_class'::regclass AND EXISTS (
                             SELECT FROM pg_index WHERE indexrelid = d.objid AND indisunique AND NOT EXISTS (  -- with the id no row is a double
                                 SELECT FROM pg_attribute WHERE attrelid = relid AND attname = 'id' AND attnum = ANY (indkey))) AS is_unique) AS of_index
     WHERE attrelid = relid AND (
           d.deptype = 'n' AND d.classid NOT IN ('pg_constraint'::regclass, 'pg_class'::regclass)
        OR d.classid = 'pg_class'::regclass AND d.objid = relid AND d.objsubid > 0 AND d.objsubid <> d.refobjsubid
        -- With a column go the constraints and indexes that it is in.
        OR NOT goes AND d.classid = 'pg_constraint'::regclass AND EXISTS (SELECT FROM pg_constraint WHERE oid = d.objid AND (contype = 'c' OR is_time AND contype NOT IN ('n', 'p')))
        OR is_unique
        OR NOT goes AND d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_index WHERE indexrelid = d.objid
                                                          AND concat(indexprs, indpred) ~ (':varattno ' || changed.attnum || ' ')))
       AND NOT (d.classid = 'pg_policy'::regclass AND EXISTS (SELECT FROM pg_policy WHERE oid = d.objid AND polname IN ('app_tenant', 'app_service', 'single_business')))
       AND NOT (d.classid = 'pg_trigger'::regclass AND EXISTS (SELECT FROM pg_trigger WHERE oid = d.objid AND tgname = 'set_updated_at'))
    UNION SELECT d.classid, d.objid, CASE WHEN d.classid = 'pg_class'::regclass THEN d.objsubid ELSE 0 END, of_what, depth + 1
      FROM hung LEFT JOIN pg_rewrite AS r ON hung.classid = 'pg_rewrite'::regclass AND r.oid = hung.objid
      LEFT JOIN pg_constraint AS k ON hung.classid = 'pg_constraint'::regclass AND k.oid = hung.objid
      LEFT JOIN pg_attrdef AS v ON hung.classid = 'pg_attrdef'::regclass AND v.oid = hung.objid
      JOIN pg_depend AS d ON d.deptype = 'n' AND CASE
           WHEN r.oid IS NOT NULL THEN d.refclassid = 'pg_class'::regclass AND d.refobjid = r.ev_class AND d.objid <> r.oid
                                       AND EXISTS (SELECT FROM pg_class WHERE oid = r.ev_class AND relkind IN ('v', 'm'))
           WHEN k.oid IS NOT NULL THEN d.refclassid = 'pg_class'::regclass AND d.refobjid = nullif(k.conindid, 0) AND k.contype <> 'f'
           WHEN v.oid IS NOT NULL THEN d.refclassid = 'pg_class'::regclass AND d.refobjid = v.adrelid AND d.refobjsubid = v.adnum
           WHEN hung.classid = 'pg_class'::regclass THEN d.refclassid = 'pg_class'::regclass AND d.refobjid = hung.objid AND d.refobjsubid = hung.objsubid AND hung.objsubid > 0
           ELSE d.refclassid = hung.classid AND d.refobjid = hung.objid END
     WHERE depth < 20
 ), drops (described, of_what, depth, command) AS (
    SELECT coalesce(CASE WHEN v.relkind IN ('v', 'm') THEN pg_describe_object('pg_class'::regclass, v.oid, 0) END,
                    CASE WHEN a.attrelid IS NOT NULL THEN pg_describe_object('pg_class'::regclass, a.attrelid, a.attnum) END,
                    pg_describe_object(classid, objid, objsubid)), of_what, depth, CASE
           WHEN v.relkind = 'v' THEN format('DROP VIEW IF EXISTS %s', v.oid::regclass)
           WHEN v.relkind = 'm' THEN format('DROP MATERIALIZED VIEW IF EXISTS %s', v.oid::regclass)
           WHEN r.oid IS NOT NULL THEN format('DROP RULE IF EXISTS %I ON %s', r.rulename, r.ev_class::regclass)
           WHEN p.oid IS NOT NULL THEN format('DROP POLICY IF EXISTS %I ON %s', p.polname, p.polrelid::regclass)
           WHEN t.oid IS NOT NULL THEN format('DROP TRIGGER IF EXISTS %I ON %s', t.tgname, t.tgrelid::regclass)
           WHEN k.oid IS NOT NULL THEN format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', k.conrelid::regclass, k.conname)
           WHEN x.indexrelid IS NOT NULL THEN format('DROP INDEX IF EXISTS %s', x.indexrelid::regclass)
           WHEN f.oid IS NOT NULL THEN format('DROP ROUTINE IF EXISTS %s', f.oid::regprocedure)
           WHEN a.attgenerated = 's' AND (a.attrelid::regclass::text, a.attname) IN (SELECT tab, unnest(cols) FROM (VALUES ('customers', '{id,whatsapp_id,name,age,created_at,updated_at}'::text[]), ('conversations', '{id,whatsapp_id,message,role,timestamp,created_at}')) AS ours (tab, cols)) THEN format('ALTER TABLE %s ALTER COLUMN %I DROP EXPRESSION IF EXISTS', a.attrelid::regclass, a.attname)
           WHEN a.attrelid IS NOT NULL AND a.attgenerated <> '' THEN format('ALTER TABLE %s DROP COLUMN IF EXISTS %I', a.attrelid::regclass, a.attname)
           WHEN a.attrelid IS NOT NULL THEN format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', a.attrelid::regclass, a.attname)
           WHEN b.oid IS NOT NULL THEN format('ALTER PUBLICATION %I DROP TABLE %s', (SELECT pubname FROM pg_publication WHERE oid = b.prpubid), b.prrelid::regclass)
           END
      FROM (SELECT classid, objid, objsubid, min(of_what) AS of_what, max(depth) AS depth FROM hung GROUP BY 1, 2, 3) AS hung
      LEFT JOIN pg_rewrite AS r ON classid = 'pg_rewrite'::regclass AND r.oid = objid LEFT JOIN pg_class AS v ON v.oid = ev_class
      LEFT JOIN pg_policy AS p ON classid = 'pg_policy'::regclass AND p.oid = objid
      LEFT JOIN pg_trigger AS t ON classid = 'pg_trigger'::regclass AND t.oid = objid
      LEFT JOIN pg_constraint AS k ON classid = 'pg_constraint'::regclass AND k.oid = objid
      LEFT JOIN pg_index AS x ON classid = 'pg_class'::regclass AND x.indexrelid = objid
      LEFT JOIN pg_proc AS f ON classid = 'pg_proc'::regclass AND f.oid = objid
      LEFT JOIN pg_attrdef AS d ON classid = 'pg_attrdef'::regclass AND d.oid = objid
      LEFT JOIN pg_publication_rel AS b ON classid = 'pg_publication_rel'::regclass AND b.oid = objid
      LEFT JOIN pg_attribute AS a ON (a.attrelid, a.attnum) IN ((d.adrelid, d.adnum::int), (CASE WHEN classid = 'pg_class'::regclass AND objsubid > 0 THEN objid END, objsubid))
 ), lines (described, of_what, depth, command) AS (SELECT described, min(of_what), max(depth), command FROM drops GROUP BY 1, 4)
 SELECT jsonb_agg(format('%s depends on %s', described, of_what)
                   || coalesce(': run ' || command || ';', '') ORDER BY depth DESC, described)
   FROM lines
