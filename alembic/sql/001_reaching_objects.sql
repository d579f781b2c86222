-- What reads or writes the two tables past their policies, and who may use it (object, reaches, role): views and materialised views,
-- rules, inheritance children and SECURITY DEFINER functions, each over another too. A function's text is searched for the name
-- of what it would reach. A security_invoker view passes nothing. Input: workers, a query of role names, or PUBLIC (role).
WITH RECURSIVE reached (class, oid, name, via) AS (
    SELECT 'pg_class'::regclass::oid, pg_class.oid, relname, relname FROM pg_class
     WHERE pg_class.oid IN (to_regclass('customers'), to_regclass('conversations'))
    UNION
    SELECT next.class, next.oid, next.name, reached.via
      FROM reached CROSS JOIN LATERAL (
        SELECT 'pg_class'::regclass::oid AS class, c.oid, c.relname AS name
          FROM pg_depend JOIN pg_rewrite AS r ON classid = 'pg_rewrite'::regclass AND r.oid = objid JOIN pg_class AS c ON c.oid = ev_class
         WHERE refclassid = reached.class AND refobjid = reached.oid
           AND NOT coalesce((SELECT option_value::boolean FROM pg_options_to_table(c.reloptions) WHERE option_name = 'security_invoker'), false)
        UNION ALL
        SELECT 'pg_class'::regclass, c.oid, c.relname FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid
         WHERE reached.class = 'pg_class'::regclass AND inhparent = reached.oid
        UNION ALL
        SELECT 'pg_proc'::regclass, p.oid, p.proname
          FROM pg_proc AS p LEFT JOIN pg_depend ON classid = 'pg_proc'::regclass AND objid = p.oid
               AND refclassid = reached.class AND refobjid = reached.oid
         WHERE prosecdef AND pronamespace <> 'pg_catalog'::regnamespace
           AND (refobjid IS NOT NULL OR p.prosrc ~* ('\m' || regexp_replace(reached.name, '\W', '\\\&', 'g') || '\M'))
       ) AS next
)
SELECT pg_describe_object(reached.class, reached.oid, 0) AS object, string_agg(DISTINCT via::text, ' and ') AS reaches, who.role AS role
  FROM reached CROSS JOIN (SELECT role, CASE role WHEN 'PUBLIC' THEN 'public' ELSE (SELECT rolname FROM pg_roles WHERE oid = to_regrole(role)) END AS role_name
                             FROM ({{workers}}) AS r (role)) AS who
 WHERE (reached.class <> 'pg_class'::regclass OR reached.oid NOT IN (to_regclass('customers'), to_regclass('conversations'))) AND who.role_name IS NOT NULL
   AND CASE reached.class WHEN 'pg_proc'::regclass::oid THEN has_function_privilege(who.role_name, reached.oid, 'EXECUTE')
       ELSE has_table_privilege(who.role_name, reached.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
            OR has_any_column_privilege(who.role_name, reached.oid, 'SELECT, INSERT, UPDATE') END
 GROUP BY 1, 3
