-- What a team made upon the archived rows, whose tables go when the rows are back: the last made first. JSON of sentences.
WITH RECURSIVE ours (oid) AS (
    SELECT to_regclass('multi_tenant_archive.' || t) FROM unnest('{customers,conversations,default_customers,default_messages}'::text[]) AS t
), hung (classid, objid, depth) AS (
    SELECT d.classid, d.objid, 1 FROM ours JOIN pg_class AS c USING (oid)
      JOIN pg_depend AS d ON d.deptype = 'n' AND (d.refclassid, d.refobjid) IN (('pg_class'::regclass, c.oid), ('pg_type'::regclass, c.reltype))
     WHERE NOT (d.classid = 'pg_class'::regclass AND d.objid IN (SELECT oid FROM ours WHERE oid IS NOT NULL))
       AND NOT (d.classid = 'pg_constraint'::regclass AND EXISTS (SELECT FROM pg_constraint AS k JOIN ours ON ours.oid = k.conrelid WHERE k.oid = d.objid))
    UNION SELECT d.classid, d.objid, depth + 1
      FROM hung LEFT JOIN pg_rewrite AS r ON hung.classid = 'pg_rewrite'::regclass AND r.oid = hung.objid
      JOIN pg_class AS v ON v.oid = coalesce(r.ev_class, CASE WHEN hung.classid = 'pg_class'::regclass THEN hung.objid END)
      JOIN pg_depend AS d ON d.deptype = 'n' AND d.objid <> hung.objid AND (d.refclassid, d.refobjid) IN (('pg_class'::regclass, v.oid), ('pg_type'::regclass, v.reltype))
     WHERE depth < 20
)
SELECT jsonb_agg(format('%s depends on the archive, whose tables go when the upgrade brings their rows back; keep its definition: run %s;', described, command) ORDER BY depth DESC, described)
  FROM (SELECT max(depth) AS depth,
               CASE WHEN r.oid IS NULL THEN pg_describe_object(hung.classid, hung.objid, 0) ELSE pg_describe_object('pg_class'::regclass, v.oid, 0) END AS described,
               CASE WHEN v.relkind = 'v' THEN format('DROP VIEW IF EXISTS %s', v.oid::regclass)
                    WHEN v.relkind = 'm' THEN format('DROP MATERIALIZED VIEW IF EXISTS %s', v.oid::regclass)
                    WHEN r.oid IS NOT NULL THEN format('DROP RULE IF EXISTS %I ON %s', r.rulename, v.oid::regclass)
                    WHEN k.oid IS NOT NULL THEN format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', k.conrelid::regclass, k.conname)
                    WHEN p.oid IS NOT NULL THEN format('DROP ROUTINE IF EXISTS %s', p.oid::regprocedure)
                    WHEN c.oid IS NOT NULL THEN format('ALTER TABLE %s NO INHERIT %s', c.oid::regclass, (SELECT min(inhparent)::regclass FROM pg_inherits WHERE inhrelid = c.oid))
                    END AS command
          FROM hung LEFT JOIN pg_rewrite AS r ON hung.classid = 'pg_rewrite'::regclass AND r.oid = hung.objid LEFT JOIN pg_class AS v ON v.oid = r.ev_class
          LEFT JOIN pg_constraint AS k ON hung.classid = 'pg_constraint'::regclass AND k.oid = hung.objid
          LEFT JOIN pg_proc AS p ON hung.classid = 'pg_proc'::regclass AND p.oid = hung.objid
          LEFT JOIN pg_class AS c ON hung.classid = 'pg_class'::regclass AND c.oid = hung.objid AND EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid)
         GROUP BY 2, 3) AS d
