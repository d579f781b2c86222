-- Settings of roles, of the database and of the server that open the tables, or lead elsewhere.
-- A search_path may name the schema behind others as long as nothing there is taken for what is ours.
SELECT kind, '' AS tab, whom AS name, '' AS role, NULL AS expected, 'SET ' || setting AS found,
       CASE WHEN kind = 'database' THEN format('ALTER DATABASE %I RESET %s', whom, name)
            ELSE format('ALTER ROLE %s%s RESET %s', CASE setrole WHEN 0 THEN 'ALL' ELSE quote_ident(whom) END,
                        CASE WHEN setdatabase <> 0 THEN format(' IN DATABASE %I', current_database()) END, name) END AS fix, NULL AS by_hand
  FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS setting CROSS JOIN split_part(setting, '=', 1) AS name
 CROSS JOIN LATERAL (
    SELECT CASE WHEN setrole = 0 AND setdatabase <> 0 THEN 'database' ELSE 'role' END,
           CASE WHEN setrole <> 0 THEN pg_get_userbyid(setrole) WHEN setdatabase <> 0 THEN current_database() ELSE 'ALL' END) AS w (kind, whom)
 CROSS JOIN LATERAL (
    SELECT array_agg(CASE WHEN element LIKE '"%' THEN replace(btrim(element, '"'), '""', '"') ELSE lower(element) END ORDER BY place) AS path
      FROM (SELECT btrim(m[1]) AS element, place
              FROM regexp_matches(substr(setting, length(name) + 2), '\s*("(?:[^"]|"")*"|[^,]+)\s*', 'g') WITH ORDINALITY AS g (m, place)) AS e
     WHERE element NOT IN ('"$user"', '$user', 'pg_catalog', '')) AS p
 WHERE (setdatabase = 0 OR setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()))
   AND (setrole = 0 OR setrole IN (SELECT oid FROM workers))
   AND (name IN ('app.business_id', 'session_replication_role', 'row_security')
        OR name = 'role' AND (setrole = 0 OR NOT EXISTS (  -- a login that migrates as the owner
            SELECT FROM owners WHERE oid = to_regrole(quote_ident(substr(setting, 6))) AND pg_has_role(setrole, oid, 'MEMBER')))
        OR name = 'search_path' AND (
            setrole IN (SELECT oid FROM two)
            OR (setrole = 0 OR setrole IN (SELECT oid FROM owners)
                OR EXISTS (SELECT FROM two WHERE pg_has_role(setrole, two.oid, 'MEMBER')))
               AND path[1] IS DISTINCT FROM :schema
            OR EXISTS (SELECT FROM named JOIN pg_namespace AS n ON n.oid = relnamespace
                        WHERE relname = ANY (:tables)
                          AND array_position(path, nspname) < coalesce(array_position(path, :schema), 0))))
UNION ALL
SELECT 'configuration', '', 'of the server', '', NULL, format('%s = %s', name, reset_val), NULL,
       format('ALTER SYSTEM RESET %s; SELECT pg_reload_conf(), or take it out of postgresql.conf', name)
  FROM pg_settings WHERE source IN ('configuration file', 'command line')
   AND (name, reset_val) IN (('session_replication_role', 'replica'), ('session_replication_role', 'local'), ('row_security', 'off'))
