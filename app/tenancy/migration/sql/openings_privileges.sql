-- Privileges on what is not a table of ours, those on one that row level security does not confine, and default privileges.
-- Inputs (binds): unconfined, such privileges; secret and secret_columns, the tables and the names of columns with secrets.
SELECT 'schema' AS kind, '' AS tab, nspname AS name, w.rolname AS role, NULL AS expected, 'CREATE' AS found,
       format('REVOKE CREATE ON SCHEMA %I FROM %s CASCADE', nspname, w.rolname) AS fix, NULL AS by_hand
  FROM s CROSS JOIN aclexplode(nspacl) AS e JOIN watched AS w ON w.oid = grantee WHERE privilege_type = 'CREATE'
UNION ALL
SELECT 'schema', '', nspname, rolname, 'USAGE', NULL, format('GRANT USAGE ON SCHEMA %I TO %I', nspname, rolname), NULL
  FROM s CROSS JOIN two WHERE NOT has_schema_privilege(two.oid, s.oid, 'USAGE')
UNION ALL
SELECT 'database', '', datname, w.rolname, NULL, 'CREATE',
       format('REVOKE CREATE ON DATABASE %I FROM %s CASCADE', datname, w.rolname), NULL
  FROM pg_database CROSS JOIN aclexplode(datacl) AS e JOIN watched AS w ON w.oid = grantee
 WHERE datname = current_database() AND privilege_type = 'CREATE'
UNION ALL
SELECT 'parameter', '', parname, w.rolname, NULL, privilege_type,
       format('REVOKE %s ON PARAMETER %s FROM %s CASCADE', privilege_type, parname, w.rolname), NULL
  FROM pg_parameter_acl CROSS JOIN aclexplode(paracl) AS e JOIN watched AS w ON w.oid = grantee
UNION ALL
SELECT 'table', relname, '', r.rolname, NULL,
       string_agg(privilege_type, ', ' ORDER BY privilege_type) || ', which row level security does not confine',
       format('REVOKE %s ON %s FROM %I CASCADE', string_agg(privilege_type, ', ' ORDER BY privilege_type), sql, r.rolname), NULL
  FROM closed CROSS JOIN aclexplode(relacl) AS e JOIN pg_roles AS r ON r.oid = grantee
 WHERE privilege_type = ANY (:unconfined) AND grantee <> relowner AND NOT rolsuper AND NOT rolbypassrls
   AND grantee NOT IN (SELECT oid FROM watched)
 GROUP BY relname, sql, r.rolname
UNION ALL
SELECT 'table', relname, '', r.rolname, NULL,
       format('SELECT of %s, of which a policy shows rows', string_agg(DISTINCT attname::text, ', ')), NULL,
       format('REVOKE SELECT ON %s FROM %I, and grant the columns that hold no secret', sql, r.rolname)
  FROM closed JOIN unnest(CAST(:secret AS text[]), CAST(:secret_columns AS text[])) AS held (tab, col) ON tab = relname
  JOIN pg_attribute ON attrelid = closed.oid AND attname = col
 CROSS JOIN LATERAL (SELECT * FROM aclexplode(relacl) UNION ALL SELECT * FROM aclexplode(attacl)) AS e
  JOIN pg_roles AS r ON r.oid = grantee
 WHERE privilege_type = 'SELECT' AND grantee <> relowner AND NOT rolsuper AND NOT rolbypassrls
   AND grantee NOT IN (SELECT oid FROM watched)
   AND EXISTS (SELECT FROM pg_policy CROSS JOIN unnest(polroles) AS role WHERE polrelid = closed.oid AND polpermissive
                  AND polcmd IN ('*', 'r') AND (role = 0 OR pg_has_role(r.oid, role, 'USAGE')))
 GROUP BY relname, sql, r.rolname
UNION ALL
SELECT 'default privileges', '', concat('of ', maker, ' in schema ' || nspname), '', NULL,
       format('%s on %s for %s', string_agg(privilege_type, ', ' ORDER BY privilege_type), kind, w.rolname),
       format('ALTER DEFAULT PRIVILEGES FOR ROLE %I %s REVOKE ALL ON %s FROM %s', maker,
              'IN SCHEMA ' || quote_ident(nspname), kind, w.rolname), NULL
  FROM pg_default_acl AS d LEFT JOIN s ON s.oid = defaclnamespace CROSS JOIN aclexplode(defaclacl) AS e
  JOIN watched AS w ON w.oid = grantee CROSS JOIN pg_get_userbyid(defaclrole) AS maker
 CROSS JOIN LATERAL (SELECT CASE defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS'
                            WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END) AS k (kind)
 WHERE (defaclnamespace = 0 OR s.oid IS NOT NULL) AND w.rolname <> ALL (:public_api)
   AND (grantee <> 0 OR defaclobjtype = 'r' OR defaclobjtype = 'S')
 GROUP BY maker, nspname, kind, w.rolname
UNION ALL
SELECT type, '', identity, '', NULL, 'owned by ' || confined.rolname, NULL,
       'give it to its rightful owner with ALTER ... OWNER TO, or drop it'
  FROM pg_shdepend AS d JOIN confined ON refobjid = confined.oid CROSS JOIN pg_identify_object(d.classid, d.objid, d.objsubid)
 WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o'
   AND (confined.rolname = ANY (:closed_roles) OR d.classid = 'pg_database'::regclass
        OR d.classid = 'pg_namespace'::regclass AND d.objid = (SELECT s.oid FROM s))
   AND (dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        OR classid = 'pg_database'::regclass AND objid = (SELECT oid FROM pg_database WHERE datname = current_database()))
   AND NOT (classid = 'pg_class'::regclass AND objid IN (SELECT oid FROM t))
