-- What stands beside the tables and reaches their rows, or takes their place: rules, children, views, functions and others.
SELECT 'rule' AS kind, relname AS tab, rulename AS name, '' AS role, NULL AS expected, pg_get_ruledef(r.oid) AS found, NULL AS fix,
       format('DROP RULE %I ON %s, if you do not mean it', rulename, sql) AS by_hand
  FROM t JOIN pg_rewrite AS r ON ev_class = t.oid WHERE relkind IN ('r', 'p')
UNION ALL
SELECT 'table', c.shown, '', '', NULL,
       format('%s of %s', CASE WHEN c.relispartition THEN 'a partition' ELSE 'an inheritance child' END, p.shown), NULL,
       CASE WHEN c.relispartition THEN format('ALTER TABLE %s DETACH PARTITION %s', p.sql, c.sql)
            ELSE format('ALTER TABLE %s NO INHERIT %s', c.sql, p.sql) END
  FROM pg_inherits JOIN named AS c ON c.oid = inhrelid JOIN named AS p ON p.oid = inhparent
 WHERE inhparent IN (SELECT oid FROM t) OR inhrelid IN (SELECT oid FROM t)
UNION ALL
SELECT 'view', '', v.shown, '', NULL,
       format('a reading of %s without security_invoker that %s may use', string_agg(DISTINCT via::text, ' and '), w.rolname), NULL,
       CASE v.relkind WHEN 'v' THEN format('ALTER VIEW %s SET (security_invoker = true), or REVOKE ALL ON %1$s FROM %I', v.sql, w.rolname)
            ELSE format('REVOKE ALL ON %s FROM %I', v.sql, w.rolname) END
  FROM reached JOIN named AS v ON reached.class = 'pg_class'::regclass AND v.oid = reached.oid AND v.relkind IN ('v', 'm')
 CROSS JOIN confined AS w
 WHERE NOT coalesce((SELECT option_value::boolean FROM pg_options_to_table(v.reloptions) WHERE option_name = 'security_invoker'), false)
   AND (has_any_column_privilege(w.oid, v.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(w.oid, v.oid, 'DELETE, TRUNCATE, TRIGGER'))
 GROUP BY v.shown, v.sql, v.relkind, w.rolname
UNION ALL
SELECT 'table', v.shown, '', '', NULL,
       format('a rule that reaches %s, and %s may use the table', string_agg(DISTINCT via::text, ' and '), w.rolname), NULL,
       format('REVOKE ALL ON %s FROM %I, or drop its rule', v.sql, w.rolname)
  FROM reached JOIN named AS v ON reached.class = 'pg_class'::regclass AND v.oid = reached.oid AND v.relkind IN ('r', 'p')
 CROSS JOIN confined AS w
 WHERE v.oid NOT IN (SELECT oid FROM t)
   AND (has_any_column_privilege(w.oid, v.oid, 'INSERT, UPDATE') OR has_table_privilege(w.oid, v.oid, 'DELETE'))
 GROUP BY v.shown, v.sql, w.rolname
UNION ALL
SELECT 'function', '',
       format('%s(%s)', CASE WHEN n.nspname = :schema THEN quote_ident(proname) ELSE format('%I.%I', n.nspname, proname) END,
              pg_get_function_identity_arguments(p.oid)), '', NULL,
       format('SECURITY DEFINER, names %s, and %s may call it', string_agg(DISTINCT via::text, ' and '), w.rolname), NULL,
       format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, %I, or ALTER FUNCTION %1$s SECURITY INVOKER', p.oid::regprocedure, w.rolname)
  FROM reached JOIN pg_proc AS p ON reached.class = 'pg_proc'::regclass AND p.oid = reached.oid AND prosecdef
  JOIN pg_namespace AS n ON n.oid = pronamespace CROSS JOIN confined AS w
 WHERE has_function_privilege(w.oid, p.oid, 'EXECUTE')
 GROUP BY n.nspname, proname, p.oid, w.rolname
UNION ALL
SELECT 'table', c.shown, '', '', NULL, 'a business_id that app_tenant may reach without row level security', NULL,
       format('REVOKE ALL ON %s FROM PUBLIC, app_tenant, or give its model the mixin TenantOwned', c.sql)
  FROM named AS c JOIN pg_attribute AS a ON attrelid = c.oid AND attname = 'business_id' AND NOT attisdropped
  JOIN two ON two.rolname = :tenant
 WHERE relkind IN ('r', 'p', 'f') AND NOT relrowsecurity AND c.oid NOT IN (SELECT oid FROM closed)
   AND (has_any_column_privilege(two.oid, c.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(two.oid, c.oid, 'DELETE, TRUNCATE'))
UNION ALL
SELECT 'column', t.relname, attname, '', NULL, format('a default from the sequence %s', q.shown), NULL,
       format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT nextval(%L)', t.sql, attname, o.sql)
  FROM t JOIN pg_attribute ON attrelid = t.oid JOIN pg_attrdef AS d ON adrelid = t.oid AND adnum = attnum
  JOIN pg_depend AS n ON (n.classid, n.objid, n.refclassid) = ('pg_attrdef'::regclass, d.oid, 'pg_class'::regclass)
  JOIN named AS q ON q.oid = n.refobjid AND q.relkind = 'S'
  LEFT JOIN pg_depend AS own ON own.deptype IN ('a', 'i') AND (own.classid, own.refclassid, own.refobjid, own.refobjsubid)
            = ('pg_class'::regclass, 'pg_class'::regclass, t.oid, attnum)
  LEFT JOIN named AS o ON o.oid = own.objid AND o.relkind = 'S'
 WHERE o.oid IS NOT NULL AND o.oid <> q.oid
    OR EXISTS (SELECT FROM pg_depend AS other
                WHERE (other.classid, other.objid, other.refclassid) = ('pg_class'::regclass, q.oid, 'pg_class'::regclass)
                  AND other.deptype IN ('a', 'i') AND (other.refobjid, other.refobjsubid) <> (t.oid, attnum::int))
UNION ALL
SELECT 'publication', '', pubname, '', NULL, format('sends %s out, which holds secrets', tablename), NULL,
       format('ALTER PUBLICATION %I DROP TABLE %I.%I, or publish the tables that you mean', pubname, schemaname, tablename)
  FROM pg_publication_tables WHERE schemaname = :schema AND tablename = ANY (:secret)
