-- Roles: whether ours are there, what they may do beside the tables, and who is a member of whom.
SELECT 'role' AS kind, '' AS tab, name, '' AS role, 'a role with NOLOGIN' AS expected, NULL AS found, NULL AS fix, NULL AS by_hand
  FROM unnest(CAST(:roles AS text[])) AS name WHERE to_regrole(name) IS NULL
UNION ALL
-- Citus's coordinator connects to the workers as the role that works.
SELECT 'role', '', rolname, '', NULL, 'NOLOGIN, with which Citus cannot reach its workers', format('ALTER ROLE %I LOGIN', rolname), NULL
  FROM pg_roles WHERE rolname = :tenant AND :distributed AND NOT rolcanlogin
UNION ALL
SELECT 'role', '', rolname, '', NULL,
       concat_ws(' ', CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END,
                 CASE WHEN rolcanlogin THEN 'LOGIN' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
                 CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN rolreplication THEN 'REPLICATION' END),
       format('ALTER ROLE %I ', rolname)
           || concat_ws(' ', CASE WHEN rolsuper THEN 'NOSUPERUSER' END, CASE WHEN rolbypassrls THEN 'NOBYPASSRLS' END,
                        CASE WHEN rolcanlogin THEN 'NOLOGIN' END, CASE WHEN rolcreaterole THEN 'NOCREATEROLE' END,
                        CASE WHEN rolcreatedb THEN 'NOCREATEDB' END, CASE WHEN rolreplication THEN 'NOREPLICATION' END), NULL
  FROM (SELECT rolname, rolsuper, rolbypassrls, rolcanlogin AND NOT (rolname = :tenant AND :distributed) AS rolcanlogin,
               rolcreaterole, rolcreatedb, rolreplication FROM two) AS two
 WHERE rolsuper OR rolbypassrls OR rolcanlogin OR rolcreaterole OR rolcreatedb OR rolreplication
UNION ALL
-- In whose name a membership was granted counts from PostgreSQL 16 on.
SELECT 'role', '', m.rolname, '', NULL, format('membership of %s', g.rolname),
       format('REVOKE %I FROM %I', g.rolname, m.rolname)
           || CASE WHEN :version >= 160000 THEN format(' GRANTED BY %s', a.grantor::regrole) ELSE '' END, NULL
  FROM pg_auth_members AS a JOIN pg_roles AS m ON m.oid = member JOIN pg_roles AS g ON g.oid = roleid
 WHERE m.rolname = ANY (:roles)
    OR m.rolname = ANY (:public_api) AND EXISTS (
           SELECT FROM pg_roles AS inner_role WHERE pg_has_role(g.oid, inner_role.oid, 'MEMBER')
              AND (inner_role.rolname = ANY (:roles) OR inner_role.oid IN (SELECT oid FROM owners)))
UNION ALL
-- Who made the roles may grant them, and so may the owner of the tables.
SELECT 'role', '', g.rolname, '', NULL, format('ADMIN OPTION for %s', m.rolname),
       format('REVOKE ADMIN OPTION FOR %I FROM %I', g.rolname, m.rolname)
           || CASE WHEN :version >= 160000 THEN format(' GRANTED BY %s', a.grantor::regrole) ELSE '' END || ' CASCADE', NULL
  FROM pg_auth_members AS a JOIN pg_roles AS m ON m.oid = member JOIN two AS g ON g.oid = roleid
 WHERE admin_option AND NOT m.rolsuper AND NOT m.rolcreaterole
   AND NOT EXISTS (SELECT FROM owners WHERE pg_has_role(m.oid, owners.oid, 'MEMBER'))
