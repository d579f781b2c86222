-- What the two roles could do, whether they can be granted, and what could be planted here. JSON of sentences.
SELECT jsonb_build_array(
(SELECT format('app_tenant or app_service could do more than its tables allow, which an administrator can change: run %s;',
               string_agg(format('ALTER ROLE %s%s', rolname, more), '; '))
   FROM pg_roles CROSS JOIN concat(CASE WHEN rolsuper THEN ' NOSUPERUSER' END, CASE WHEN rolbypassrls THEN ' NOBYPASSRLS' END,
                                   CASE WHEN rolcanlogin THEN ' NOLOGIN' END, CASE WHEN rolcreaterole THEN ' NOCREATEROLE' END,
                                   CASE WHEN rolcreatedb THEN ' NOCREATEDB' END, CASE WHEN rolreplication THEN ' NOREPLICATION' END) AS more
  WHERE rolname IN ('app_tenant', 'app_service') AND more <> '' HAVING count(*) > 0),
(SELECT format('app_tenant or app_service is a member of another role and would not be confined, which an administrator can change: run %s;',
               string_agg(format('REVOKE %s FROM %s', roleid::regrole, member::regrole), '; '))
   FROM (SELECT DISTINCT roleid, member FROM pg_auth_members
          WHERE member IN (SELECT oid FROM pg_roles WHERE rolname IN ('app_tenant', 'app_service'))) AS m HAVING count(*) > 0),
(SELECT format('role %s may not create or grant the roles app_tenant and app_service, which an administrator can do: run %sGRANT app_tenant, app_service TO %I;',
               current_user, string_agg(CASE WHEN r.oid IS NULL THEN format('CREATE ROLE %s NOLOGIN; ', name) END, ''), current_user)
   FROM pg_roles AS me CROSS JOIN (VALUES ('app_tenant'), ('app_service')) AS needed (name) LEFT JOIN pg_roles AS r ON r.rolname = name
  WHERE me.rolname = current_user AND NOT me.rolsuper AND NOT CASE WHEN r.oid IS NULL THEN me.rolcreaterole
        ELSE (me.rolcreaterole AND current_setting('server_version_num')::int < 160000) OR pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')
             OR name NOT IN ({{> 001_missing_memberships.sql}}) END
 HAVING count(*) > 0),

-- A function or an operator that somebody plants in the schema could be taken for one of PostgreSQL's.
(SELECT format('anybody, or a tenant, may create objects in schema %I, such as functions that later migrations would call; its owner can close it: run %s%s;',
               nspname, string_agg(format('REVOKE CREATE ON SCHEMA %I FROM %s', nspname, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END), '; '), keep)
   FROM pg_namespace CROSS JOIN LATERAL aclexplode(nspacl) AS acl LEFT JOIN pg_roles ON pg_roles.oid = grantee
  CROSS JOIN LATERAL (
      SELECT (SELECT format('; GRANT CREATE ON SCHEMA %I TO %s', nspname, string_agg(quote_ident(rolname), ', ' ORDER BY rolname))
                FROM pg_roles AS maker
               WHERE NOT rolsuper AND maker.oid <> nspowner AND rolname NOT IN ('app_tenant', 'app_service', 'anon', 'authenticated')
                 AND (rolname = current_user OR EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_namespace.oid AND relowner = maker.oid)
                      OR EXISTS (SELECT FROM pg_proc WHERE pronamespace = pg_namespace.oid AND proowner = maker.oid)) HAVING count(*) > 0) AS keep) AS k
  WHERE nspname = current_schema() AND privilege_type = 'CREATE' AND (grantee = 0 OR rolname IN ('app_tenant', 'app_service', 'anon', 'authenticated'))
  GROUP BY nspname, keep)
) AS sentences
